"""What is shipped: the wheel has everything a server needs to run, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(folder: Path, **environment: str) -> Path:
    """Builds the wheel into an empty folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env=os.environ | environment,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a freshly built wheel."""
    with zipfile.ZipFile(build(tmp_path_factory.mktemp("wheel"))) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_a_compiled_wheel_fits_this_python_and_uses_machine_code(tmp_path: Path) -> None:
    wheel = build(tmp_path / "wheel", COMPILE_SYNCD="1")
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    command = "import crdt.update, syncd.metrics; print(crdt.update.__file__, syncd.metrics.build_facts()['compiled'])"
    ran = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
    )
    file, compiled = ran.stdout.split()
    assert Path(file).is_relative_to(tmp_path / "installed")
    assert (Path(file).suffix, compiled) == (".so", "true")


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
