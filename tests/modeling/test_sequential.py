"""Tests of repeated tests: how often a year of looks is wrong, and how soon it is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from lifecycle.modeling.sequential import compare_always, spend_level

RNG = np.random.default_rng


def look_weekly(runs: int, effect: float, rows: int = 60, weeks: int = 52) -> np.ndarray:
    """Two p-values of each run and week: of a z-test of all differences so far, and at any number of looks."""
    found = np.empty((runs, weeks, 2))
    for run in range(runs):
        difference = RNG(run).normal(effect, 1, rows * weeks) ** 3  # skewed towards its tails, as losses are
        for week in range(weeks):
            seen = difference[: (week + 1) * rows]
            z = abs(seen.mean()) / seen.std() * np.sqrt(len(seen))
            found[run, week] = 2 * ndtr(-z), compare_always(seen, np.zeros(len(seen)))["p"]
    return found


def test_a_year_of_looks_is_wrong_as_rarely_as_one_may_be() -> None:
    ever = (look_weekly(300, 0.0) < 0.01).any(axis=1).mean(axis=0)
    assert ever[0] > 0.04, "a test that is repeated is wrong far more often than its level"
    assert ever[1] <= 0.01 + 3 * np.sqrt(0.01 / 300)


def test_a_clear_difference_is_found_within_weeks() -> None:
    found = (look_weekly(40, 0.2, weeks=30) < 0.01)[..., 1]
    assert found[:, -1].mean() > 0.9


def test_rows_of_an_entity_are_one_case() -> None:
    """Fifty copies of each of twenty differences say no more than the twenty."""
    difference = RNG(1).normal(0.4, 1, 20)
    entities, copies = np.repeat(np.arange(20), 50), np.repeat(difference, 50)
    one, many = compare_always(difference, np.zeros(20)), compare_always(copies, np.zeros(1000), entities)
    assert many["p"] == pytest.approx(one["p"]) and many["value"] == pytest.approx(one["value"])
    assert compare_always(copies, np.zeros(1000))["p"] < one["p"] / 100


def test_equal_models_do_not_differ_and_a_constant_difference_is_certain() -> None:
    loss = RNG(0).random(50)
    assert compare_always(loss, loss) == {"value": 0.0, "p": 1.0}
    assert compare_always(np.ones(10), np.zeros(10))["p"] == 0.0


def test_a_level_is_spent_once() -> None:
    levels = [spend_level(0.05, look) for look in range(1, 100_000)]
    assert levels[0] == pytest.approx(0.0304, abs=1e-4) and levels == sorted(levels, reverse=True)
    assert 0.0499 < sum(levels) < 0.05
