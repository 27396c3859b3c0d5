"""`syncd.cli`: what the commands print, and that whatever goes wrong is one line and an exit code."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import pytest
from pycrdt import Doc, Text

from crdt.ids import RoomId
from crdt.update import parse_state_vector
from persistence.api import Record
from persistence.opener import open_store
from syncd import __version__, cli

SECRET = "a-secret-of-more-than-thirty-two-bytes"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in an empty folder without settings of the outside."""
    for name in [name for name in os.environ if name.startswith("SYNCD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return call


def document(text: str) -> bytes:
    doc: Doc[Any] = Doc()
    doc["quill"] = Text(text)
    return doc.get_update()


def text_of(update: bytes) -> str:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return str(doc.get("quill", type=Text))


def fill(*records: tuple[str, bytes]) -> None:
    """Puts updates into the default store of the current folder."""

    async def work() -> None:
        store = await open_store("sqlite:///syncd.db")
        await store.append([Record(RoomId(room), data, "alice", 1_700_000_000_000) for room, data in records])
        await store.close()

    asyncio.run(work())


def assert_one_line(outcome: Outcome, code: int, pattern: str) -> None:
    assert outcome.code == code
    assert outcome.out == ""
    assert re.fullmatch(r"syncd: [^\n]+\n", outcome.err)
    assert re.search(pattern, outcome.err)


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"syncd {__version__}\n", "")


def test_help_names_every_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for name in ["serve", "migrate", "inspect", "rooms", "export", "import", "fsck", "doctor", "token"]:
        assert re.search(rf"^\s+{name}\b", outcome.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["nonsense"], "nonsense"),
        (["serve", "--nonsense"], "--nonsense"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "70000"], "port"),
        (["serve", "--host", "0.0.0.0"], "--allow-open-network"),
        (["serve", "--config", "absent.toml"], "absent.toml"),
        (["inspect"], "ROOM"),
        (["inspect", ""], "no name"),
        (["inspect", "a/../b"], r"'\.\.'"),
        (["inspect", "notes"], "no database"),
        (["export", "notes", "--format", "docx"], "docx"),
        (["inspect", "notes", "--store", "memory://"], "memory"),
        (["inspect", "notes", "--store", "mysql://x"], "mysql"),
        (["token", "notes"], "jwt_secret"),
        (["fsck"], "no database"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(run: Run, arguments: list[str], pattern: str) -> None:
    assert_one_line(run(*arguments), 2, pattern)


def test_looking_makes_no_database(run: Run, tmp_path: Path) -> None:
    for arguments in (["inspect", "notes"], ["export", "notes"], ["fsck"], ["rooms"]):
        assert run(*arguments).code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_room_that_is_not_there_is_not_an_empty_one(run: Run) -> None:
    fill(("notes", document("x")))
    assert_one_line(run("inspect", "note"), 1, "no room 'note'")
    assert_one_line(run("export", "note"), 1, "no room 'note'")


def test_inspect_tells_what_is_stored(run: Run) -> None:
    update = document("hello")
    fill(("other", document("x")), ("notes", update), ("notes2", document("y")))
    facts = run("inspect", "notes", "--json").json
    assert facts["room"] == "notes"
    assert (facts["updates"], facts["update_bytes"], facts["block_bytes"]) == (1, len(update), 0)
    assert (facts["clients"], facts["clocks"], facts["quarantined"]) == (1, 5, 0)
    assert facts["authors"] == ["alice"]
    assert facts["newest_update"] == "2023-11-14T22:13:20.000+00:00"
    assert re.search(r"^updates +1$", run("inspect", "notes").out, re.MULTILINE)


@pytest.mark.parametrize("name", ["a/b", "ä ö", "a%2Fb", "50%25", "[bold]x[/bold]", "-"])
def test_a_room_may_have_any_name(run: Run, name: str) -> None:
    fill((name, document("x")))
    assert run("inspect", "--json", "--", name).json["room"] == name
    assert run("rooms", "--json").json[0]["room"] == name
    assert name in run("rooms").out


def test_a_room_may_be_named_as_in_its_address(run: Run) -> None:
    fill(("ä ö", document("x")))
    assert run("inspect", "--json", "%C3%A4%20%C3%B6").json["room"] == "ä ö"


def test_rooms_lists_them_in_order(run: Run) -> None:
    fill(("b", document("x")), ("a", document("y")))
    assert [room["room"] for room in run("rooms", "--json").json] == ["a", "b"]


def test_import_makes_a_room_and_only_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(document("hello"))
    first = run("import", "notes", "file", "--author", "bob", "--json").json
    assert first["records"] == 1
    assert run("import", "notes", "file", "--json").json == {"room": "notes", "records": 0, "bytes": 0}
    assert "nothing new" in run("import", "notes", "file").out
    facts = run("inspect", "notes", "--json").json
    assert (facts["authors"], facts["updates"], facts["clocks"]) == (["bob"], 1, 5)


def test_import_adds_to_what_is_there(run: Run, tmp_path: Path) -> None:
    doc: Doc[Any] = Doc()
    doc["quill"] = text = Text("one")
    before = doc.get_update()
    state = doc.get_state()
    text += " two"
    fill(("notes", before))
    (tmp_path / "more").write_bytes(doc.get_update(state))
    assert run("import", "notes", "more").code == 0
    outcome = run("export", "notes", "-o", "out", "--json")
    assert outcome.json["bytes"] == (tmp_path / "out").stat().st_size
    assert text_of((tmp_path / "out").read_bytes()) == "one two"


def test_import_refuses_an_update_with_a_gap(run: Run, tmp_path: Path) -> None:
    doc: Doc[Any] = Doc()
    doc["quill"] = text = Text("one")
    state = doc.get_state()
    text += " two"
    fill(("notes", document("unrelated")))
    (tmp_path / "later").write_bytes(doc.get_update(state))
    before = run("inspect", "notes", "--json").json
    assert_one_line(run("import", "notes", "later"), 1, "builds on edits that the room does not have")
    assert run("inspect", "notes", "--json").json == before


@pytest.mark.parametrize(
    "content", [b"", b"not an update", b"\x01\x01\x00\x01\x00\x00\x00", bytes.fromhex("01010000020100000000")]
)
def test_import_refuses_what_is_not_a_sound_update(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    outcome = run("import", "notes", "file")
    assert_one_line(outcome, 1, "")
    assert_one_line(run("inspect", "notes"), 1, "no room")


def test_import_names_a_file_that_is_not_there(run: Run) -> None:
    assert_one_line(run("import", "notes", "absent"), 1, "absent: No such file")


def test_import_refuses_a_file_that_is_too_large(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_MAX_DOCUMENT_BYTES", "10")
    (tmp_path / "file").write_bytes(document("hello hello"))
    assert_one_line(run("import", "notes", "file"), 2, "larger than max_document_bytes")


def test_export_renders_in_the_format_asked_for(run: Run) -> None:
    fill(("notes", document("hello")))
    assert run("export", "notes", "--format", "text").out.strip() == "hello"
    printed = run("export", "notes", "--format", "delta", "--json").json
    assert (printed["encoding"], printed["format"]) == ("text", "delta")
    assert json.loads(printed["content"]) == {"ops": [{"insert": "hello"}]}


def test_export_writes_an_update_that_a_document_loads(run: Run, tmp_path: Path) -> None:
    update = document("hello")
    fill(("notes", update))
    assert run("export", "notes", "-o", "out").out == f"out: {(tmp_path / 'out').stat().st_size} bytes\n"
    printed = run("export", "notes", "--json").json
    assert base64.b64decode(printed["content"]) == (tmp_path / "out").read_bytes()
    assert text_of((tmp_path / "out").read_bytes()) == "hello"


def test_fsck_is_quiet_about_a_sound_store(run: Run) -> None:
    fill(("a", document("x")), ("b", document("y")))
    assert run("fsck") == (0, "2 rooms, all sound\n", "")
    assert run("fsck", "--json").json == {"rooms": 2, "problems": []}


def test_fsck_finds_a_room_with_a_hole_and_one_of_nonsense(run: Run) -> None:
    doc: Doc[Any] = Doc()
    doc["quill"] = text = Text("one")
    state = doc.get_state()
    assert parse_state_vector(state, 10)
    text += " two"
    fill(("fine", document("x")), ("hole", doc.get_update(state)), ("nonsense", b"\x05nonsense"))
    outcome = run("fsck", "--json")
    assert outcome.code == 1
    assert outcome.json["rooms"] == 3
    problems = outcome.json["problems"]
    assert len(problems) == 2
    assert re.search("hole", problems[0])
    assert re.search("nonsense", problems[1])


def beside_a_server(run: Run, *arguments: str) -> Outcome:
    """The outcome of a command while something has the store open."""

    async def hold() -> Outcome:
        store = await open_store("sqlite:///syncd.db")
        try:
            return await asyncio.to_thread(run, *arguments)
        finally:
            await store.close()

    return asyncio.run(hold())


def test_a_store_in_use_is_read(run: Run) -> None:
    fill(("notes", document("x")))
    assert beside_a_server(run, "inspect", "notes", "--json").json["room"] == "notes"
    assert beside_a_server(run, "export", "notes", "--format", "text").out.strip() == "x"


def test_a_store_in_use_is_not_written(run: Run, tmp_path: Path) -> None:
    fill(("notes", document("x")))
    update = tmp_path / "update"
    update.write_bytes(document("y"))
    assert_one_line(beside_a_server(run, "import", "notes", str(update)), 1, rf"pid {os.getpid()}\).*Stop it first")


def test_migrate_says_what_it_did(run: Run) -> None:
    assert run("migrate", "--json").json["applied"]
    assert run("migrate") == (0, "up to date\n", "")


def test_doctor_masks_secrets_and_finds_nothing_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_AUTH", "external")
    monkeypatch.setenv("SYNCD_JWT_SECRET", SECRET)
    monkeypatch.setenv("SYNCD_PORT", "0")
    monkeypatch.setenv("SYNCD_PROT", "1")
    outcome = run("doctor")
    assert outcome.code == 0
    assert SECRET not in outcome.out + outcome.err
    assert re.search(r"^warning +environment +SYNCD_PROT names no setting$", outcome.out, re.MULTILINE)
    report = run("doctor", "--json").json
    assert report["healthy"] is True
    assert report["settings"]["jwt_secret"] == "***"
    assert {check["name"] for check in report["checks"]} >= {"build", "access", "store", "sandbox", "address"}


def test_doctor_leaves_no_database_behind(run: Run) -> None:
    (store,) = [check for check in run("doctor", "--json").json["checks"] if check["name"] == "store"]
    assert store["state"] == "ok"
    assert "yet" in store["detail"]
    assert run("rooms").code == 2, "there is still no database"
    fill(("notes", document("x")))
    (store,) = [check for check in beside_a_server(run, "doctor", "--json").json["checks"] if check["name"] == "store"]
    assert store["detail"].startswith("sqlite, schema")


def test_doctor_finds_a_key_that_does_not_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_AUTH", "external")
    monkeypatch.setenv("SYNCD_JWT_PUBLIC_KEY", "absent.pem")
    outcome = run("doctor", "--json")
    assert outcome.code == 1
    (failed,) = [check for check in outcome.json["checks"] if check["state"] == "failed"]
    assert (failed["name"], failed["detail"]) == (
        "access",
        "cannot read the key file absent.pem: No such file or directory",
    )


def test_a_token_opens_the_room_it_was_made_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_AUTH", "external")
    monkeypatch.setenv("SYNCD_JWT_SECRET", SECRET)
    monkeypatch.setenv("SYNCD_JWT_AUDIENCE", "syncd")
    printed = run("token", "a%2Fb", "--role", "read", "--ttl", "90s", "--sub", "bob", "--json").json
    claims = jwt.decode(printed["token"], SECRET, algorithms=["HS256"], audience="syncd")
    assert (claims["room"], claims["role"], claims["sub"]) == ("a%2Fb", "read", "bob")
    assert claims["exp"] - claims["iat"] == 90
    plain = run("token", "team/*", "--pattern")
    assert jwt.decode(plain.out.strip(), SECRET, algorithms=["HS256"], audience="syncd")["room"] == ["team/*"]


@pytest.mark.parametrize("ttl", ["", "h", "-1h", "0", "1y", "nan", "1e9d"])
def test_a_token_needs_a_sensible_lifetime(run: Run, monkeypatch: pytest.MonkeyPatch, ttl: str) -> None:
    monkeypatch.setenv("SYNCD_AUTH", "external")
    monkeypatch.setenv("SYNCD_JWT_SECRET", SECRET)
    assert_one_line(run("token", "notes", f"--ttl={ttl}"), 2, "--ttl")


def test_no_secret_reaches_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_AUTH", "external")
    monkeypatch.setenv("SYNCD_JWT_SECRET", "short-secret")
    outcome = run("serve")
    assert_one_line(outcome, 2, "jwt_secret must be at least 32 bytes")
    assert "short-secret" not in outcome.err


def test_serve_says_in_one_line_why_it_cannot_start(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
    ran = subprocess.run(
        [sys.executable, "-m", "syncd", "serve", "--auth", "external", "--port", "0"],
        cwd=tmp_path,
        env=inherited | {"SYNCD_JWT_PUBLIC_KEY": "absent.pem", "PYTHONPATH": str(Path(cli.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(Outcome(ran.returncode, ran.stdout, ran.stderr), 2, r"cannot read the key file absent\.pem")
    assert list(tmp_path.iterdir()) == []
