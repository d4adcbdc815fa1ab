"""Features: declare what a model may read, compute it, and hold out the rows for the evaluation."""

from __future__ import annotations

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
from lifecycle.core.tables import TableWriter, count_rows, open_table
from lifecycle.features.definitions import FeatureDeclaration
from lifecycle.features.inputs import to_array
from lifecycle.modeling.task import task_for
from lifecycle.validation.conversion import map_distinct, read_frames, spell_out
from lifecycle.validation.sampling import ROWS, Tally, choose_rows, find_span, hash_values, limit_distinct, limit_rows

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
_KINDS = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "boolean"}


def list_features(contract: Contract, columns: list[str], derived: dict[str, str]) -> list[dict[str, Any]]:
    """List the features of a table with `columns`: those of the contract, the parts of its time, and the derived ones.

    Each is a record of name, kind (numeric, categorical, boolean), source (column, time, derived), expression, the
    columns it reads, and the contract's rules for it. Raises ProjectError for an expression that reads an unknown column
    or the target, or a name that is taken.
    """
    present = [name for name in contract.columns if name in columns]
    features = [
        _describe_feature(name, _KINDS[contract.columns[name].role], "column", contract.columns[name])
        for name in present
        if contract.columns[name].role in _KINDS
    ]
    if contract.time in present:
        features += [
            _describe_feature(f"{contract.time}_{part}", "numeric", "time", None, text.format(name=repr(contract.time)))
            for part, text in _TIME_PARTS.items()
        ]
    usable = {name for name in present if contract.columns[name].role in (*_KINDS, Role.TIME, Role.TEXT)}
    for name, text in derived.items():
        if name in contract.columns:
            raise ProjectError(f"{PARAMS}: features.derived.{name}: the contract has a column of this name.")
        feature = _describe_feature(name, "numeric", "derived", None, text)
        if unknown := sorted(set(feature["columns"]) - usable):
            raise ProjectError(
                f"{PARAMS}: features.derived.{name} reads {unknown}, which are not feature columns of the table."
            )
        features.append(feature)
    return features


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
        "description": column.description if column else f"{expression}.",
    }


def compute_features(frame: pd.DataFrame, features: list[dict[str, Any]]) -> pd.DataFrame:
    """Compute every feature of every row: float64 for numeric and boolean (0, 1, NaN), object strings for categorical.

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
    if feature["kind"] == "categorical":
        words = map_distinct(column, lambda values: values.astype(str).astype(object))
        return words.where(column.notna(), None)
    if feature["kind"] == "boolean" and feature["values"]:
        codes = {value: float(position) for position, value in enumerate(feature["values"])}
        return map_distinct(column, lambda values: values.astype(object).map(codes).astype("float64"))
    return column.astype("float64")


def list_columns(path: Path) -> list[str]:
    """Return the names of a table's columns."""
    return list(pq.read_schema(path).names)


def read_keys(path: Path, contract: Contract) -> pd.DataFrame:
    """Read what the split depends on: target (as a category), ids and time of every row.

    In a table of more than `ROWS` rows, ids are replaced by their hashes, which take 8 bytes each.
    """
    names = [name for name in contract.names(Role.TARGET, Role.ID, Role.TIME) if name in list_columns(path)]
    classes = pd.CategoricalDtype(list(contract.columns[contract.target].values or ()))
    hashed = contract.names(Role.ID) if count_rows(path) > ROWS else []
    parts = [
        part.assign(
            **{contract.target: part[contract.target].astype(object).astype(classes)},
            **{name: hash_values(part[name]) for name in hashed},
        )
        for part in map(spell_out, read_frames(path, names))
    ]
    return pd.concat(parts)


def choose_split(split: str, contract: Contract, frame: pd.DataFrame) -> str:
    """Return the split's strategy: `split`, or for `auto` the one that the table suggests: time, group or stratified.

    Raises ProjectError for a split by time or group without such a column.
    """
    keys = [name for name in contract.names(Role.ID) if name in frame]
    if split == "time" and contract.time is None:
        raise ProjectError(f"{PARAMS}: features.split is 'time', but the contract has no column with role time.")
    if split == "group" and not keys:
        raise ProjectError(f"{PARAMS}: features.split is 'group', but the contract has no column with role id.")
    if split != "auto":
        return split
    if contract.time is not None:
        return "time"
    return "group" if keys and frame[keys[0]].duplicated().any() else "stratified"


def split_rows(
    frame: pd.DataFrame, contract: Contract, strategy: str, test_share: float, seed: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose the rows to hold out; return a mask of shape (rows,).

    time: the newest rows, with no moment on both sides. group: whole groups. stratified: at random, keeping the classes'
    shares. order: the last rows, for a table that grew. In a table of more than `ROWS` rows, a hash of the group or of the
    row's position chooses, which takes little memory. Raises ProjectError when a side would lack one of the classes.
    """
    task = task_for(contract)
    target = task.encode(frame[contract.target])
    if strategy == "time":
        moments = frame[contract.time]
        held_out = (moments > moments.quantile(1 - test_share, interpolation="lower")).to_numpy()
    elif strategy == "order":
        held_out = np.arange(len(frame)) >= len(frame) - round(len(frame) * test_share)
    elif strategy == "group" and len(frame) > ROWS:
        held_out = hash_values(frame[contract.names(Role.ID)[0]], seed) < np.uint64(int(test_share * 2**64))
    elif strategy == "group":
        groups = frame[contract.names(Role.ID)[0]]
        folds = task.make_folds("group", max(2, round(1 / test_share)), seed)
        held_out = np.zeros(len(frame), dtype=bool)
        held_out[next(folds.split(frame, target, groups))[1]] = True
    else:
        held_out = task.hold_out(target, test_share, seed)
    task.check_split(target, held_out, strategy)
    return held_out


def assemble_table(frame: pd.DataFrame, computed: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Join ids, time, target (int8) and features to the table that training and evaluation read."""
    kept = [name for name in contract.names(Role.ID, Role.TIME) if name in frame]
    target = task_for(contract).encode(frame[contract.target])
    return pd.concat([frame[kept], target, computed], axis=1)


def describe_split(
    frame: pd.DataFrame, held_out: np.ndarray[Any, Any], contract: Contract, strategy: str
) -> dict[str, Any]:
    """Return the rows and the share of positive rows of both sides."""
    target = task_for(contract).encode(frame[contract.target])
    return {
        "strategy": strategy,
        "train_rows": int((~held_out).sum()),
        "test_rows": int(held_out.sum()),
        "train_rate": float(target[~held_out].mean()),
        "test_rate": float(target[held_out].mean()),
    }


def declare_features(
    contract: Contract, features: list[dict[str, Any]], division: dict[str, Any]
) -> FeatureDeclaration:
    """Return the record of the features and of the split, which is written to features.json."""
    record = {
        "target": contract.target,
        "positive": contract.positive,
        "id": contract.names(Role.ID),
        "time": contract.time,
        "features": features,
        "split": division,
    }
    return FeatureDeclaration.parse(record, FEATURES)


def write_features(
    path: Path,
    features: list[dict[str, Any]],
    contract: Contract,
    held_out: np.ndarray[Any, np.dtype[np.bool_]],
    train: Path,
    test: Path,
) -> pd.DataFrame:
    """Compute the features of a validated table and write both sides of the split; return a summary."""
    rows = len(held_out)
    summary = _Summary(features, rows)
    with ExitStack() as stack:
        writers: list[TableWriter] = []
        for part in show_progress(read_frames(path), "features", rows):
            computed = compute_features(part, features)
            table = spell_out(assemble_table(part, computed, contract))
            schema = _find_schema(table, features)
            writers = writers or [stack.enter_context(open_table(side, schema)) for side in (train, test)]
            chosen = held_out[part.index.to_numpy()]
            writers[0].write(table[~chosen])
            writers[1].write(table[chosen])
            summary.add(computed)
    return summary.tabulate()


def _find_schema(table: pd.DataFrame, features: list[dict[str, Any]]) -> pa.Schema:
    """Return the table's schema; categorical features are text, even when every value is missing."""
    words = {feature["name"]: "" for feature in features if feature["kind"] == "categorical"}
    return pa.Schema.from_pandas(
        table.head(1).assign(**words).astype(dict.fromkeys(words, object)), preserve_index=False
    )


class _Summary:
    """Summarises features that are computed in parts; distinct values and medians are exact up to a limit of rows."""

    def __init__(self, features: list[dict[str, Any]], rows: int) -> None:
        self.rows = rows
        self.names = [feature["name"] for feature in features]
        self.numeric = [feature["name"] for feature in features if feature["kind"] != "categorical"]
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
        common = {name: tally.find_commonest() for name, tally in self.tallies.items() if name not in self.numeric}
        return summary.assign(commonest=pd.Series(common, dtype=object)).fillna("")
