"""What is shipped: the wheel has everything a server needs to run, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_every_module_and_every_query_is_shipped(shipped: set[str]) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("syncd", "crdt", "persistence", "auth")
        for pattern in ("*.py", "*.sql", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert len(wanted) > 40
    assert wanted - shipped == set()


@pytest.mark.slow
def test_nothing_else_is_shipped(shipped: set[str]) -> None:
    tops = {name.partition("/")[0] for name in shipped}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"syncd", "crdt", "persistence", "auth"}
    suffixes = {
        Path(name).suffix for name in shipped if not name.startswith("syncd/_web/") and ".dist-info/" not in name
    }
    assert suffixes <= {".py", ".sql", ".typed"}


@pytest.mark.slow
def test_a_built_web_client_is_shipped_whole(shipped: set[str]) -> None:
    dist = ROOT / "web" / "dist"
    built = {f"syncd/_web/{path.relative_to(dist).as_posix()}" for path in dist.rglob("*") if path.is_file()}
    assert {name for name in shipped if name.startswith("syncd/_web/")} == built
