"""Exports of a condensed set to formats that other tools read."""
