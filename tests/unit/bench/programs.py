"""Building the programs of bench/load for tests."""

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[3] / "bench" / "load"


def build(folder: Path) -> Path:
    """Compile `load` and `relay`, as the sources are now, into a folder of the test's own; return the folder."""
    subprocess.run([SOURCES / "build.sh", folder], check=True)
    return folder
