"""What the code offers is in the documents, and what the documents name exists."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from syncd.cli import app
from syncd.close_codes import MEANING, CloseCode
from syncd.config import ENV_PREFIX, Settings
from syncd.metrics import CATALOGUE, Stats

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)


def _sources(*folders: str) -> str:
    return "\n".join(path.read_text() for folder in folders for path in sorted((ROOT / folder).glob("*.py")))


def test_the_tables_are_those_of_the_code() -> None:
    script = ROOT / "deploy" / "packaging" / "reference_tables.py"
    ran = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_settings_metrics_and_close_codes_are_documented() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    wire = (ROOT / "docs" / "wire.md").read_text()
    assert [name for name in Settings.model_fields if f"| `{ENV_PREFIX}{name.upper()}` |" not in operations] == []
    assert [entry.name for entry in CATALOGUE if f"| `{entry.name}" not in operations] == []
    assert [code for code in CloseCode if f"| {int(code)} | `{code.name}` |" not in wire] == []
    assert MEANING.keys() == set(CloseCode)


def test_every_setting_does_something() -> None:
    code = _sources("syncd")
    assert [name for name in Settings.model_fields if not re.search(rf"settings\.{name}\b", code)] == []


def test_every_counter_is_counted() -> None:
    code = _sources("syncd", "crdt")
    through_methods = {"closes": "stats.close(", "refused": "stats.refuse("}
    uncounted = [
        field.name
        for field in fields(Stats)
        if not re.search(rf"(stats|counters)\.{field.name}\b", code)
        and through_methods.get(field.name, "\0") not in code
    ]
    assert uncounted == []


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert len(commands) > 5
    assert [name for name in commands if f"`syncd {name}" not in readme] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_code_named_in_the_path_of_a_keystroke_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The path of a keystroke")[2].partition("\n## ")[0]
    missing = [name for name in re.findall(r"`([\w/]+\.py)`", text) if not (ROOT / name).is_file()]
    code = _sources("syncd", "crdt", "persistence")
    for owner, method in re.findall(r"`(\w+)\.(\w+)`", text):
        if method != "py" and not re.search(rf"class {owner}\b.*?\bdef {method}\b", code, re.DOTALL):
            missing.append(f"{owner}.{method}")
    assert missing == []


def test_variables_named_in_documents_are_settings() -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {"SYNCD_CONFIG"}
    files = [*DOCUMENTS, ROOT / "compose.yaml", ROOT / "deploy" / "docker" / "Dockerfile"]
    named = {name for path in files for name in re.findall(r"\bSYNCD_[A-Z_]*[A-Z]\b", path.read_text())}
    assert named - known == set()
