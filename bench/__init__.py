"""Measurements: load, scenarios and their generated results."""
