from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from lifecycle.core.histograms import CategoryCounts
from lifecycle.monitoring import drift  # its `test_` functions must not be taken for tests
from lifecycle.monitoring.drift import (
    _EXACT,
    _MAX_P,
    MULTIVARIATE,
    _bound_ks,
    _compare_errors,
    _measure_js,
    combine_p,
    compare_window,
    judge_windows,
)
from lifecycle.monitoring.reference import Kind, WindowCounts, build_reference, count_window
from tests.support.frames import KINDS, frames

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int], Array]


def compare(before: Any, now: Any, kind: Kind = "numeric") -> pd.Series:
    """The drift table's row of one column, then and now."""
    reference = build_reference(pd.DataFrame({"x": before}), {"x": kind})
    return compare_window(reference, count_window(pd.DataFrame({"x": now}), reference)).iloc[0]


def judge(
    before: pd.DataFrame, windows: Sequence[pd.DataFrame], kinds: dict[str, Kind], *, false_alarms: float = 0.01,
    min_rows: int = 100, min_psi: float = 0.01,
) -> list[pd.DataFrame | None]:  # fmt: skip
    reference = build_reference(before, kinds)
    counted = [count_window(window, reference) for window in windows]
    tables = judge_windows(reference, counted, false_alarms=false_alarms, min_rows=min_rows, min_psi=min_psi)
    return [None if table is None else table.set_index("column") for table in tables]


def draw_columns(rng: np.random.Generator, rows: int, shift: float = 0.0) -> pd.DataFrame:
    """Five columns of several kinds, the first of which is moved."""
    return pd.DataFrame({
        "a": rng.normal(shift, 1, rows),
        "b": rng.exponential(1, rows),
        "c": rng.integers(0, 6, rows),
        "d": rng.choice(["x", "y", "z"], rows, p=[0.6, 0.3, 0.1]),
        "e": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
    })  # fmt: skip


COLUMNS: dict[str, Kind] = {"a": "numeric", "b": "numeric", "c": "numeric", "d": "categories", "e": "numeric"}


# --- against scipy, on the rows themselves


@pytest.mark.parametrize(("rows", "later"), [(300, 200), (2000, 500), (5000, 5000)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_kolmogorov_smirnov_test_of_few_values_is_that_of_the_rows(rows: int, later: int, shift: float) -> None:
    rng = np.random.default_rng([rows, later])
    before, now = rng.integers(0, 40, rows), np.round(rng.integers(0, 40, later) * (1 + shift / 4))
    now = np.minimum(now, 39)
    expected = stats.ks_2samp(before, now, method="asymp")
    near = {"rel": 1e-9} if rows * later / (rows + later) <= _EXACT else {"rel": 0.1, "abs": 1e-12}
    assert compare(before, now)["ks_p"] == pytest.approx(expected.pvalue, **near)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_kolmogorov_smirnov_test_in_bins_is_close_to_that_of_the_rows(shift: float) -> None:
    rng = np.random.default_rng(1)
    before, now = rng.normal(size=5000), rng.normal(shift, 1, 1500)
    expected = stats.ks_2samp(before, now, method="asymp")
    found = compare(before, now)["ks_p"]
    effective = 5000 * 1500 / 6500
    bound = stats.kstwo.sf(max(0.0, expected.statistic - 2 / 256), round(effective))
    assert expected.pvalue * 0.999 <= found <= bound, "a bin hides at most what is in it"


def test_the_limit_of_the_kolmogorov_smirnov_test_is_a_little_larger_than_its_exact_distribution() -> None:
    for largest in (0.005, 0.01, 0.02, 0.03):
        exact = stats.kstwo.sf(largest, 2 * _EXACT)
        assert exact <= _bound_ks(largest, 4 * _EXACT, 4 * _EXACT) <= 1.1 * exact + 1e-9


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_the_wasserstein_distance_is_that_of_the_rows(few: bool, shift: float) -> None:
    rng = np.random.default_rng(2)
    before, now = rng.normal(size=4000), rng.normal(shift, 1, 1000)
    if few:
        before, now = np.round(before), np.round(now)
        now = now[np.isin(now, before)]
    expected = stats.wasserstein_distance(before, now) / before.std()
    assert compare(before, now)["distance"] == pytest.approx(expected, abs=1e-9 if few else 0.01)


@given(st.lists(st.tuples(st.integers(12, 500), st.integers(12, 500)), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_pearsons_test_is_scipys(cells: list[tuple[int, int]]) -> None:
    table = np.array(cells, dtype=float).T
    smallest = table.sum(axis=0).min() * table.sum(axis=1).min() / table.sum()
    expected = stats.chi2_contingency(table, correction=False).pvalue
    if smallest >= 5:
        assert drift.cells_pvalue(*table) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.integers(0, 6), st.integers(1, 400), st.integers(0, 6), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_few_missing_values_are_judged_by_fishers_test(gone: int, there: int, gone_now: int, there_now: int) -> None:
    table = np.array([[gone, there], [gone_now, there_now]])
    found = drift._missing_pvalue(gone, there, gone_now, there_now)
    if gone + gone_now == 0:
        assert np.isnan(found)
        return
    least = (table.sum(axis=0)[:, None] * table.sum(axis=1) / table.sum()).min()
    if least >= 5:
        expected = stats.chi2_contingency(table, correction=False).pvalue
    else:
        tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        expected = min(1.0, 2 * min(tails))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("fresh", "rows", "later"), [(1, 1000, 100), (3, 50, 40), (40, 10, 40), (5, 1e6, 1e5)])
def test_the_chance_that_a_level_came_only_now_is_hypergeometric(fresh: int, rows: int, later: int) -> None:
    expected = stats.hypergeom.pmf(fresh, int(rows + later), fresh, int(later))
    found = drift._unseen_pvalue(np.array([rows]), np.array([later - fresh]), np.array([fresh]))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_chance_of_new_levels_is_that_of_permutations() -> None:
    rng = np.random.default_rng(0)
    levels = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    window = np.arange(len(levels)) < len(levels) // 3
    counts = []
    for _ in range(20_000):
        now = levels[rng.permutation(window)]
        earlier = np.bincount(levels, minlength=40) - np.bincount(now, minlength=40)
        counts.append(np.bincount(now, minlength=40)[earlier == 0].sum())
    drawn = np.array(counts)
    pooled = np.bincount(levels, minlength=40)
    for unseen in ([2], [1, 1, 2], [3, 3, 2, 1, 1]):
        place = np.concatenate([np.flatnonzero(pooled == size)[: unseen.count(size)] for size in sorted(set(unseen))])
        known = np.setdiff1d(np.arange(40), place)
        now = np.minimum(pooled[known] - 1, 1)
        now[0] += window.sum() - sum(unseen) - now.sum()  # so that the window has its rows
        found = drift._unseen_pvalue(pooled[known] - now, now, np.array(unseen))
        assert found == pytest.approx((drawn >= sum(unseen)).mean(), abs=0.03)


TAIL = np.arange(1, 101) ** -1.2 / (np.arange(1, 101) ** -1.2).sum()


def test_a_category_that_almost_surely_stays_behind_has_a_chance_of_zero() -> None:
    """That all of its 238 rows were drawn into the window has a chance of 7e-309, which scipy's binomial cannot hold."""
    found = compare(np.repeat(["a", "b"], [6776, 238]), np.repeat(["a", "new"], [499, 1]), "categories")
    assert found["new"] == ("new",) and 0 < found["p"] < 1


def draw_tail(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    return pd.DataFrame({"x": rng.choice([f"level {place}" for place in range(100)], rows, p=TAIL)})


def test_a_long_tail_of_rare_levels_is_quiet() -> None:
    """The demonstration: 98 % of the quiet windows fired where 1 % is nominal."""
    rng = np.random.default_rng(5)
    fired = []
    for _ in range(60):
        before = draw_tail(rng, 1500)
        tables = judge(before, [draw_tail(rng, 500) for _ in range(5)], {"x": "categories"})
        fired += [table is not None and bool(table.loc["x", "drifted"]) for table in tables]
    assert sum(fired) <= 9  # of 300, where 3 are expected: more have a chance below one in a thousand


def test_a_new_level_in_a_long_tail_is_found() -> None:
    rng = np.random.default_rng(6)
    before, now = draw_tail(rng, 1500), draw_tail(rng, 500)
    now.loc[:24, "x"] = "something else"
    (table,) = judge(before, [now], {"x": "categories"})
    assert table is not None and table.loc["x", "drifted"] and "something else" in table.loc["x", "new"]


def test_what_training_has_seen_is_not_new() -> None:
    rng = np.random.default_rng(7)
    trained, held_out, now = draw_tail(rng, 6000), draw_tail(rng, 400), draw_tail(rng, 2000)
    reference = build_reference(held_out, {"x": "categories"}, trained)
    row = compare_window(reference, count_window(now, reference)).iloc[0]
    assert set(row["new"]) == set(now["x"]) - set(trained["x"]) - set(held_out["x"])
    assert len(row["new"]) < len(set(now["x"]) - set(held_out["x"]))


def test_thousands_of_categories_of_training_are_not_new() -> None:
    """The demonstration: only the 500 most common ones of the training rows were known."""
    trained = pd.DataFrame({"x": [f"shop {place % 2000}" for place in range(6000)]})
    reference = build_reference(trained.iloc[:300], {"x": "categories"}, trained)
    row = compare_window(reference, count_window(trained.iloc[1000:1900], reference)).iloc[0]
    assert row["new"] == ()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_jensen_shannon_distance_is_scipys(cells: list[tuple[int, int]]) -> None:
    one, other = np.array(cells, dtype=float).T
    one, other = one + (one.sum() == 0), other + (other.sum() == 0)
    expected = jensenshannon(one, other, base=2)
    assert _measure_js(one / one.sum(), other / other.sum()) == pytest.approx(np.nan_to_num(expected), abs=1e-7)


def test_the_jensen_shannon_distance_of_a_column_is_that_of_its_shares() -> None:
    rng = np.random.default_rng(3)
    before, now = rng.choice(list("abc"), 900, p=[0.6, 0.3, 0.1]), rng.choice(list("abcd"), 500)
    shares = [
        pd.Series(side).value_counts(normalize=True).reindex(list("abcd"), fill_value=0) for side in (before, now)
    ]
    row = compare(before, now, "categories")
    assert row["distance"] == pytest.approx(jensenshannon(*shares, base=2))
    assert row["new"] == ("d",) and row["vanished"] == ()


def test_means_are_compared_by_welch() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(0, 1, 4000), rng.normal(0.05, 3, 3000)
    expected = stats.ttest_ind(one, other, equal_var=False).pvalue
    variance = one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)
    assert drift.means_pvalue(other.mean() - one.mean(), variance) == pytest.approx(expected, rel=1e-2)
    row = compare(one, other)
    assert row["mean"] == pytest.approx(other.mean()) and row["mean_before"] == pytest.approx(one.mean())


# --- what must hold of any input


@pytest.mark.filterwarnings("error")
@settings(max_examples=12, deadline=None)
@given(frames(), frames())
def test_no_input_gives_a_warning_or_a_number_that_is_none(before: pd.DataFrame, now: pd.DataFrame) -> None:
    reference = build_reference(before, KINDS)
    table = compare_window(reference, count_window(now, reference))
    for name in ("p", "ks_p", "missing", "missing_before"):
        values = table[name].dropna()
        assert ((values >= 0) & (values <= 1)).all(), (name, values)
    assert (table["psi"].dropna() >= 0).all() and np.isfinite(table["psi"].dropna()).all()
    assert (table.loc[table["kind"] != "multivariate", "distance"].dropna() >= 0).all()
    assert (table.loc[table["kind"] == "categories", "distance"].dropna() <= 1).all()
    windows = [count_window(now, reference)] * 2
    for judged in judge_windows(reference, windows, false_alarms=0.01, min_rows=1, min_psi=0.01):
        assert (judged is None) == (len(now) == 0)
        if judged is not None:
            assert judged["drifted"].dtype == bool
            known = judged["p"].notna()
            assert judged.loc[known, "q"].between(0, 1).all() and not judged.loc[~known, "drifted"].any()


SOME = np.random.default_rng(5).normal(size=500)
DEGENERATE: dict[str, tuple[Any, Any]] = {
    "no rows now": (SOME, []),
    "one row now": (SOME, SOME[:1]),
    "one row before": (SOME[:1], SOME),
    "no rows before": ([], SOME),
    "no rows at all": ([], []),
    "a constant before": ([3.0] * 500, SOME),
    "a constant that stays": ([3.0] * 500, [3.0] * 300),
    "another constant": ([3.0] * 500, [4.0] * 300),
    "all missing now": (SOME, [None] * 300),
    "all missing before": ([None] * 500, SOME),
    "all missing always": ([None] * 500, [None] * 300),
}
PLAIN = {"a constant before", "another constant", "all missing now", "all missing before"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["numeric", "categories"])
@pytest.mark.parametrize("case", sorted(DEGENERATE))
def test_degenerate_columns_are_judged_without_a_trap(case: str, kind: Kind) -> None:
    sides = [pd.Series(side, dtype="float64").astype(object) for side in DEGENERATE[case]]
    if kind == "categories":
        sides = [side.map(lambda value: "neg" if value < 0 else "pos" if value < 3 else str(value), na_action="ignore")
                 for side in sides]  # fmt: skip
    before, now = (pd.DataFrame({"x": side}) for side in sides)
    (table,) = judge(before, [now], {"x": kind}, min_rows=1)
    if not len(now):
        assert table is None
        return
    assert table is not None
    row = table.loc["x"]
    assert bool(row["drifted"]) == (case in PLAIN)
    if case in PLAIN:
        assert row["p"] < 1e-6
    if case == "a constant that stays":
        assert (row["psi"], row["distance"]) == (0, 0) and not row["p"] < 0.5
    assert row["missing"] == (1.0 if "missing now" in case or "always" in case else 0.0)


def test_the_order_of_rows_and_the_names_of_levels_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    before, now = (pd.Series(rng.choice(list("abcde"), rows)) for rows in (900, 400))
    renamed = dict(zip("abcde", ["zz", "1", "ü", "", "b"], strict=True))
    one, other = compare(before, now, "categories"), compare(before.map(renamed), now.map(renamed), "categories")
    numbers, shuffled = compare(SOME, SOME[:200] + 0.1), compare(SOME[::-1], rng.permutation(SOME[:200] + 0.1))
    for mine, its in ((one, other), (numbers, shuffled)):
        for name in ("p", "psi", "distance"):
            assert mine[name] == pytest.approx(its[name], rel=1e-9), name


def test_another_unit_and_another_sign_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    before, now = np.round(rng.normal(size=800), 1), np.round(rng.normal(0.2, 1.2, 400), 1)
    now = now[np.isin(now, before)]
    first = compare(before, now)
    for scale in (1024.0, 2**-10, -1.0):
        other = compare(scale * before, scale * now)
        assert other["distance"] == pytest.approx(first["distance"], rel=1e-9)
        assert other["ks_p"] == pytest.approx(first["ks_p"], rel=1e-9)


def test_the_further_a_column_moves_the_larger_the_measures() -> None:
    rng = np.random.default_rng(8)
    before, now = rng.normal(size=3000), rng.normal(size=1500)
    moved = [compare(before, now + shift) for shift in (0.0, 0.2, 0.5, 1.0, 2.0)]
    mixed = [compare(["a"] * 700 + ["b"] * 300, ["a"] * (700 - more) + ["b"] * (300 + more), "categories")
             for more in (0, 50, 150, 300, 600)]  # fmt: skip
    for rows in (moved, mixed):
        for name in ("psi", "distance"):
            values = [row[name] for row in rows]
            assert values == sorted(values) and values[-1] > 2 * values[1], name
        p = [row["p"] for row in rows]
        assert p == sorted(p, reverse=True) and p[-1] < 1e-10
    assert [row["moved"] for row in moved] == [False, False, False, False, True] or moved[-1]["distance"] > 1.9


P = st.floats(0, 1)


@given(st.lists(P | st.just(np.nan), max_size=6), st.integers(0, 5), P)
@settings(max_examples=100, deadline=None)
def test_a_combined_p_value_is_one_and_no_larger_when_one_of_its_parts_is_smaller(
    values: list[float], place: int, lower: float
) -> None:
    combined = combine_p(values)
    known = [value for value in values if not np.isnan(value)]
    if not known:
        assert np.isnan(combined)
        return
    assert 0 <= combined <= 1
    assert combined == pytest.approx(combine_p(known))
    assert combined >= min(known) / 2 or min(known) > _MAX_P / 2, "many looks make nothing surer than the surest"
    changed = list(known)
    changed[place % len(known)] = min(lower, known[place % len(known)])
    assert combine_p(changed) <= combined + 1e-9


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-16, 1e-15, 1e-12, 1e-6, 0.01, 0.5, 0.9])
def test_one_p_value_stays_what_it_is(p: float) -> None:
    near = {"rel": 1e-6 if p > 1e-10 else 0.1, "abs": 1e-320}
    assert combine_p([p]) == pytest.approx(p, **near)
    assert combine_p([p, float("nan")]) == combine_p([p])
    assert combine_p([p, p]) == pytest.approx(p if p >= 1e-15 else 2 * p, **near)


# --- quiet times


def list_p(draw: Draw, rows: int, later: int, kind: Kind, columns: int, seed: int = 0) -> Array:
    """The p-values of as many columns, each two samples of one distribution."""
    rng = np.random.default_rng(seed)
    names = [f"c{number}" for number in range(columns)]
    before, now = (pd.DataFrame({name: draw(rng, size) for name in names}) for size in (rows, later))
    reference = build_reference(before, dict.fromkeys(names, kind)) | {"components": None}
    return compare_window(reference, count_window(now, reference))["p"].to_numpy(dtype=float)


QUIET: dict[str, tuple[Draw, Kind]] = {
    "normal": (lambda rng, rows: rng.normal(size=rows), "numeric"),
    "skewed": (lambda rng, rows: rng.lognormal(0, 1, rows), "numeric"),
    "whole": (lambda rng, rows: rng.integers(0, 8, rows), "numeric"),
    "with gaps": (lambda rng, rows: np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows)), "numeric"),
    "categories": (lambda rng, rows: rng.choice(4, rows, p=[0.6, 0.25, 0.1, 0.05]), "categories"),
}


@pytest.mark.parametrize("case", sorted(QUIET))
def test_under_no_shift_p_values_are_about_uniform(case: str) -> None:
    draw, kind = QUIET[case]
    p = list_p(draw, 1400, 800, kind, columns=150)
    assert np.mean(p <= 0.01) <= 0.04
    assert 0.04 <= np.mean(p <= 0.1) <= 0.18
    assert 0.25 <= np.mean(p <= 0.5) <= 0.6


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda rng, rows: rng.lognormal(0, 1.5, rows), "numeric"),
        (lambda rng, rows: (rng.random(rows) < 0.003).astype(float), "numeric"),
        (lambda rng, rows: (rng.random(rows) < 0.01).astype(float), "numeric"),
        (lambda rng, rows: np.where(rng.random(rows) < 3e-4, 2, rng.integers(0, 2, rows)), "categories"),
    ],
    ids=["a long tail", "a rare number", "a less rare number", "a rare level"],
)
def test_a_small_window_beside_a_large_reference_is_no_surer_than_it_may_be(draw: Draw, kind: Kind) -> None:
    """One p-value in a hundred is at most 0.01; seven of 200 and more are with a chance of 0.004."""
    assert np.sum(list_p(draw, 8000, 200, kind, columns=200) <= 0.01) <= 6


@pytest.mark.parametrize("columns", [10, 25])
def test_columns_without_any_relation_do_not_seem_to_have_lost_one(columns: int) -> None:
    """Components must not be judged on the rows that they were fitted to: others always leave more."""
    names = [f"c{number}" for number in range(columns)]
    rung = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        before, now = (pd.DataFrame(rng.normal(size=(rows, columns)), columns=names) for rows in (1000, 600))
        reference = build_reference(before, dict.fromkeys(names, "numeric"))
        rung += _compare_errors(reference["components"], count_window(now, reference).errors)["p"] <= 0.01
    assert rung <= 1


def test_a_column_in_two_units_has_no_relation_to_lose() -> None:
    """What components explain to the last digit leaves rounding errors, which say nothing."""

    def draw(rng: np.random.Generator, rows: int, spread: float) -> pd.DataFrame:
        a = rng.normal(0, spread, rows)
        return pd.DataFrame({"euros": a, "cents": 100 * a, "c": rng.normal(size=rows)})

    kinds: dict[str, Kind] = {"euros": "numeric", "cents": "numeric", "c": "numeric"}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        (table,) = judge(draw(rng, 2000, 1.0), [draw(rng, 800, 1.4)], kinds)
        assert table is not None and table.loc["euros", "drifted"]
        assert MULTIVARIATE not in table.index or not table.loc[MULTIVARIATE, "drifted"]


def test_quiet_windows_ring_as_seldom_as_promised() -> None:
    """Five columns, six windows one after the other, nine references: three looks at every row."""
    windows = rung = 0
    for seed in range(9):
        rng = np.random.default_rng(seed)
        reference = build_reference(draw_columns(rng, 1200), COLUMNS) | {"components": None}
        counted = [count_window(draw_columns(rng, 400), reference) for _ in range(6)]
        for table in judge_windows(reference, counted, false_alarms=0.05, min_rows=100, min_psi=0.0):
            assert table is not None
            windows += 1
            rung += bool(table["drifted"].any())
    assert windows == 54 and rung <= 8, "0.05 of them are 3; neighbours share rows"


# --- loud times


def test_a_judgement_knows_none_of_the_later_windows() -> None:
    rng = np.random.default_rng(10)
    before = draw_columns(rng, 1000)
    windows = [draw_columns(rng, rows, shift) for rows, shift in ((300, 0), (50, 0.4), (300, 0.4), (20, 2), (300, 2))]
    whole = judge(before, windows, COLUMNS)
    for place in range(len(windows)):
        part = judge(before, windows[: place + 1], COLUMNS)[place]
        if part is None:
            assert whole[place] is None
        else:
            pd.testing.assert_frame_equal(part, whole[place])


def test_a_plain_shift_is_found_in_its_first_window_and_only_in_its_column() -> None:
    rng = np.random.default_rng(11)
    tables = judge(draw_columns(rng, 1500), [draw_columns(rng, 500, shift) for shift in (0, 0, 0.6, 0.6)], COLUMNS)
    found = [
        table[table["drifted"]].index.drop(MULTIVARIATE, errors="ignore").tolist()
        for table in tables
        if table is not None
    ]
    assert found == [[], [], ["a"], ["a"]]


def test_a_tiny_shift_that_stays_is_found_by_the_longer_look() -> None:
    alone = longer = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        before = pd.DataFrame({"a": rng.normal(size=10_000)})
        windows = [pd.DataFrame({"a": rng.normal(0.13, 1, 400)}) for _ in range(3)]
        tables = judge(before, windows, {"a": "numeric"})
        longer += bool(tables[2].loc["a", "drifted"])  # type: ignore[union-attr, index]
        (single,) = judge(before, windows[2:], {"a": "numeric"})
        alone += bool(single.loc["a", "drifted"])  # type: ignore[union-attr, index]
    assert longer >= 9 and alone <= 6


def test_too_few_rows_are_judged_with_those_before_or_not_at_all() -> None:
    rng = np.random.default_rng(12)
    before = pd.DataFrame({"a": rng.normal(size=1000)})
    sizes = [60, 60, 60, 0, 0, 0, 150]
    tables = judge(before, [pd.DataFrame({"a": rng.normal(2, 1, size)}) for size in sizes], {"a": "numeric"})
    assert [table is not None for table in tables] == [False, True, True, True, False, False, True]
    assert [int(table.loc["a", "rows"]) for table in tables if table is not None] == [120, 180, 120, 150]
    assert all(table.loc["a", "drifted"] for table in tables if table is not None)


def test_what_moved_by_too_little_is_not_told_however_sure_it_is() -> None:
    rng = np.random.default_rng(13)
    before, now = (pd.DataFrame({"a": rng.normal(shift, 1, 200_000)}) for shift in (0, 0.03))
    (told,), (quiet,) = (judge(before, [now], {"a": "numeric"}, min_psi=least) for least in (0.0, 0.01))
    assert told is not None and quiet is not None
    assert told.loc["a", "p"] < 1e-6 and told.loc["a", "drifted"]
    assert quiet.loc["a", "p"] == told.loc["a", "p"] and not quiet.loc["a", "drifted"]


def test_a_constant_column_lends_no_other_its_certainty() -> None:
    """The false discovery rate is shared: one p-value of 0 that means nothing halves the others' burden of proof."""
    rng = np.random.default_rng(14)
    constant = pd.DataFrame({"x": [0.1] * 1000, "y": rng.normal(size=1000)})
    (table,) = judge(constant, [pd.DataFrame({"x": [0.1] * 300, "y": rng.normal(size=300)})],
                     {"x": "numeric", "y": "numeric"}, min_psi=0.0)  # fmt: skip
    assert table is not None and table.loc["x", "q"] > 0.5 and not table.loc["x", "drifted"]


def test_levels_come_and_go() -> None:
    before = ["a"] * 500 + ["b"] * 300 + ["c"] * 5
    row = compare(before, ["a"] * 300 + ["d"] * 40 + ["e"] * 60, "categories")
    assert row["new"] == ("e", "d") and row["vanished"] == ("b",), "c was too rare to be missed"
    assert row["p"] < 1e-10


def test_sketched_levels_are_judged_as_counted_ones() -> None:
    reference = {"rows": 100, "columns": {"x": {"kind": "categories", "missing": 0, "categories": {"a": 50, "b": 50}, "other": 0}},
                 "components": None}  # fmt: skip
    row = compare_window(
        reference, WindowCounts(100, {"x": CategoryCounts({"a": 50, "b": 50}, 0)}, (0, 0.0, 0.0))
    ).iloc[0]
    assert row["psi"] == 0 and row["p"] > 0.9


@pytest.mark.parametrize("factor", [10, 1000])
def test_a_change_beyond_the_last_bin_is_seen(factor: int) -> None:
    """Few values have few bins: whether the largest of them is 10 or 10,000, it is in the last one."""
    before = pd.DataFrame({"x": [0.0] * 800 + [10.0] * 200})
    now = pd.DataFrame({"x": [0.0] * 400 + [10.0 * factor] * 100})
    (table,) = judge(before, [now], {"x": "numeric"})
    assert table is not None and table.loc["x", "p"] < 1e-6 and table.loc["x", "drifted"]


def test_a_column_that_has_come_back_no_longer_rings() -> None:
    """The longer look finds what stays; a window that was broken and is mended does not stay."""
    rng = np.random.default_rng(15)
    before = pd.DataFrame({"a": rng.normal(50, 10, 2000)})
    scales = (1, 100, 1, 1, 1)
    tables = judge(before, [pd.DataFrame({"a": rng.normal(50, 10, 600) * scale}) for scale in scales], {"a": "numeric"})
    assert [bool(table.loc["a", "drifted"]) for table in tables if table is not None] == [
        scale > 1 for scale in scales
    ]  # fmt: skip
