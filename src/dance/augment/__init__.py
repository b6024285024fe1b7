"""Augmentation of standardised images: draw parameters from a keyed generator, then apply them."""
