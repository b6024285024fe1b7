"""Losses and their derivatives, as pure functions of tensors: no configuration, no randomness."""
