"""Which lines a run reaches, by the interpreter's own trace hook; works on the source, not on compiled modules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]


class Lines:
    """Lines of some source files that are reached while it is entered. With no files it costs nothing."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = {str(ROOT / name): name for name in files}
        self._reached: dict[str, set[int]] = {name: set() for name in files}

    def __enter__(self) -> Lines:
        if self._files:
            sys.settrace(self._call)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = self._files.get(frame.f_code.co_filename)
        if name is None:
            return None
        reached = self._reached[name]

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            reached.add(frame.f_lineno)
            return line

        return line

    def report(self) -> dict[str, tuple[int, int, list[int]]]:
        """Per file: lines reached inside functions, how many there are, and those that were not."""
        found = {}
        for path, name in self._files.items():
            lines = _function_lines(compile(Path(path).read_text(), path, "exec"), top=True)
            found[name] = (len(lines & self._reached[name]), len(lines), sorted(lines - self._reached[name]))
        return found


def _function_lines(code: CodeType, *, top: bool = False) -> set[int]:
    is_body = not top and bool(code.co_flags & 2)  # CO_NEWLOCALS: a function, not a class body
    lines = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno} if is_body else set()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            lines |= _function_lines(constant)
    return lines
