"""The lowest layer, which imports no other package of dance: errors, settings, files, devices."""
