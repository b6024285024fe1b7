"""Ground floor, which imports nothing of ours: errors, registry, randomness, settings, files."""
