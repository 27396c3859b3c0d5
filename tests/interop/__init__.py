"""Real Yjs clients under Node against a real server."""
