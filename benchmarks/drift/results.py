"""The results of the runs: false alarms, how soon each rule names a change, and which rule names it sooner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from benchmarks.drift.rules import OURS, Rule, move_limit
from benchmarks.drift.runs import Run
from lifecycle.modeling.intervals import bound_share

Array = np.ndarray[Any, Any]
REPLICATES = 10_000
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Alarms:
    """The alerts of a rule in quiet windows: how many, in how many windows; their rate, and the share of runs with one.

    Rate and share have a 95 % interval. That of the rate is a bootstrap over whole runs, because the windows of a run share
    their reference and are not independent.
    """

    count: int
    windows: int
    rate: float
    bounds: tuple[float, float]
    runs: float
    run_bounds: tuple[float, float]


@dataclass(frozen=True)
class Found:
    """How a rule detects a change, over the runs.

    named: the share of runs in which it names the change. delays: the windows until then, of each run. fired: the share of
    the windows since the change in which it fires, for whatever column.
    """

    named: float
    delays: Array
    fired: float


@dataclass(frozen=True)
class Match:
    """Limits at which our rule and another fire in as nearly as possible the same number of quiet windows."""

    where: str
    ours: float
    other: float


@dataclass(frozen=True)
class Results:
    """The scores of all runs.

    quiet: windows in which nothing changes, shape (runs, rules, windows). highest: the highest score of any column, by
    scenario, shape (runs, rules, windows since the change). named: the same, of the columns that the scenario changes.
    """

    rules: Mapping[str, Rule]
    quiet: Array
    highest: Mapping[str, Array]
    named: Mapping[str, Array]

    @classmethod
    def collect(cls, rules: Mapping[str, Rule], runs: Iterable[Run]) -> Self:
        """Collect the scores of all runs."""
        done = list(runs)
        changed = [run for run in done if run.named]
        names = list(changed[0].named)
        return cls(
            rules,
            np.array([run.quiet for run in done]),
            {name: np.array([run.highest[name] for run in changed]) for name in names},
            {name: np.array([run.named[name] for run in changed]) for name in names},
        )

    def take(self, scores: Array, rule: str) -> Array:
        """Return the part of an array of scores that belongs to a rule, shape (runs, windows)."""
        part: Array = scores[:, list(self.rules).index(rule)]
        return part

    def count_alarms(self, rule: str, limit: float) -> Alarms:
        """Return the alerts of a rule in quiet windows at a limit."""
        fired = self.take(self.quiet, rule) >= limit
        runs = len(fired)
        drawn = np.random.default_rng(0).integers(0, runs, (REPLICATES, runs))
        low, high = np.quantile(fired.mean(axis=1)[drawn].mean(axis=1), [0.025, 0.975])
        touched = fired.any(axis=1)
        run_low, run_high = bound_share(touched.sum(), runs)
        return Alarms(
            int(fired.sum()), fired.size, float(fired.mean()), (float(low), float(high)),
            float(touched.mean()), (float(run_low), float(run_high)),
        )  # fmt: skip

    def match_limit(self, rule: str, other: str) -> float:
        """Return the limit at which a rule fires in no more quiet windows than another does at its usual limit."""
        most = (self.take(self.quiet, other) >= self.rules[other].limit).sum()
        return move_limit(self.take(self.quiet, rule), int(most))

    def list_matches(self, rule: str) -> tuple[Match, Match]:
        """Return the limits of equal false alarms: first the other rule's limit is moved, then ours."""
        return (
            Match("at our rate of false alarms", self.rules[OURS].limit, self.match_limit(rule, OURS)),
            Match("at its rate of false alarms", self.match_limit(OURS, rule), self.rules[rule].limit),
        )

    def find(self, scenario: str, rule: str, limit: float) -> Found:
        """Return how a rule detects a scenario at a limit."""
        named = self.take(self.named[scenario], rule) >= limit
        delays = np.where(named.any(axis=1), named.argmax(axis=1), named.shape[1]) + 1
        fired = self.take(self.highest[scenario], rule) >= limit
        return Found(float(named.any(axis=1).mean()), delays, float(fired.mean()))

    def compare(self, rule: str, match: Match, scenarios: Iterable[str]) -> tuple[float, float]:
        """Return by how many windows ours is later than a rule in the mean of scenarios (below 0: sooner).

        The second value is the half-width of its 95 % interval, paired by run.
        """
        delays = [
            self.find(name, OURS, match.ours).delays - self.find(name, rule, match.other).delays for name in scenarios
        ]
        later = np.mean(delays, axis=0)
        return float(later.mean()), float(Z * later.std(ddof=1) / np.sqrt(len(later)))
