"""Writes the tables of settings, metrics and close codes into the documents, from the code.

``python deploy/packaging/reference_tables.py`` rewrites what stands between the markers; with ``--check`` it changes
nothing and fails if something is out of date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from syncd.close_codes import MEANING
from syncd.config import ENV_PREFIX, GIB, KIB, MIB, Settings
from syncd.metrics import BUILD_INFO, CATALOGUE

ROOT = Path(__file__).parents[2]

TABLES = {"settings": "docs/operations.md", "metrics": "docs/operations.md", "close-codes": "docs/wire.md"}


def shown(value: object) -> str:
    """A default as somebody would write it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= KIB and value % KIB == 0:
        unit, name = next((u, n) for u, n in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")) if value % u == 0)
        return f"`{value // unit}{name}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rows(table: str) -> Iterator[str]:
    """The lines of one table."""
    if table == "settings":
        yield from ("| variable | default | meaning |", "|---|---|---|")
        defaults = dict(Settings())
        for name, field in Settings.model_fields.items():
            yield f"| `{ENV_PREFIX}{name.upper()}` | {shown(defaults[name])} | {field.description} |"
    elif table == "metrics":
        yield from ("| metric | type | meaning |", "|---|---|---|")
        for entry in CATALOGUE:
            label = f"{{{entry.label}}}" if entry.label else ""
            yield f"| `{entry.name}{label}` | {entry.kind} | {entry.help} |"
        yield f"| `{BUILD_INFO}{{version,python,pycrdt,compiled}}` | info | Versions of this build. |"
    else:
        yield from ("| code | name | meaning | does the client come back? |", "|---|---|---|---|")
        for code, meaning in MEANING.items():
            yield f"| {int(code)} | `{code.name}` | {meaning} | {'yes' if code.retry else 'no: it is final'} |"


def filled(text: str, table: str) -> str:
    """`text` with the table between its markers renewed. Raises ValueError if the markers are not there."""
    begin, end = f"<!-- {table}: begin, written by `make docs` -->\n", f"<!-- {table}: end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no markers for the table {table}")
    return head + begin + "\n".join(rows(table)) + "\n" + end + tail


def main(check: bool) -> int:
    """Renews or checks all tables; returns the exit code."""
    stale = 0
    for table, name in TABLES.items():
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = filled(before, table)
        if after != before:
            stale += 1
            sys.stdout.write(f"{name}: the table of {table} {'is out of date' if check else 'was renewed'}\n")
            if not check:
                path.write_text(after, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
