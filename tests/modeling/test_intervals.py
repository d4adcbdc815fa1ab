"""Tests of intervals with few cases: they hold the true value as often as they say, and stay within its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lifecycle.modeling import bootstrap, comparisons, metrics
from lifecycle.modeling.intervals import bound_estimate, count_cases, widen_reach

OPTIONS: dict[str, Any] = {"threshold": 0.5, "cost": {"false_positive": 1.0, "false_negative": 3.0}}


@given(st.floats(0.001, 0.999), st.floats(1e-6, 0.5), st.floats(2, 1000))
def test_the_interval_of_a_share_holds_it_and_stays_a_share(value: float, error: float, cases: float) -> None:
    low, high = bound_estimate(value, error, cases, 0.95, share=True)
    assert 0 <= low <= value <= high <= 1
    assert bound_estimate(value, error, cases, 0.95, share=False)[0] >= 0


def test_few_cases_widen_an_interval_and_less_than_two_have_none() -> None:
    assert widen_reach(1e9, 0.95) == pytest.approx(1.96, abs=1e-3)
    assert widen_reach(5, 0.95) == pytest.approx(2.776 * np.sqrt(5 / 4), abs=1e-3)
    assert np.isnan(bound_estimate(0.5, 0.1, 1.9, 0.95, share=True)).all()


def test_cases_are_rows_or_the_effective_number_of_entities_of_the_rarer_class() -> None:
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    assert count_cases(label) == 3
    assert count_cases(label, np.array([0, 0, 1, 2, 3, 4, 5, 6])) == pytest.approx(9 / 5)


def test_calibrated_probabilities_have_a_calibration_error_whose_interval_begins_at_zero() -> None:
    """Chance alone makes the error of 300 rows about 0.06; the true one is 0."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.05, 0.95, 300)
        label = (rng.random(300) < p).astype(int)
        found.append(bootstrap.bootstrap_metrics(label, p, **OPTIONS, replicates=100, seed=seed)["ece"]["low"] == 0)
    assert np.mean(found) >= 0.93


def test_intervals_of_few_entities_hold() -> None:
    """With six entities of 20 rows, percentiles of the bootstrap hold less often."""
    name = ["accuracy", "brier", "predicted_positive"]
    made = make_entities(np.random.default_rng(0), 4000)
    truth = metrics.measure_tally(metrics.tally_scores(made[0], made[1]), **OPTIONS)
    found = []
    for seed in range(80):
        label, p, entities = make_entities(np.random.default_rng([1, seed]), 6)
        measured = bootstrap.bootstrap_metrics(label, p, **OPTIONS, replicates=100, seed=seed, entities=entities)
        found.append([measured[key]["low"] <= truth[key] <= measured[key]["high"] for key in name])
    assert np.mean(found) >= 0.93


def test_slices_with_few_entities_have_intervals_that_hold() -> None:
    """500 slices of four entities with 30 rows each; without Student's t the intervals hold in 85 %."""
    rng = np.random.default_rng(0)
    entities = np.repeat(np.arange(2000), 30)
    label = (rng.random(60_000) < rng.uniform(0.1, 0.9, 2000)[entities]).astype(int)
    slices = pd.Series(entities // 4).map("slice {:04d}".format)
    table = comparisons.measure_slices(label, rng.random(60_000), slices, 0.5, entities)
    assert ((table["rate_low"] <= 0.5) & (table["rate_high"] >= 0.5)).mean() >= 0.93


def make_entities(rng: np.random.Generator, entities: int) -> tuple[Any, Any, Any]:
    """Labels, probabilities and entities of rows that share a level."""
    entity = np.repeat(np.arange(entities), 20)
    signal = rng.normal(0, 1.5, entities)[entity] + rng.normal(0, 0.5, len(entity))
    p = 1 / (1 + np.exp(-signal))
    chance = 1 / (1 + np.exp(-signal - rng.normal(0, 1, entities)[entity]))
    return (rng.random(len(entity)) < chance).astype(int), p, entity


def test_intervals_of_few_entities_are_as_wide_as_the_jackknife_says() -> None:
    """A bootstrap of few entities understates how much the area under the precision-recall curve varies."""
    rng = np.random.default_rng(3)
    entities = np.repeat(np.arange(40), 12)
    leaning = rng.normal(0, 1.5, 40)[entities]
    probability = 1 / (1 + np.exp(2 - leaning - rng.normal(size=len(entities))))
    target = (rng.random(len(entities)) < 1 / (1 + np.exp(2 - leaning))).astype(int)
    measured = bootstrap.bootstrap_metrics(target, probability, **OPTIONS, replicates=400, seed=0, entities=entities)
    found = measured["pr_auc"]
    left = np.array(
        [average_precision_score(target[entities != one], probability[entities != one]) for one in range(40)]
    )
    error = np.sqrt(39 / 40 * ((left - left.mean()) ** 2).sum())
    low, high = bound_estimate(found["value"], error, count_cases(target, entities), 0.95, share=True)
    assert found["low"] <= low + 1e-12 and found["high"] >= high - 1e-12
