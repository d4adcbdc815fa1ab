"""Quiet windows: traffic from the population of the hold-out, in which every alert is a false one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.populations import POPULATIONS, Population, Sample
from lifecycle.core.params import Monitor
from lifecycle.core.records import Record
from lifecycle.modeling.model import Model
from lifecycle.monitoring.drift import PREDICTION
from lifecycle.monitoring.reference import count_window
from lifecycle.monitoring.scenarios import begin_month
from lifecycle.monitoring.traffic import TimeWindow, Traffic, find_mature, list_windows, read_traffic
from lifecycle.prediction_log.compaction import compact_segments
from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving.bundle import to_requests
from lifecycle.serving.monitor_report import Alert
from lifecycle.stages.deploy import describe_reference
from lifecycle.stages.monitor import judge_traffic

Array = np.ndarray[Any, Any]
HOLDOUT_ROWS, ROWS, WINDOWS = 1409, 500, 12
LEARNED = 4  # times as many training rows as hold-out rows
LATE_WINDOWS = 6  # of a log whose labels arrive late
_SOONEST = (
    5  # days after which a positive's label arrives, up to the maturity; a negative's arrives then: silence means no
)
_FIRST = "2026-01"
_MODEL = "a1b2c3d4e5f6"
REPLICATES = 10_000
KINDS = {  # of alerts, by what budget they share
    "drift": ("column", "missing", "unit", "category", "prediction", "multivariate"),
    "label": ("label",),
    "degradation": ("degradation",),
    "volume": ("volume",),
}


@dataclass(frozen=True)
class Job:
    """One reference and the windows after it: the population's name, the settings of monitoring, and a seed."""

    population: str
    settings: Monitor
    seed: int


@dataclass(frozen=True)
class Fired:
    """The alerts of one reference's windows: masks of shape (windows,) by kind, and of those at least warnings."""

    kinds: dict[str, Array]
    warning: Array

    @property
    def any(self) -> Array:
        """Whether any alert fired, shape (windows,)."""
        return np.asarray(np.any(list(self.kinds.values()), axis=0))


@dataclass(frozen=True)
class Rate:
    """A share of windows with its 95 % interval over references, and how it spreads over them (quartiles and the worst)."""

    value: float
    low: float
    high: float
    spread: float
    worst: float


@cache
def load_population(name: str) -> Population:
    """Return a population; it is made once a process."""
    return POPULATIONS[name]()


def list_columns(population: Population) -> list[Record]:
    """Return the columns of a request, as a bundle's schema names them."""
    names = population.weights
    return [{"name": name, "unit": population.contract.columns[name].unit or ""} for name in names]


def make_reference(population: Population, held_out: Sample, learned: pd.DataFrame, seed: int) -> Record:
    """Return the reference that the stage `deploy` would write for a hold-out."""
    importance = [{"column": name, "attribution": weight} for name, weight in population.weights.items()]
    model = Model(None, {"threshold": population.threshold, "cost": dict(population.cost)}, _MODEL + "0" * 52)
    return describe_reference(
        held_out.frame, learned, population.contract, list_columns(population), held_out.probability, model,
        importance, seed=seed, entities=held_out.entities,
    )  # fmt: skip


def make_traffic(samples: Iterable[Sample], reference: Record) -> list[Traffic]:
    """Return months of traffic whose labels arrive at once."""
    traffic = []
    for place, sample in enumerate(samples):
        start, end = begin_month(_FIRST, place + 1), begin_month(_FIRST, place + 2)
        at = pd.Series(pd.date_range(start, end, periods=len(sample.label) + 1, inclusive="left"))
        names = name_entities(sample, place)
        labelled = pd.DataFrame(
            {"at": at, "labelled_at": at, "label": sample.label, "probability": sample.probability, "entity": names}
        )
        frame = sample.frame.assign(**{PREDICTION: sample.probability})
        traffic.append(Traffic(
            window=TimeWindow(f"{start:%Y-%m}", start, end), counts=count_window(frame, reference, names),
            probability=sample.probability, mature=len(labelled), labelled=labelled, groups=pd.DataFrame(index=labelled.index), last=end,
        ))  # fmt: skip
    return traffic


def name_entities(sample: Sample, month: int) -> pd.Series:
    """Return the entity of each row, which occurs in one month only; None without entities."""
    if sample.entities is None:
        return pd.Series([None] * len(sample.label), dtype=object)
    return pd.Series([f"{month}-{entity}" for entity in sample.entities], dtype=object)


def log_traffic(
    samples: Sequence[Sample], population: Population, reference: Record, seed: int, maturity_days: int
) -> list[Traffic]:
    """Return months of traffic as they are read from a log at the end of the last month, in which all labels have come by maturity.

    Those of positives come before those of negatives, so that the labels of younger predictions are mostly positive.
    """
    soonest = {1: min(_SOONEST, maturity_days), 0: maturity_days}
    generator, contract = np.random.default_rng([seed, 9]), population.contract
    names = [column["name"] for column in list_columns(population)]
    day, now = timedelta(days=1), begin_month(_FIRST, len(samples) + 1)
    with TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder), capacity=10**6)
        for month, sample in enumerate(samples):
            requests, others = to_requests(sample.frame, names), sample.frame[contract.target].tolist()
            for place, request in enumerate(requests):
                at = (
                    begin_month(_FIRST, month + 1) + (1 + 13 * int(generator.integers(0, 3))) * day
                )  # three days of a month, the last near its end, so that its volume is that of the others
                identity, label = f"{month}-{place}", int(sample.label[place])
                log.append({
                    "kind": "prediction", "id": identity, "at": _count_micros(at), "model": _MODEL,
                    "probability": float(sample.probability[place]), "prediction": "no", "degraded": False, "features": request,
                })  # fmt: skip
                known = at + int(generator.integers(soonest[label], maturity_days + 1)) * day
                if known < now:
                    log.append(
                        {"kind": "feedback", "id": identity, "at": _count_micros(known), "label": str(others[place])}
                    )
        log.close(60)
        compact_segments(Path(folder))
        bundle: Any = SimpleNamespace(
            name=_MODEL, manifest=SimpleNamespace(positive=contract.positive), schema=SimpleNamespace(names=names)
        )
        until = find_mature(Path(folder), maturity_days)
        return list(read_traffic(Path(folder), list_windows(Path(folder), "month"), bundle, reference, [], until))


def _count_micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def run_quiet(job: Job) -> Fired:
    """Draw a hold-out and the windows after it, and return the alerts that monitoring raises in them."""
    population = load_population(job.population)
    held_out = population.draw(HOLDOUT_ROWS, [job.seed, 0])
    learned = population.draw(LEARNED * HOLDOUT_ROWS, [job.seed, 1]).frame
    reference = make_reference(population, held_out, learned, job.seed)
    windows = LATE_WINDOWS if population.late else WINDOWS
    volumes = np.random.default_rng([job.seed, 2]).poisson(ROWS, windows)
    samples = [population.draw(int(rows), [job.seed, 3, month]) for month, rows in enumerate(volumes)]
    traffic = (
        log_traffic(samples, population, reference, job.seed, job.settings.maturity_days)
        if population.late
        else make_traffic(samples, reference)
    )
    return find_fired(judge_traffic(traffic, reference, job.settings).alerts)


def find_fired(alerts: Sequence[Sequence[Alert]]) -> Fired:
    """Return in which windows each kind of alert fired."""
    kinds = {
        name: np.array([any(alert.kind in kinds for alert in found) for found in alerts])
        for name, kinds in KINDS.items()
    }
    return Fired(kinds, np.array([any(alert.severity != "info" for alert in found) for found in alerts]))


def measure_rate(fired: Sequence[Array]) -> Rate:
    """Return the share of windows that fired, over references, which are drawn whole in the bootstrap of its interval.

    Without a single alert the upper bound is that of the rule of three, of windows that all count.
    """
    shares = np.array([windows.mean() for windows in fired])
    drawn = np.random.default_rng(0).integers(0, len(shares), (REPLICATES, len(shares)))
    low, high = np.quantile(shares[drawn].mean(axis=1), [0.025, 0.975])
    if not shares.any():
        high = 3 / sum(len(windows) for windows in fired)
    return Rate(float(shares.mean()), float(low), float(high), float(shares.std()), float(shares.max()))
