from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.serving.bundle import Bundle, Manifest
from lifecycle.serving.explanations import SHOWN, explain_row
from lifecycle.serving.schema import Schema
from lifecycle.serving.scorer import Scorer
from tests.support.bundles import COLUMNS, ROW, compute_probability

Record = dict[str, Any]
MANIFEST = Manifest(
    format=2, model="0" * 64, family="logistic", target="left", positive="yes", negative="no", threshold=0.5, prior=0.25,
    hashes={}, versions={}, files={},
)  # fmt: skip
BACKGROUND = [
    {"months": months, "spend": spend, "plan": plan, "senior": senior}
    for months, spend, plan, senior in ((0, 20.0, "pro", 0), (30, None, None, 1), (70, 95.5, "plus", 0), (5, 60.0, "basic", 1))
]  # fmt: skip
ROWS = st.fixed_dictionaries({
    "months": st.integers(0, 100),
    "spend": st.none() | st.floats(0, 200) | st.floats(0, 1e300),
    "plan": st.sampled_from([None, "basic", "plus", "pro"]),
    "senior": st.sampled_from([0, 1]),
})  # fmt: skip


def describe(name: str, expression: str | None = None, columns: list[str] | None = None) -> Record:
    return {"name": name, "kind": "numeric", "expression": expression, "columns": columns or [name], "values": None}


def make_numbers(*names: str) -> Record:
    """Numbers that come through as they are."""
    count = len(names)
    return {
        "names": list(names), "low": [None] * count, "high": [None] * count, "fill": [0.0] * count,
        "mean": [0.0] * count, "scale": [1.0] * count, "missing_indicators": [],
    }  # fmt: skip


@cache
def make_bundle() -> Bundle:
    """The model of tests/support/bundles.py: its columns act on the log-odds, two of them together, and `senior` not at all."""
    levels = {"name": "plan", "codes": {"basic": 0, "plus": 1, "pro": 2}, "missing": None, "other": None, "width": 3}
    plan: Record = {
        "features": [
            describe("months"), describe("spend"), describe("pace", "spend / (1 + months)", ["spend", "months"]),
            describe("plan") | {"kind": "categorical"},
        ],
        "numbers": make_numbers("months", "spend", "pace") | {"fill": [12.0, 50.0, 50.0]},
        "categories": [{**levels, "start": 0}], "order": [0, 1, 2, 3, 4, 5],
        "model": {"kind": "linear", "coefficients": [-0.04, 0.01, 0.02, 0.8, 0.1, -0.6], "intercept": 0.0},
        "calibration": {"kind": "none"},
    }  # fmt: skip
    scorer = Scorer(plan, {column["name"]: column["dtype"] for column in COLUMNS}, None)
    return Bundle("0" * 64, MANIFEST, Schema(COLUMNS, 10), scorer, [], BACKGROUND)


STEEP: Record = {"kind": "isotonic", "knots": [0.5 - 1e-5, 0.5 + 1e-5], "values": [0.0, 1.0]}


def make_sum(count: int, background: list[Record], weight: float, calibration: Record) -> Bundle:
    """A model whose log-odds are a weighted sum of its columns.

    Where they hardly move and STEEP makes them probabilities, those are a sum too.
    """
    names = [f"x{number}" for number in range(count)]
    columns = [{**COLUMNS[1], "name": name, "min": None} for name in names]
    plan: Record = {
        "features": [describe(name) for name in names], "numbers": make_numbers(*names), "categories": [],
        "order": list(range(count)),
        "model": {"kind": "linear", "coefficients": [weight * (x - 2) for x in range(count)], "intercept": 0.0},
        "calibration": calibration,
    }  # fmt: skip
    scorer = Scorer(plan, dict.fromkeys(names, "float64"), None)
    return Bundle("0" * 64, MANIFEST, Schema(columns, 10), scorer, [], background)


def find_shares(told: Record) -> dict[str, float]:
    return {record["column"]: record["contribution"] for record in told["contributions"]}


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_base_contributions_and_others_add_up_to_the_probability(row: Record) -> None:
    told = explain_row(make_bundle(), row)
    total = told["base"] + sum(find_shares(told).values()) + told["others"]
    assert total == pytest.approx(make_bundle().score_one(row), abs=1e-12)
    assert told["base"] == pytest.approx(np.mean([compute_probability(other) for other in BACKGROUND]), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_a_column_that_the_model_does_not_read_moves_nothing(row: Record) -> None:
    assert find_shares(explain_row(make_bundle(), row))["senior"] == 0


@pytest.mark.parametrize("rows", range(1, 12, 2))
def test_a_column_that_a_wide_model_does_not_read_moves_nothing(rows: int) -> None:
    """Exactly: a row's probability must not depend on where in a list it stands, not even in its last bit."""
    rng = np.random.default_rng(rows)
    background = [{f"x{number}": float(rng.normal()) for number in range(20)} for _ in range(rows)]
    bundle = make_sum(20, background, 0.1, {"kind": "none"})
    two = replace(bundle, schema=Schema([bundle.schema.columns["x0"], COLUMNS[3]], 10))
    assert find_shares(explain_row(two, {"x0": 0.5, "senior": 1}))["senior"] == 0


@settings(deadline=None, max_examples=20)
@given(ROWS)
def test_the_same_request_has_the_same_explanation(row: Record) -> None:
    """Told from nothing but the row, whose keys may come in any order; and neither it nor the background is changed."""
    before, background = dict(row), [dict(other) for other in BACKGROUND]
    told = explain_row(make_bundle(), row)
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    assert explain_row(make_bundle(), dict(reversed(row.items()))) == told
    assert row == before and make_bundle().background == background


def test_an_absent_column_is_told_as_absent() -> None:
    told = explain_row(make_bundle(), {"months": 12, "senior": 0})
    assert told == explain_row(make_bundle(), {"months": 12, "senior": 0, "spend": None, "plan": None})
    assert {record["column"]: record["value"] for record in told["contributions"]} == {
        "months": 12, "senior": 0, "spend": None, "plan": None,
    }  # fmt: skip


def test_the_strongest_come_first() -> None:
    told = explain_row(make_bundle(), ROW)
    strength = [abs(record["contribution"]) for record in told["contributions"]]
    assert strength == sorted(strength, reverse=True) and strength[0] > 0


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_where_columns_only_add_each_has_its_own_difference(values: list[float]) -> None:
    """Shapley values of a sum are its terms, each less its mean over the background; the slope is 1/4 at a half, times 50,000."""
    rng = np.random.default_rng(0)
    names = [f"x{number}" for number in range(8)]
    background = [dict(zip(names, rng.uniform(-1, 1, 8).tolist(), strict=True)) for _ in range(6)]
    told = explain_row(make_sum(8, background, 1e-6, STEEP), dict(zip(names, values, strict=True)))
    weights = 1e-6 * (np.arange(8) - 2) / 4 * 50_000
    mean = np.array([[other[name] for name in names] for other in background]).mean(axis=0)
    expected = dict(zip(names, weights * (np.array(values) - mean), strict=True))
    shares = find_shares(told)
    assert len(shares) == SHOWN
    assert shares == pytest.approx({name: expected[name] for name in shares}, abs=1e-9)
    assert told["others"] == pytest.approx(sum(expected.values()) - sum(shares.values()), abs=1e-9)
    hidden = max(abs(expected[name]) for name in names if name not in shares)
    assert hidden <= min(map(abs, shares.values())) + 1e-9


def test_two_columns_share_what_they_do_together() -> None:
    """Of two columns both orders are walked: these are Shapley's values, by their definition."""
    columns = [{**COLUMNS[1], "name": name, "min": None} for name in ("x0", "x1")]
    plan: Record = {
        "features": [describe("both", "x0 * x1", ["x0", "x1"]), describe("x0")], "numbers": make_numbers("both", "x0"),
        "categories": [], "order": [0, 1], "calibration": {"kind": "none"},
        "model": {"kind": "linear", "coefficients": [2.0, -1.0], "intercept": 0.5},
    }  # fmt: skip
    scorer = Scorer(plan, {"x0": "float64", "x1": "float64"}, None)
    background = [{"x0": -0.5, "x1": 1.0}, {"x0": 2.0, "x1": None}, {"x0": 0.0, "x1": 0.25}]
    bundle = Bundle("0" * 64, MANIFEST, Schema(columns, 10), scorer, [], background)
    row = {"x0": 1.5, "x1": -0.75}
    expected = {"x0": 0.0, "x1": 0.0}
    for other in background:
        for order in permutations(expected):
            steps = [{**other, **{name: row[name] for name in order[:count]}} for count in range(3)]
            for name, (before, after) in zip(order, pairwise(steps), strict=True):
                expected[name] += (bundle.score_one(after) - bundle.score_one(before)) / 2 / len(background)
    assert find_shares(explain_row(bundle, row)) == pytest.approx(expected, abs=1e-12)


def test_a_row_of_the_background_alone_is_explained_by_nothing() -> None:
    bundle = make_sum(3, [{"x0": 0.1, "x1": 0.2, "x2": 0.3}] * 4, 1e-6, STEEP)
    told = explain_row(bundle, bundle.background[0])
    assert set(find_shares(told).values()) == {0.0} and told["others"] == 0
    assert told["base"] == pytest.approx(bundle.score_one(bundle.background[0]), abs=1e-12)
