"""What a feature costs: its part of a prediction's time, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from timeit import Timer

import pytest

from lifecycle.cli.readiness import load_rubric
from lifecycle.core import paths
from lifecycle.core.expressions import Expression, parse_expression, to_value
from lifecycle.serving.bundle import encode_row
from tests.support.champion import Record, load_champion


@pytest.fixture(scope="module")
def bound(checkout: Path) -> float:
    return load_rubric(checkout / paths.RUBRIC).find_row("D3").bounds["microseconds_a_row"]


def time_call(function: Callable[[], object]) -> float:
    """Microseconds of a call, undisturbed: the quickest of some rounds."""
    return min(Timer(function).repeat(5, 200)) / 200 * 1e6


def time_expression(expression: Expression, row: Record) -> float:
    """What a derived feature costs a prediction of one row."""
    dtypes = load_champion().scorer.model.inputs.dtypes
    values = {name: to_value(row[name], dtypes[name]) for name in expression.columns}
    return time_call(partial(expression.compute_one, values))


@pytest.mark.example  # a spline through each number, or few columns and many trees, take longer
def test_no_feature_costs_a_request_more_than_its_bound(bound: float) -> None:
    """A derived feature by its expression; a column by its part of reading, checking and scoring a whole row."""
    bundle = load_champion()
    row = bundle.golden[0]["request"]
    body = encode_row(row)
    costs = {
        expression.text: time_expression(expression, row) for expression in bundle.scorer.model.inputs.derived.values()
    }
    costs["a column"] = time_call(lambda: bundle.score_one(bundle.schema.parse_one(body))) / len(row)
    assert {name: cost for name, cost in costs.items() if not 0 < cost <= bound} == {}


def test_a_feature_that_costs_too_much_is_found(bound: float) -> None:
    bundle = load_champion()
    text = f"log1p({bundle.scorer.model.inputs.numbers[0][0]})"
    for _ in range(9):  # as a tree, for Python reads brackets only so deep
        text = f"({text}) + ({text})"
    assert time_expression(parse_expression(text, "dear"), bundle.golden[0]["request"]) > bound


def test_features_come_from_the_row_alone() -> None:
    """No other source can be late or go away; and nothing is asked of a client that no feature reads."""
    bundle = load_champion()
    inputs = bundle.scorer.model.inputs
    numbers = {name for place, (name, _) in enumerate(inputs.numbers) if place not in inputs.derived}
    read = {*numbers, *inputs.read, *(name for name, *_ in inputs.categories)}
    assert read <= bundle.schema.columns.keys()
    assert bundle.schema.columns.keys() - read <= {"senior"}  # of the bundle that stands in for a missing champion
