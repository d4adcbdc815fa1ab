import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import _ARRAYS, _VALUES, FUNCTIONS, parse_expression
from lifecycle.core.params import load_params
from lifecycle.stages import features
from tests.support.small import SMALL, read_sample

NUMBERS = st.floats(-1e6, 1e6) | st.just(float("nan"))


def evaluate(text: str, **columns: object) -> list[float]:
    arrays = {
        name: np.asarray(values, dtype=object if isinstance(values[0], str) else None)
        for name, values in columns.items()
    }
    return parse_expression(text, "feature").evaluate(arrays).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 2 * b", [9.0, 12.0]),
        ("-a ** 2", [-1.0, -4.0]),
        ("a / (b - 4)", [np.nan, 2.0]),
        ("log(a - 1)", [np.nan, 0.0]),
        ("sqrt(a - 2)", [np.nan, 0.0]),
        ("(s == 'x') + (a > 1)", [1.0, 1.0]),
        ("s in ['x', 'z']", [1.0, 0.0]),
        ("s not in ['x', 'z']", [0.0, 1.0]),
        ("a > 1 and not s == 'x'", [0.0, 1.0]),
        ("where(a > 1, b, -b)", [-4.0, 5.0]),
        ("max(a, 1.5)", [1.5, 2.0]),
        ("col('a') + col('b')", [5.0, 7.0]),
        ("0 * a + 7", [7.0, 7.0]),
    ],
)
def test_language(text: str, expected: list[float]) -> None:
    result = evaluate(text, a=[1.0, 2.0], b=[4.0, 5.0], s=["x", "y"])
    np.testing.assert_array_equal(result, expected)


def test_time_parts_agree_with_pandas() -> None:
    times = pd.Series(pd.date_range("1968-12-30 05:15", periods=500, freq="37h"))
    array = {"t": times.to_numpy()}
    for name, expected in {
        "hour": times.dt.hour + times.dt.minute / 60,
        "weekday": times.dt.day_of_week,
        "month": times.dt.month,
    }.items():
        np.testing.assert_allclose(parse_expression(f"{name}(t)", name).evaluate(array), expected)


def test_missing_time_is_missing() -> None:
    array = {"t": np.array(["NaT", "2024-02-29"], dtype="datetime64[s]")}
    for name in ("hour", "weekday", "month"):
        assert np.isnan(parse_expression(f"{name}(t)", name).evaluate(array)).tolist() == [True, False]


def test_missing_text_equals_nothing() -> None:
    values = {"s": np.array([None, "x"], dtype=object)}
    assert parse_expression("s == 'x'", "f").evaluate(values).tolist() == [0, 1]
    assert parse_expression("is_missing(s)", "f").evaluate(values).tolist() == [1, 0]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_never_infinite_and_the_same_row_by_row(rows: list[tuple[float, float]]) -> None:
    expression = parse_expression("log1p(a) / b + sqrt(a) * (b > a) - b ** 3", "f")
    a, b = np.array(rows).T
    whole = expression.evaluate({"a": a, "b": b})
    assert not np.isinf(whole).any()
    single = [expression.evaluate({"a": a[[i]], "b": b[[i]]})[0] for i in range(len(rows))]
    np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.b",
        "a[0]",
        "lambda: a",
        "a if b else 1",
        "[x for x in a]",
        "open(a)",
        "a < b < 3",
        "f'{a}'",
        "a := 1",
    ],
)
def test_what_is_not_of_the_language_is_refused(text: str) -> None:
    with pytest.raises(ProjectError, match="feature"):
        parse_expression(text, "feature")


def test_a_constant_is_no_feature() -> None:
    with pytest.raises(ProjectError, match="does not read any column"):
        parse_expression("1 + pi", "feature")


def test_every_function_is_reachable() -> None:
    for name in FUNCTIONS:
        arguments = {"where": "a, a, a", "max": "a, a", "min": "a, a"}.get(name, "a")
        assert parse_expression(f"{name}({arguments})", "feature").columns == ("a",)


def test_declared_features_are_the_same_row_by_row_and_at_once() -> None:
    """Every derived feature of a project, on rows of its table: finite or missing, and a function of its row alone."""
    derived = load_params(SMALL / paths.PARAMS).features.derived
    frame = read_sample().iloc[::60]
    declared = features.list_features(load_contract(SMALL / paths.CONTRACT), list(frame.columns), derived)
    whole = features.compute_features(frame, declared)
    assert set(derived) <= set(whole.columns)
    assert not np.isinf(whole[list(derived)]).any(axis=None)
    for row in range(len(frame)):
        pd.testing.assert_frame_equal(features.compute_features(frame.iloc[[row]], declared), whole.iloc[[row]])


@pytest.mark.example
def test_the_examples_features_by_hand() -> None:
    """monthly_contract_log_tenure and inverse_tenure as params.yaml has them."""
    columns = {"contract": np.array(["Month-to-month", "One year"], dtype=object), "tenure": np.array([3.0, 3.0])}
    derived = load_params(Path(__file__).parents[2] / paths.PARAMS).features.derived
    values = {name: parse_expression(text, name).evaluate(columns).tolist() for name, text in derived.items()}
    assert values == {"monthly_contract_log_tenure": [np.log(4), 0.0], "inverse_tenure": [0.25, 0.25]}


PAIRED = (
    "log1p(a) / b + sqrt(a) * (b > a) - b ** 3",
    "max(a, b) - min(a, 2) + abs(-a) * pi",
    "where(a > 1 and not b < 0 or s == 'x', a / b, cos(b) + sin(a))",
    "(s in ['x', 'y']) + (s not in ['y']) * 2 + is_missing(a) + is_missing(s) * 4 + (s != 'x') + (a <= b) + (a == 1)",
    "log(a) + (-b) ** 0.5 + 1e300 * a * b",
    "hour(t) + 100 * weekday(t) + 1000 * month(t) + is_missing(t)",
)
TIMES = st.none() | st.datetimes()


@pytest.mark.parametrize("text", PAIRED)
@given(row=st.fixed_dictionaries({"a": NUMBERS, "b": NUMBERS, "s": st.sampled_from([None, "x", "y", "z"]), "t": TIMES}))
def test_one_row_gives_what_arrays_give(text: str, row: dict[str, Any]) -> None:
    """The words of the language are defined twice, for arrays and for one row's values: they must agree."""
    arrays = {
        "a": np.array([row["a"]]),
        "b": np.array([row["b"]]),
        "s": np.array([row["s"]], dtype=object),
        "t": np.array([row["t"]], dtype="datetime64[us]"),
    }
    expression = parse_expression(text, "f")
    whole = expression.evaluate(arrays)[0]
    single = float(expression.compute_one(row))
    assert single == pytest.approx(whole, rel=1e-12, nan_ok=True) if math.isfinite(single) else math.isnan(whole)


def test_both_tables_have_the_same_words() -> None:
    assert _ARRAYS.keys() == _VALUES.keys()
