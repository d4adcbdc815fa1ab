"""Coverage: how often a printed 95 % interval holds the true value, which is that of the whole population."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.populations import Population, Sample
from benchmarks.monitoring.quiet import HOLDOUT_ROWS, ROWS, load_population
from lifecycle.core.contract import Role
from lifecycle.modeling.bootstrap import bootstrap_metrics
from lifecycle.modeling.comparisons import compare_auc, compare_means, lose_rows, measure_slices
from lifecycle.modeling.flips import count_flips
from lifecycle.modeling.metrics import measure_tally, tally_scores
from lifecycle.modeling.net_benefit import trace_net_benefit
from lifecycle.modeling.profit import trace_profit, value_rows
from lifecycle.monitoring.degradation import describe_performance, expect_performance, measure_performance
from lifecycle.stages.evaluate import compare_groups, measure_columns

Array = np.ndarray[Any, Any]
SLICE_METRICS = ("rate", "roc_auc", "recall", "false_alarms", "precision", "predicted_positive")
MIN_SUPPORT, MIN_CLASS = 50, 10  # of a judged slice, as `params.yaml` sets them
MOST_CATEGORIES = 100  # of a column whose slices are measured
SMALL_SLICES = "small slices, whose intervals are not shown"
CAPACITY = 200  # of a thousand rows
Estimate = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One sample: the population's name, the number of bootstrap replicates behind its intervals, and a seed."""

    population: str
    replicates: int
    seed: int


@dataclass(frozen=True)
class Interval:
    """An interval that was printed: where, of which metric, and whether it holds the true value."""

    population: str
    where: str
    metric: str
    holds: bool


@cache
def measure_truth(name: str) -> dict[str, float]:
    """Return the true metrics of a population."""
    whole = load_population(name).everything()
    return _measure(whole, load_population(name))


def _measure(sample: Sample, population: Population) -> dict[str, float]:
    """Return the metrics of a sample's own rows, exactly."""
    tally = tally_scores(sample.label, sample.probability)
    return {name: float(value) for name, value in measure_tally(tally, population.threshold, population.cost).items()}


@cache
def measure_true_slices(name: str) -> pd.DataFrame:
    """Return the true metrics of every slice, by column and category."""
    population = load_population(name)
    tables = [
        measure_slices(population.label, population.probability, words, population.threshold).assign(column=column)
        for column, words in _choose_slices(population.everything(), population).items()
    ]
    return pd.concat(tables).set_index(["column", "category"]) if tables else pd.DataFrame()


def _choose_slices(sample: Sample, population: Population) -> dict[str, pd.Series]:
    """Return the categories of every categorical column as text."""
    contract = population.contract
    names = contract.names(Role.CATEGORICAL, Role.BOOLEAN)
    return {
        name: sample.frame[name].astype(str)
        for name in names
        if 2 <= population.frame[name].nunique() <= MOST_CATEGORIES
    }


def run_case(case: Case) -> list[Interval]:
    """Draw a hold-out and a window, and return the intervals that evaluation and monitoring print about them."""
    population = load_population(case.population)
    held_out = population.draw(HOLDOUT_ROWS, [case.seed, 0])
    window = population.draw(ROWS, [case.seed, 1])
    options: dict[str, Any] = {"threshold": population.threshold, "cost": population.cost, "seed": case.seed}
    truth = measure_truth(case.population)
    measured = bootstrap_metrics(
        held_out.label, held_out.probability, replicates=case.replicates, entities=held_out.entities, **options
    )
    baseline = describe_performance(held_out.label, held_out.probability, entities=held_out.entities, **options)
    realised = measure_performance(window.label, window.probability, entities=window.entities, **options)
    expected = expect_performance(window.probability, estimation=baseline["estimation"], **options)
    found = [
        *_check("hold-out", measured, truth),
        *_check("window", realised, truth),
        *_check("window, expected", expected, _measure(window, population)),
        *_check_slices(held_out, population),
        *_check_gaps(held_out, population),
        *_check_decisions(held_out, population, case),
    ]
    return [Interval(case.population, where, metric, holds) for where, metric, holds in found]


@cache
def measure_true_decisions(name: str) -> dict[str, dict[str, Estimate]]:
    """Return what decisions are worth in a population, and how they and the metrics differ from the rival's."""
    return _measure_decisions(load_population(name).everything(), load_population(name), 2, 0)


def _measure_decisions(
    sample: Sample, population: Population, replicates: int, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Return the net benefit, the profit, the differences from the rival and the decision flips of a sample."""
    threshold, cost, cases = population.threshold, population.cost, sample.entities
    _, benefit = trace_net_benefit(sample.label, sample.probability, threshold, replicates, seed, cases)
    worth = value_rows(sample.frame, {"benefit": "", "cost": ""}, cost, population.contract.target)
    _, profit = trace_profit(
        sample.label, sample.probability, worth, capacity=CAPACITY, population=1000, replicates=replicates, seed=seed,
        entities=cases,
    )  # fmt: skip
    mine, other = (lose_rows(sample.label, p, threshold, cost) for p in (sample.probability, sample.rival))
    flips = count_flips(sample.probability >= threshold, sample.rival >= threshold, {}, MIN_SUPPORT, cases)
    return {
        "net benefit": {name: benefit[name] for name in ("model", "everyone", "over_everyone")},
        "profit": {
            "of a capacity": profit["value"], "of positive expected value": profit["rule"]["value"],
            "best capacity": profit["best"]["capacity"],
        },
        "difference": {
            "roc_auc": compare_auc(sample.label, sample.probability, sample.rival, cases),
            **{name: compare_means(loss, other[name], cases) for name, loss in mine.items()},
        },
        "decision flips": {name: flips[name] for name in ("flips", "to_positive", "to_negative")},
    }  # fmt: skip


def _check_decisions(sample: Sample, population: Population, case: Case) -> Iterator[tuple[str, str, bool]]:
    """Yield whether the intervals of decisions and of differences between two models hold."""
    truth = measure_true_decisions(population.name)
    for where, estimates in _measure_decisions(sample, population, case.replicates, case.seed).items():
        yield from _check(where, estimates, {name: estimate["value"] for name, estimate in truth[where].items()})


def _check(
    where: str, estimates: Mapping[str, Estimate], truth: Mapping[str, float]
) -> Iterator[tuple[str, str, bool]]:
    """Yield whether each interval that is printed holds the true value."""
    for metric, estimate in estimates.items():
        if np.isfinite(estimate["low"]) and np.isfinite(truth[metric]):
            yield where, metric, bool(estimate["low"] - 1e-9 <= truth[metric] <= estimate["high"] + 1e-9)


def _check_slices(sample: Sample, population: Population) -> Iterator[tuple[str, str, bool]]:
    """Yield whether the intervals of the slices hold, those that are judged and the smaller ones apart."""
    slices, truth = _choose_slices(sample, population), measure_true_slices(population.name)
    table = measure_columns(
        sample.label, sample.probability, slices, population.threshold, MIN_SUPPORT, MIN_CLASS, sample.entities
    )
    for row in table.to_dict("records"):
        where = "slices" if row["judged"] else SMALL_SLICES
        real = truth.loc[(row["column"], row["category"])]
        estimates = {name: {"low": row[f"{name}_low"], "high": row[f"{name}_high"]} for name in SLICE_METRICS}
        yield from _check(where, estimates, real.to_dict())


def _check_gaps(sample: Sample, population: Population) -> Iterator[tuple[str, str, bool]]:
    """Yield whether the intervals of the fairness gaps hold, of the two groups that they are between."""
    truth = measure_true_slices(population.name)
    groups: dict[str, pd.Series | None] = {
        name: words for name, words in _choose_slices(sample, population).items() if words.nunique() <= 6
    }
    records = compare_groups(sample.label, sample.probability, groups, population.threshold, MIN_CLASS, sample.entities)
    for record in records:
        if gap := record["gap"]:
            ends = [float(truth.loc[(record["column"], gap[end]), record["metric"]]) for end in ("most", "least")]
            yield from _check("fairness gaps", {record["metric"]: gap}, {record["metric"]: ends[0] - ends[1]})


def count_intervals(intervals: Iterable[Interval]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return how many intervals hold, and how many there are, by population, where and metric."""
    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for interval in intervals:
        key = interval.population, interval.where, interval.metric
        holds, total = counts.get(key, (0, 0))
        counts[key] = holds + interval.holds, total + 1
    return counts
