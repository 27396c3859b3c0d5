"""Installing servers into build/bench/servers, each from the lock files beside this module.

What is there already and matches its sources is left alone. Nothing is installed globally.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.servers.api import Unavailable
from bench.servers.process import ROOT

SOURCES: Final = Path(__file__).parent
INSTALLED: Final = ROOT / "build/bench/servers"
STAMP: Final = ".installed"
NPM_CI: Final = ("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")


def folder_of(name: str) -> Path:
    """Where a server is installed."""
    return INSTALLED / name


def digest(name: str) -> str:
    """Hash over the files a server is installed from."""
    total = hashlib.sha256()
    for file in sorted(SOURCES.joinpath(name).iterdir()):
        if file.is_file():
            total.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return total.hexdigest()


def is_installed(name: str) -> bool:
    """Whether what is installed was installed from the files that are here now."""
    stamp = folder_of(name) / STAMP
    return stamp.exists() and stamp.read_text() == digest(name)


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run(command: Sequence[str | Path], folder: Path) -> None:
    """Run an installer at the lowest priority.

    Raises:
        Unavailable: when the program is missing or fails, with the last line it said.
    """
    program = str(command[0])
    if shutil.which(program) is None:
        raise Unavailable(f"{program} is not installed")
    log = folder / "install.log"
    with log.open("ab") as output:
        words = ["nice", "-n", "19", *map(str, command)]
        done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "it said nothing")
        raise Unavailable(f"{Path(program).name} failed with {done.returncode}: {last} (see {log})")


def from_sources(name: str, commands: Sequence[Sequence[str | Path]]) -> None:
    """Copy a server's files to where it is installed and run commands there.

    Raises:
        Unavailable: when one of them fails.
    """
    if is_installed(name):
        return
    say(f"Installing {name}")
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(STAMP).unlink(missing_ok=True)
    before = digest(name)
    for file in SOURCES.joinpath(name).iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    for command in commands:
        run(command, folder)
    folder.joinpath(STAMP).write_text(before)


def npm(name: str) -> None:
    """Install a Node server from its package-lock.json.

    Raises:
        Unavailable: when npm is missing or fails.
    """
    from_sources(name, [NPM_CI])


def python(name: str) -> None:
    """Install a Python server from its requirements.lock into a virtual environment of its own.

    Raises:
        Unavailable: when uv fails.
    """
    uv = (sys.executable, "-m", "uv", "--quiet")
    lock = ("--require-hashes", "--requirements", "requirements.lock")
    environment = [*uv, "venv", "--clear", "--python", sys.executable, "venv"]
    from_sources(name, [environment, [*uv, "pip", "install", "--python", "venv/bin/python", *lock]])


def cargo(name: str) -> None:
    """Build a Rust server with the versions of its own lock file; its release is in the file VERSION.

    Raises:
        Unavailable: when cargo is missing or the build fails.
    """
    version = (SOURCES / name / "VERSION").read_text().strip()
    if not is_installed(name):
        say(f"{name} is compiled, which takes some minutes")
    from_sources(name, [["cargo", "install", "--locked", "--root", ".", "--version", version, name]])


def make(name: str, target: str, product: Path) -> None:
    """Run a target of the Makefile, which knows itself what is up to date; `name` is whose log it goes to.

    Raises:
        Unavailable: when it fails or does not bring the product.
    """
    folder_of(name).mkdir(parents=True, exist_ok=True)
    run([os.environ.get("MAKE", "make"), "--directory", ROOT, target], folder_of(name))
    if not product.exists():
        raise Unavailable(f"make {target} did not bring {product.relative_to(ROOT)}")
