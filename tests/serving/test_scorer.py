import math
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lifecycle.serving.scorer import LIMIT, Scorer

Record = dict[str, Any]
DTYPES = {
    "age": "float64", "count": "int64", "active": "string", "loud": "bool", "plan": "string", "zone": "int64",
    "since": "datetime",
}  # fmt: skip
# The model's own words for what is derived, beside the expressions of the plan.
DERIVED: dict[str, Callable[[Record], float | None]] = {
    "pace": lambda row: (
        None if None in (row["age"], row["count"]) or row["count"] == 4 else row["age"] / (row["count"] - 4)
    ),
    "noon": lambda row: None if row["since"] is None else float(row["since"].hour >= 12),
    "month": lambda row: None if row["since"] is None else row["since"].month,
    "young": lambda row: float(row["plan"] == "basic") + float(row["age"] is not None and row["age"] < 30),
}
EXPRESSIONS = {
    "pace": ("age / (count - 4)", ["age", "count"]),
    "noon": ("where(is_missing(since), log(-1 * month(since)), hour(since) >= 12)", ["since"]),
    "month": ("month(since)", ["since"]),
    "young": ('(plan == "basic") + (age < 30)', ["plan", "age"]),
}
LINEAR: Record = {
    "kind": "linear", "intercept": 0.3,
    "coefficients": [0.5, -0.7, 0.02, 0.9, -0.1, 0.06, 0.4, -0.3, 0.8, 0.2, 1.1, -1.3, 0.7, -0.9, 0.25, 0.6],
}  # fmt: skip
CURVE = {"column": 3, "breaks": [-2.0, 0.0, 3.0], "pieces": [[0.1, -0.05], [0.0, 0.3], [0.2, -0.4], [0.5, 0.1]]}


def describe(name: str, kind: str = "numeric", values: list[Any] | None = None) -> Record:
    text, columns = EXPRESSIONS.get(name, (None, [name]))
    return {"name": name, "kind": kind, "expression": text, "columns": columns, "values": values}


def make_plan(*, fences: bool = True, curve: bool = False, **changes: Any) -> Record:
    """A plan with everything in it, whose columns stand in another order in the model."""
    free = [None] * 8
    plan: Record = {
        "features": [
            describe("age"), describe("count"), describe("active", "boolean", ["no", "yes"]),
            describe("loud", "boolean"), describe("pace"), describe("noon"), describe("month"), describe("young"),
            describe("plan", "categorical"), describe("zone", "categorical"),
        ],
        "numbers": {
            "names": ["age", "count", "active", "loud", "pace", "noon", "month", "young"],
            "low": [-10.0, None, *free[2:]] if fences else free,
            "high": [90.0, None, None, None, 50.0, None, None, None] if fences else free,
            "fill": [40.0, 3.0, 1.0, 0.0, 2.5, 0.0, 6.0, 1.0],
            "mean": [35.0, 2.0, 0.0, 0.0, 1.0, 0.5, 6.5, 0.0], "scale": [20.0, 4.0, 1.0, 1.0, 8.0, 0.5, 3.0, 1.0],
            "missing_indicators": [{"column": 0, "mean": 0.1, "scale": 0.3}, {"column": 4, "mean": 0.2, "scale": 0.4}],
        },
        "categories": [
            {"name": "plan", "codes": {"basic": 0, "plus": 1}, "missing": 2, "other": 3, "width": 4, "start": 0},
            {"name": "zone", "codes": {"1": 0, "-2": 1}, "missing": None, "other": None, "width": 2, "start": 4},
        ],
        "order": [10, 3, 0, 4, 8, 2, 15, 1, 12, 9, 5, 11, 6, 13, 7, 14],
        "model": LINEAR | ({"curves": [CURVE]} if curve else {}),
        "calibration": {"kind": "none"},
    }  # fmt: skip
    return plan | changes


def build_columns(plan: Record, row: Record) -> list[float]:
    """The model's columns of a row, straight from what a plan means."""
    numbers, boolean = plan["numbers"], {"no": 0.0, "yes": 1.0}
    block, gaps = [], []
    for place, name in enumerate(numbers["names"]):
        value = DERIVED[name](row) if name in DERIVED else row.get(name)
        if name == "active":
            value = boolean.get(value)
        gaps.append(value is None or not math.isfinite(value))
        low, high = numbers["low"][place], numbers["high"][place]
        if gaps[-1]:
            fill = numbers["fill"][place]
            value = math.nan if fill is None else fill
        elif low is not None and value < low:
            value = low
        elif high is not None and value > high:
            value = high
        block.append((value - numbers["mean"][place]) / numbers["scale"][place])
    block += [(float(gaps[mark["column"]]) - mark["mean"]) / mark["scale"] for mark in numbers["missing_indicators"]]
    for level in plan["categories"]:
        value = row.get(level["name"])
        place = level["missing"] if value is None else level["codes"].get(str(value), level["other"])
        block += [float(place == column) for column in range(level["width"])]
    return [block[place] for place in plan["order"]]


def evaluate_curve(curve: Record, x: float) -> float:
    breaks = curve["breaks"]
    x = min(max(x, breaks[0]), breaks[-1])
    piece = sum(x >= point for point in breaks[1:-1])
    return sum(
        row[piece] * (x - breaks[piece]) ** power for row, power in zip(curve["pieces"], (3, 2, 1, 0), strict=True)
    )


def find_log_odds(plan: Record, row: Record) -> tuple[float, float]:
    """The log-odds of a row, and the sum of what they are added from, without signs."""
    columns, model = build_columns(plan, row), plan["model"]
    terms = [model["intercept"], *(a * b for a, b in zip(model["coefficients"], columns, strict=True))]
    terms += [evaluate_curve(curve, columns[curve["column"]]) for curve in model.get("curves", [])]
    return math.fsum(terms), math.fsum(map(abs, terms))


def to_probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


ROW: Record = {
    "age": 50.0, "count": 2, "active": "yes", "loud": True, "plan": "basic", "zone": 1,
    "since": datetime(2026, 3, 1, 18, 30),  # noqa: DTZ001 - a request's moments are in UTC, without a zone
}  # fmt: skip
ROWS = st.fixed_dictionaries({
    "age": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 200),
    "count": st.none() | st.integers(-10, 10) | st.integers(-(10**6), 10**6),
    "active": st.sampled_from([None, "no", "yes", "perhaps", ""]),
    "loud": st.sampled_from([None, False, True]),
    "plan": st.none() | st.sampled_from(["basic", "plus", "PLUS", "", "None", "nan"]) | st.text(max_size=3),
    "zone": st.none() | st.sampled_from([1, -2, 0, 2**53]),
    "since": st.none() | st.datetimes(),
})  # fmt: skip
PLANS = {
    "fenced": make_plan(),
    "free": make_plan(fences=False),
    "curved": make_plan(curve=True),
    "unmarked": make_plan(
        numbers={**make_plan()["numbers"], "missing_indicators": []}, order=[8, 3, 0, 4, 2, 13, 1, 10, 7, 5, 9, 6, 11, 12],
        model={**LINEAR, "coefficients": LINEAR["coefficients"][:14]},
    ),
    "underived": make_plan(
        features=[describe("count"), describe("plan", "categorical")], categories=make_plan()["categories"][:1], order=[2, 0, 1, 4, 3],
        numbers={"names": ["count"], "low": [None], "high": [None], "fill": [3.0], "mean": [1.0], "scale": [2.0], "missing_indicators": []},
        model={**LINEAR, "coefficients": [0.5, -0.5, 1.0, 0.25, 2.0]},
    ),
}  # fmt: skip
SCORERS = {name: Scorer(plan, DTYPES, None) for name, plan in PLANS.items()}


@pytest.mark.parametrize("name", PLANS)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
@example(rows=[ROW])
@example(rows=[ROW, dict.fromkeys(DTYPES)])
@example(rows=[{**ROW, "age": 1.7e308}, {**ROW, "age": -1.7e308}, {**ROW, "age": -0.0}, {**ROW, "count": 4}])
@settings(max_examples=40, deadline=None)
def test_one_row_and_many_give_what_the_plan_means(name: str, rows: list[Record]) -> None:
    """Rows with a gap beside rows without; huge values; words that training never saw."""
    scorer = SCORERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together, single = scorer.score(rows), [scorer.score_one(row) for row in rows]
    assert together.dtype == np.float64 and together.shape == (len(rows),)
    for row, *given_both in zip(rows, together.tolist(), single, strict=True):
        log_odds, size = find_log_odds(PLANS[name], row)
        assert given_both == pytest.approx([to_probability(log_odds)] * 2, abs=min(1e-12 * (1 + size), 1e-3))


@pytest.mark.parametrize("name", PLANS)
def test_a_row_does_not_see_its_neighbours(name: str) -> None:
    rows = [ROW, dict.fromkeys(DTYPES), {**ROW, "age": 1e300}, {**ROW, "count": 4}, {**ROW, "plan": "never seen"}]
    scorer = SCORERS[name]
    alone = np.concatenate([scorer.score([row]) for row in rows])
    np.testing.assert_allclose(scorer.score(rows), alone, rtol=0, atol=1e-15)
    np.testing.assert_allclose(scorer.score(rows[::-1])[::-1], alone, rtol=0, atol=1e-15)


def test_an_absent_key_is_a_missing_value() -> None:
    scorer = SCORERS["fenced"]
    assert scorer.score_one({}) == scorer.score_one(dict.fromkeys(DTYPES))
    assert scorer.score([{}])[0] == scorer.score([dict.fromkeys(DTYPES)])[0]


def find_weight(changes: Record, to: Record, name: str = "fenced") -> float:
    """How the log-odds of two rows differ; both ways of scoring must say the same."""
    scorer = SCORERS[name]
    single = [scorer.score_one({**ROW, **row}) for row in (changes, to)]
    together = scorer.score([{**ROW, **row} for row in (changes, to)]).tolist()
    assert single == pytest.approx(together, rel=1e-12)
    first, second = (math.log(p / (1 - p)) for p in single)
    return second - first


def weigh(block: int) -> float:
    """The coefficient of a block's column, wherever it stands in the model."""
    return float(LINEAR["coefficients"][PLANS["fenced"]["order"].index(block)])


@pytest.mark.parametrize(
    ("plan", "place"),
    [("basic", 10), ("plus", 11), (None, 12), ("other", 13), ("Basic", 13), ("", 13), ("None", 13), ("nan", 13)],
)
def test_a_level_a_gap_and_what_is_rare_or_unknown_have_each_their_weight(plan: str | None, place: int) -> None:
    young = {10: 0.0}.get(place, -weigh(7))  # the derived feature reads the plan too
    assert find_weight({"plan": "basic"}, {"plan": plan}) == pytest.approx(weigh(place) - weigh(10) + young)


@pytest.mark.parametrize(("zone", "weight"), [(1, weigh(14)), (-2, weigh(15)), (None, 0.0), (2, 0.0), (0, 0.0)])
def test_where_nothing_is_kept_for_a_gap_or_an_unknown_level_nothing_is_added(zone: int | None, weight: float) -> None:
    assert find_weight({"zone": 99}, {"zone": zone}) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("active", "as_number"), [("no", 0.0), ("yes", 1.0), (None, 1.0), ("perhaps", 1.0), ("YES", 1.0), ("", 1.0)]
)  # fmt: skip
def test_the_second_of_two_words_is_one_and_any_other_a_gap(active: str | None, as_number: float) -> None:
    assert find_weight({"active": "no"}, {"active": active}) == pytest.approx(weigh(2) * as_number)


@pytest.mark.parametrize("values", [[False, True], [True, False], [1, 0], [0, 1], [1, 2], [0.0, 1.0]])
def test_truth_values_are_told_in_any_words(values: list[Any]) -> None:
    plan = make_plan()
    plan["features"][3]["values"] = values
    scorer = Scorer(plan, DTYPES, None)
    for place, value in enumerate(values):
        row = {**ROW, "loud": value}
        expected = SCORERS["fenced"].score_one({**ROW, "loud": bool(place)})
        assert [scorer.score_one(row), scorer.score([row])[0]] == pytest.approx([expected] * 2, rel=1e-12)


@pytest.mark.parametrize(
    ("age", "clipped"), [(90.0, 90.0), (90.1, 90.0), (1.7e308, 90.0), (-10.0, -10.0), (-11.0, -10.0), (-1.7e308, -10.0)]
)  # fmt: skip
def test_a_number_is_kept_within_its_fences(age: float, clipped: float) -> None:
    """What is derived from it is not: `count` is 4, and the pace a gap either way."""
    assert find_weight({"age": 50.0, "count": 4}, {"age": age, "count": 4}) == pytest.approx(
        weigh(0) * (clipped - 50) / 20 + weigh(7) * (age < 30)
    )


def test_a_marked_gap_adds_what_fills_it_and_its_mark() -> None:
    expected = weigh(0) * (40.0 - 50.0) / 20 + weigh(8) / 0.3
    assert find_weight({"age": 50.0, "count": 4}, {"age": None, "count": 4}) == pytest.approx(expected)
    pace = 50.0 / (3 - 4)
    expected = weigh(4) * (2.5 - pace) / 8 + weigh(9) / 0.4 + weigh(1) * (4 - 3) / 4
    assert find_weight({"count": 3}, {"count": 4}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("log_odds", "probability"),
    [(-1e308, 0.0), (-1e4, 0.0), (-709.9, 0.0), (-690.0, 1e-300), (0.0, 0.5), (40.0, 1.0), (1e4, 1.0), (1e308, 1.0)],
)
@pytest.mark.parametrize("curve", [False, True])
def test_log_odds_beyond_exp_are_sure(log_odds: float, probability: float, curve: bool) -> None:
    model = {"kind": "linear", "coefficients": [0.0] * 16, "intercept": log_odds}
    flat = {**CURVE, "pieces": [[0.0, 0.0]] * 4}
    plan = make_plan(model=model | ({"curves": [flat]} if curve else {}))
    scorer = Scorer(plan, DTYPES, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [scorer.score_one(ROW), *scorer.score([ROW, dict.fromkeys(DTYPES)])]
    assert found == pytest.approx([probability] * 3, abs=1e-299)


def test_an_undefined_probability_is_nan_in_both_ways() -> None:
    """Two huge values that cancel: a fallback answers when a probability is NaN, so a NaN must stay one."""
    numbers = {
        "names": ["age", "count"],
        "fill": [0.0] * 2,
        "mean": [0.0] * 2,
        "scale": [1e-300] * 2,
        "missing_indicators": [],
    }
    plan = make_plan(
        features=[describe("age"), describe("count")], numbers=numbers | {"low": [None] * 2, "high": [None] * 2},
        categories=[], order=[0, 1], model={"kind": "linear", "intercept": 0.0, "coefficients": [1.0, -1.0]},
    )  # fmt: skip
    scorer = Scorer(plan, DTYPES, None)
    row = {"age": 1e300, "count": 2**52}
    assert np.isnan(scorer.score([row])).all()
    assert math.isnan(scorer.score_one(row))


# --- calibration


def calibrate(record: Record, log_odds: float) -> list[float]:
    plan = make_plan(calibration=record, model={"kind": "linear", "coefficients": [0.0] * 16, "intercept": log_odds})
    scorer = Scorer(plan, DTYPES, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [scorer.score_one(ROW), *scorer.score([ROW, ROW])]


@settings(deadline=None, max_examples=50)
@given(st.floats(-1000, 1000), st.floats(-100, 100), st.floats(-20, 20))
@example(1e6, 1.0, 0.0)
@example(-1e6, 1.0, 0.0)
@example(-1e6, 100.0, 0.0)
@example(0.0, 0.0, 0.0)
def test_a_sigmoid_maps_log_odds_within_the_limit(log_odds: float, slope: float, intercept: float) -> None:
    edge = math.log((1 - LIMIT) / LIMIT)
    expected = to_probability(slope * min(max(log_odds, -edge), edge) + intercept)
    found = calibrate({"kind": "sigmoid", "slope": slope, "intercept": intercept}, log_odds)
    assert found == pytest.approx([expected] * 3, abs=1e-8 * (1 + abs(slope)))


KNOTS, LEVELS = [0.1, 0.3, 0.3000001, 0.8], [0.0, 0.2, 0.6, 1.0]


@settings(deadline=None, max_examples=50)
@given(st.floats(-1000, 1000))
@example(-1e6)
@example(1e6)
@example(math.log(0.1 / 0.9))
@example(math.log(4))
def test_isotonic_steps_are_joined_and_end_at_the_limit(log_odds: float) -> None:
    p = to_probability(log_odds)
    expected = LEVELS[0] if p <= KNOTS[0] else LEVELS[-1]
    for place in range(3):
        if KNOTS[place] < p <= KNOTS[place + 1]:
            share = (p - KNOTS[place]) / (KNOTS[place + 1] - KNOTS[place])
            expected = LEVELS[place] + share * (LEVELS[place + 1] - LEVELS[place])
    expected = min(max(expected, LIMIT), 1 - LIMIT)
    found = calibrate({"kind": "isotonic", "knots": KNOTS, "values": LEVELS}, log_odds)
    assert found == pytest.approx([expected] * 3, abs=1e-8)


def test_one_isotonic_knot_is_a_constant() -> None:
    assert calibrate({"kind": "isotonic", "knots": [0.5], "values": [0.4]}, 3.0) == [0.4] * 3


# --- trees

Split = tuple[int, float, bool, float, float]  # column, threshold, whether a gap goes left, leaves left and right
SPLITS: list[Split] = [
    (2, 0.1, True, -1.5, 0.8),  # of the model's columns: the age,
    (3, 0.45, False, 0.4, -0.6),  # the pace, a gap of which stays one,
    (0, 0.5, True, 0.3, -0.2),  # whether the plan is basic,
    (8, 0.5, True, 0.1, 1.4),  # or absent,
    (7, -0.25, False, 0.2, -0.9),  # the count
]  # fmt: skip
SHARE = 4.0  # of a leaf's size, as a forest's share


def grow(*, shares: bool) -> bytes:
    """A tree for each split: summed log-odds, or averaged shares of both classes."""
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    count = len(SPLITS)
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(
            num_feature=16, task_type="kMultiClf" if shares else "kBinaryClf", average_tree_output=shares, num_target=1,
            num_class=[2 if shares else 1], leaf_vector_shape=(1, 2 if shares else 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=count, target_id=[0] * count, class_id=[-1 if shares else 0] * count),
        postprocessor=PostProcessorFunc("identity_multiclass" if shares else "sigmoid"),
        base_scores=[0.0, 0.0] if shares else [0.25],
    )  # fmt: skip
    for column, threshold, gap_left, *leaves in SPLITS:
        builder.start_tree()
        builder.start_node(0)
        builder.numerical_test(
            feature_id=column, threshold=threshold, default_left=gap_left, opname="<=", left_child_key=1, right_child_key=2
        )  # fmt: skip
        builder.end_node()
        for key, leaf in enumerate(leaves, 1):
            builder.start_node(key)
            share = abs(leaf) / SHARE
            builder.leaf([1 - share, share] if shares else leaf)
            builder.end_node()
        builder.end_tree()
    serialised: bytes = builder.commit().serialize_bytes()
    return serialised


def climb(columns: list[float], *, shares: bool) -> float:
    """What the trees give for the model's columns."""
    total = 0.0 if shares else 0.25
    for column, threshold, gap_left, left, right in SPLITS:
        value = columns[column]
        goes_left = gap_left if math.isnan(value) else value <= threshold
        leaf = left if goes_left else right
        total += abs(leaf) / SHARE / len(SPLITS) if shares else leaf
    return total if shares else to_probability(total)


@cache
def make_trees(shares: bool) -> tuple[Record, Scorer]:
    """A plan whose pace, and no other number, is left absent where it is; and its scorer."""
    plan = make_plan(model={"kind": "trees", **(
        {"inputs": "float32", "output": "shares"} if shares else {"inputs": "float64", "output": "log-odds"}
    )})  # fmt: skip
    plan["numbers"]["fill"][4] = None
    return plan, Scorer(plan, DTYPES, grow(shares=shares))


@pytest.mark.parametrize("shares", [False, True])
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
@example(rows=[ROW, dict.fromkeys(DTYPES), {**ROW, "age": 1.7e308}, {**ROW, "age": -1.7e308}])
@settings(max_examples=40, deadline=None)
def test_trees_give_what_their_splits_mean(shares: bool, rows: list[Record]) -> None:
    plan, scorer = make_trees(shares)
    expected = []
    for row in rows:
        columns = build_columns(plan, row)
        with np.errstate(over="ignore"):
            columns = np.float32(columns).tolist() if shares else columns  # scikit-learn's forests compare in float32
        expected.append(climb(columns, shares=shares))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scorer.score(rows).tolist() == pytest.approx(expected, abs=1e-12)
        assert [scorer.score_one(row) for row in rows] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("shares", "left"), [(True, True), (False, False)])
def test_a_forest_compares_in_float32(shares: bool, left: bool) -> None:
    """A hair above the split's threshold is the threshold in float32, which scikit-learn's forests compare in."""
    _, scorer = make_trees(shares)
    at, near, far = ({**ROW, "count": 1 + more} for more in (0.0, 1e-9, 1e-3))  # scaled: the threshold and above
    assert (scorer.score_one(near) == scorer.score_one(at)) is left
    assert scorer.score_one(far) != scorer.score_one(at)
    assert scorer.score([near, far]).tolist() == [scorer.score_one(near), scorer.score_one(far)]


def test_trees_are_calibrated_too() -> None:
    plan, scorer = make_trees(True)
    plan = {**plan, "calibration": {"kind": "isotonic", "knots": [0.0, 1.0], "values": [1.0, 0.0]}}
    flipped = Scorer(plan, DTYPES, grow(shares=True))
    assert flipped.score_one(ROW) == pytest.approx(1 - scorer.score_one(ROW))
