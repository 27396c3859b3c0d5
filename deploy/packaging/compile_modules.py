"""Compiles the hot modules with mypyc into ``build/compiled``, next to copies of the other modules of their packages.

``PYTHONPATH=build/compiled`` then runs the same packages with machine code. They must work either way, so the gate
runs their tests both ways. From the root of the repository: ``python deploy/packaging/compile_modules.py [FOLDER]``
"""

import os
import shutil
import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

MODULES = {
    "crdt": (
        "varint",
        "json_text",
        "long_text",
        "structs",
        "update",
        "index",
        "survey",
        "walk",
        "gate",
        "merge",
        "block",
        "fold",
        "wire",
        "awareness",
        "tail",
        "session",
        "replica",
    ),
    "persistence": ("checksum", "sqlite_rows"),
    "syncd": (
        "stats",
        "link",
        "frames",
        "turns",
        "connection",
        "room",
        "log_writer",
        "registry",
        "origin",
        "room_names",
        "handshake",
        "sockets",
        "endpoint",
        "arrival",
        "node",
    ),
}
"""What runs per message, per record, per struct or per connection, in serving or in compaction."""

TARGET = Path("build", "compiled")


def compile_modules(target: Path) -> list[str]:
    """Builds the extension modules under `target`; returns their names. Needs a C compiler."""
    sources = [f"{package}/{name}.py" for package, names in MODULES.items() for name in names]
    distribution = Distribution({"name": "syncd-compiled", "ext_modules": mypycify(sources, opt_level="2")})
    command = build_ext(distribution)
    command.build_lib = str(target)
    command.build_temp = str(target.parent / f"{target.name}-temp")
    command.ensure_finalized()
    command.run()
    return sources


def main(target: Path) -> None:
    """Starts from an empty folder, so that no module of an earlier build can be imported by mistake."""
    shutil.rmtree(target, ignore_errors=True)
    for package in MODULES:
        shutil.copytree(package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    os.environ.setdefault("MYPYC_DEBUG_LEVEL", "0")
    compiled = compile_modules(target)
    sys.stdout.write(f"compiled {len(compiled)} modules into {target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
