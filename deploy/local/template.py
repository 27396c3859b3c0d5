"""Fills in configuration files: `${NAME}` becomes a value, everything else stays as it is.

The same files go into images, where `envsubst` does the same; so nothing cleverer than that is allowed here.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def render(text: str, values: Mapping[str, object]) -> str:
    """`text` with every `${NAME}` replaced by `values[NAME]`.

    In a comment `${NAMES}` is a word like any other, and stays.

    Raises:
        KeyError: a name in the text has no value, or a value has no name in the text: both are misspellings.
    """
    known = {"NAMES": "${NAMES}", **values}
    used = set(_NAME.findall(text))
    if wrong := sorted(used - known.keys()) + sorted(values.keys() - used):
        raise KeyError(", ".join(wrong))
    return _NAME.sub(lambda match: str(known[match[1]]), text)


def render_file(source: Path, target: Path, values: Mapping[str, object]) -> None:
    """Write `source`, filled in, to `target`. Raises as `render` does."""
    target.write_text(render(source.read_text(encoding="utf-8"), values), encoding="utf-8")
