"""The command line: one thin file per verb; parse, resolve, call, print."""
