"""What must hold for the repository as a whole, whatever the code does."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("syncd", "crdt", "persistence", "auth")

# Put together here, because the test below would otherwise find them in this file.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("repo", "maven", "apache", "org"),
    )
)


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def _modules() -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]


def test_no_file_names_a_registry() -> None:
    named = []
    for path in _tracked():
        content = path.read_bytes()
        named += [f"{path.relative_to(ROOT)}: {host}" for host in REGISTRY_HOSTS if host.encode() in content]
    assert named == []


def test_lock_files_pin_every_package_by_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        entries = re.split(r"\n(?=\S)", text.strip())
        assert len(entries) > 15
        assert [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_lock_files_hold_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}

    def locked(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    runtime, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    assert names(project["project"]["dependencies"]) <= runtime.keys()
    assert names(project["dependency-groups"]["dev"]) <= dev.keys()
    assert {name: dev.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("module", _modules())
def test_every_module_says_what_it_is_for(module: str) -> None:
    first = (ROOT / module).read_text().lstrip()
    assert first.startswith('"""')


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert (ROOT / package / "__init__.py").is_file()


def test_every_unit_test_file_belongs_to_a_module() -> None:
    """`tests/unit/<package>/test_<module>….py` tests `<package>/<module>.py`, or the folder `<package>/<module>`."""
    homeless = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        package = path.parent.relative_to(ROOT / "tests" / "unit")
        modules = {entry.stem for entry in (ROOT / package).iterdir() if entry.suffix == ".py" or entry.is_dir()}
        name = path.stem.removeprefix("test_")
        if not any(name == module or name.startswith(f"{module}_") for module in modules):
            homeless.append(path.relative_to(ROOT).as_posix())
    assert homeless == []


@pytest.mark.parametrize("module", _modules())
def test_no_module_is_a_drawer_for_everything(module: str) -> None:
    assert Path(module).stem not in {"utils", "util", "helpers", "common", "misc", "manager", "handler"}
    assert len((ROOT / module).read_text().splitlines()) <= 700


def test_scripts_are_executable() -> None:
    for path in _tracked():
        if path.suffix == ".sh" or path == ROOT / ".ci" / "run":
            assert path.stat().st_mode & 0o111, path
