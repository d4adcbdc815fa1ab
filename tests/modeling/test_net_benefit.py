"""Decision curves: by hand, as costs have it, and with the intervals of rows that belong together."""

from __future__ import annotations

import numpy as np
import pytest

from lifecycle.modeling.comparisons import lose_rows
from lifecycle.modeling.net_benefit import trace_net_benefit
from lifecycle.reporting.decisions import describe_net_benefit


def draw_rows(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 2, rows)
    return (rng.random(rows) < probability).astype(int), probability


def test_net_benefit_by_hand() -> None:
    target, probability = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    curve, found = trace_net_benefit(target, probability, 0.75, replicates=100, seed=0)
    at = curve.set_index(curve["threshold"].round(2))
    assert at.loc[0.5, "model"] == pytest.approx(2 / 5 - 1 / 5)
    assert at.loc[0.7, "model"] == pytest.approx(2 / 5 - 1 / 5 * 7 / 3)  # a probability at the threshold is positive
    assert at.loc[0.95, "model"] == 0
    assert at.loc[0.2, "everyone"] == pytest.approx(2 / 5 - 3 / 5 / 4)
    assert found["model"]["value"] == pytest.approx(1 / 5 - 1 / 5 * 3)
    assert found["over_everyone"]["value"] == pytest.approx(found["model"]["value"] - (2 / 5 - 3 / 5 * 3))


def test_at_the_threshold_of_the_costs_it_is_what_the_model_saves() -> None:
    """Acting on none costs every missed positive; the model saves its net benefit, in units of a missed positive."""
    target, probability = draw_rows(800)
    cost = {"false_positive": 2.0, "false_negative": 5.0}
    _, found = trace_net_benefit(target, probability, 2 / 7, replicates=100, seed=0)
    saved = 5.0 * target.mean() - lose_rows(target, probability, 2 / 7, cost)["cost"].mean()
    assert 5.0 * found["model"]["value"] == pytest.approx(saved)


def test_a_model_that_knows_nothing_is_not_better_than_acting_on_every_row() -> None:
    target, probability = draw_rows(600)
    shuffled = np.random.default_rng(1).permutation(probability)
    _, found = trace_net_benefit(target, shuffled, 0.1, replicates=300, seed=0)
    assert found["over_everyone"]["low"] < 0
    assert "The model is better" not in describe_net_benefit(found)
    _, found = trace_net_benefit(target, probability, 0.5, replicates=300, seed=0)
    assert found["over_everyone"]["low"] > 0 and found["model"]["low"] > 0
    assert "The model is better than acting on every row, and better than acting on none." in describe_net_benefit(
        found
    )


def test_copies_of_rows_add_no_certainty() -> None:
    target, probability = draw_rows(150)
    _, alone = trace_net_benefit(target, probability, 0.3, replicates=1000, seed=0)
    owners = np.tile(np.arange(150), 8)
    _, grouped = trace_net_benefit(np.tile(target, 8), np.tile(probability, 8), 0.3, 1000, seed=0, entities=owners)
    _, naive = trace_net_benefit(np.tile(target, 8), np.tile(probability, 8), 0.3, 1000, seed=0)

    def width(found: dict) -> float:
        return found["model"]["high"] - found["model"]["low"]

    assert width(grouped) == pytest.approx(width(alone), rel=0.15)
    assert width(naive) < 0.5 * width(alone)
