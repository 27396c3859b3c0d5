"""Any bytes: they parse or they are refused, and what parses harms no engine."""
