"""The web client in a real browser against a real server.

The scenarios are written for Node's test runner (`specs/`), because the browser is driven from Node; each file starts a
server of its own. Here each file is one test, which shows the runner's report when it fails.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
CHROMIUM = os.environ.get("SYNCD_CHROMIUM", "/usr/bin/chromium")
DEADLINE = 600.0
"""Seconds for one file; a hanging browser must not hang the run."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(DEADLINE + 30)]

SPECS = sorted((HERE / "specs").glob("*.spec.mjs"))


def _missing() -> str | None:
    """What has to be there before a browser can be driven, with the command that brings it; None if all is there."""
    needs = {
        "node: install Node.js 20.19 or newer": shutil.which("node") is not None,
        f"{CHROMIUM}: apt-get install chromium, or set SYNCD_CHROMIUM": Path(CHROMIUM).exists(),
        "the browser driver: npm ci --prefix tests/e2e": (HERE / "node_modules" / "playwright-core").is_dir(),
        "the web client: npm ci --prefix web && npm run build --prefix web": _client_is_built(),
    }
    return next((need for need, there in needs.items() if not there), None)


def _client_is_built() -> bool:
    return (REPOSITORY / "web" / "dist" / "index.html").is_file() and (REPOSITORY / "web" / "node_modules").is_dir()


def test_there_are_scenarios() -> None:
    """An empty folder would make the parametrised test below vanish instead of fail."""
    assert len(SPECS) >= 5


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name.removesuffix(".spec.mjs"))
def test_editor(spec: Path) -> None:
    """One file of scenarios."""
    missing = _missing()
    if missing is not None:
        if os.environ.get("CI"):
            pytest.fail(f"needed in CI: {missing}")
        pytest.skip(missing)
    command = ["node", "--test", "--test-reporter=spec", str(spec)]
    environment = {**os.environ, "SYNCD_PYTHON": sys.executable, "SYNCD_CHROMIUM": CHROMIUM, "NO_COLOR": "1"}
    with subprocess.Popen(
        command,
        cwd=HERE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            report, _ = process.communicate(timeout=DEADLINE)
        finally:
            _end(process)
    print(report)  # noqa: T201 - pytest shows it when the test fails
    assert process.returncode == 0, report[-6000:]
    assert "ℹ fail 0" in report, "the runner's report has no totals"
    assert "ℹ pass 0" not in report, "no scenario ran"


def _end(process: "subprocess.Popen[str]") -> None:
    """Ends the runner with its server and browser, if it is still there: they share a process group of their own."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()
