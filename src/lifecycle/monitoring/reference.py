"""A table in counts: all that drift is measured on, so that neither the reference's rows nor a window's are kept.

The reference is plain JSON that goes with the model; a window's counts add up, so that it can be read in parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
Kind = Literal["numeric", "categories"]

BINS = 256  # of a number: exact where it has no more distinct values
LEVELS = 500  # of a category that are kept apart; the rest is one
PARTS = 50  # principal components, at most
SHARE = 0.8  # of the variance that they explain
ROWS = 100_000  # that the components are measured on, at most
CELLS = 20_000_000  # and rows times columns: the more columns the fewer rows, or time would grow as the columns' square
FITTED = 4  # of so many rows the components are fitted on one, and what they leave is measured on the others
FARTHEST = 1e150  # a number may be: its square, a million times, is still a number
FAR = 10.0  # standard deviations at which a value is cut off before it goes into the components
DIGITS = 12  # of a component: more would only make the file long


@dataclass(frozen=True)
class Numbers:
    """A number's counts and sums by bin, how many are absent, and its sums of x and x² about the reference's mean."""

    counts: Array
    sums: Array
    missing: int
    total: float
    square: float

    @property
    def present(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def __add__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.counts + other.counts,
            self.sums + other.sums,
            self.missing + other.missing,
            self.total + other.total,
            self.square + other.square,
        )


@dataclass(frozen=True)
class Levels:
    """A category's counts by level, and how many values are absent."""

    counts: dict[str, int]
    missing: int

    @property
    def present(self) -> int:
        """How many values there are."""
        return sum(self.counts.values())

    def __add__(self, other: Levels) -> Levels:
        names = self.counts | other.counts
        both = {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names}
        return Levels(both, self.missing + other.missing)


@dataclass(frozen=True)
class Counts:
    """A window: its rows, each column's counts, and sums of the components' errors (rows measured, sum, sum of squares)."""

    rows: int
    columns: dict[str, Numbers | Levels]
    errors: tuple[int, float, float]

    def __add__(self, other: Counts) -> Counts:
        columns: dict[str, Any] = {name: self.columns[name] + other.columns[name] for name in self.columns}  # type: ignore[operator]
        measured, total, square = (one + two for one, two in zip(self.errors, other.errors, strict=True))
        return Counts(self.rows + other.rows, columns, (int(measured), total, square))


def sketch_reference(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> Record:
    """The reference of the columns of a table: {"rows", "columns": {name: sketch}, "components"}, plain JSON.

    Columns of kind `numeric` hold numbers, those of kind `levels` anything that str names. Cost: a sort of each column,
    and rows x columns² for the components (of ROWS rows at most).
    """
    columns = {name: sketch_column(frame[name], kind) for name, kind in kinds.items()}
    return {"rows": len(frame), "columns": columns, "components": find_components(frame, columns)}


def sketch_column(values: pd.Series, kind: Kind) -> Record:
    """One column of the reference."""
    if kind == "categories":
        counted = count_levels(values)
        names = sorted(counted.counts, key=lambda name: (-counted.counts[name], name))[:LEVELS]
        kept = {name: counted.counts[name] for name in names}
        return {
            "kind": kind,
            "missing": counted.missing,
            "categories": kept,
            "other": counted.present - sum(kept.values()),
        }
    present = to_numbers(values)
    present = np.sort(present[np.isfinite(present)])
    mean, sd = (float(present.mean()), float(present.std())) if len(present) else (0.0, 0.0)
    if len(present) and present[0] == present[-1]:  # the mean of a constant is another in the last digit
        mean, sd = float(present[0]), 0.0
    edges = cut_edges(present)
    counted_numbers = count_ordered(present, len(values), edges, mean)
    return {
        "kind": kind,
        "missing": counted_numbers.missing,
        "mean": mean,
        "sd": sd,
        "median": float(present[[(len(present) - 1) // 2, len(present) // 2]].mean()) if len(present) else None,
        "edges": edges.tolist(),
        "counts": counted_numbers.counts.tolist(),
        "sums": counted_numbers.sums.tolist(),
    }


def cut_edges(ordered: Array) -> Array:
    """Where bins begin: every distinct value, or quantiles where there are more than BINS, and just above the greatest.

    So the first and the last bin are empty in the reference: what lies beyond it shows there.
    """
    values = ordered[np.flatnonzero(np.diff(ordered, prepend=-np.inf))] if len(ordered) else ordered
    if len(values) > BINS:
        places = np.ceil(len(ordered) * (np.arange(BINS) / BINS)).astype(np.int64) - 1
        values = np.unique(ordered[np.maximum(places, 0)])
    return np.append(values, np.nextafter(ordered[-1], np.inf)) if len(ordered) else values


def count_window(frame: pd.DataFrame, reference: Record) -> Counts:
    """A window's counts of the reference's columns; one that the frame lacks is absent in every row.

    Cost: a sort of each number and a count of each category; memory beyond the frame is one column.
    """
    columns: dict[str, Numbers | Levels] = {}
    for name, sketch in reference["columns"].items():
        values = frame[name] if name in frame else pd.Series(np.nan, index=frame.index, dtype=object)
        if sketch["kind"] == "categories":
            columns[name] = count_levels(values)
        else:
            columns[name] = count_numbers(values, np.asarray(sketch["edges"]), sketch["mean"])
    return Counts(len(frame), columns, measure_errors(frame, reference))


def to_numbers(values: pd.Series) -> Array:
    """A column as float64; what is no number is NaN. What is beyond reason is cut off, so that no sum becomes infinite."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = pd.to_numeric(values, errors="coerce")
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(array), np.clip(array, -FARTHEST, FARTHEST), array)


def count_numbers(values: pd.Series, edges: Array, middle: float) -> Numbers:
    """Count numbers in bins [edge, next edge), open at both ends; infinities are absent, as NaN is.

    Sorting first is five times quicker than a binary search for every value.
    """
    array = to_numbers(values)
    return count_ordered(np.sort(array[np.isfinite(array)]), len(array), edges, middle)


def count_ordered(finite: Array, rows: int, edges: Array, middle: float) -> Numbers:
    """Count the finite numbers of so many rows, given in order."""
    places = np.concatenate([[0], np.searchsorted(finite, edges, side="left"), [len(finite)]])
    running = np.concatenate([[0.0], np.cumsum(finite)])
    centred = finite - middle
    total, square = float(centred.sum()), float(centred @ centred)
    return Numbers(np.diff(places), np.diff(running[places]), rows - len(finite), total, square)


def count_levels(values: pd.Series) -> Levels:
    """Count the levels of a category, named by str; whole numbers that came as floats are named as whole ones."""
    counted = values.value_counts(sort=False)
    counts: dict[str, int] = {}
    for level, count in zip(counted.index.tolist(), counted.tolist(), strict=True):
        if count:  # a category's type may know levels that no row has
            name = name_level(level)
            counts[name] = counts.get(name, 0) + count
    return Levels(counts, len(values) - int(counted.sum()))


def name_level(level: Any) -> str:
    """A level's name: 1, 1.0 and True are one level, however a file has them."""
    if isinstance(level, bool | np.bool_):
        return str(int(level))
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)


# All columns together: how well the reference's principal components still describe the rows.


def find_components(frame: pd.DataFrame, columns: Mapping[str, Record]) -> Record | None:
    """The reference's principal components, and what is left of its rows without them; None for too few columns or rows.

    Numbers are standardised, a level stands for its share. The error of a row is the squared length of what the
    components leave (Jackson & Mudholkar 1979, Technometrics 21): a changed relation between columns shows there, even
    where none of them has moved by itself. They leave less of the rows they were fitted on than of later ones, so the
    reference's errors are those of other rows.
    """
    scales = {name: scale_column(sketch) for name, sketch in columns.items()}
    used = [name for name, (_, sd) in scales.items() if sd > 0]
    if len(used) < 2:
        return None
    matrix = encode_rows(frame, columns, used, scales)
    fitted = matrix[::FITTED]
    if len(fitted) < len(used):
        return None
    values, vectors = np.linalg.eigh(fitted.T @ fitted / len(fitted))
    order = np.argsort(values)[::-1]
    explained = np.cumsum(values[order]) / values.sum()
    kept = min(PARTS, int(np.searchsorted(explained, SHARE)) + 1, len(used) - 1)
    parts = np.round(vectors[:, order[:kept]], DIGITS)
    errors = leave_errors(np.delete(matrix, slice(None, None, FITTED), axis=0), parts)
    return {
        "columns": used,
        "parts": parts.T.tolist(),
        "rows": len(errors),
        "mean": float(errors.mean()),
        "variance": float(errors.var()),
    }


def measure_errors(frame: pd.DataFrame, reference: Record) -> tuple[int, float, float]:
    """Rows, sum and sum of squares of what the components leave of a window's rows."""
    components = reference["components"]
    if components is None or not len(frame):
        return 0, 0.0, 0.0
    scales = {name: scale_column(reference["columns"][name]) for name in components["columns"]}
    matrix = encode_rows(frame, reference["columns"], components["columns"], scales)
    errors = leave_errors(matrix, np.array(components["parts"]).T)
    return len(errors), float(errors.sum()), float(errors @ errors)


def scale_column(sketch: Record) -> tuple[float, float]:
    """Mean and standard deviation of a column's numbers, or of its levels' shares."""
    if sketch["kind"] == "numeric":
        return sketch["mean"], sketch["sd"]
    counts = np.array([*sketch["categories"].values()], dtype=np.float64)
    total = counts.sum() + sketch["other"]
    if not total:
        return 0.0, 0.0
    shares = counts / total
    mean = float(counts @ shares / total)
    spread = float(counts @ (shares - mean) ** 2 / total)
    return mean, float(np.sqrt(spread)) if spread > 1e-12 else 0.0


def encode_rows(
    frame: pd.DataFrame, columns: Mapping[str, Record], used: list[str], scales: Mapping[str, tuple[float, float]]
) -> Array:
    """The columns `used` of evenly chosen rows as float64 (rows, columns), standardised; what is absent is the mean."""
    rows = min(ROWS, CELLS // len(used))
    if len(frame) > rows:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, rows).astype(np.int64)]
    matrix = np.empty((len(frame), len(used)))
    for place, name in enumerate(used):
        mean, sd = scales[name]
        if name not in frame:
            matrix[:, place] = 0.0
        elif columns[name]["kind"] == "numeric":
            matrix[:, place] = (to_numbers(frame[name]) - mean) / sd
        else:
            matrix[:, place] = (share_levels(frame[name], columns[name]) - mean) / sd
    np.nan_to_num(matrix, copy=False, nan=0.0, posinf=FAR, neginf=-FAR)
    return np.clip(matrix, -FAR, FAR, out=matrix)


def share_levels(values: pd.Series, sketch: Record) -> Array:
    """The reference's share of each row's level; 0 for one that it has not, NaN where absent."""
    total = sum(sketch["categories"].values()) + sketch["other"]
    codes, names = pd.factorize(values)
    shares = np.array([sketch["categories"].get(name_level(name), 0) / total for name in names.tolist()] + [np.nan])
    return np.asarray(shares[codes])


def leave_errors(matrix: Array, parts: Array) -> Array:
    """The squared length of each row without its components, shape (rows,)."""
    scores = matrix @ parts
    return np.asarray(np.maximum(np.einsum("ij,ij->i", matrix, matrix) - np.einsum("ij,ij->i", scores, scores), 0.0))
