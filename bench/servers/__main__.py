"""Install servers: `python -m bench.servers [NAME ...]`, all without names; exits 1 when one cannot be had."""

from __future__ import annotations

import sys

from bench.servers import catalogue

if __name__ == "__main__":
    sys.exit(1 if catalogue.install(sys.argv[1:] or catalogue.NAMES) else 0)
