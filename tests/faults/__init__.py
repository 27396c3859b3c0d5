"""Faults: real processes, starved, flooded and lied to."""
