"""From the columns of a request to a probability, with numpy alone: the plan that was compiled from a fitted model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import exp, isfinite, log
from types import ModuleType
from typing import Any

import numpy as np

from lifecycle.core.expressions import Array, Expression, parse_expression, to_array, to_value

Record = dict[str, Any]
Row = Mapping[str, Any]  # the values of its columns; absent or None where missing
LIMIT = 1e-6  # probabilities are kept this far from 0 and 1 before log-odds are taken, as the calibration was learned
LARGEST_EXPONENT = 700.0  # of exp in float64, rounded down


class Scorer:
    """A compiled model.

    plan: what `compile_model` gave. dtypes: the contract's dtype of each column. trees: treelite's bytes, or None.
    """

    def __init__(self, plan: Record, dtypes: Mapping[str, str], trees: bytes | None) -> None:
        inputs, model = Inputs(plan, dtypes), plan["model"]
        self.model = LinearModel(inputs, model) if trees is None else TreeModel(inputs, model, trees)
        self.calibrate, self.calibrate_one = build_calibration(plan["calibration"])

    def score(self, rows: Sequence[Row]) -> Array:
        """The probability of the positive class, float64 of shape (rows,)."""
        with np.errstate(all="ignore"):
            return np.asarray(self.calibrate(self.model.predict(rows)))

    def score_one(self, row: Row) -> float:
        """The probability of one row: what `score` gives but for the last digits, and several times faster."""
        return self.calibrate_one(self.model.predict_one(row))


class Inputs:
    """How a row's values become a model's numbers: what is derived, bounds, what fills a gap, marks of gaps, levels."""

    def __init__(self, plan: Record, dtypes: Mapping[str, str]) -> None:
        by_name = {feature["name"]: feature for feature in plan["features"]}
        numbers, marks = plan["numbers"], plan["numbers"]["marks"]
        self.dtypes = dtypes
        self.numbers = [(name, find_codes(by_name[name])) for name in numbers["names"]]
        self.derived: dict[int, Expression] = {
            place: parse_expression(by_name[name]["expression"], name)
            for place, name in enumerate(numbers["names"])
            if by_name[name]["expression"] is not None
        }
        self.read = tuple(dict.fromkeys(name for derived in self.derived.values() for name in derived.columns))
        self.low, self.high = to_bounds(numbers["low"], -np.inf), to_bounds(numbers["high"], np.inf)
        self.clips = bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())
        self.fill = to_bounds(numbers["fill"], np.nan)
        self.marked = [mark["column"] for mark in marks]
        self.mean = np.array(numbers["mean"] + [mark["mean"] for mark in marks])
        self.scale = np.array(numbers["scale"] + [mark["scale"] for mark in marks])
        self.levels = [find_places(level, len(self.mean)) for level in plan["categories"]]
        self.words = all(dtypes[name] == "string" for name, *_ in self.levels)  # levels need no conversion then
        self.order = np.array(plan["order"], dtype="int64")  # of the model's columns among numbers, marks and levels

    def read_numbers(self, rows: Sequence[Row]) -> Array:
        """The numeric features, derived ones too, float64 of shape (rows, numbers); not finite where missing or undefined."""
        X = np.empty((len(rows), len(self.numbers)))
        for place, (name, codes) in enumerate(self.numbers):
            if place not in self.derived:
                X[:, place] = [row.get(name) if codes is None else codes.get(row.get(name)) for row in rows]
        if self.derived:
            values = {name: to_array([row.get(name) for row in rows], self.dtypes[name]) for name in self.read}
            for place, expression in self.derived.items():
                X[:, place] = expression.compute(values)
        return X

    def fill_gaps(self, X: Array) -> Array:
        """Numbers within their bounds and without gaps, then the marks of gaps, shape (rows, numbers + marks)."""
        present = np.isfinite(X)
        X = np.where(present, np.clip(X, self.low, self.high) if self.clips else X, self.fill)
        return np.concatenate([X, ~present[:, self.marked]], axis=1) if self.marked else X

    def build_matrix(self, rows: Sequence[Row]) -> Array:
        """The model's matrix, float64 of shape (rows, columns): filled, scaled and encoded as in training."""
        wide = len(self.mean)
        whole = np.zeros((len(rows), len(self.order)))
        whole[:, :wide] = (self.fill_gaps(self.read_numbers(rows)) - self.mean) / self.scale
        found = []
        for number, row in enumerate(rows):
            for name, places, other in self.levels:
                value = row.get(name)
                place = places.get(value if self.words else to_level(value), other)
                if place is not None:
                    found.append(number * len(self.order) + place)
        whole.reshape(-1)[found] = 1.0
        return whole[:, self.order]


class LinearModel:
    """A logistic regression: a weight for each number, a curve for some, and a weight for each level."""

    def __init__(self, inputs: Inputs, record: Record) -> None:
        self.inputs = inputs
        weights = np.zeros(len(inputs.order))
        weights[inputs.order] = record["coefficients"]
        count, wide = len(inputs.numbers), len(inputs.mean)
        self.slopes = weights[:wide] / inputs.scale
        self.slopes_whole = self.slopes[:count]  # of rows without a gap: no marks
        self.intercept = record["intercept"] - float(self.slopes @ inputs.mean)
        self.levels = [
            (name, {value: weigh(weights, place) for value, place in places.items()}, weigh(weights, other))
            for name, places, other in inputs.levels
        ]
        self.curves = [
            (int(inputs.order[curve["column"]]), np.array(curve["breaks"]), np.array(curve["pieces"]))
            for curve in record.get("curves", [])
        ]
        self.gaps = (self.slopes_whole * inputs.fill).tolist()  # what a gap adds
        for place, column in enumerate(inputs.marked):
            self.gaps[column] += float(self.slopes[count + place])
        most = np.finfo("float64").max
        self.steps = [
            (
                name, codes, None if place not in inputs.derived else inputs.derived[place].compute_one,
                float(self.slopes[place]), self.gaps[place],
                max(float(inputs.low[place]), -most), min(float(inputs.high[place]), most),
            )
            for place, (name, codes) in enumerate(inputs.numbers)
        ]  # fmt: skip

    def predict(self, rows: Sequence[Row]) -> Array:
        """Probabilities, shape (rows,)."""
        inputs = self.inputs
        X = inputs.read_numbers(rows)
        log_odds = np.einsum("ij,j->i", X, self.slopes_whole)  # `@` gives the same row other last bits at other places
        if inputs.clips or not isfinite(log_odds.sum()):  # a gap shows in the sum: where there is none, none is sought
            X = inputs.fill_gaps(X)
            log_odds = np.einsum("ij,j->i", X, self.slopes)
        log_odds += [self.add_levels(row) for row in rows]
        for column, breaks, pieces in self.curves:
            log_odds += evaluate_curve((X[:, column] - inputs.mean[column]) / inputs.scale[column], breaks, pieces)
        return np.asarray(1 / (1 + np.exp(-log_odds)))

    def predict_one(self, row: Row) -> float:
        """The probability of one row, in plain numbers: a call of numpy takes as long as this does for ten columns."""
        if self.curves:
            with np.errstate(all="ignore"):
                return float(self.predict([row])[0])
        log_odds = self.add_levels(row)
        values = {name: to_value(row.get(name), self.inputs.dtypes[name]) for name in self.inputs.read}
        for name, codes, compute, slope, gap, low, high in self.steps:
            if compute is not None:
                value = compute(values)
            else:
                value = row.get(name) if codes is None else codes.get(row.get(name))
            if value is not None and low <= value <= high:
                log_odds += slope * value
            elif value is None or not isfinite(value):
                log_odds += gap
            else:
                log_odds += slope * (low if value < low else high)
        return to_probability(log_odds)

    def add_levels(self, row: Row) -> float:
        """The intercept and the weights of a row's levels."""
        total: float = self.intercept
        words = self.inputs.words
        for name, weights, other in self.levels:
            value = row.get(name)
            total += weights.get(value if words else to_level(value), other)
        return total


class TreeModel:
    """treelite's trees, on one thread."""

    def __init__(self, inputs: Inputs, record: Record, trees: bytes) -> None:
        self.inputs = inputs
        self.treelite = import_treelite()
        self.forest = self.treelite.Model.deserialize_bytes(trees)
        self.single, self.margin = record["inputs"] == "float32", record["gives"] == "log-odds"

    def predict(self, rows: Sequence[Row]) -> Array:
        """Probabilities, shape (rows,)."""
        X = self.inputs.build_matrix(rows)
        X = np.ascontiguousarray(X.astype(np.float32).astype(np.float64) if self.single else X)
        answer = self.treelite.gtil.predict(self.forest, X, nthread=1, pred_margin=self.margin).reshape(len(X), -1)
        if self.margin:
            return np.asarray(1 / (1 + np.exp(-answer[:, 0].astype("float64"))))
        return np.asarray(answer[:, -1], dtype="float64")

    def predict_one(self, row: Row) -> float:
        """The probability of one row."""
        with np.errstate(all="ignore"):
            return float(self.predict([row])[0])


def find_places(level: Record, first: int) -> tuple[str, dict[str | None, int | None], int | None]:
    """A level column's name, and where each level, a missing one too, and any other has its one; None: nowhere."""

    def shift(place: int | None) -> int | None:
        return None if place is None else first + level["start"] + place

    codes: dict[str | None, int | None] = {**level["codes"], None: level["missing"]}
    return level["name"], {value: shift(place) for value, place in codes.items()}, shift(level["other"])


def weigh(weights: Array, place: int | None) -> float:
    """A level's weight."""
    return 0.0 if place is None else float(weights[place])


def find_codes(feature: Record) -> dict[Any, float] | None:
    """What stands for each value of a number: the position of a truth value among its two words, else itself (None)."""
    values = feature["values"] if feature["kind"] == "boolean" else None
    return {value: float(place) for place, value in enumerate(values)} if values and values != [0, 1] else None


def to_level(value: Any) -> str | None:
    """A level as the encoder knows it: a string, or None where absent."""
    return value if value is None or type(value) is str else str(value)


def to_bounds(values: list[float | None], absent: float) -> Array:
    """A vector of floats, with `absent` where there is none."""
    return np.array([absent if value is None else value for value in values], dtype="float64")


def evaluate_curve(x: Array, breaks: Array, pieces: Array) -> Array:
    """A piecewise polynomial, constant beyond its outer breaks; pieces: (degree + 1, len(breaks) - 1), highest power first."""
    inside = np.clip(x, breaks[0], breaks[-1])
    piece = np.clip(np.searchsorted(breaks, inside, side="right") - 1, 0, len(breaks) - 2)
    distance = inside - breaks[piece]
    value = pieces[0][piece]
    for row in pieces[1:]:
        value = value * distance + row[piece]
    return np.asarray(value)


def import_treelite() -> Any:
    """Import treelite, where need be without scipy: it asks scipy only for the type of a sparse matrix, which we have not."""
    if find_spec("scipy") is None and "scipy" not in sys.modules:
        scipy, sparse = ModuleType("scipy"), ModuleType("scipy.sparse")
        sparse.csr_matrix = type("csr_matrix", (), {})  # type: ignore[attr-defined]
        scipy.sparse = sparse  # type: ignore[attr-defined]
        sys.modules |= {"scipy": scipy, "scipy.sparse": sparse}
    import treelite

    return treelite


def build_calibration(record: Record) -> tuple[Callable[[Array], Array], Callable[[float], float]]:
    """The map from the model's probabilities to calibrated ones, of an array and of one (`modeling.calibration` learned it).

    Raises ValueError for a kind that is not known.
    """
    if record["kind"] == "none":
        return lambda probability: probability, lambda probability: probability
    if record["kind"] == "sigmoid":
        slope, intercept = record["slope"], record["intercept"]

        def apply_sigmoid(probability: Array) -> Array:
            inside = np.clip(probability, LIMIT, 1 - LIMIT)
            return np.asarray(1 / (1 + np.exp(-(slope * np.log(inside / (1 - inside)) + intercept))))

        def apply_sigmoid_one(probability: float) -> float:
            inside = min(max(probability, LIMIT), 1 - LIMIT)
            return to_probability(slope * log(inside / (1 - inside)) + intercept)

        return apply_sigmoid, apply_sigmoid_one
    if record["kind"] == "isotonic":
        knots, levels = np.array(record["knots"]), np.array(record["categories"])

        def apply_isotonic(probability: Array) -> Array:
            return np.asarray(np.clip(np.interp(probability, knots, levels), LIMIT, 1 - LIMIT))

        return apply_isotonic, lambda probability: float(
            min(max(np.interp(probability, knots, levels), LIMIT), 1 - LIMIT)
        )
    raise ValueError(f"the calibration {record['kind']!r} is not known")


def to_probability(log_odds: float) -> float:
    """1 / (1 + exp(-log-odds)), where exp does not overflow."""
    return 0.0 if log_odds <= -LARGEST_EXPONENT else 1 / (1 + exp(-log_odds))
