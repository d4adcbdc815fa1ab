"""All columns together: how well the principal components of the reference still describe a window's rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lifecycle.core.histograms import Array
from lifecycle.core.records import Record
from lifecycle.core.values import name_category, to_numbers
from lifecycle.monitoring.entities import correlate_numbers

_COMPONENTS = 50  # at most
_EXPLAINED = 0.8  # share of the variance that the components explain
_ROWS = 100_000  # that the components are measured on, at most
_CELLS = 20_000_000  # rows times columns, at most: the cost grows with the square of the columns
_STEP = 4  # the components are fitted on one of so many rows, and their errors are measured on the others
_FARTHEST = 10.0  # standard deviations at which a value is cut off before it goes into the components
_DIGITS = 12  # of a component's entries in the file


def fit_components(frame: pd.DataFrame, columns: Mapping[str, Record], entities: Array | None = None) -> Record | None:
    """Return the reference's principal components and the errors of its rows; None for too few columns or rows.

    Numbers are standardised, and a category is replaced by its share. The error of a row is the squared length of what the
    components do not explain (Jackson & Mudholkar 1979, Technometrics 21): a change in how columns are related shows there, even
    where no column has moved by itself. Errors are smaller on the rows that the components were fitted on, so
    the reference's errors are measured on other rows; with `entities`, the entity of each row from 0, on those of other entities.
    """
    scales = {name: _scale_column(summary) for name, summary in columns.items()}
    used = [name for name, (_, sd) in scales.items() if sd > 0]
    if len(used) < 2:
        return None
    places = _choose_rows(len(frame), len(used))
    matrix = _encode_rows(frame.iloc[places], columns, used, scales)
    chosen = np.arange(len(matrix)) % _STEP == 0 if entities is None else entities[places] % _STEP == 0
    fitted = matrix[chosen]
    if len(fitted) < len(used) or chosen.all():
        return None
    values, vectors = np.linalg.eigh(fitted.T @ fitted / len(fitted))
    order = np.argsort(values)[::-1]
    explained = np.cumsum(values[order]) / values.sum()
    kept = min(_COMPONENTS, int(np.searchsorted(explained, _EXPLAINED)) + 1, len(used) - 1)
    components = np.round(vectors[:, order[:kept]], _DIGITS)
    errors = _compute_errors(matrix[~chosen], components)
    alike = {} if entities is None else {"correlation": correlate_numbers(errors, entities[places][~chosen])}
    return {
        "columns": used,
        "parts": components.T.tolist(),
        "rows": len(errors),
        "mean": float(errors.mean()),
        "variance": float(errors.var()),
        **alike,
    }


def measure_errors(frame: pd.DataFrame, reference: Record) -> tuple[int, float, float]:
    """Return the rows measured, the sum and the sum of squares of the errors of a window's rows."""
    fitted = reference["components"]
    if fitted is None or not len(frame):
        return 0, 0.0, 0.0
    scales = {name: _scale_column(reference["columns"][name]) for name in fitted["columns"]}
    places = _choose_rows(len(frame), len(fitted["columns"]))
    matrix = _encode_rows(frame.iloc[places], reference["columns"], fitted["columns"], scales)
    errors = _compute_errors(matrix, np.array(fitted["parts"]).T)
    return len(errors), float(errors.sum()), float(errors @ errors)


def _scale_column(summary: Record) -> tuple[float, float]:
    """Return the mean and the standard deviation of a column's numbers, or of its categories' shares."""
    if summary["kind"] == "numeric":
        return summary["mean"], summary["sd"]
    counts = np.array([*summary["categories"].values()], dtype=np.float64)
    total = counts.sum() + summary["other"]
    if not total:
        return 0.0, 0.0
    shares = counts / total
    mean = float(counts @ shares / total)
    spread = float(counts @ (shares - mean) ** 2 / total)
    return mean, float(np.sqrt(spread)) if spread > 1e-12 else 0.0


def _choose_rows(rows: int, columns: int) -> Array:
    """Return the places of evenly chosen rows, of all where they are few."""
    most = min(_ROWS, _CELLS // columns)
    return np.arange(rows) if rows <= most else np.linspace(0, rows - 1, most).astype(np.int64)


def _encode_rows(
    frame: pd.DataFrame, columns: Mapping[str, Record], used: list[str], scales: Mapping[str, tuple[float, float]]
) -> Array:
    """Return the columns `used`, standardised, float64 (rows, columns); missing values become the mean."""
    matrix = np.empty((len(frame), len(used)))
    for place, name in enumerate(used):
        mean, sd = scales[name]
        if name not in frame:
            matrix[:, place] = 0.0
        elif columns[name]["kind"] == "numeric":
            matrix[:, place] = (to_numbers(frame[name]) - mean) / sd
        else:
            matrix[:, place] = (_replace_by_shares(frame[name], columns[name]) - mean) / sd
    np.nan_to_num(matrix, copy=False, nan=0.0, posinf=_FARTHEST, neginf=-_FARTHEST)
    return np.clip(matrix, -_FARTHEST, _FARTHEST, out=matrix)


def _replace_by_shares(values: pd.Series, summary: Record) -> Array:
    """Return the reference's share of each row's category: 0 for one that the reference lacks, NaN where it is missing."""
    total = sum(summary["categories"].values()) + summary["other"]
    codes, names = pd.factorize(values)
    shares = [summary["categories"].get(name_category(name), 0) / total for name in names.tolist()]
    return np.asarray(np.array([*shares, np.nan])[codes])


def _compute_errors(matrix: Array, components: Array) -> Array:
    """Return the squared length of what the components leave of each row, shape (rows,)."""
    scores = matrix @ components
    return np.asarray(np.maximum(np.einsum("ij,ij->i", matrix, matrix) - np.einsum("ij,ij->i", scores, scores), 0.0))
