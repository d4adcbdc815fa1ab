import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.validation.checks import check_unlisted
from lifecycle.validation.open_lists import MOST, Unlisted, UnlistedCounter
from tests.support.contracts import make_contract

CONTRACT = make_contract(
    plan={"open": True, "nullable": True},
    rank={"role": "categorical", "dtype": "int64", "values": [1, 2], "open": True, "nullable": True},
)


def count(frame: pd.DataFrame, rows: int) -> dict[str, Unlisted]:
    """What is counted of a typed table in parts of so many rows."""
    counter = UnlistedCounter(CONTRACT.columns)
    for start in range(0, len(frame), rows):
        counter.add(frame.iloc[start : start + rows])
    return counter.list_unlisted()


@given(
    st.lists(st.tuples(st.sampled_from(["basic", "gold", "max", None]), st.sampled_from([1, 2, 3, None])), min_size=1),
    st.integers(1, 5),
    st.booleans(),
)
def test_values_beyond_a_list_are_counted_whatever_the_parts(
    cells: list[tuple[str | None, int | None]], rows: int, as_categories: bool
) -> None:
    plan, rank = (pd.Series(values) for values in zip(*cells, strict=True))
    plan = pd.Series(plan, dtype="str")
    frame = pd.DataFrame({"plan": plan.astype("category") if as_categories else plan, "rank": rank.astype("Int64")})
    found = count(frame, rows)
    for name, listed in (("plan", ["basic", "plus", "pro"]), ("rank", [1, 2])):
        values = frame[name].dropna()
        beyond = values[~values.isin(listed)]
        assert found[name] == Unlisted(len(beyond), beyond.astype(object).value_counts().to_dict())


def test_only_some_of_very_many_values_are_kept() -> None:
    plan = pd.Series([f"plan {number}" for number in range(3 * MOST)], dtype="str")
    frame = pd.DataFrame({"plan": plan, "rank": pd.array([None] * len(plan), dtype="Int64")})
    found = count(frame, 700)
    assert found == count(frame, len(frame))
    assert found["plan"].rows == 3 * MOST and len(found["plan"].counts) == MOST


def test_the_check_names_values_and_rows() -> None:
    check = check_unlisted(
        {"plan": Unlisted(40, {"a": 1, "gold": 30, "max": 4, "b": 4, "c": 1}), "rank": Unlisted(0, {})}
    )
    assert (check.status, check.severity, check.count) == ("failed", "warning", 40)
    assert check.message.startswith("40 values that an open list does not have, in 'plan': ")
    assert check.examples == ("plan: 'gold' in 30 rows, 'b' in 4 rows, 'max' in 4 rows, others in 2 rows",)
    assert check_unlisted({"plan": Unlisted(0, {})}).status == "passed"
    assert check_unlisted({}).status == "not applicable"


@pytest.mark.parametrize("value", ["gold", "?", ": "])
def test_a_value_beyond_an_open_list_is_not_quarantined(value: str) -> None:
    from lifecycle.validation.rules import build_schema, find_breaches

    frame = pd.DataFrame({
        "id": [1], "months": [3], "spend": [1.0], "plan": pd.Series([value], dtype="str"), "senior": [0],
        "left": pd.Series(["no"], dtype="str"), "rank": pd.array([9], dtype="Int64"),
    })  # fmt: skip
    assert not find_breaches(frame, {}, CONTRACT.columns)
    typed = frame.astype({"id": "Int64", "months": "Int64", "senior": "Int64"})
    build_schema(CONTRACT.columns).validate(typed)
    closed = make_contract()
    assert [breach.column for breach in find_breaches(frame, {}, closed.columns)] == ["plan"]
    assert np.array_equal(find_breaches(frame, {}, closed.columns)[0].rows, [0])
