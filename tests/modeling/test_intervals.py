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
from lifecycle.modeling.net_benefit import trace_net_benefit
from lifecycle.modeling.profit import trace_profit, value_rows

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
    for seed in range(150):
        rng = np.random.default_rng([seed, 1])
        p = rng.uniform(0.05, 0.95, 300)
        label = (rng.random(300) < p).astype(int)
        found.append(bootstrap.bootstrap_metrics(label, p, **OPTIONS, replicates=400, seed=seed)["ece"]["low"] == 0)
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


def measure_decisions(rng: np.random.Generator, entities: int, replicates: int) -> dict[str, Any]:
    """The estimates of what decisions are worth, and of how two models differ."""
    label, p, entity = make_entities(rng, entities)
    other = np.clip(p + rng.normal(0, 0.2, len(p)), 0.01, 0.99)
    worth = value_rows(pd.DataFrame(index=range(len(p))), {"benefit": "", "cost": ""}, OPTIONS["cost"], "label")
    given: dict[str, Any] = {"replicates": replicates, "seed": 0, "entities": entity}
    mine, others = (comparisons.lose_rows(label, each, **OPTIONS) for each in (p, other))
    _, benefit = trace_net_benefit(label, p, OPTIONS["threshold"], **given)
    _, profit = trace_profit(label, p, worth, capacity=200, population=1000, **given)
    return {
        **{f"net benefit, {name}": benefit[name] for name in ("model", "everyone", "over_everyone")},
        "profit": profit["value"],
        **{name: comparisons.compare_means(loss, others[name], entity) for name, loss in mine.items()},
        "roc_auc": comparisons.compare_auc(label, p, other, entity),
    }


def test_decisions_and_differences_of_few_entities_have_intervals_that_hold() -> None:
    """With 15 entities of 20 rows, percentiles of the bootstrap hold in 86 to 93 %."""
    truth = {name: each["value"] for name, each in measure_decisions(np.random.default_rng(0), 4000, 2).items()}
    held = dict.fromkeys(truth, 0)
    for seed in range(150):
        for name, each in measure_decisions(np.random.default_rng([2, seed]), 15, 200).items():
            held[name] += each["low"] <= truth[name] <= each["high"]
    assert np.mean([*held.values()]) >= 0.93 * 150 and min(held.values()) >= 0.89 * 150, held


def test_a_difference_in_a_few_decisions_is_no_proof() -> None:
    """Four of 1,400 rows that differ, all in one direction: the sign test has p = 0.125, a normal distribution 0.045."""
    found = comparisons.compare_means(np.r_[np.ones(4), np.zeros(1396)], np.zeros(1400))
    assert found["p"] == pytest.approx(0.14, abs=0.01) and found["low"] < 0 < found["value"]
    assert comparisons.compare_means(np.zeros(50), np.zeros(50))["p"] == 1


@pytest.mark.parametrize("rows", [[3, 5, 2], [30, 50, 20]], ids=["rows are drawn", "counts are drawn"])
def test_replicates_of_counts_are_multinomial(rows: list[int]) -> None:
    counts = np.array(rows, dtype=np.float64)
    drawn = np.concatenate([*bootstrap.draw_counts(counts, 20_000, seed=3)])
    assert drawn.shape == (20_000, 3) and (drawn.sum(axis=1) == counts.sum()).all()
    share = counts / counts.sum()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, rtol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), counts.sum() * (np.diag(share) - np.outer(share, share)), rtol=0.06)


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
