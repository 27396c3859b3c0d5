"""syncd: a CRDT-first sync server for Yjs documents."""

__version__ = "0.1.0"
