"""What was predicted, what was measured, and whether the one was right about the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bench.results import Results, Spread
from bench.scenarios.settings import Prediction

Verdict = Literal["confirmed", "refuted", "not measured"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A prediction about one server; `measured` is a factor if the prediction names another server."""

    scenario: str
    server: str
    prediction: Prediction
    measured: Spread | None

    @property
    def verdict(self) -> Verdict:
        """By the median."""
        if self.measured is None:
            return "not measured"
        most, least = self.prediction.at_most, self.prediction.at_least
        holds = (most is None or self.measured.median <= most) and (least is None or self.measured.median >= least)
        return "confirmed" if holds else "refuted"

    @property
    def close(self) -> bool:
        """Whether single runs say otherwise than the median."""
        if self.measured is None:
            return False
        bound = self.prediction.at_most if self.prediction.at_most is not None else self.prediction.at_least
        assert bound is not None
        return self.measured.low <= bound <= self.measured.high and self.measured.low < self.measured.high


def judged(results: Results, server: str) -> Iterator[Judged]:
    """All predictions, judged by what that server of ours showed; also those of scenarios that were not run."""
    for name, given in results.data["scenarios"].items():
        for entry in given["predictions"]:
            prediction = Prediction(**entry)
            yield Judged(name, server, prediction, _measured(results, name, server, prediction))


def _measured(results: Results, scenario: str, server: str, prediction: Prediction) -> Spread | None:
    if prediction.of is None:
        return results.spread(scenario, server, prediction.metric)
    # A prediction that sets our server beside itself means the same build of it.
    other = server if prediction.of == results.data["subject"] else prediction.of
    return results.ratio((scenario, server), (prediction.scenario or scenario, other), prediction.metric)
