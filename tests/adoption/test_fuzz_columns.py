"""Thousands of made columns are adopted: each has the source's values afterwards, or something is said of it.

A table of some twenty columns is written by pandas, csv, Excel or Arrow, in some dialect, encoding and locale (see
`tests.support.columns` and `column_files`), adopted without options, and collected; then `validate`'s conversion reads it. A column is

* *equal*: what is read is what was meant, in a role that suits it (personal data is no feature, nor is an id),
* *told*: a `check` on the terminal or in the contract names it, every cell that differs goes to the quarantine with a reason,
  or the contract gives the reason why words are not used, or
* *silent*, which no column may be.
"""

from __future__ import annotations

import json
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import Column as ContractColumn
from lifecycle.core.contract import Contract, Role, load_contract
from lifecycle.validation.conversion import convert_columns, is_dropped, read_raw
from tests.support.column_files import TARGET, Table, make_table
from tests.support.columns import LOCALES, MAKES, Column, Make, lose_cells
from tests.support.sizes import size
from tests.support.stages import run_cells

WIDTH = 20  # columns of a table, besides its target and its plain numbers
PARTS = 4  # tests among which the tables are divided
TABLES = size(1, 40)  # tables of each test: 80 columns in all, or 3,200
FEATURES = (Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN)
UNUSED = (Role.IGNORED, Role.TEXT, Role.PII)
ELSEWHERE = re.compile(r"leak of the target|taken as the time of a row")  # what is said of a column beside its values
Series = pd.Series
Array = np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What became of a column: the outcome, the column's kind, and an account of it for a person."""

    outcome: str
    kind: str
    account: str


# What was meant against what was read.


def is_near(read: Series[Any], truth: list[Any], exactness: float) -> Array:
    """Return which cells are the number that was meant, or missing as that is; whole numbers are compared exactly."""
    if str(read.dtype) in {"str", "boolean"} or str(read.dtype).startswith("datetime"):
        return read.isna().to_numpy() & np.array([value is None for value in truth])
    if read.dtype == "Int64" and all(value is None or value == int(value) for value in truth):
        cells = zip(read.isna(), read.fillna(0), truth, strict=True)
        return np.array(
            [value is None if gone else value is not None and int(cell) == int(value) for gone, cell, value in cells]
        )
    meant = np.array([np.nan if value is None else float(value) for value in truth])
    return np.isclose(read.to_numpy(dtype="float64", na_value=np.nan), meant, rtol=exactness, atol=0, equal_nan=True)


def match_number(read: Series[Any], column: Column) -> Array:
    return is_near(read, list(column.truth), column.exactness)


def match_percent(read: Series[Any], column: Column) -> Array:
    """Percentages may be read as hundredths, all of them."""
    hundredths = [None if value is None else value / Decimal(100) for value in column.truth]
    matches = (is_near(read, truth, column.exactness) for truth in (list(column.truth), hundredths))
    return max(matches, key=np.sum)


def match_time(read: Series[Any], column: Column) -> Array:
    if not str(read.dtype).startswith("datetime"):
        return np.zeros(len(read), dtype=bool)
    meant = pd.Series(pd.to_datetime(list(column.truth)), index=read.index).astype("datetime64[us]")
    return ((read == meant) | (read.isna() & meant.isna())).to_numpy()


def match_clock(read: Series[Any], column: Column) -> Array:
    """A time of day may be a number of hours, minutes or seconds."""
    seconds = [None if value is None else Decimal(value.hour * 3600 + value.minute * 60) for value in column.truth]
    scaled = ([None if value is None else value / unit for value in seconds] for unit in (1, 60, 3600))
    return max((is_near(read, truth, column.exactness) for truth in scaled), key=np.sum)


def match_words(read: Series[Any], column: Column) -> Array:
    """Text is the same but for blanks around it; a mark of missing cells may be a word like another."""
    texts = read.astype("str").str.strip().to_numpy(dtype=object)
    missing = read.isna().to_numpy()
    meant = [None if value is None else value.strip() for value in column.truth]
    found = zip(texts, missing, meant, strict=True)
    matches = np.array([gone if value is None else not gone and text == value for text, gone, value in found])
    if column.judge == "words" and column.mark:
        marked = np.array([value is None and text == column.mark for text, value in zip(texts, meant, strict=True)])
        return max((matches, matches | marked), key=np.sum)
    return matches


def match_truth(read: Series[Any], column: Column) -> Array:
    """A boolean is one, or the two words or codes of the source stay as they are."""
    if read.dtype == "boolean":
        cells = zip(read.isna(), read.fillna(value=False), column.truth, strict=True)
        return np.array(
            [value is None if gone else value is not None and bool(cell) == value for gone, cell, value in cells]
        )
    if read.dtype in ("Int64", "float64"):
        return is_near(read, [None if value is None else int(value) for value in column.truth], column.exactness)
    native = [None if value is None else str(value) for value in column.truth]
    spellings = (replace(column, judge="words", truth=truth) for truth in (column.texts, native))
    return max((match_words(read, spelled) for spelled in spellings), key=np.sum)


MATCHES: dict[str, Callable[[Series[Any], Column], Array]] = {
    "number": match_number, "percent": match_percent, "time": match_time, "clock": match_clock, "truth": match_truth,
    "words": match_words, "identity": match_words, "personal": match_words,
}  # fmt: skip


# What is said of each column.


def read_reasons(path: Path) -> dict[str, str]:
    """Return the comment above each column of a contract."""
    reasons: dict[str, str] = {}
    comment: list[str] = []
    for line in path.read_text(encoding="utf-8").partition("\ncolumns:")[2].splitlines():
        if line.startswith("  #"):
            comment.append(line.strip("# "))
        elif comment and (key := re.match(r"  (\S.*?):(?:\s|$)", line)):
            reasons[str(YAML(typ="safe", pure=True).load(key[1]))] = " ".join(comment)
            comment = []
    return reasons


def is_told(name: str, reason: str, output: str) -> bool:
    """Return whether the terminal or the contract asks a person to check how the column was read."""
    said = [
        reason.partition("CHECK:")[2],
        *re.findall(rf"^adopt: check: {re.escape(name)}: (.*)$", output, re.MULTILINE),
    ]
    return any(line.strip() and not ELSEWHERE.search(line) for line in said)


# The verdict.


def adopt_and_collect(table: Table, root: Path) -> str:
    """Adopt a table and collect it; return what failed, as a refusal of the whole table loses all of its columns."""
    try:
        if main(["adopt", str(table.path), "--target", TARGET, "--force"]):
            return "refused:"
        run_cells(root, ["collect"])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one table must not hide the others
        return f"failed with {str(error).strip().splitlines()[-1:] or error!r} at {traceback.format_exc().splitlines()[-3:-1]}."
    return ""


def judge_table(table: Table, root: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Verdict]:
    """Adopt a table, collect it, read it as `validate` does, and judge each of its columns."""
    capsys.readouterr()
    failure = adopt_and_collect(table, root)
    output = capsys.readouterr()
    if failure:
        account = f"{table.path.name} ({table.written}), all columns: {failure} {output.err.strip()}"
        yield from (Verdict("silent", column.kind, account) for column in table.columns.values())
        return
    contract = load_contract(root / paths.CONTRACT)
    used = {name: column for name, column in contract.columns.items() if not is_dropped(column)}
    typed, broken = convert_columns(pd.concat(read_raw(root / paths.RAW_TABLE, contract)), used)
    reasons = read_reasons(root / paths.CONTRACT)
    for name, column in table.columns.items():
        told = is_told(name, reasons.get(name, ""), output.out)
        outcome, account = judge_column(name, column, contract, typed, broken, reasons.get(name, ""), told=told)
        where = f"{table.path.name} ({table.written}): {name!r}, {column.kind}, missing as {column.mark!r}"
        yield Verdict(outcome, column.kind, f"{where}: {account}; the contract says: {reasons.get(name, 'nothing')!r}")


def judge_column(
    name: str, column: Column, contract: Contract, typed: pd.DataFrame, broken: dict[str, Array], reason: str, *, told: bool
) -> tuple[str, str]:  # fmt: skip
    """Judge a column of a table; returns the outcome, and an account of what differs."""
    found = contract.columns.get(name)
    if found is None:
        return "silent", f"the contract has only {list(contract.columns)}"
    role = f"role {found.role.value}, {found.dtype}"
    right, account = compare_column(name, column, found, typed)
    suits = found.role not in FEATURES or column.judge not in ("identity", "personal")
    if (right.all() and suits and column.judge != "personal") or (
        column.judge == "personal" and found.role is Role.PII
    ):
        return "equal", role
    if told:
        return "with a check", f"{role}: a check"
    if column.judge in ("words", "identity", "personal") and found.role in UNUSED and reason:
        return "with a check", f"{role}: the contract's reason"
    if not right.all() and not is_dropped(found) and (right | broken.get(name, np.zeros(len(right), dtype=bool))).all():
        return "with a check", f"{role}: quarantined: {account}"
    return "silent", f"{role}: {account or 'does not suit it'}"


def compare_column(name: str, column: Column, found: ContractColumn, typed: pd.DataFrame) -> tuple[Array, str]:
    """Return which cells are what was meant, and an account of those that are not; of a dropped column none are."""
    if is_dropped(found):
        return np.zeros(len(column.truth), dtype=bool), "its values are not used"
    if len(typed) != len(column.truth):
        return np.zeros(1, dtype=bool), f"{len(typed)} rows of {len(column.truth)}"
    read = typed[name].astype("str") if isinstance(typed[name].dtype, pd.CategoricalDtype) else typed[name]
    right = MATCHES[column.judge](read, column)
    if right.all():
        return right, ""
    first = int(np.argmin(right))
    return (
        right,
        f"{np.sum(~right)} cells differ, such as {column.cells[first]!r}, which is read as {read.iloc[first]!r}",
    )


def count_outcomes(verdicts: list[Verdict]) -> str:
    """Return a table of the outcomes by kind."""
    counts = Counter((verdict.kind, verdict.outcome) for verdict in verdicts)
    kinds = sorted({verdict.kind for verdict in verdicts})
    outcomes = ("equal", "with a check", "silent")
    lines = [f"{'kind':36}{''.join(f'{outcome:>8}' for outcome in outcomes)}"]
    lines += [f"{kind:36}{''.join(f'{counts[kind, outcome]:8}' for outcome in outcomes)}" for kind in kinds]
    total = [sum(counts[kind, outcome] for kind in kinds) for outcome in outcomes]
    return "\n".join([*lines, f"{'all':36}{''.join(f'{number:8}' for number in total)}"])


@pytest.mark.parametrize("part", range(PARTS))
def test_no_column_is_altered_or_lost_silently(
    part: int,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    verdicts: list[Verdict] = []
    for number in range(TABLES):
        table = make_table(part * TABLES + number, tmp_path, WIDTH)
        verdicts += judge_table(table, project, capsys)
    record_property("outcomes", json.dumps(Counter(verdict.outcome for verdict in verdicts)))
    print(count_outcomes(verdicts))
    silent = [verdict.account for verdict in verdicts if verdict.outcome == "silent"]
    if silent:
        accounts = "\n".join(dict.fromkeys(silent))
        pytest.fail(f"{len(silent)} of {len(verdicts)} columns are silent:\n{accounts}", pytrace=False)


@pytest.mark.parametrize("make", dict.fromkeys(MAKES), ids=lambda make: make.__name__)
def test_what_was_meant_is_equal_and_one_altered_cell_is_not(make: Make) -> None:
    rng = np.random.default_rng(0)
    for locale in LOCALES:
        column = lose_cells(rng, make(rng, 50, locale))
        read = read_truth(column)
        assert MATCHES[column.judge](read, column).all()
        other = read.shift(1)
        assert not MATCHES[column.judge](other, column).all() or other.equals(read)
        assert not MATCHES[column.judge](pd.Series([None] * 50, dtype=read.dtype), column).all()


def read_truth(column: Column) -> Series[Any]:
    """Return a column as `validate` has it when it was read as it was meant."""
    if column.judge in ("words", "identity", "personal"):
        return pd.Series(list(column.truth), dtype="str")
    if column.judge == "time":
        return pd.Series(pd.to_datetime(list(column.truth))).astype("datetime64[us]")
    if column.judge == "truth":
        return pd.Series(list(column.truth), dtype="boolean")
    if column.judge == "clock":
        return pd.Series(
            [None if value is None else value.hour * 60 + value.minute for value in column.truth], dtype="Int64"
        )
    return pd.Series([None if value is None else float(value) for value in column.truth], dtype="float64")
