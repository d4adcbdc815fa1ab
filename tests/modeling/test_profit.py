"""Profit by capacity: by hand, by expected value, with intervals, and what `evaluate.value` may say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.modeling.profit import Worth, trace_profit, value_rows
from lifecycle.reporting.decisions import describe_profit

COST = {"false_positive": 1.0, "false_negative": 3.0}
ROWS = pd.DataFrame(
    {"fee": [10.0, 20.0, np.nan, 40.0], "plan": ["a", "b", "a", "b"], "left": ["yes", "no", "no", "no"]}
)
EMPTY = {"benefit": "", "cost": ""}


def trace(target: Any, probability: Any, worth: Worth, capacity: int = 0, population: int = 0, **more: Any) -> Any:
    return trace_profit(
        np.array(target), np.array(probability), worth, capacity=capacity, population=population or len(target),
        **{"replicates": 200, "seed": 0, **more},
    )  # fmt: skip


def constant(rows: int, benefit: float = 4.0, cost: float = 1.0) -> Worth:
    return Worth(np.full(rows, benefit), np.full(rows, cost), by_row=False, note="")


def draw_rows(rows: int) -> tuple[np.ndarray, np.ndarray, Worth]:
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 2, rows)
    worth = Worth(rng.gamma(2, 20, rows), np.full(rows, 10.0), by_row=True, note="")
    return (rng.random(rows) < probability).astype(int), probability, worth


def test_the_profit_of_a_capacity_by_hand() -> None:
    target, probability = [1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.2, 0.1]
    curve, found = trace(target, probability, constant(5), capacity=2)
    assert found["value"]["value"] == pytest.approx(3 - 1) and found["found"] == pytest.approx(0.5)
    assert (found["by"], found["cutoff"], found["capacity"]) == ("probability", 0.8, 2)
    assert found["random"] == pytest.approx(2 * (4 * 2 / 5 - 1))
    assert found["rule"]["capacity"] == 3 and found["rule"]["value"]["value"] == pytest.approx(5)  # from 1 / 4 on
    assert found["best"]["capacity"]["value"] == pytest.approx(3) and found["best"]["value"] == pytest.approx(5)
    assert np.interp([1, 2, 3, 5], curve["capacity"], curve["value"]) == pytest.approx([3, 2, 5, 3])
    _, scaled = trace(target, probability, constant(5), capacity=200, population=500)
    assert scaled["value"]["value"] == pytest.approx(200) and scaled["capacity"] == 200
    _, all_rows = trace(target, probability, constant(5), capacity=900, population=500)
    assert all_rows["capacity"] == 500 and all_rows["value"]["value"] == pytest.approx(300)


def test_of_equal_rows_a_random_share_is_taken() -> None:
    _, found = trace([1, 0, 0, 0], [0.5] * 4, constant(4), capacity=1)
    assert found["value"]["value"] == pytest.approx(4 / 4 - 1) == found["random"]


def test_rows_of_higher_value_come_first() -> None:
    """The second row is less likely, and worth more."""
    worth = Worth(np.array([4.0, 100.0, 4.0]), np.ones(3), by_row=True, note="")
    _, found = trace([1, 1, 0], [0.9, 0.5, 0.3], worth, capacity=1)
    assert found["by"] == "expected value" and found["cutoff"] == pytest.approx(49)
    assert found["value"]["value"] == pytest.approx(99)


def test_the_interval_is_that_of_drawing_rows() -> None:
    """More rows than places that the bootstrap tells apart, each with another value: as if single rows were drawn."""
    target, probability, worth = draw_rows(1500)
    _, found = trace(target, probability, worth, capacity=300, replicates=1000)
    gained, score = worth.benefit * target - worth.cost, worth.expect(probability)
    rng, draws = np.random.default_rng(1), []
    for _ in range(1000):
        rows = rng.integers(0, 1500, 1500)
        draws.append(gained[rows][np.argsort(-score[rows])[:300]].sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["value"]["high"] - found["value"]["low"] == pytest.approx(high - low, rel=0.12)
    assert found["value"]["low"] == pytest.approx(low, rel=0.05)


def test_copies_of_rows_add_no_certainty() -> None:
    target, probability, worth = draw_rows(200)
    _, alone = trace(target, probability, worth, capacity=50, replicates=1000)
    copied = Worth(np.tile(worth.benefit, 5), np.tile(worth.cost, 5), by_row=True, note="")
    owners = np.tile(np.arange(200), 5)
    _, grouped = trace(
        np.tile(target, 5), np.tile(probability, 5), copied, 50, population=200, entities=owners, replicates=1000
    )
    assert grouped["value"]["value"] == pytest.approx(alone["value"]["value"])
    width = alone["value"]["high"] - alone["value"]["low"]
    assert grouped["value"]["high"] - grouped["value"]["low"] == pytest.approx(width, rel=0.15)


def test_the_same_twice() -> None:
    target, probability, worth = draw_rows(700)
    first, second = (trace(target, probability, worth, capacity=100) for _ in range(2))
    pd.testing.assert_frame_equal(first[0], second[0])
    assert first[1] == second[1]


# What acting is worth.


def test_without_values_the_costs_of_errors_decide() -> None:
    """It then pays to act from the model's threshold on (Elkan)."""
    worth = value_rows(ROWS, EMPTY, COST, "left")
    assert (set(worth.benefit), set(worth.cost), worth.by_row, worth.note) == ({4.0}, {1.0}, False, "")
    assert worth.expect(np.array([0.24, 0.25, 0.26, 1.0])).round(6).tolist() == [-0.04, 0.0, 0.04, 3.0]


def test_values_come_from_columns() -> None:
    worth = value_rows(ROWS, {"benefit": "fee * 6", "cost": '5 + 10 * (plan == "b")'}, COST, "left")
    assert worth.benefit.tolist() == [60, 120, 140, 240] and worth.by_row  # the third has the mean of the others
    assert worth.cost.tolist() == [5, 15, 5, 15]
    assert worth.note == "Rows without a benefit, 1 of them, get the mean of the others."
    mixed = value_rows(ROWS, {"benefit": "", "cost": 20}, COST, "left")
    assert (set(mixed.benefit), set(mixed.cost), mixed.by_row) == ({4.0}, {20.0}, False)


def test_a_column_that_is_not_there_leaves_the_costs_and_is_named() -> None:
    worth = value_rows(ROWS, {"benefit": "months * 6", "cost": "fee"}, COST, "left")
    assert set(worth.benefit) == {4.0} and set(worth.cost) == {1.0}
    assert "`evaluate.value` reads `months`, which these rows do not have" in worth.note
    _, found = trace([1, 0, 1, 0], [0.9, 0.8, 0.2, 0.1], worth, capacity=1)
    assert describe_profit(found).endswith("`train.cost` is used instead.")


@pytest.mark.parametrize(
    ("benefit", "message"),
    [
        ('4 * (left == "yes")', r"evaluate\.value\.benefit reads 'left', which is not known when rows are chosen"),
        ("__import__('os')", r"the parameter 'evaluate\.value\.benefit'.*is not allowed"),
        ("plan > 3", r"evaluate\.value\.benefit cannot be computed"),
        ("fee / 0", r"evaluate\.value\.benefit has no value for any row"),
    ],
)
def test_what_is_no_value_is_refused(benefit: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        value_rows(ROWS, {"benefit": benefit, "cost": ""}, COST, "left")
