"""An independent judge of convergence: Yjs itself, running in Node."""
