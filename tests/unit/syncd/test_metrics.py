"""`syncd.metrics`: every counter is exposed under a good name, and a scrape shows what was counted."""

from dataclasses import fields

import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd.metrics import CATALOGUE, Entry, Histogram, Stats, exposition, registry


def _samples(stats: Stats) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = exposition(registry(stats), "text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_counter_has_exactly_one_metric() -> None:
    assert sorted(entry.attribute for entry in CATALOGUE) == sorted(field.name for field in fields(Stats))
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_names_and_help_texts_follow_the_conventions(entry: Entry) -> None:
    assert entry.name.startswith("syncd_")
    assert entry.name.endswith("_total") == (entry.kind == "counter")
    if entry.kind == "histogram":
        assert entry.name.endswith("_seconds")
    assert entry.help.endswith(".")


def test_a_scrape_shows_what_was_counted() -> None:
    stats = Stats(rooms=3, updates_in=7)
    stats.refuse("varint-too-long")
    stats.refuse("varint-too-long")
    stats.close(1006)
    samples = _samples(stats)
    assert samples["syncd_rooms", ()] == 3
    assert samples["syncd_updates_in_total", ()] == 7
    assert samples["syncd_refused_total", (("rule", "varint-too-long"),)] == 2
    assert samples["syncd_closes_total", (("code", "1006"),)] == 1
    stats.updates_in += 1
    assert _samples(stats)["syncd_updates_in_total", ()] == 8


def test_a_histogram_counts_bounds_inclusively_and_cumulates() -> None:
    stats = Stats()
    for seconds in (0.001, 0.0011, 0.5, 31.0):
        stats.save_lag.observe(seconds)
    samples = _samples(stats)
    assert samples["syncd_save_lag_seconds_bucket", (("le", "0.001"),)] == 1
    assert samples["syncd_save_lag_seconds_bucket", (("le", "0.0025"),)] == 2
    assert samples["syncd_save_lag_seconds_bucket", (("le", "30.0"),)] == 3
    assert samples["syncd_save_lag_seconds_bucket", (("le", "+Inf"),)] == 4
    assert samples["syncd_save_lag_seconds_count", ()] == 4
    assert samples["syncd_save_lag_seconds_sum", ()] == pytest.approx(31.5021)


def test_two_nodes_in_one_process_do_not_share_counters() -> None:
    first, second = Stats(rooms=1), Stats(rooms=2)
    first.save_lag.observe(1)
    first.refuse("x")
    assert _samples(second)["syncd_rooms", ()] == 2
    assert second.refused == {}
    assert sum(second.save_lag.counts) == 0


def test_the_build_is_told() -> None:
    (labels,) = [dict(labels) for name, labels in _samples(Stats()) if name == "syncd_build_info"]
    assert labels.keys() == {"version", "python", "pycrdt", "compiled"}
    assert labels["compiled"] in {"true", "false"}


def test_openmetrics_is_spoken_when_asked_for() -> None:
    body, content_type = exposition(registry(Stats()), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_stats_have_no_dict() -> None:
    assert not hasattr(Stats(), "__dict__")
    assert not hasattr(Histogram(), "__dict__")
