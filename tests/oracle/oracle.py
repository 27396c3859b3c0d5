"""Drives tests/oracle/oracle.mjs: a Node process with Yjs 13 that writes histories and judges what became of them.

Commands are batched (each works on a list), because one exchange per history would cost more than the history itself.
The rules of comparison are Yjs's own: content of all root types, state vector, delete set, nothing pending.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

SCRIPT = Path(__file__).with_name("oracle.mjs")
PACKAGES = Path(__file__).parents[1] / "interop" / "node_modules" / "yjs"


class OracleError(Exception):
    """The Node process refused a command, or is gone."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """One update that a client sent: an edit ("update") or a resend of what it knows ("diff")."""

    client: int
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class History:
    """What some clients did, as a function of the seed alone.

    `updates` stand in the order in which they were emitted, which is a causal order. `state_vector` is the one that
    every replica must reach.
    """

    seed: str
    clients: tuple[int, ...]
    updates: tuple[Emitted, ...]
    state_vector: dict[int, int]


def missing() -> str | None:
    """Why tests that need the oracle are skipped here, or None. In CI nothing is skipped: they fail."""
    if os.environ.get("CI"):
        return None
    if shutil.which("node") is None:
        return "node is not installed"
    if not PACKAGES.exists():
        return "run `npm ci` in tests/interop first"
    return None


class Oracle:
    """One Node process; use it as a context manager. Not safe for concurrent use."""

    def __init__(self) -> None:
        """Start the process.

        Raises:
            OracleError: node or its packages are missing.
        """
        reason = missing()
        if reason is not None:
            raise OracleError(reason)
        self._process = subprocess.Popen(
            ["node", "--max-old-space-size=4096", "--max-semi-space-size=64", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process; a second call does nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)

    def call(self, command: str, **arguments: Any) -> Any:
        """Send one command and return its decoded answer.

        Raises:
            OracleError: the command failed in Node, or the process is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"command": command, **arguments}, separators=(",", ":"))
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise OracleError("the oracle is gone") from error
        answer = self._process.stdout.readline()
        if not answer:
            raise OracleError(f"the oracle ended while it answered {command!r}")
        decoded = json.loads(answer)
        if "error" in decoded:
            raise OracleError(decoded["error"])
        return decoded["ok"]

    def generate(self, seeds: Sequence[str], size: int = 24) -> list[History]:
        """Write one history per seed, of at most `size` steps, and keep its clients for `diff` and `compare`."""
        answers = self.call("generate", seeds=list(seeds), size=size)
        return [
            History(
                seed,
                tuple(answer["clients"]),
                tuple(Emitted(client, kind, b64decode(data)) for client, kind, data in answer["updates"]),
                dict(answer["sv"]),
            )
            for seed, answer in zip(seeds, answers, strict=True)
        ]

    def diff(self, wanted: Sequence[tuple[str, int, bytes]]) -> list[bytes]:
        """Per (seed, index of a client, state vector): that client's SyncStep2."""
        return _decoded(self.call("diff", wanted=[[seed, client, _text(sv)] for seed, client, sv in wanted]))

    def apply(self, to: Sequence[tuple[str, Sequence[bytes]]]) -> list[tuple[bytes, bool]]:
        """Feed named documents (made when first named); per document its state vector and whether structs wait."""
        answers = self.call("apply", to=[[name, [_text(update) for update in updates]] for name, updates in to])
        return [(b64decode(sv), pending) for sv, pending in answers]

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
        """Per (document, seed): how it differs from what the history must lead to. Ends those documents."""
        answer: list[list[str]] = self.call("compare", pairs=list(pairs))
        return answer

    def merge(self, groups: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Y.mergeUpdates per group."""
        return _decoded(self.call("merge", groups=[[_text(update) for update in group] for group in groups]))

    def state(self, groups: Sequence[Sequence[bytes]]) -> list[dict[str, Any]]:
        """The canonical state of a fresh document per group of updates, applied in the order given."""
        answer: list[dict[str, Any]] = self.call("state", groups=[[_text(u) for u in group] for group in groups])
        return answer

    def expected(self, seeds: Sequence[str]) -> list[dict[str, Any]]:
        """The canonical state that every replica of these histories must reach."""
        answer: list[dict[str, Any]] = self.call("expected", seeds=list(seeds))
        return answer

    def trace(self, path: Path, limit: int = 0) -> tuple[list[bytes], str]:
        """A recorded single-writer session: its updates (one per transaction) and the text they lead to."""
        answer = self.call("trace", path=str(path), limit=limit)
        return _decoded(answer["updates"]), answer["text"]

    def reset(self) -> None:
        """Forget all histories and documents."""
        self.call("reset")


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(values: Sequence[str]) -> list[bytes]:
    return [b64decode(value) for value in values]
