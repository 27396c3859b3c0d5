"""bench/settings.toml is complete, and what is wrong in such a file is said."""

from pathlib import Path

import pytest

from bench.compare import KINDS
from bench.scenarios.settings import OTHERS, SettingsError, load_settings
from bench.servers import catalogue
from bench.tables import COLUMNS, COMPARED

OPTIONS = {
    "load": set(),
    "presence": set(),
    "idle": {"connections", "clients", "hold"},
    "rooms": {"rooms", "rooms_before", "document", "hold"},
    "open": {"document", "opens"},
    "join": {"document", "joiners", "probe_seconds"},
    "ramp": {"rate", "step", "steps", "beyond", "sustained_p99_ms"},
}
MINIMAL = """
[run]
runs = 3
subject = "syncd"
servers = ["syncd"]
pause = 0.0
[marks]
late_ms = 5.0
generator_cpu = 0.8
delivered = 0.99
[load]
duration = 5.0
warmup = 1.0
[quick]
runs = 1
duration = 1.0
warmup = 2.0
"""


def _write(folder: Path, scenario: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(MINIMAL + scenario)
    return path


@pytest.mark.parametrize("quick", [False, True])
def test_each_scenario_has_what_its_kind_asks_for(quick: bool) -> None:
    settings = load_settings(quick=quick)
    for scenario in settings.scenarios.values():
        assert set(scenario.options) == OPTIONS[scenario.kind], scenario.name
        assert {settings.subject, f"{settings.subject}-compiled"} & set(scenario.servers)
        assert set(scenario.servers) <= set(catalogue.NAMES)
        assert set(scenario.settings) <= {settings.subject, *scenario.servers}
        assert set(scenario.without) <= {OTHERS, *catalogue.NAMES} - set(scenario.servers)


def test_kinds_have_a_runner_and_a_table() -> None:
    assert KINDS.keys() == COLUMNS.keys() == COMPARED.keys() == OPTIONS.keys()


def test_predictions_speak_of_figures_and_scenarios_that_exist() -> None:
    settings = load_settings()
    for scenario in settings.scenarios.values():
        shown = {column.metric for column in COLUMNS[scenario.kind]}
        for prediction in scenario.predictions:
            assert prediction.metric in shown, scenario.name
            if prediction.of is not None:
                assert prediction.of in settings.scenarios[prediction.scenario or scenario.name].servers, scenario.name


def test_quick_shortens_and_never_lengthens(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        """
        [scenario.a]
        kind = "idle"
        question = "?"
        connections = 100
        quick = { connections = 10, load = { clients = 2 } }
        """,
    )
    full, quick = load_settings(path), load_settings(path, quick=True)
    assert (full.runs, quick.runs) == (3, 1)
    assert full.digest != quick.digest
    assert full.scenarios["a"].load == {"duration": 5.0, "warmup": 1.0}
    assert quick.scenarios["a"].load == {"duration": 1.0, "warmup": 1.0, "clients": 2}
    assert (full.scenarios["a"].options["connections"], quick.scenarios["a"].options["connections"]) == (100, 10)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ('[scenario.a]\nkind = "dance"\nquestion = "?"', "dance"),
        ('[scenario.a]\nquestion = "?"', "kind"),
        ('[scenario.a]\nkind = "load"\nquestion = "?"\npredict = [{ text = "?", metric = "p99" }]', "at_most"),
        (
            '[scenario.a]\nkind = "load"\nquestion = "?"\npredict = [{ text = "", metric = "", at_most = 1, x = 2 }]',
            "x",
        ),
        ("[scenario.a", "settings.toml"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, scenario: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(_write(tmp_path, scenario))
