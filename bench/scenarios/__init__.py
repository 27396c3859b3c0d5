"""The scenarios of the comparison: what they are (`settings`), and one module per kind of scenario."""
