"""Features: declare what a model may read, compute it, and hold out the rows for the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import parse_expression
from lifecycle.core.paths import FEATURES, PARAMS
from lifecycle.core.progress import show_progress
from lifecycle.core.split_rule import SplitRule
from lifecycle.core.tables import TableWriter, open_table, set_columns, write_table
from lifecycle.features.definitions import WORDED, FeatureDeclaration
from lifecycle.features.directions import declare_directions
from lifecycle.features.inputs import to_array
from lifecycle.modeling.entities import read_keys
from lifecycle.modeling.rule import list_kinds
from lifecycle.modeling.split import Sides, apply_rule, choose_strategy, describe_split, split_rows
from lifecycle.modeling.task import task_for
from lifecycle.validation.conversion import map_distinct, read_frames, spell_out
from lifecycle.validation.sampling import Tally, choose_rows, find_span, limit_distinct, limit_rows

_TIME_PARTS = {
    "hour": "hour(col({name}))",
    "weekday": "weekday(col({name}))",
    "month": "month(col({name}))",
    "hour_sin": "sin(2 * pi * hour(col({name})) / 24)",
    "hour_cos": "cos(2 * pi * hour(col({name})) / 24)",
    "weekday_sin": "sin(2 * pi * weekday(col({name})) / 7)",
    "weekday_cos": "cos(2 * pi * weekday(col({name})) / 7)",
    "month_sin": "sin(2 * pi * (month(col({name})) - 1) / 12)",
    "month_cos": "cos(2 * pi * (month(col({name})) - 1) / 12)",
}
_KINDS = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "boolean", Role.TEXT: "text"}


def list_features(contract: Contract, columns: list[str], derived: dict[str, str]) -> list[dict[str, Any]]:
    """List the features of a table with `columns`: those of the contract, the parts of its time, and the derived ones.

    A part of the time is left out where the contract has a column of its name. Each feature is a record of name, kind (numeric,
    categorical, boolean, text), source (column, time, derived), expression, the columns it reads, and the contract's rules for it. Raises ProjectError for an expression that reads an unknown column
    or the target, or a name that is taken.
    """
    present = [name for name in contract.columns if name in columns]
    features = [
        _describe_feature(name, _KINDS[contract.columns[name].role], "column", contract.columns[name])
        for name in present
        if _is_feature(contract.columns[name])
    ]
    if contract.time in present:
        features += [
            _describe_feature(f"{contract.time}_{part}", "numeric", "time", None, text.format(name=repr(contract.time)))
            for part, text in _TIME_PARTS.items()
            if f"{contract.time}_{part}" not in contract.columns  # the table has such a column itself
        ]
    usable = {name for name in present if contract.columns[name].role in (*_KINDS, Role.TIME)}
    for name, text in derived.items():
        if name in contract.columns:
            raise ProjectError(f"{PARAMS}: features.derived.{name}: the contract has a column of this name.")
        if name in [feature["name"] for feature in features]:
            raise ProjectError(f"{PARAMS}: features.derived.{name}: a part of the time has this name.")
        feature = _describe_feature(name, "numeric", "derived", None, text)
        if unknown := sorted(set(feature["columns"]) - usable):
            raise ProjectError(
                f"{PARAMS}: features.derived.{name} reads {unknown}, which are not feature columns of the table."
            )
        features.append(feature)
    return declare_directions(features, contract)


def _is_feature(column: Column) -> bool:
    """Return whether a model reads a column as it is, which it does with a text only where `terms` says so."""
    return column.role in _KINDS and (column.role is not Role.TEXT or column.terms > 0)


def _describe_feature(
    name: str, kind: str, source: str, column: Column | None, expression: str | None = None
) -> dict[str, Any]:
    """Return one feature's record; without an expression it is the column of the same name."""
    return {
        "name": name,
        "kind": kind,
        "source": source,
        "expression": expression,
        "columns": [name] if expression is None else list(parse_expression(expression, name).columns),
        "missing": column.missing if column else "impute",
        "outliers": column.outliers if column else "keep",
        "values": list(column.values) if column and column.values else None,
        "unit": column.unit if column else "",
        "monotone": column.monotone if column else None,
        "terms": column.terms if column else 0,
        "description": column.description if column else f"{expression}.",
    }


def compute_features(frame: pd.DataFrame, features: list[dict[str, Any]]) -> pd.DataFrame:
    """Compute every feature of every row: float64 for numeric and boolean (0, 1, NaN), object strings for categorical and text.

    A row's features depend on that row alone: nothing is fitted here.
    """
    arrays = {name: to_array(frame[name]) for feature in features for name in feature["columns"]}
    computed: dict[str, Any] = {}
    for feature in features:
        if feature["expression"] is not None:
            computed[feature["name"]] = parse_expression(feature["expression"], feature["name"]).evaluate(arrays)
        else:
            computed[feature["name"]] = _convert_column(frame[feature["name"]], feature)
    return pd.DataFrame(computed, index=frame.index)


def _convert_column(column: pd.Series, feature: dict[str, Any]) -> pd.Series:
    """Convert a column to the values that a model reads; of a boolean column's two `values`, the second is 1."""
    if feature["kind"] in WORDED:
        words = map_distinct(column, lambda values: values.astype(str).astype(object))
        return words.where(column.notna(), None)
    if feature["kind"] == "boolean" and feature["values"]:
        codes = {value: float(position) for position, value in enumerate(feature["values"])}
        return map_distinct(column, lambda values: values.astype(object).map(codes).astype("float64"))
    return column.astype("float64")


def list_columns(path: Path) -> list[str]:
    """Return the names of a table's columns."""
    return list(pq.read_schema(path).names)


def assemble_table(frame: pd.DataFrame, computed: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Join ids, time, weight, target (int8) and features to the table that training and evaluation read."""
    kept = [name for name in contract.names(Role.ID, Role.TIME, Role.WEIGHT) if name in frame]
    target = task_for(contract).encode(frame[contract.target])
    return pd.concat([frame[kept], target, computed], axis=1)


def declare_features(
    contract: Contract, features: list[dict[str, Any]], division: dict[str, Any]
) -> FeatureDeclaration:
    """Return the record of the features and of the split, which is written to features.json."""
    record = {
        "target": contract.target,
        "positive": contract.positive,
        "id": contract.names(Role.ID),
        "time": contract.time,
        "weight": contract.weight,
        "features": features,
        "split": division,
    }
    return FeatureDeclaration.parse(record, FEATURES)


def divide_rows(
    path: Path, contract: Contract, features: list[dict[str, Any]], rule: Mapping[str, Any], split: str, share: float,
    gap: str, seed: int,
) -> tuple[Sides, dict[str, Any]]:  # fmt: skip
    """Hold out rows of a validated table, by a rule of another model or by the strategy `split`; return sides and record.

    Rows are compared by the columns that the features read.
    """
    given = SplitRule.parse(rule, f"{PARAMS}: features.rule") if rule else None
    names = [name for name in contract.columns if any(name in feature["columns"] for feature in features)]
    content = list_kinds(contract, names) if given is None else given.columns or None
    keys, task = read_keys(path, contract, content), task_for(contract)
    if given is None:
        sides = split_rows(keys, task, choose_strategy(split, keys), share, seed, gap, content)
    else:
        sides = apply_rule(keys, task, given)
    return sides.drop_groups(), describe_split(keys, sides)


def write_features(
    path: Path,
    features: list[dict[str, Any]],
    contract: Contract,
    sides: Sides,
    train: Path,
    test: Path,
) -> pd.DataFrame:
    """Compute the features of a validated table and write both sides of the split; return a summary of all rows."""
    rows = len(sides.held_out)
    summary = _Summary(features, rows)
    with ExitStack() as stack:
        writers: list[TableWriter] = []
        for part in show_progress(read_frames(path), "features", rows):
            computed = compute_features(part, features)
            table = spell_out(assemble_table(part, computed, contract))
            schema = _find_schema(table, features)
            writers = writers or [stack.enter_context(open_table(side, schema)) for side in (train, test)]
            for writer, chosen in zip(writers, (sides.train, sides.held_out), strict=True):
                writer.write(table[chosen[part.index.to_numpy()]])
            summary.add(computed)
    return summary.tabulate()


def tabulate_split(division: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of both sides, their share of positives, and their groups and moments where there are any."""
    rows = {
        "rows": ("rows", "{:,}"), "positive": ("rate", "{:.1%}"), "groups": ("groups", "{:,}"),
        "first moment": ("first", "{}"), "last moment": ("last", "{}"),
    }  # fmt: skip
    return pd.DataFrame.from_dict(
        {
            title: [form.format(division[f"{side}_{name}"]) for side in ("train", "test")]
            for title, (name, form) in rows.items()
            if division[f"train_{name}"] is not None and division[f"test_{name}"] is not None
        },
        orient="index",
        columns=["training part", "hold-out"],
    )


def write_split(sides: Sides, path: Path) -> None:
    """Write which rows of the validated table are held out, and which are left out of both sides."""
    write_table(pd.DataFrame({"held_out": sides.held_out, "left_out": sides.left_out}), path)


def _find_schema(table: pd.DataFrame, features: list[dict[str, Any]]) -> pa.Schema:
    """Return the table's schema; categorical and text features are text, even when every value is missing."""
    words = {feature["name"]: "" for feature in features if feature["kind"] in WORDED}
    return pa.Schema.from_pandas(
        set_columns(table.head(1), words).astype(dict.fromkeys(words, object)), preserve_index=False
    )


class _Summary:
    """Summarises features that are computed in parts; distinct values and medians are exact up to a limit of rows."""

    def __init__(self, features: list[dict[str, Any]], rows: int) -> None:
        self.rows = rows
        self.names = [feature["name"] for feature in features]
        self.numeric = [feature["name"] for feature in features if feature["kind"] not in WORDED]
        self.categorical = [feature["name"] for feature in features if feature["kind"] == "categorical"]
        self.missing = np.zeros(len(self.names), dtype=np.int64)
        self.tallies = {name: Tally(limit_distinct(len(features))) for name in self.names}
        self.ends: list[pd.DataFrame] = []
        self.sample: list[pd.DataFrame] = []

    def add(self, computed: pd.DataFrame) -> None:
        """Add rows, whose index holds their positions in the table."""
        self.missing += computed.isna().sum().to_numpy()
        for name, tally in self.tallies.items():
            tally.add(computed[name])
        numbers = computed[self.numeric]
        self.ends.append(pd.DataFrame({"least": numbers.min(), "greatest": numbers.max()}))
        self.sample.append(numbers[choose_rows(find_span(computed), limit_rows(len(self.numeric)), self.rows)])

    def find_median(self, name: str) -> float:
        """Return the median of a feature's sample, one column at a time to save memory."""
        return float(pd.concat([part[name] for part in self.sample]).median())

    def tabulate(self) -> pd.DataFrame:
        """Return each feature's missing share, distinct values, and least, median and greatest value or most common category."""
        shares = pd.Series(self.missing / self.rows, index=self.names)
        distinct = pd.Series({name: tally.distinct for name, tally in self.tallies.items()})
        summary = pd.DataFrame({"missing": shares.map("{:.2%}".format), "distinct": distinct})
        ends = pd.concat(self.ends)
        for name, value in (
            ("least", ends["least"].groupby(level=0).min()),
            ("median", pd.Series({name: self.find_median(name) for name in self.numeric}, dtype="float64")),
            ("greatest", ends["greatest"].groupby(level=0).max()),
        ):
            summary[name] = value.reindex(self.numeric).round(3).astype(object)
        common = {name: tally.find_commonest() for name, tally in self.tallies.items() if name in self.categorical}
        return summary.assign(commonest=pd.Series(common, dtype=object)).fillna("")
