"""The pure core of syncd: Yjs bytes in, Yjs bytes out. No I/O, no clock, no randomness, no logging.

Read in this order: `errors`, `varint`, `update` (the validator), `index` and `gate` (what is known, what must wait),
`block` and `merge` (stored state), `replica` (one document), `wire`, `awareness`, `session` (one connection).
"""
