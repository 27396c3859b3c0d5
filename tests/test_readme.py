"""The examples of the README work as they stand there."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pycrdt import Doc, Text
from starlette.testclient import TestClient

from auth.authenticator import Authenticator
from auth.principal import Access
from auth.tokens import mint, secret_key
from crdt.update import EMPTY_UPDATE
from crdt.wire import STEP1, STEP2, SYNC, UPDATE, read_messages, sync_message
from tests.interop.server import ServerProcess

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "tests" / "interop" / "node_modules"
SECRET = "a-secret-of-more-than-thirty-two-bytes"


def example(language: str, containing: str) -> str:
    """The one fenced block of the README in this language with this text in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def test_the_fastapi_example_syncs_two_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example("python", "FastAPI"), names)
    app: FastAPI = names["app"]
    doc: Doc[Any] = Doc()
    doc["quill"] = Text("hello")
    with TestClient(app) as client:
        with (
            client.websocket_connect("/collab/my-room") as writer,
            client.websocket_connect("/collab/my-room") as reader,
        ):
            for socket in (writer, reader):
                socket.send_bytes(sync_message(STEP1, b"\x00"))
                assert _receive(socket, STEP2) == EMPTY_UPDATE
            writer.send_bytes(sync_message(UPDATE, doc.get_update()))
            assert _text(_receive(reader, UPDATE)) == "hello"
        with client.websocket_connect("/collab/other-room") as other:
            other.send_bytes(sync_message(STEP1, b"\x00"))
            assert _receive(other, STEP2) == EMPTY_UPDATE
    assert (tmp_path / "documents.db").is_file()
    exec(example("python", "FastAPI"), names)
    with TestClient(names["app"]) as client, client.websocket_connect("/collab/my-room") as late:
        late.send_bytes(sync_message(STEP1, b"\x00"))
        assert _text(_receive(late, STEP2)) == "hello"


def _receive(socket: Any, wanted: int) -> bytes:
    """The payload of the next sync message of the wanted kind."""
    for _ in range(10):
        for kind, sub, payload in read_messages(socket.receive_bytes()):
            if (kind, sub) == (SYNC, wanted):
                return payload
    raise AssertionError(f"no sync message {wanted}")


def _text(update: bytes) -> str:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return str(doc.get("quill", type=Text))


def test_the_token_example_is_believed() -> None:
    claims = json.loads(example("json", '"sub"'))
    token = mint(
        secret_key(SECRET),
        subject=claims["sub"],
        name=claims["name"],
        rooms=claims["room"],
        role=claims["role"],
        now=claims["exp"] - 60,
        ttl=60,
    )
    grant = Authenticator("external", [secret_key(SECRET)]).authenticate(token, "my-room", claims["exp"] - 30)
    assert (grant.principal.id, grant.principal.name, grant.access) == ("alice", "Alice", Access.WRITE)


@pytest.mark.interop
def test_the_provider_example_syncs_with_a_token(tmp_path: Path) -> None:
    assert MODULES.is_dir(), "npm --prefix tests/interop ci"
    settings = {"SYNCD_AUTH": "external", "SYNCD_JWT_SECRET": SECRET}
    with ServerProcess(tmp_path, settings) as server:
        script = _provider_script(server, _printed_token(server))
        (tmp_path / "node_modules").symlink_to(MODULES, target_is_directory=True)
        (tmp_path / "example.mjs").write_text(script)
        (tmp_path / "shim.mjs").write_text(SHIM)
        node = shutil.which("node")
        assert node is not None
        ran = subprocess.run(
            [node, "--import", "./shim.mjs", "example.mjs"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.stdout.splitlines() == ["everything is here: true", "saved up to 7"], ran.stderr


def _printed_token(server: ServerProcess) -> str:
    command = [str(ROOT / ".venv" / "bin" / "syncd"), "token", "my-room", "--role", "write", "--ttl", "1h"]
    if not Path(command[0]).exists():
        command[:1] = ["syncd"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | server.settings)
    return ran.stdout.strip()


def _provider_script(server: ServerProcess, token: str) -> str:
    """The README's example, followed by that of docs/wire.md for message 102, and an end to both."""
    wire = (ROOT / "docs" / "wire.md").read_text()
    saved = str(re.findall(r"^```js\n(.*?)^```$", wire, re.MULTILINE | re.DOTALL)[0])
    script = example("js", "WebsocketProvider").replace("ws://127.0.0.1:8000/ws", server.url).replace("TOKEN", token)
    assert server.url in script
    assert token in script
    return script + saved + "\nprovider.on('sync', () => { text.insert(0, 'hello'); askWhetherSaved(7) })\n"


SHIM = """
import WebSocket from 'ws'
globalThis.WebSocket ??= WebSocket  // browsers and newer versions of Node have one
const log = console.log
console.log = (...words) => {
  log(...words)
  if (words[0] === 'saved up to') process.exit(0)
}
setTimeout(() => process.exit(1), 30000)
"""
