"""Benchmarks: plans of many runs, and of measurements of speed, with their tables."""
