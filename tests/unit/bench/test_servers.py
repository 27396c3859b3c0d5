"""Installing, starting and ending measured servers; those of others are started only where they are installed."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from websockets.sync.client import connect

from bench.process import Syncd
from bench.servers import catalogue, install
from bench.servers.api import Server, Unavailable
from bench.servers.process import ServerProcess, cpu_of, free_port, memory_of, tree
from bench.servers.syncd import SyncdServer
from crdt.wire import STEP1, STEP2, SYNC, read_messages, sync_message

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
PARENT = f"import os, subprocess, sys; subprocess.Popen(['sleep', '600']); {LISTEN} time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LISTEN} time.sleep(600)"
LEAVES = "import sys; sys.exit('no licence')"
SHOWS = f"import os; print(sorted(os.environ), os.getcwd(), flush=True); {LISTEN} time.sleep(600)"
OTHERS = ("y-websocket", "hocuspocus", "pycrdt-websocket", "y-sweet")


class Script(ServerProcess):
    """A server that is a line of Python."""

    name = "script"
    code = PARENT

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        return [sys.executable, "-c", self.code, str(port)]


def make_script(code: str, **settings: str) -> Script:
    server = Script(settings=settings)
    server.code = code
    return server


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _gone(pids: Sequence[int]) -> bool:
    """Whether the processes end; what has been killed takes a moment to be taken away by init."""
    deadline = time.monotonic() + 30
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(_is_alive, pids))


def test_children_count_and_end_with_their_server(tmp_path: Path) -> None:
    with make_script(PARENT) as server:
        server.start(tmp_path)
        pids = server.pids()
        assert pids[0] == server.pid
        assert len(pids) == 2
        assert server.memory() == pytest.approx(sum(map(memory_of, pids)), rel=0.2)
        assert server.memory() > memory_of(server.pid) > 0
        assert server.cpu() > 0
        assert server.address.startswith("127.0.0.1:")
        assert server.stop() == -SIGTERM
        assert server.address == ""
        assert _gone(pids)


def test_one_that_does_not_heed_the_signal_is_killed(tmp_path: Path) -> None:
    server = make_script(STUBBORN)
    server.start(tmp_path)
    assert server.stop(seconds=0.1) == -SIGKILL


def test_one_that_ends_instead_of_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    server = make_script(LEAVES)
    with pytest.raises(RuntimeError, match="no licence"):
        server.start(tmp_path)
    assert server.address == ""
    assert server.stop() == 0


def test_one_that_does_not_listen_in_time_is_ended(tmp_path: Path) -> None:
    server = make_script("import time; time.sleep(600)")
    with pytest.raises(RuntimeError, match="did not start"):
        server.start(tmp_path, seconds=0.1)
    with pytest.raises(RuntimeError, match="does not run"):
        server.pids()


def test_the_environment_is_the_settings_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_STORE", "memory://")
    monkeypatch.setenv("NODE_OPTIONS", "--inspect")
    with make_script(SHOWS, COLOUR="none") as server:
        server.start(tmp_path)
    log = (tmp_path / "server.log").read_text()
    assert "'COLOUR'" in log
    assert str(tmp_path) in log
    assert "SYNCD_STORE" not in log
    assert "NODE_OPTIONS" not in log


def test_a_server_runs_once_at_a_time(tmp_path: Path) -> None:
    with make_script(PARENT) as server:
        server.start(tmp_path)
        with pytest.raises(RuntimeError, match="runs already"):
            server.start(tmp_path)


def test_a_process_that_has_ended_has_no_figures() -> None:
    nobody = 2**22 + 1  # above the highest process id
    assert tree(nobody) == []
    assert memory_of(nobody) == 0
    assert cpu_of(nobody) == 0


def test_cpu_counts_all_threads() -> None:
    def spin(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    before = cpu_of(os.getpid())
    worker = threading.Thread(target=spin, args=(0.05,))
    worker.start()
    worker.join()
    assert cpu_of(os.getpid()) - before >= 0.05


def test_free_ports_can_be_bound() -> None:
    assert 1024 < free_port() < 65536


# --- the catalogue ---


def test_names_that_are_not_in_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nginx.*syncd"):
        catalogue.make("nginx")


def test_what_cannot_be_had_says_why() -> None:
    assert catalogue.install(["yhub", "syncd"]) == {"yhub": catalogue.NO_YHUB}
    with pytest.raises(Unavailable, match="npm"):
        catalogue.make("yhub")


def test_what_is_not_installed_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "INSTALLED", tmp_path)
    with pytest.raises(Unavailable, match=r"python -m bench\.servers y-sweet"):
        catalogue.make("y-sweet")


@pytest.mark.parametrize("name", sorted(catalogue.ENTRIES))
def test_each_entry_makes_a_server_of_its_name(name: str) -> None:
    server: Server = catalogue.ENTRIES[name].make(persistent=True, settings={})
    assert server.name == name
    assert server.version
    assert server.persistent
    assert server.path.startswith("/")


# --- installing ---


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's files; it is installed into a folder of its own."""
    monkeypatch.setattr(install, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(install, "INSTALLED", tmp_path / "installed")
    folder = tmp_path / "sources/thing"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("1")
    return folder


def test_an_installed_server_is_left_alone_until_its_files_change(source: Path) -> None:
    commands = [["sh", "-c", "echo again >> runs"]]
    runs = install.folder_of("thing") / "runs"
    for _ in range(2):
        install.from_sources("thing", commands)
    assert runs.read_text() == "again\n"
    (source / "lock").write_text("2")
    assert not install.is_installed("thing")
    install.from_sources("thing", commands)
    assert runs.read_text() == "again\nagain\n"
    assert (install.folder_of("thing") / "lock").read_text() == "2"


def test_a_failed_installation_says_what_failed_and_is_tried_again(source: Path) -> None:
    with pytest.raises(Unavailable, match=r"sh failed with 3: error: no such crate"):
        install.from_sources("thing", [["sh", "-c", "echo error: no such crate; echo; exit 3"]])
    assert not install.is_installed("thing")
    install.from_sources("thing", [["true"]])
    assert install.is_installed("thing")


def test_a_missing_tool_is_named(source: Path) -> None:
    with pytest.raises(Unavailable, match="no-such-tool is not installed"):
        install.from_sources("thing", [["no-such-tool"]])


def test_lock_files_pin_each_package_and_name_no_registry() -> None:
    for file in install.SOURCES.glob("*/package-lock.json"):
        packages = json.loads(file.read_text())["packages"]
        pinned = [entry for name, entry in packages.items() if name]
        assert len(pinned) > 5
        assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in pinned)
    python = (install.SOURCES / "pycrdt-websocket/requirements.lock").read_text()
    assert python.count("==") > 5
    assert python.count(" \\\n") >= 2 * python.count("==")
    assert "://" not in python


# --- real ones ---


def test_syncd_starts_where_it_stopped(tmp_path: Path) -> None:
    server = Syncd(tmp_path)
    for code in (0, -SIGKILL):
        with server, connect(server.url("room"), compression=None) as socket:
            assert [kind for kind, _, _ in read_messages(_bytes(socket.recv(timeout=30)))] == [SYNC]
            assert server.memory() > 1_000_000
            assert server.cpu() > 0
            assert server.stop(SIGTERM if code == 0 else SIGKILL) == code
    assert (tmp_path / "syncd.db").exists()


@pytest.mark.parametrize("compiled", [False, True])
def test_syncd_runs_from_what_its_version_says(tmp_path: Path, compiled: bool) -> None:
    if compiled and not catalogue.ENTRIES["syncd-compiled"].is_installed():
        pytest.skip("run `make compile` first")
    with SyncdServer(compiled=compiled) as server:
        server.start(tmp_path)
        assert ("build/compiled" in Path(f"/proc/{server.pid}/maps").read_text()) is compiled
        assert ("compiled" in server.version) is compiled


def _bytes(frame: str | bytes) -> bytes:
    assert isinstance(frame, bytes)
    return frame


def _yjs_handshake(server: Server) -> bool:
    """Whether a room answers SyncStep1."""
    with connect(f"ws://{server.address}{server.path.replace('{room}', 'first')}", compression=None) as socket:
        socket.send(sync_message(STEP1, b"\0"))
        while True:
            if any((kind, sub) == (SYNC, STEP2) for kind, sub, _ in read_messages(_bytes(socket.recv(timeout=30)))):
                return True


def _hocuspocus_handshake(server: Server) -> bool:
    """Whether a room lets a client in: document name, message type 2 (auth), sub-type 0 (a token), which is empty."""
    with connect(f"ws://{server.address}{server.path}", compression=None) as socket:
        socket.send(b"\x05first\x02\x00\x00")
        answer = _bytes(socket.recv(timeout=30))
    return answer.startswith(b"\x05first\x02\x02")


HANDSHAKES: dict[str, Callable[[Server], bool]] = {"yjs": _yjs_handshake, "hocuspocus": _hocuspocus_handshake}


@pytest.mark.interop
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_others_serve_a_room(tmp_path: Path, name: str, persistent: bool) -> None:
    if not catalogue.ENTRIES[name].is_installed():
        pytest.skip(f"run `python -m bench.servers {name}` first")
    with catalogue.make(name, persistent=persistent) as server:
        server.start(tmp_path)
        server.prepare(["first", "second"])
        assert HANDSHAKES[server.protocol](server)
