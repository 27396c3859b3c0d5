"""The programs a cluster consists of: where they are, and what to install if they are not."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from deploy.local.errors import ProgramMissing

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
KAFKA_JARS = ROOT / "build" / "kafka" / "lib"
_KAFKA_STAMP = KAFKA_JARS.parent / ".installed"

_PACKAGES = {
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "postgres": "postgresql",
    "nginx": "nginx",
    "java": "default-jre-headless",
}
_ELSEWHERE = ("/usr/sbin", "/usr/local/sbin")  # not on the PATH of everybody, and Debian has nginx there


def find(program: str) -> Path:
    """Where a program is. One that is not installed is only its name: `check` is what complains."""
    return _look_for(program) or Path(program)


def postgres_program(program: str) -> Path:
    """Where a program of the newest installed Postgres is: `initdb`, `pg_basebackup` and others of one version."""
    return find("postgres").resolve().parent / program


def check(programs: Iterable[str]) -> None:
    """Look for all programs at once, so that one run tells everything that is missing.

    Raises:
        ProgramMissing: with the names of the packages.
    """
    wanted = set(programs)
    missing = sorted(program for program in wanted if _look_for(program) is None)
    jars = "java" in wanted and not _KAFKA_STAMP.is_file()
    if missing or jars:
        raise ProgramMissing(_advice(missing, jars))


def _look_for(program: str) -> Path | None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ELSEWHERE))
    found = shutil.which(program, path=path)
    if found is None and program == "postgres":  # Debian keeps the versions apart, and none of them on the PATH
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
        return versions[-1] if versions else None
    return Path(found) if found else None


def _version(program: Path) -> int:
    name = program.parents[1].name
    return int(name) if name.isdecimal() else 0


def _advice(missing: list[str], jars: bool) -> str:
    steps = []
    if missing:
        packages = " ".join(sorted({_PACKAGES[program] for program in missing}))
        steps.append(f"not installed: {', '.join(missing)}; on Debian: apt-get install {packages}")
    if jars:
        steps.append("Kafka has not been fetched; in the checkout: make kafka (needs Maven, apt-get install maven)")
    return "; ".join(steps) + ". `make cluster-tools` does all of it"
