"""What a result was measured on: machine, commit, versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def machine() -> dict[str, str]:
    """Facts of this machine, each a line for the report."""
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": _said("node", "--version"),
        "compiler": _said("gcc", "--version"),
    }


def commit() -> str:
    """Abbreviated commit of the checkout, with `+` when tracked files differ from it; empty outside a repository."""
    head = _said("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    # What this benchmark itself writes does not make a commit another one.
    paths = [".", ":!bench/results.json", ":!bench/RESULTS.md", ":!bench/plots"]
    changed = _said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", *paths)
    return f"{head}+" if head and changed else head


def load_average() -> float:
    """Runnable processes of the last minute: what else the machine does."""
    return os.getloadavg()[0]


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    virtual = " (virtual machine)" if "hypervisor" in _flags() else ""
    return (found[1] if found else platform.machine()) + virtual


def _flags() -> set[str]:
    try:
        found = re.search(r"^flags\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def _said(*command: str) -> str:
    """First line a program prints; empty when it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip().partition("\n")[0]
