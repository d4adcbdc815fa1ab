"""What the trials came to: false alarms, how soon each rule names what happened, and which rule is the quicker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from benchmarks.drift.rules import OURS, Rule, move_limit
from benchmarks.drift.runs import Trial
from lifecycle.modeling.metrics import bound_share

Array = np.ndarray[Any, Any]
REPLICATES = 10_000
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Alarms:
    """A rule's alarms in quiet windows: how many, in how many; their rate, and the share of runs that had one.

    Each with a 95 % interval. That of the rate draws whole runs (bootstrap): a run's windows share a reference and the
    longer look, so they do not tell as much as so many independent ones.
    """

    count: int
    windows: int
    rate: float
    bounds: tuple[float, float]
    runs: float
    run_bounds: tuple[float, float]


@dataclass(frozen=True)
class Found:
    """What a rule finds of something that happens, over the runs.

    named: the share of runs in which it names it. delays: of each run, the windows until then. rings: the share of the
    windows since then in which it rings, for whatever column.
    """

    named: float
    delays: Array
    rings: float


@dataclass(frozen=True)
class Match:
    """Limits at which ours and another rule ring in as many quiet windows, as nearly as can be."""

    where: str
    ours: float
    other: float


@dataclass(frozen=True)
class Results:
    """All trials' scores.

    quiet: of those in which nothing happens too, shape (runs, rules, windows). loudest, named: by scenario, shape (runs,
    rules, windows since it began).
    """

    rules: Mapping[str, Rule]
    quiet: Array
    loudest: Mapping[str, Array]
    named: Mapping[str, Array]

    @classmethod
    def collect(cls, rules: Mapping[str, Rule], trials: Iterable[Trial]) -> Self:
        """The scores of all trials."""
        done = list(trials)
        eventful = [trial for trial in done if trial.named]
        names = list(eventful[0].named)
        return cls(
            rules,
            np.array([trial.quiet for trial in done]),
            {name: np.array([trial.loudest[name] for trial in eventful]) for name in names},
            {name: np.array([trial.named[name] for trial in eventful]) for name in names},
        )

    def take(self, scores: Array, rule: str) -> Array:
        """One rule's part of an array of scores, shape (runs, windows)."""
        part: Array = scores[:, list(self.rules).index(rule)]
        return part

    def count_alarms(self, rule: str, limit: float) -> Alarms:
        """A rule's alarms in quiet windows at a limit."""
        rang = self.take(self.quiet, rule) >= limit
        runs = len(rang)
        drawn = np.random.default_rng(0).integers(0, runs, (REPLICATES, runs))
        low, high = np.quantile(rang.mean(axis=1)[drawn].mean(axis=1), [0.025, 0.975])
        touched = rang.any(axis=1)
        run_low, run_high = bound_share(touched.sum(), runs)
        return Alarms(
            int(rang.sum()), rang.size, float(rang.mean()), (float(low), float(high)),
            float(touched.mean()), (float(run_low), float(run_high)),
        )  # fmt: skip

    def match_limit(self, rule: str, other: str) -> float:
        """The limit at which a rule rings in no more quiet windows than another does as it is usually used."""
        most = (self.take(self.quiet, other) >= self.rules[other].limit).sum()
        return move_limit(self.take(self.quiet, rule), int(most))

    def list_matches(self, rule: str) -> tuple[Match, Match]:
        """Equal false alarms with a rule: its limit is moved to those of ours, then ours to its own."""
        return (
            Match("at our false alarms", self.rules[OURS].limit, self.match_limit(rule, OURS)),
            Match("at its false alarms", self.match_limit(OURS, rule), self.rules[rule].limit),
        )

    def find(self, scenario: str, rule: str, limit: float) -> Found:
        """What a rule finds of a scenario at a limit."""
        named = self.take(self.named[scenario], rule) >= limit
        delays = np.where(named.any(axis=1), named.argmax(axis=1), named.shape[1]) + 1
        rings = self.take(self.loudest[scenario], rule) >= limit
        return Found(float(named.any(axis=1).mean()), delays, float(rings.mean()))

    def compare(self, rule: str, match: Match, scenarios: Iterable[str]) -> tuple[float, float]:
        """By how many windows ours is later than a rule in the mean of some scenarios (below 0: earlier).

        And what chance explains of that (95 %), paired by run.
        """
        delays = [
            self.find(name, OURS, match.ours).delays - self.find(name, rule, match.other).delays for name in scenarios
        ]
        later = np.mean(delays, axis=0)
        return float(later.mean()), float(Z * later.std(ddof=1) / np.sqrt(len(later)))
