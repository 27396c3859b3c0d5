"""Durable storage of rooms: one narrow port over opaque bytes, its adapters, and compaction above them."""
