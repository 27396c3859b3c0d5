"""A real server is killed under load, again and again; what it called saved must be there."""
