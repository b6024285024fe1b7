"""Augmentation: draw parameters from a keyed generator, then apply them; pure functions on standardised images."""
