"""JSON that every engine parses alike: as strict as both `JSON.parse` and serde_json.

A short value is parsed. A long one is scanned, piece by piece, so that nobody has to wait for it and no memory is spent
on what it says (16 MiB of empty arrays would become 400 MiB of lists).
"""

from __future__ import annotations

import json
import re
from typing import Final

from crdt.errors import ProtocolError

MAX_DEPTH: Final = 64
"""Nesting of JSON and Any values. yrs recurses without a limit (26,000 levels kill a process), Yjs throws at about
5,000."""

LONG: Final = 16 * 1024
"""Bytes above which a JSON value is scanned instead of parsed."""

UNLIMITED: Final = 1 << 60
"""A budget for those who do not mind to wait."""

MAX_NUMBER: Final = 300
"""Characters of a number; JavaScript writes 25 at most, and reading a long one takes quadratic time."""

_SPACE: Final = re.compile(rb"[ \t\n\r]{1,65536}+")
_SCALAR: Final = re.compile(
    rb"(-?(?:0|[1-9][0-9]{0,300}+)((?:\.[0-9]{1,300}+)?+(?:[eE][-+]?[0-9]{1,300}+)?+))|true|false|null"
)
"""Group 1: a number; group 2: what makes it more than an integer."""

_TEXT: Final = re.compile(
    rb'(?:[^"\\\x00-\x1f]{1,4096}+|\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))){0,64}+"
)
"""A bounded piece of the inside of a string. An escaped surrogate stands in a pair."""

# What may come next.
_VALUE: Final = 0
_ITEM: Final = 1  # a value, or the end of the array
_NAME: Final = 2
_ENTRY: Final = 3  # a name, or the end of the object
_COLON: Final = 4
_AFTER: Final = 5  # what may follow a value
_IN_VALUE: Final = 6  # the rest of a string
_IN_NAME: Final = 7


def _refuse_constant(name: str) -> object:
    raise ProtocolError("json", f"{name} is not JSON")


def _finite(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ProtocolError("json", "a number is out of range")
    value = float(text)
    if value - value != 0.0:
        raise ProtocolError("json", "a number is out of range")
    return value


def _short_integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ProtocolError("json", "a number is out of range")
    return int(text)


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_short_integer)


def check_json(raw: bytes, max_depth: int = MAX_DEPTH) -> object:
    """Parse one JSON value as strictly as both `JSON.parse` and serde_json do, and return it.

    Raises:
        ProtocolError: `utf8`, `json` (malformed, NaN, Infinity, lone surrogate, number out of range) or `depth`.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("utf8", "a JSON value is not UTF-8") from error
    brackets = text.count("[") + text.count("{")
    if brackets > max_depth and _json_depth(text) > max_depth:
        raise ProtocolError("depth", f"JSON is nested more than {max_depth} deep")
    try:
        value: object
        value, end = (None, -1) if text[:1] in " \t\n\r" else _decoder.raw_decode(text)
        if end != len(text):  # space around it, or an error
            value = _decoder.decode(text)
    except (ValueError, RecursionError) as cause:  # another name than above: compiled, a name has one type
        raise ProtocolError("json", "a value is not JSON") from cause
    if "\\u" in text:
        # Half of a surrogate pair, which may stand where a second entry of the same name hides it.
        JsonScanner(raw, 0, len(raw), max_depth).step(UNLIMITED)
    return value


def _json_depth(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


class JsonScanner:
    """Checks one JSON value by the rules of `check_json`, a bounded number of tokens at a time.

    Args:
        data: bytes in which the value stands, from `start` to `end`.
    """

    __slots__ = ("_data", "_end", "_max_depth", "_next", "_pos", "_stack")

    def __init__(self, data: bytes, start: int, end: int, max_depth: int = MAX_DEPTH) -> None:
        """Check the encoding; raises ProtocolError `utf8`."""
        try:
            data[start:end].decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("utf8", "a JSON value is not UTF-8") from error
        self._data = data
        self._max_depth = max_depth
        self._pos = start
        self._end = end
        self._next = _VALUE
        self._stack = bytearray()  # the brackets that are open

    def step(self, budget: int) -> int:
        """Scan on; return what is left of the budget, which is 0 or less until the value has ended well.

        Args:
            budget: tokens, roughly.

        Raises:
            ProtocolError: `json` or `depth`.
        """
        while budget > 0:
            before = self._pos
            if self._next >= _IN_VALUE:
                self._text()
            elif before == self._end:
                if self._next == _AFTER and not self._stack:
                    return budget
                raise ProtocolError("json", "a value ends in the middle")
            elif self._data[before] in b" \t\n\r":
                match = _SPACE.match(self._data, before, self._end)
                assert match is not None, "there is a space"
                self._pos = match.end()
            else:
                self._token(self._data[before])
            budget -= 1 + (self._pos - before >> 6)
        return min(budget, 0)

    def _text(self) -> None:
        """Pass over a piece of a string, and over its end if that comes."""
        match = _TEXT.match(self._data, self._pos, self._end)
        assert match is not None, "it matches nothing too"
        pos = match.end()
        if pos < self._end and self._data[pos] == 0x22:
            self._next = _AFTER if self._next == _IN_VALUE else _COLON
            pos += 1
        elif pos == self._pos:
            raise ProtocolError("json", "a string is not JSON")
        self._pos = pos

    def _token(self, byte: int) -> None:
        """Pass over what `byte` begins; of a string, over its quote only."""
        state = self._next
        if state == _AFTER:
            self._follow(byte)
        elif state == _COLON:
            if byte != 0x3A:
                raise ProtocolError("json", "a value is not JSON")
            self._next = _VALUE
        elif (byte == 0x5D and state == _ITEM) or (byte == 0x7D and state == _ENTRY):
            self._stack.pop()
            self._next = _AFTER
        elif byte == 0x22:
            self._next = _IN_NAME if state in (_NAME, _ENTRY) else _IN_VALUE
        elif state in (_NAME, _ENTRY):
            raise ProtocolError("json", "a value is not JSON")
        elif byte in b"[{":
            if len(self._stack) == self._max_depth:
                raise ProtocolError("depth", f"JSON is nested more than {self._max_depth} deep")
            self._stack.append(byte)
            self._next = _ITEM if byte == 0x5B else _ENTRY
        else:
            self._scalar()
            return
        self._pos += 1

    def _follow(self, byte: int) -> None:
        """After a value: a comma or the bracket that closes what it stands in."""
        opened = self._stack[-1] if self._stack else 0
        if byte == 0x2C and opened:
            self._next = _VALUE if opened == 0x5B else _NAME
        elif opened and byte == opened + 2:  # ']' is two behind '[', as '}' is behind '{'
            self._stack.pop()
        else:
            raise ProtocolError("json", "a value is not JSON")

    def _scalar(self) -> None:
        match = _SCALAR.match(self._data, self._pos, self._end)
        if match is None:
            raise ProtocolError("json", "a value is not JSON")
        number = match[1]
        if number is not None:
            if len(number) > MAX_NUMBER:
                raise ProtocolError("json", "a number is out of range")
            if match[2]:
                _finite(number.decode())
        self._pos = match.end()
        self._next = _AFTER
