"""Malformed input for every receiver. ``python -m tests.fuzz --seconds N --seed S``."""
