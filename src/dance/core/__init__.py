"""Ground floor: errors, registry, keyed randomness, configuration, files, progress. Imports nothing of ours."""
