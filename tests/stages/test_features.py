from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_table
from lifecycle.features.inputs import select_raw_rows
from lifecycle.modeling.entities import find_feature_keys, read_keys
from lifecycle.modeling.split import Sides, describe_split
from lifecycle.stages import features
from lifecycle.validation import conversion
from tests.support.contracts import make_contract

TIME = {"role": "time", "dtype": "datetime"}


def test_features_follow_the_contract(customers: pd.DataFrame) -> None:
    declared = features.list_features(make_contract(), list(customers.columns), {"rate": "spend / months"})
    assert [(f["name"], f["kind"], f["source"]) for f in declared] == [
        ("months", "numeric", "column"),
        ("spend", "numeric", "column"),
        ("plan", "categorical", "column"),
        ("senior", "boolean", "column"),
        ("rate", "numeric", "derived"),
    ]
    assert declared[-1]["columns"] == ["spend", "months"]


def test_a_column_that_validation_dropped_is_not_a_feature(customers: pd.DataFrame) -> None:
    columns = [name for name in customers.columns if name != "spend"]
    assert "spend" not in [f["name"] for f in features.list_features(make_contract(), columns, {})]


def test_values(customers: pd.DataFrame) -> None:
    declared = features.list_features(make_contract(), list(customers.columns), {"rate": "spend / months"})
    before = customers.copy()
    computed = features.compute_features(customers, declared)
    pd.testing.assert_frame_equal(customers, before)
    expected = (customers["spend"] / customers["months"].where(customers["months"] > 0)).to_numpy()
    np.testing.assert_allclose(computed["rate"], expected)
    assert set(computed["plan"]) == {"basic", "plus", "pro"}
    assert computed.select_dtypes("number").dtypes.eq("float64").all()


@settings(deadline=None)
@given(st.integers(0, 299))
def test_a_row_alone_has_the_same_features(row: int) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"id": range(300), "months": rng.integers(0, 9, 300), "spend": rng.random(300),
                          "plan": rng.choice(["basic", "pro"], 300), "senior": 1, "left": "no"})  # fmt: skip
    declared = features.list_features(make_contract(), list(frame.columns), {"rate": "log1p(spend) / months"})
    whole = features.compute_features(frame, declared)
    pd.testing.assert_frame_equal(features.compute_features(frame.iloc[[row]], declared), whole.iloc[[row]])


def test_booleans_in_words(customers: pd.DataFrame) -> None:
    contract = make_contract(senior={"dtype": "string", "values": ["N", "Y"]})
    frame = customers.assign(senior=np.where(customers["senior"] == 1, "Y", "N"))
    frame.loc[0, "senior"] = None
    computed = features.compute_features(frame, features.list_features(contract, list(frame.columns), {}))
    assert np.isnan(computed["senior"][0])
    np.testing.assert_array_equal(computed["senior"][1:], customers["senior"][1:])


def test_time_becomes_its_parts(customers: pd.DataFrame) -> None:
    contract = make_contract(at=TIME)
    times = pd.date_range("2024-01-01", periods=300, freq="7h", tz="Europe/Berlin")
    declared = features.list_features(contract, [*customers.columns, "at"], {})
    computed = features.compute_features(customers.assign(at=times), declared)
    utc = times.tz_convert("UTC")
    np.testing.assert_array_equal(computed["at_month"], utc.month)
    np.testing.assert_array_equal(computed["at_hour"], utc.hour)
    np.testing.assert_allclose(computed["at_weekday_sin"] ** 2 + computed["at_weekday_cos"] ** 2, 1)


def test_a_column_named_as_a_part_of_the_time_stays_itself(customers: pd.DataFrame) -> None:
    contract = make_contract(at=TIME, at_hour={"role": "numeric", "dtype": "int64"})
    frame = customers.assign(at=pd.Timestamp("2024-01-01 10:00"), at_hour=range(len(customers)))
    declared = features.list_features(contract, list(frame.columns), {})
    names = [feature["name"] for feature in declared]
    assert len(set(names)) == len(names) and "at_month" in names
    np.testing.assert_array_equal(features.compute_features(frame, declared)["at_hour"], frame["at_hour"])
    with pytest.raises(ProjectError, match=r"features\.derived\.at_month: a part of the time has this name"):
        features.list_features(contract, list(frame.columns), {"at_month": "spend + 1"})


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({"spend": "months + 1"}, r"features\.derived\.spend: the contract has a column of this name"),
        ({"x": "nothing + 1"}, r"features\.derived\.x reads \['nothing'\]"),
        ({"x": "(left == 'yes') + 0"}, r"features\.derived\.x reads \['left'\]"),
        ({"x": "id + 0"}, r"features\.derived\.x reads \['id'\]"),
        ({"x": "spend +"}, r"'x' is not an expression"),
    ],
)
def test_a_bad_derived_feature_is_named(customers: pd.DataFrame, derived: dict[str, str], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        features.list_features(make_contract(), list(customers.columns), derived)


def write_valid(frame: pd.DataFrame, folder: Path) -> Path:
    write_table(frame, folder / "valid.parquet")
    return folder / "valid.parquet"


def test_both_sides_of_the_split_are_written_and_summarised(customers: pd.DataFrame, tmp_path: Path) -> None:
    contract = make_contract()
    path = write_valid(customers, tmp_path)
    declared = features.list_features(contract, features.list_columns(path), {"rate": "spend / months"})
    keys = read_keys(path, contract)
    held_out = np.arange(300) % 5 == 0
    sides = Sides("stratified", 0.2, "", held_out, np.arange(300) == 7, None)
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    summary = features.write_features(path, declared, contract, sides, train, test)
    features.write_split(sides, tmp_path / "split.parquet")
    split = pd.read_parquet(tmp_path / "split.parquet")
    whole = features.assemble_table(customers, features.compute_features(customers, declared), contract)
    for side, rows, chosen in ((train, sides.train, False), (test, held_out, True)):
        raw = select_raw_rows(customers, split, held_out=chosen)
        pd.testing.assert_frame_equal(raw, customers[rows].reset_index(drop=True))
        expected = tmp_path / "expected.parquet"
        write_table(whole[rows], expected)
        assert side.read_bytes() == expected.read_bytes()
    assert list(whole.columns[:2]) == ["id", "left"]
    assert whole["left"].dtype == "int8"
    division = describe_split(keys, sides)
    assert (division["train_rows"], division["test_rows"], division["left_rows"]) == (239, 60, 1)
    assert division["test_rate"] == (customers["left"][held_out] == "yes").mean()
    assert features.declare_features(contract, declared, division).to_json()["split"] == division
    shown = features.tabulate_split(division)
    assert shown.loc["rows"].tolist() == ["239", "60"] and list(shown.index) == ["rows", "positive"]
    assert summary.loc["plan", "commonest"] == customers["plan"].mode()[0]
    assert summary.loc["plan", "distinct"] == 3
    assert summary.loc["months", ["least", "median", "greatest"]].tolist() == [
        customers["months"].min(), customers["months"].median(), customers["months"].max(),
    ]  # fmt: skip
    assert summary.loc["spend", "missing"] == f"{customers['spend'].isna().mean():.2%}"
    assert summary.loc["spend", "distinct"] == customers["spend"].nunique()


def test_reading_in_parts_does_not_change_the_features(
    customers: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = make_contract(plan={"nullable": True}, at=TIME)
    frame = customers.assign(
        plan=customers["plan"].where(customers["id"] > 100), at=pd.date_range("2024-01-01", periods=300, freq="7h")
    )
    path = write_valid(frame, tmp_path)
    declared = features.list_features(contract, list(frame), {})
    written = []
    for rows in (1000, 7):
        monkeypatch.setattr(conversion, "size_part", lambda _, rows=rows: rows)
        train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
        sides = Sides("order", 0.3, "", np.arange(300) > 200, np.zeros(300, dtype=bool), None)
        summary = features.write_features(path, declared, contract, sides, train, test)
        written.append((train.read_bytes(), test.read_bytes(), summary.to_csv()))
    assert written[0] == written[1]


def test_a_text_is_a_feature_where_terms_are_learned(customers: pd.DataFrame, tmp_path: Path) -> None:
    """It goes into the tables as it is, even where every cell of a part is missing; the summary shows none of it."""
    note = {"role": "text", "dtype": "string", "nullable": True}
    frame = customers.assign(note=[None if row % 3 else f"Private {row}" for row in range(300)])
    assert "note" not in [
        feature["name"] for feature in features.list_features(make_contract(note=note), list(frame), {})
    ]
    contract = make_contract(note={**note, "terms": 20})
    path = write_valid(frame, tmp_path)
    declared = features.list_features(contract, features.list_columns(path), {})
    assert [(each["kind"], each["terms"]) for each in declared if each["name"] == "note"] == [("text", 20)]
    held_out = np.arange(300) % 3 > 0
    sides = Sides("stratified", 0.5, "", held_out, np.zeros(300, dtype=bool), None)
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    summary = features.write_features(path, declared, contract, sides, train, test)
    assert pd.read_parquet(train)["note"].tolist() == frame["note"][~held_out].tolist()
    assert pd.read_parquet(test)["note"].isna().all() and len(pd.read_parquet(test)) == 200
    assert summary.loc["note", ["missing", "distinct", "commonest"]].tolist() == ["66.67%", 100, ""]
    division = describe_split(read_keys(path, contract), sides)
    declaration = features.declare_features(contract, declared, division).to_json()
    assert len(find_feature_keys(pd.read_parquet(train), declaration).content) == 100
