"""Splits and folds: what must be together is, what must be newer is, and where it cannot be a sentence says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_table
from lifecycle.modeling import split, task
from lifecycle.modeling.entities import SplitKeys, find_keys, group_rows, read_keys
from lifecycle.modeling.split import (
    Folds,
    Sides,
    choose_strategy,
    describe_sides,
    describe_split,
    find_obstacle,
    make_folds,
    split_folds,
    split_rows,
)
from lifecycle.modeling.task import BinaryTask
from lifecycle.validation import conversion
from tests.support.contracts import make_contract, make_table
from tests.support.sizes import size

TASK = BinaryTask("left", "yes")
TIME = {"role": "time", "dtype": "datetime"}
ID = {"role": "id", "dtype": "string", "nullable": True}
PLAIN = make_contract()
TIMED = make_contract(at={**TIME, "nullable": True})
BOTH = make_contract(id=ID, household=ID, at={**TIME, "nullable": True})
CONTENT = ["months", "spend", "plan", "senior", "at"]
STRATEGIES = ["stratified", "time", "group", "time_group", "order"]
CANNOT = "only one class|no rows|at least two rows|fewer than|too few or too uneven"


def make_frame(rows: int, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Rows whose content is their own, with a time each, unless `columns` say otherwise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"id": [f"k{row}" for row in range(rows)], "household": None, "months": rng.integers(0, 70, rows),
         "spend": rng.random(rows), "plan": rng.choice(["basic", "plus", "pro"], rows), "senior": rng.integers(0, 2, rows),
         "left": rng.choice(["no", "yes"], rows), "at": days(rng.permutation(rows))}
    )  # fmt: skip
    return frame.assign(**columns)


def repeat_rows(frame: pd.DataFrame, rows: Any, of: Any) -> pd.DataFrame:
    """The frame with the content of some rows replaced by that of others."""
    places = np.arange(len(frame))
    places[rows] = of
    return frame.assign(**{name: frame[name].iloc[places].to_numpy() for name in CONTENT})


def days(numbers: Any) -> pd.Series:
    return pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.asarray(numbers), unit="D"))


def divide(frame: pd.DataFrame, strategy: str, contract: Contract = BOTH, **options: Any) -> Sides:
    return split_rows(find_keys(frame, contract), TASK, strategy, **{"share": 0.2, "seed": 1, **options})


def fold(frame: pd.DataFrame, strategy: str, folds: int, contract: Contract = BOTH, **options: Any) -> Folds:
    return make_folds(find_keys(frame, contract), TASK, strategy, folds, 1, **options)


def check_apart(
    frame: pd.DataFrame, train: Any, test: Any, strategy: str, sides: Sides | None, gap: pd.Timedelta
) -> None:
    """No group, no moment and no repeated row is on both sides."""
    old, new = frame[train], frame[test]
    assert not (train & test).any() and train.any() and test.any()
    keys = find_keys(frame, BOTH)
    groups = sides.groups if sides else group_rows(keys, None if strategy in split._GROUPED else [])
    if strategy in ("group", "time_group"):
        for name in groups.ids:
            assert not set(old[name].dropna()) & set(new[name].dropna())
    if strategy == "time":
        assert old["at"].max() < new["at"].min() or old["at"].isna().all()
    if strategy == "time_group":
        labels = groups.labels
        newest = frame["at"].groupby(labels).transform("max")
        assert not old["at"].notna().any() or old["at"].max() < newest[test].min()
    if strategy in ("time", "time_group") and gap:
        first = new["at"].min() if strategy == "time" else newest[test].min()
        assert not (old["at"] > first - gap).any()
    if keys.contents is not None and (strategy == "time" or groups.contents):
        assert old[CONTENT].drop_duplicates().merge(new[CONTENT].drop_duplicates()).empty


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Tables with repeated and missing ids, equal rows, days with many rows and missing times."""
    rows = draw(st.integers(30, 160))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frame = make_frame(rows, seed=draw(st.integers(0, 99)), at=days(rng.integers(0, draw(st.integers(5, 200)), rows)))
    if draw(st.booleans()):  # one customer has most rows
        weights = rng.power(0.1, draw(st.integers(1, 60)))
    else:
        weights = np.ones(draw(st.integers(1, 60)))
    frame["id"] = rng.choice([f"k{number}" for number in range(len(weights))], rows, p=weights / weights.sum())
    frame["household"] = [f"h{number}" for number in rng.integers(0, draw(st.integers(1, 400)), rows)]
    for name in ("id", "household", "at"):
        frame.loc[rng.random(rows) < draw(st.sampled_from([0, 0.1, 1])), name] = None
    again = np.flatnonzero(rng.random(rows) < draw(st.sampled_from([0, 0.1, 0.6])))
    return repeat_rows(frame, again, rng.choice(rows, len(again)))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=size(25, 500))
@given(tables(), st.sampled_from(["", "3 days"]), st.sampled_from([0.1, 0.2, 0.4]), st.integers(2, 5))
def test_nothing_is_on_both_sides(strategy: str, frame: pd.DataFrame, gap: str, share: float, folds: int) -> None:
    gap = gap if strategy in split._FORWARD else ""
    keys, length = find_keys(frame, BOTH), pd.Timedelta(gap) if gap else pd.Timedelta(0)
    try:
        sides = split_rows(keys, TASK, strategy, share, seed=1, gap=gap)
    except ProjectError as error:
        if not re.search(CANNOT, str(error)):
            raise
        return
    assert not (sides.held_out & sides.left_out).any()
    assert sides.left_out.any() <= (strategy in ("time", "time_group", "order"))
    check_apart(frame, sides.train, sides.held_out, strategy, sides, length)
    rest = frame[sides.train].reset_index(drop=True)
    try:
        made = make_folds(keys.take(sides.train), TASK, strategy, folds, 1, gap, sides.groups and sides.groups.ids)
    except ProjectError as error:
        if not re.search(CANNOT, str(error)):
            raise
        return
    judged = np.concatenate([judge for _, judge in made])
    assert len(made) == folds and len(set(judged)) == len(judged)
    for fit, judge in made:
        masks = [np.isin(np.arange(len(rest)), rows) for rows in (fit, judge)]
        names = (
            Sides(
                strategy,
                share,
                gap,
                masks[1],
                masks[1],
                group_rows(keys.take(sides.train), sides.groups.ids),
                sides.rule,
            )
            if sides.groups and strategy in split._GROUPED
            else None
        )
        check_apart(rest, *masks, strategy, names, length)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
def test_the_share_that_is_asked_for_comes_out(strategy: str, share: float) -> None:
    rng = np.random.default_rng(4)
    frame = make_frame(
        2000, id=[f"k{number}" for number in rng.integers(0, 400, 2000)], at=days(rng.integers(0, 300, 2000))
    )
    sides = divide(frame, strategy, share=share)
    assert abs(sides.held_out.mean() - share) < 0.01
    assert not sides.left_out.any()


def test_a_large_group_does_not_take_twice_the_share() -> None:
    """One customer has 45 % of the rows; the others can give 20 %."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        owners = np.where(rng.random(500) < 0.45, "big", [f"k{number}" for number in rng.integers(0, 60, 500)])
        sides = divide(make_frame(500, id=owners), "group", seed=seed)
        assert abs(sides.held_out.mean() - 0.2) < 0.02
        rates = (make_frame(500)["left"] == "yes").groupby(sides.held_out).mean()
        assert abs(rates[True] - rates[False]) < 0.1


def test_the_share_that_came_out_is_said_where_groups_are_few() -> None:
    frame = make_frame(300, id=np.repeat(["a", "b"], [150, 150]))
    keys = find_keys(frame, PLAIN)
    sides = split_rows(keys, TASK, "group", 0.2, seed=1)
    assert sides.held_out.sum() == 150
    said = describe_sides(describe_split(keys, sides))
    assert "50.0% of the rows" in said and "`features.test_share` asks for 20.0%" in said


def test_auto_follows_the_columns() -> None:
    once, often = make_frame(60), make_frame(60, id=np.repeat([f"k{n}" for n in range(20)], 3))
    for frame, contract, strategy in (
        (once, PLAIN, "stratified"), (once, TIMED, "time"), (often, PLAIN, "group"), (often, TIMED, "time_group"),
        (often.assign(id=None), TIMED, "time"),
    ):  # fmt: skip
        assert choose_strategy("auto", find_keys(frame, contract)) == strategy
    assert choose_strategy("stratified", find_keys(often, TIMED)) == "stratified"


def test_a_split_without_its_column_is_named() -> None:
    keys = find_keys(make_frame(60).drop(columns=["id", "at"]), PLAIN)
    for strategy, role in (("time", "time"), ("group", "id"), ("time_group", "time")):
        with pytest.raises(ProjectError, match=f"features.split is '{strategy}', but .* no column with role {role}"):
            choose_strategy(strategy, keys)
    with pytest.raises(ProjectError, match=r"features\.gap needs a split by time"):
        divide(make_frame(60), "stratified", gap="7 days")


def test_stratified_keeps_the_rate_and_follows_the_seed() -> None:
    frame = make_frame(300)
    sides = divide(frame, "stratified", PLAIN)
    assert abs(sides.held_out.sum() - 60) <= 6
    rates = (frame["left"] == "yes").groupby(sides.held_out).mean()
    assert abs(rates[True] - rates[False]) < 0.05
    np.testing.assert_array_equal(sides.held_out, divide(frame, "stratified", PLAIN).held_out)
    assert (sides.held_out != divide(frame, "stratified", PLAIN, seed=2).held_out).any()


def test_equal_rows_are_on_one_side_and_a_table_that_grows_keeps_its_sides() -> None:
    """The content of a row decides, and neither its place nor, nearly always, the other rows."""
    frame = repeat_rows(make_frame(400), range(300, 340), range(100, 140))
    before = divide(frame, "stratified", PLAIN)
    np.testing.assert_array_equal(before.held_out[300:340], before.held_out[100:140])
    turned = divide(frame.iloc[::-1].reset_index(drop=True), "stratified", PLAIN)
    np.testing.assert_array_equal(turned.held_out[::-1], before.held_out)
    grown = divide(pd.concat([frame, make_frame(40, seed=9)], ignore_index=True), "stratified", PLAIN)
    assert grown.rule.salt == before.rule.salt and (grown.held_out[:400] != before.held_out).mean() < 0.03


def test_an_older_row_that_equals_a_held_out_one_is_left_out_of_a_split_by_order() -> None:
    frame = make_frame(100)
    sides = divide(repeat_rows(frame, [10], [95]).assign(left=["yes", "no"] * 50), "order", PLAIN)
    assert np.flatnonzero(sides.held_out).tolist() == list(range(80, 100))
    assert np.flatnonzero(sides.left_out).tolist() == [10]


def test_where_most_rows_equal_others_they_are_different_cases() -> None:
    frame = make_frame(400, months=1, spend=1.0, senior=np.arange(400) % 2)
    keys = find_keys(frame, PLAIN)
    sides = split_rows(keys, TASK, "stratified", 0.2, seed=1)
    assert sides.rule.kind == "ids" and abs(sides.held_out.mean() - 0.2) < 0.01
    nameless = divide(frame.drop(columns="id"), "stratified", PLAIN)
    np.testing.assert_array_equal(nameless.held_out, TASK.hold_out(TASK.encode(frame["left"]), 0.2, seed=1))
    assert nameless.rule.kind == "rows"
    assert "taken for different cases" in describe_sides(describe_split(keys, sides))


def test_a_table_that_holds_every_row_twice_keeps_the_two_together() -> None:
    frame = pd.concat([make_frame(200)] * 2, ignore_index=True).assign(id=[f"k{row}" for row in range(400)])
    sides = divide(frame, "stratified", PLAIN)
    np.testing.assert_array_equal(sides.held_out[:200], sides.held_out[200:])
    assert 0.1 < sides.held_out.mean() < 0.3


def test_the_share_comes_out_though_many_rows_are_equal() -> None:
    """Four contents have an eighteenth of the rows each."""
    frame = make_frame(900)
    for first in range(4):
        frame = repeat_rows(frame, range(first, 900, 18), first)
    for seed in range(10):
        sides = divide(frame, "stratified", PLAIN, seed=seed)
        assert abs(sides.held_out.mean() - 0.2) < 0.05
        assert all(sides.held_out[first::18].all() == sides.held_out[first::18].any() for first in range(4))


def test_groups_are_not_connected_by_rows_that_are_equal_by_chance() -> None:
    rng = np.random.default_rng(0)
    frame = make_frame(
        300, id=[f"k{row // 5}" for row in range(300)], months=rng.integers(0, 90, 300), spend=1.0, senior=0
    )
    frame = frame.assign(plan="pro", at=None)
    groups = group_rows(find_keys(frame.astype({"at": "datetime64[us]"}), BOTH))
    assert not groups.contents and len(groups) == 60


def test_customers_of_a_table_with_a_time_stay_together_and_the_newest_are_held_out() -> None:
    """Each customer has a row a month, so that a split by time alone has every one of them on both sides."""
    frame = make_frame(300, id=[f"k{row % 60}" for row in range(300)], at=days(range(300)))
    assert choose_strategy("auto", find_keys(frame, TIMED)) == "time_group"
    sides = divide(frame, "time_group")
    assert set(frame["id"][sides.held_out]) == {f"k{number}" for number in range(48, 60)}
    assert sides.held_out.sum() == 60 and not sides.left_out.any()


def test_where_all_customers_reach_the_last_month_a_hash_chooses_and_the_rest_is_older() -> None:
    frame = make_frame(480, id=[f"k{row // 12}" for row in range(480)], at=days([row % 12 * 30 for row in range(480)]))
    keys = find_keys(frame, TIMED)
    sides = split_rows(keys, TASK, "time_group", 0.2, seed=1)
    assert sides.held_out.sum() == 96 and sides.left_out.sum() == 32
    assert frame["at"][sides.train].max() < frame["at"].max()
    assert "32 rows are on neither side, because they are as new as the hold-out" in describe_sides(
        describe_split(keys, sides)
    )


def test_the_rows_of_the_gap_are_on_neither_side() -> None:
    frame = make_frame(300, at=days(range(300)))
    keys = find_keys(frame, TIMED)
    sides = split_rows(keys, TASK, "time", 0.2, seed=1, gap="7 days")
    assert np.flatnonzero(sides.left_out).tolist() == list(range(234, 240))
    record = describe_split(keys, sides)
    assert (record["train_rows"], record["left_rows"], record["test_rows"]) == (234, 6, 60)
    assert (record["train_last"], record["test_first"]) == ("2024-08-21 00:00:00", "2024-08-28 00:00:00")
    assert "6 rows are on neither side, because they are within 7 days of the hold-out." in describe_sides(record)
    for fit, judge in fold(frame, "time", 4, TIMED, gap="7 days"):
        assert frame["at"][judge].min() - frame["at"][fit].max() == pd.Timedelta("7 days")
    with pytest.raises(ProjectError, match="training part of the time split has no rows"):
        divide(frame, "time", gap="52 weeks")


@pytest.mark.parametrize(
    ("gap", "length"), [("", "0s"), ("1 day", "1D"), ("1.5 hours", "90min"), ("2 weeks", "14D"), ("30 seconds", "30s")]
)
def test_a_gap_is_a_number_and_a_unit(gap: str, length: str) -> None:
    assert split.measure_gap(gap) == pd.Timedelta(length) // pd.Timedelta("1us")


def test_a_row_without_an_id_is_a_group_of_its_own() -> None:
    owners = np.repeat([f"k{number}" for number in range(60)], 5).astype(object)
    owners[::10] = None
    frame = make_frame(300, id=owners)
    keys = find_keys(frame, PLAIN)
    sides = split_rows(keys, TASK, "group", 0.2, seed=1)
    nameless = frame["id"].isna()
    assert 0 < sides.held_out[nameless].sum() < nameless.sum()
    assert abs(sides.held_out.mean() - 0.2) < 0.02
    record = describe_split(keys, sides)
    assert record["rows_without_id"] == 30
    assert "30 rows without an id are each a group of their own." in describe_sides(record)


def test_rows_that_share_any_id_are_together() -> None:
    """k0 and k1 live in one household, so their rows are connected."""
    frame = make_frame(
        300, id=[f"k{row // 5}" for row in range(300)], household=[f"h{row // 10}" for row in range(300)]
    )
    frame.loc[5:9, "household"] = None
    groups = group_rows(find_keys(frame, BOTH))
    assert groups.ids == ("id", "household") and groups.unused == ()
    assert len(groups) == 31, "k1 has no household"
    assert len(set(groups.labels[10:20])) == 1


def test_an_id_that_would_connect_most_rows_is_not_used_and_named() -> None:
    frame = make_frame(300, id=[f"k{row // 5}" for row in range(300)], household=[f"h{row % 3}" for row in range(300)])
    keys = find_keys(frame, BOTH)
    sides = split_rows(keys, TASK, "group", 0.2, seed=1)
    assert sides.groups is not None and (sides.groups.ids, sides.groups.unused) == (("id",), ("household",))
    assert "household would connect most rows into one group, so that it is not used" in describe_sides(
        describe_split(keys, sides)
    )


def test_the_side_of_a_group_follows_from_its_id() -> None:
    """The order of the rows does not matter: a hash of the id decides."""
    frame = make_frame(300, id=[f"k{row // 4}" for row in range(300)])
    mixed = frame.sample(frac=1, random_state=0, ignore_index=True)
    one, two = divide(frame, "group"), divide(mixed, "group")
    assert set(frame["id"][one.held_out]) == set(mixed["id"][two.held_out])


def test_rows_without_a_time_count_as_the_oldest() -> None:
    frame = make_frame(300)
    frame.loc[::10, "at"] = None
    keys = find_keys(frame, TIMED)
    sides = split_rows(keys, TASK, "time", 0.2, seed=1)
    assert sides.train[::10].all() and sides.held_out.sum() == 60
    assert "30 rows without a time count as the oldest." in describe_sides(describe_split(keys, sides))


def test_a_day_is_not_cut() -> None:
    """A quarter of the rows are of one day, through which the share would cut."""
    frame = make_frame(400, at=days([min(row, 300) if row < 380 else 301 for row in range(400)]))
    sides = divide(frame, "time", TIMED)
    assert sides.held_out.sum() == 100
    assert frame["at"][~sides.held_out].max() < frame["at"][sides.held_out].min()
    for fit, judge in fold(make_frame(400, at=days(np.arange(400) // 30)), "time", 4):
        assert not set(fit // 30) & set(judge // 30)


@pytest.mark.parametrize(
    ("frame", "strategy", "message"),
    [
        (make_frame(300, left="no"), "stratified", "'left' needs at least two rows of each class"),
        (
            make_frame(300, at=days([0] * 300)),
            "time",
            "the moments of the table are too few or too uneven for two sides",
        ),
        (make_frame(300, id="k"), "group", "hold-out of the group split has no rows"),
        (make_frame(300, id="k"), "time_group", "the groups of the table are too few or too uneven for two sides"),
        (
            make_frame(300, at=days(range(300)), left=["no"] * 200 + ["yes"] * 100),
            "time",
            "has only one class of 'left'",
        ),
    ],
)
def test_a_sentence_says_where_it_cannot_be(frame: pd.DataFrame, strategy: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        divide(frame, strategy)
    assert message.rsplit("'", maxsplit=1)[-1] in find_obstacle(find_keys(frame, BOTH), TASK, strategy, 0.2, 3, 1)


def test_folds_that_cannot_be_are_named() -> None:
    with pytest.raises(ProjectError, match="2 groups, fewer than 3 folds"):
        fold(make_frame(300, id=np.repeat(["a", "b"], 150)), "group", 3)
    with pytest.raises(ProjectError, match="too few or too uneven for 5 folds"):
        fold(make_frame(300, at=days(np.arange(300) // 100)), "time", 5)
    with pytest.raises(ProjectError, match=r"fold 1 of 3 of the time split has only one class of 'left'"):
        fold(make_frame(300, at=days(range(300)), left=["no"] * 100 + ["yes", "no"] * 100), "time", 3)
    with pytest.raises(ProjectError, match="fewer than 5 training rows of one class"):
        fold(make_frame(300, left=["yes"] * 2 + ["no"] * 298), "stratified", 5)


def test_folds_are_scikit_learns_where_no_row_repeats() -> None:
    frame = make_frame(303)
    target = TASK.encode(frame["left"])
    search = StratifiedKFold(4, shuffle=True, random_state=1)
    for made, known in zip(fold(frame, "stratified", 4), search.split(target, target), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(made, known, strict=True))
    order = frame["at"].argsort().to_numpy()
    for made, known in zip(fold(frame, "time", 4), TimeSeriesSplit(4).split(target), strict=True):
        assert all(np.array_equal(rows, order[places]) for rows, places in zip(made, known, strict=True))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_folds_of_a_feature_table_follow_its_declaration(strategy: str) -> None:
    frame = make_frame(300, id=[f"k{row // 3}" for row in range(300)]).astype({"household": object})
    table, declaration = make_table(frame, BOTH, strategy)
    declaration["split"] |= {"gap": "2 days" if strategy in ("time", "time_group") else "", "ids": ["id"]}
    folds = split_folds(table, declaration, 4, seed=0)
    assert len(folds) == 4
    for fit, judge in folds:
        assert not set(fit) & set(judge)
        if "time" in strategy:
            assert frame["at"][fit].max() <= frame["at"][judge].max() - pd.Timedelta("2 days")
        if "group" in strategy:
            assert not set(frame["id"][fit]) & set(frame["id"][judge])


def test_many_groups_are_dealt_to_folds_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_MANY_GROUPS", 50)
    frame = make_frame(3000, id=[f"k{row // 5}" for row in range(3000)])
    for fit, judge in fold(frame, "group", 4):
        assert abs(len(judge) - 750) < 10
        assert not set(frame["id"][fit]) & set(frame["id"][judge])


def read(frame: pd.DataFrame, folder: Path, contract: Contract = BOTH) -> SplitKeys:
    write_table(frame, folder / "valid.parquet")
    return read_keys(folder / "valid.parquet", contract)


def assert_same(one: SplitKeys, two: SplitKeys) -> None:
    assert one.contents is not None and two.contents is not None and one.moments is not None
    np.testing.assert_array_equal(one.encoded, two.encoded)
    np.testing.assert_array_equal(one.moments, two.moments)
    np.testing.assert_array_equal(one.contents.known, two.contents.known)
    for name in ("id", "household"):
        np.testing.assert_array_equal(one.ids[name].values, two.ids[name].values)
        np.testing.assert_array_equal(one.ids[name].known, two.ids[name].known)


def test_keys_do_not_depend_on_how_a_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = make_frame(300, id=[f"k{row // 3}" if row % 5 else None for row in range(300)], household="h")
    frame = repeat_rows(frame, range(200, 221), 0)
    whole = read(frame, tmp_path)
    assert whole.contents is not None and whole.contents.known.sum() == 22
    assert_same(whole, find_keys(frame, BOTH))
    monkeypatch.setattr(conversion, "size_part", lambda _: 7)
    assert_same(whole, read(frame, tmp_path))


def test_rows_that_mostly_repeat_another_are_not_linked(tmp_path: Path) -> None:
    assert read(pd.concat([make_frame(40)] * 10, ignore_index=True), tmp_path).contents is None
    last = pd.concat([make_frame(300), *[make_frame(1)] * 400], ignore_index=True)
    assert read(last, tmp_path).contents is None


def test_a_long_table_is_split_by_hashes_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "ROWS", 100)
    frame = make_frame(6000, months=1, spend=1.0).drop(columns="id")
    sides = divide(frame, "stratified", PLAIN)
    assert sides.held_out.sum() == sum(round(count * 0.2) for count in frame["left"].value_counts())
    assert (sides.held_out != divide(frame, "stratified", PLAIN, seed=2).held_out).any()
