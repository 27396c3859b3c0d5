"""The report says what the results say."""

from dataclasses import replace
from pathlib import Path

from bench.report import bound, write_report
from bench.scenarios.settings import Prediction
from tests.unit.bench.result_rig import add, results, scenario

MOST = Prediction("frames are shared", "cpu_per_million", at_most=0.4, of="y-websocket")
LEAST = Prediction("nothing is lost", "delivered", at_least=1.0)


def _report(folder: Path, *, quick: bool = True) -> str:
    found = results(folder / "results.json", scenario("room", MOST, LEAST), scenario("unseen"), quick=quick)
    found.data["missing"] = {"yhub": "not published"}
    found.data["versions"] = {"syncd": "0.1.0"}
    add(found, "room", "syncd", 2.0, 3.0, 1.0, marks=("G",), notes=("an edit was lost",))
    add(found, "room", "syncd-compiled", 0.5)
    add(found, "room", "y-websocket", 4.0, 4.0, 4.0)
    found.fail("room", "hocuspocus", 0, "it did not start")
    found.save()
    write_report(found)
    return (folder / "RESULTS.md").read_text()


def test_predictions_are_marked(tmp_path: Path) -> None:
    text = _report(tmp_path)
    assert "0 confirmed, 1 refuted" in text
    expected = "| room | CPU s per million deliveries ≤ 0.4 × y-websocket | frames are shared "
    assert f"{expected}| **refuted**: 0.50 (0.25–0.75) *(close)* | confirmed: 0.12 |" in text
    assert "| room | arrived ≥ 1.00 | nothing is lost | not measured | not measured |" in text


def test_what_went_wrong_is_shown(tmp_path: Path) -> None:
    text = _report(tmp_path)
    assert "| syncd **G** | 2.00 (1.00–3.00) | 0.50 (0.25–0.75) | 0.50 (0.25–0.75) |" in text
    assert "- **G**: edits were missing" in text
    assert "- syncd: an edit was lost" in text
    assert "- hocuspocus: no figures: it did not start" in text
    assert "- yhub could not be installed here: not published" in text
    assert "Scenarios without a run in this file: unseen." in text
    assert "- room: relay not run." in text


def test_the_best_other_of_each_scenario_stands_beside_our_own(tmp_path: Path) -> None:
    text = _report(tmp_path)
    own = "| room | CPU s per million deliveries | 2.00 (1.00–3.00) | y-websocket | 4.00 | 0.50 (0.25–0.75) | – | – |"
    assert own in text
    assert "- × is the ratio of *CPU s per million deliveries*, less is better; best other: y-websocket" in text


def test_where_another_is_better_that_is_marked(tmp_path: Path) -> None:
    found = results(tmp_path / "results.json", scenario("room"), scenario("ramp", kind="ramp"), quick=True)
    for name, metric, own in (("room", "cpu_per_million", 5.0), ("ramp", "sustained", 2.0)):
        add(found, name, "syncd", own, metric=metric)
        add(found, name, "y-websocket", 4.0, metric=metric)
    write_report(found)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| 5.00 | y-websocket | 4.00 | **1.25** |" in text
    assert "| ramp | sustained deliveries/s ↑ | 2.00 | y-websocket | 4.00 | **0.50** |" in text


def test_a_prediction_stands_beside_its_scenario_and_a_miss_at_the_top(tmp_path: Path) -> None:
    text = _report(tmp_path)
    said = "- predicted of syncd: CPU s per million deliveries ≤ 0.4 × y-websocket: **refuted**: 0.50"
    assert said in text
    assert "Refuted: room." in text
    assert text.index("Refuted: room.") < text.index("## Scenarios") < text.index(said)


def test_who_takes_no_part_and_why(tmp_path: Path) -> None:
    room = replace(scenario("room"), servers=("syncd", "y-websocket"), without={"relay": "it echoes"})
    alone = replace(scenario("alone"), servers=("syncd",), without={"others": "nobody else can"})
    found = results(tmp_path / "results.json", room, alone, scenario("all"), quick=True)
    for one in ("room", "alone"):
        add(found, one, "syncd", 1.0)
    write_report(found)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "- relay takes no part: it echoes" in text
    assert "- no others take part: nobody else can" in text
    assert "- room: without hocuspocus, to save time." in text.replace("syncd-compiled, ", "")
    assert "- alone: without" not in text


def test_the_number_of_runs_is_told(tmp_path: Path) -> None:
    assert "`clients = 10, runs = 3`" in _report(tmp_path)


def test_it_begins_with_what_it_was_measured_on(tmp_path: Path) -> None:
    text = _report(tmp_path)
    for line in ("| cpu | a calculator |", "| commit | abc |", "| settings | digest ", "| syncd | 0.1.0 |"):
        assert line in text
    assert text.index("a calculator") < text.index("## Scenarios")


def test_a_quick_run_says_that_it_is_one(tmp_path: Path) -> None:
    assert "**A quick run" in _report(tmp_path)


def test_the_sign_of_a_prediction() -> None:
    assert bound(LEAST) == "arrived ≥ 1.00"
    other = Prediction("", "p99", at_most=1.25, of="syncd", scenario="room-50")
    assert bound(other) == "p99 ms ≤ 1.25 × syncd in room-50"
    assert bound(Prediction("", "delivered", at_least=1.0), "presence") == "of those sent ≥ 1.00"
