"""What every test may rely on."""

import os

import pytest

import crdt.update

COMPILED = not (crdt.update.__file__ or "").endswith(".py")


def pytest_report_header() -> str:
    """Says which `crdt` is tested: the source or the machine code made from it."""
    return f"crdt: {'compiled' if COMPILED else 'pure Python'}"


def pytest_configure(config: pytest.Config) -> None:
    """Stops a run that was meant for the compiled modules and would silently test the source."""
    if os.environ.get("SYNCD_EXPECT_COMPILED") and not COMPILED:
        raise pytest.UsageError("SYNCD_EXPECT_COMPILED is set, but crdt.update is not compiled")
