"""From the columns of a request to a probability, with numpy alone: the plan that was compiled from a fitted model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from lifecycle.expressions import Array, parse_expression

Record = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]  # the values of each row's columns; absent or None where missing
LIMIT = (
    1e-6  # probabilities are kept this far from 0 and 1 before log-odds are taken, as when the calibration was learned
)


class Scorer:
    """A compiled model.

    plan: what `compile_model` gave. dtypes: the contract's dtype of each column. trees: treelite's bytes, or None.
    """

    def __init__(self, plan: Record, dtypes: Mapping[str, str], trees: bytes | None) -> None:
        by_name = {feature["name"]: feature for feature in plan["features"]}
        numbers = plan["numbers"]
        self.dtypes = dtypes
        self.numbers = [(name, find_codes(by_name[name])) for name in numbers["names"]]
        self.derived = [
            (numbers["names"].index(feature["name"]), parse_expression(feature["expression"], feature["name"]))
            for feature in plan["features"]
            if feature["expression"] is not None
        ]
        self.read = tuple(dict.fromkeys(name for _, expression in self.derived for name in expression.columns))
        self.low, self.high = to_bounds(numbers["low"], -np.inf), to_bounds(numbers["high"], np.inf)
        self.clips = bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())
        self.fill = to_bounds(numbers["fill"], np.nan)
        self.mean, self.scale = np.array(numbers["mean"]), np.array(numbers["scale"])
        self.marks = numbers["marks"]
        self.levels = [
            (level["name"], {**level["codes"], None: level["missing"]}, level["other"], level["start"])
            for level in plan["levels"]
        ]
        self.words = all(dtypes[name] == "string" for name, *_ in self.levels)  # levels need no conversion then
        self.width = sum(level["width"] for level in plan["levels"])
        self.order = None if plan["order"] == list(range(len(plan["order"]))) else np.array(plan["order"])
        self.apply_model = build_model(plan["model"], trees)
        self.apply_calibration = build_calibration(plan["calibration"])

    def score(self, rows: Rows) -> Array:
        """The probability of the positive class, float64 of shape (rows,)."""
        with np.errstate(all="ignore"):
            return self.apply_calibration(self.apply_model(self.prepare(rows)))

    def prepare(self, rows: Rows) -> Array:
        """The model's matrix, float64 of shape (rows, width): filled, scaled and encoded as in training."""
        X = np.array(
            [
                [row.get(name) if codes is None else codes.get(row.get(name)) for name, codes in self.numbers]
                for row in rows
            ],
            dtype="float64",
        )
        if self.derived:
            arrays = {name: to_array([row.get(name) for row in rows], self.dtypes[name]) for name in self.read}
            for place, expression in self.derived:
                X[:, place] = expression.evaluate_quietly(arrays)
        absent = np.isnan(X)
        if self.clips:
            X = np.clip(X, self.low, self.high)
        if absent.any():
            X = np.where(absent, self.fill, X)
        X -= self.mean
        X /= self.scale
        blocks = [X]
        if self.marks:
            blocks += [(absent[:, [mark["column"]]] - mark["mean"]) / mark["scale"] for mark in self.marks]
        if self.levels:
            blocks.append(self.encode(rows))
        whole = np.concatenate(blocks, axis=1) if len(blocks) > 1 else X
        return whole if self.order is None else whole[:, self.order]

    def encode(self, rows: Rows) -> Array:
        """The level columns as zeros and ones, shape (rows, width)."""
        places, start = [], 0
        for row in rows:
            for name, codes, other, first in self.levels:
                value = row.get(name)
                place = codes.get(value if self.words else to_level(value), other)
                if place is not None:
                    places.append(start + first + place)
            start += self.width
        encoded = np.zeros((len(rows), self.width))
        encoded.reshape(-1)[places] = 1.0
        return encoded


def find_codes(feature: Record) -> dict[Any, float] | None:
    """What stands for each value of a number: the position of a truth value among its two words, else itself (None)."""
    values = feature["values"] if feature["kind"] == "boolean" else None
    return {value: float(place) for place, value in enumerate(values)} if values and values != [0, 1] else None


def to_level(value: Any) -> str | None:
    """A level as the encoder knows it: a string, or None where absent."""
    return value if value is None or type(value) is str else str(value)


def to_array(values: Sequence[Any], dtype: str) -> Array:
    """A column as an expression reads it: float64, datetime64 in UTC, or objects with None where absent."""
    if dtype == "string":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if dtype == "datetime":
        return np.array(values, dtype="datetime64[us]")
    return np.array(values, dtype="float64")


def to_bounds(values: list[float | None], absent: float) -> Array:
    """A vector of floats, with `absent` where there is none."""
    return np.array([absent if value is None else value for value in values], dtype="float64")


def build_model(record: Record, trees: bytes | None) -> Callable[[Array], Array]:
    """The function from the model's matrix to probabilities, shape (rows,)."""
    if record["kind"] == "linear":
        coefficients, intercept = np.array(record["coefficients"]), record["intercept"]
        curves = [
            (curve["column"], np.array(curve["breaks"]), np.array(curve["pieces"]))
            for curve in record.get("curves", [])
        ]

        def apply_linear(X: Array) -> Array:
            log_odds = X @ coefficients + intercept
            for column, breaks, pieces in curves:
                log_odds = log_odds + evaluate_curve(X[:, column], breaks, pieces)
            return to_probability(log_odds)

        return apply_linear
    assert trees is not None
    return build_trees(record, trees)


def evaluate_curve(x: Array, breaks: Array, pieces: Array) -> Array:
    """A piecewise polynomial, constant beyond its outer breaks; pieces: (degree + 1, len(breaks) - 1), highest power first."""
    inside = np.clip(x, breaks[0], breaks[-1])
    piece = np.clip(np.searchsorted(breaks, inside, side="right") - 1, 0, len(breaks) - 2)
    distance = inside - breaks[piece]
    value = pieces[0][piece]
    for row in pieces[1:]:
        value = value * distance + row[piece]
    return np.asarray(value)


def build_trees(record: Record, trees: bytes) -> Callable[[Array], Array]:
    """The function from the model's matrix to probabilities of treelite's trees, on one thread."""
    treelite = import_treelite()
    forest = treelite.Model.deserialize_bytes(trees)
    single, margin = record["inputs"] == "float32", record["gives"] == "log-odds"

    def apply_trees(X: Array) -> Array:
        X = np.ascontiguousarray(X.astype(np.float32).astype(np.float64) if single else X)
        answer = treelite.gtil.predict(forest, X, nthread=1, pred_margin=margin).reshape(len(X), -1)
        return to_probability(answer[:, 0].astype("float64")) if margin else np.asarray(answer[:, -1], dtype="float64")

    return apply_trees


def import_treelite() -> Any:
    """Import treelite, where need be without scipy: it asks scipy only for the type of a sparse matrix, which we have not."""
    if find_spec("scipy") is None and "scipy" not in sys.modules:
        scipy, sparse = ModuleType("scipy"), ModuleType("scipy.sparse")
        sparse.csr_matrix = type("csr_matrix", (), {})  # type: ignore[attr-defined]
        scipy.sparse = sparse  # type: ignore[attr-defined]
        sys.modules |= {"scipy": scipy, "scipy.sparse": sparse}
    import treelite

    return treelite


def build_calibration(record: Record) -> Callable[[Array], Array]:
    """The map from the model's probability to the calibrated one (`modeling.calibration` learned it)."""
    if record["kind"] == "sigmoid":
        slope, intercept = record["slope"], record["intercept"]

        def apply_sigmoid(probabilities: Array) -> Array:
            inside = np.clip(probabilities, LIMIT, 1 - LIMIT)
            return to_probability(slope * np.log(inside / (1 - inside)) + intercept)

        return apply_sigmoid
    if record["kind"] == "isotonic":
        knots, levels = np.array(record["knots"]), np.array(record["levels"])
        return lambda probabilities: np.clip(np.interp(probabilities, knots, levels), LIMIT, 1 - LIMIT)
    return lambda probabilities: probabilities


def to_probability(log_odds: Array) -> Array:
    """1 / (1 + exp(-log-odds))."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))
