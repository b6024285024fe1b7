"""The command line, one module per command: parse, resolve the configuration, call, print."""
