"""Measurements of the library's own speed against a literal reference."""
