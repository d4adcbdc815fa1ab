from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_table
from lifecycle.modeling import task
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


def test_stratified_split_keeps_the_rate(customers: pd.DataFrame) -> None:
    contract = make_contract()
    held_out = features.split_rows(customers, contract, "stratified", 0.2, seed=1)
    assert held_out.sum() == 60
    rates = (customers["left"] == "yes").groupby(held_out).mean()
    assert abs(rates[True] - rates[False]) < 0.02
    np.testing.assert_array_equal(held_out, features.split_rows(customers, contract, "stratified", 0.2, seed=1))
    assert (held_out != features.split_rows(customers, contract, "stratified", 0.2, seed=2)).any()


def test_time_split_holds_out_the_newest(customers: pd.DataFrame) -> None:
    contract = make_contract(at=TIME)
    frame = customers.assign(at=pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(300)[::-1] // 3, unit="D"))
    assert features.choose_split("auto", contract, frame) == "time"
    held_out = features.split_rows(frame, contract, "time", 0.2, seed=1)
    assert frame["at"][held_out].min() > frame["at"][~held_out].max()
    assert 0.15 <= held_out.mean() <= 0.25


def test_group_split_keeps_groups_whole(customers: pd.DataFrame) -> None:
    frame = customers.assign(id=customers["id"] // 4)
    assert features.choose_split("auto", make_contract(), frame) == "group"
    held_out = features.split_rows(frame, make_contract(), "group", 0.2, seed=1)
    assert not set(frame["id"][held_out]) & set(frame["id"][~held_out])
    assert 0.15 <= held_out.mean() <= 0.25


def test_a_split_without_its_column_is_named(customers: pd.DataFrame) -> None:
    with pytest.raises(ProjectError, match="no column with role time"):
        features.choose_split("time", make_contract(), customers)
    with pytest.raises(ProjectError, match="no column with role id"):
        features.choose_split("group", make_contract(), customers.drop(columns="id"))
    assert features.choose_split("stratified", make_contract(), customers) == "stratified"


def test_a_single_class_cannot_be_split(customers: pd.DataFrame) -> None:
    with pytest.raises(ProjectError, match="'left' needs at least two rows of each class"):
        features.split_rows(customers.assign(left="no"), make_contract(), "stratified", 0.2, seed=1)


def write_valid(frame: pd.DataFrame, folder: Path) -> Path:
    write_table(frame, folder / "valid.parquet")
    return folder / "valid.parquet"


def test_both_sides_of_the_split_are_written_and_summarised(customers: pd.DataFrame, tmp_path: Path) -> None:
    contract = make_contract()
    path = write_valid(customers, tmp_path)
    declared = features.list_features(contract, features.list_columns(path), {"rate": "spend / months"})
    keys = features.read_keys(path, contract)
    held_out = features.split_rows(keys, contract, "stratified", 0.2, seed=1)
    np.testing.assert_array_equal(held_out, features.split_rows(customers, contract, "stratified", 0.2, seed=1))
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    summary = features.write_features(path, declared, contract, held_out, train, test)
    whole = features.assemble_table(customers, features.compute_features(customers, declared), contract)
    for side, rows in ((train, ~held_out), (test, held_out)):
        expected = tmp_path / "expected.parquet"
        write_table(whole[rows], expected)
        assert side.read_bytes() == expected.read_bytes()
    assert list(whole.columns[:2]) == ["id", "left"]
    assert whole["left"].dtype == "int8"
    described = features.describe_split(keys, held_out, contract, "stratified")
    assert (described["train_rows"], described["test_rows"]) == (240, 60)
    assert described["test_rate"] == (customers["left"][held_out] == "yes").mean()
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
        summary = features.write_features(path, declared, contract, np.arange(300) > 200, train, test)
        written.append((train.read_bytes(), test.read_bytes(), summary.to_csv(), features.read_keys(path, contract)))
    assert written[0][:3] == written[1][:3]
    pd.testing.assert_frame_equal(written[0][3], written[1][3])


@pytest.mark.parametrize("strategy", ["stratified", "group"])
def test_a_long_table_is_split_by_hashes(
    strategy: str, customers: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (features, task):
        monkeypatch.setattr(module, "ROWS", 100)
    many = pd.concat([customers] * 20, ignore_index=True)
    many = many.assign(id=["k" + str(row // 4) for row in range(len(many))])
    contract = make_contract(id={"dtype": "string"})
    keys = features.read_keys(write_valid(many, tmp_path), contract)
    held_out = features.split_rows(keys, contract, strategy, 0.2, seed=1)
    assert abs(held_out.mean() - 0.2) < 0.02
    rates = (many["left"] == "yes").groupby(held_out).mean()
    assert abs(rates[True] - rates[False]) < 0.05
    assert (held_out != features.split_rows(keys, contract, strategy, 0.2, seed=2)).any()
    if strategy == "group":
        assert not set(many["id"][held_out]) & set(many["id"][~held_out])
    else:
        assert held_out.sum() == sum(round(count * 0.2) for count in many["left"].value_counts())
