"""Score requests with numpy alone, by the plan that was compiled from a fitted model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import exp, isfinite, log
from types import ModuleType
from typing import Any

import numpy as np

from lifecycle.core.expressions import Array, Expression, parse_expression, to_array, to_value
from lifecycle.core.records import Record
from lifecycle.core.terms import Terms

Row = Mapping[str, Any]  # column to value; a missing value is absent or None
LIMIT = 1e-6  # probabilities are clipped to this distance from 0 and 1 before log-odds, as in fitting the calibration
_TOLERANCE = 1e-9  # where the model's plan does not name another one
_LARGEST_EXPONENT = 700.0  # of exp in float64, rounded down


class Scorer:
    """A compiled model.

    plan: the result of `compile_model`. dtypes: the contract's dtype of each column. trees: treelite's bytes, or None.
    """

    def __init__(self, plan: Record, dtypes: Mapping[str, str], trees: bytes | None) -> None:
        inputs, model = Inputs(plan, dtypes), plan["model"]
        self.model = LinearModel(inputs, model) if trees is None else TreeModel(inputs, model, trees)
        self.calibrate, self.calibrate_one = _build_calibration(plan["calibration"])
        self.tolerance = float(model.get("tolerance", _TOLERANCE))  # to the fitted model's probabilities

    def score(self, rows: Sequence[Row]) -> Array:
        """Return the probabilities of the positive class, float64 of shape (rows,)."""
        with np.errstate(all="ignore"):
            return np.asarray(self.calibrate(self.model.predict(rows)))

    def score_one(self, row: Row) -> float:
        """Return the probability of one row: several times faster than `score`, and equal to it but for the last digits."""
        return self.calibrate_one(self.model.predict_one(row))


class Inputs:
    """How a row's values become the model's matrix: derived features, bounds, imputation, missing indicators, categories, terms."""

    def __init__(self, plan: Record, dtypes: Mapping[str, str]) -> None:
        by_name = {feature["name"]: feature for feature in plan["features"]}
        numbers, indicators = plan["numbers"], plan["numbers"]["missing_indicators"]
        self.dtypes = dtypes
        encoded = {column["name"]: column for column in plan.get("encoded", ())}  # which older bundles do not have
        self.numbers = [
            (name, _find_codes(by_name[name], encoded.get(name), dtypes.get(name))) for name in numbers["names"]
        ]
        self.derived: dict[int, Expression] = {
            place: parse_expression(by_name[name]["expression"], name)
            for place, name in enumerate(numbers["names"])
            if by_name[name]["expression"] is not None
        }
        self.read = tuple(dict.fromkeys(name for derived in self.derived.values() for name in derived.columns))
        self.low, self.high = _to_bounds(numbers["low"], -np.inf), _to_bounds(numbers["high"], np.inf)
        self.clips = bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())
        self.fill = _to_bounds(numbers["fill"], np.nan)
        self.indicated = [indicator["column"] for indicator in indicators]
        self.mean = np.array(numbers["mean"] + [indicator["mean"] for indicator in indicators])
        self.scale = np.array(numbers["scale"] + [indicator["scale"] for indicator in indicators])
        self.categories = [_find_places(column, len(self.mean)) for column in plan["categories"]]
        self.strings = all(
            dtypes[name] == "string" for name, *_ in self.categories
        )  # categories need no conversion then
        texts = plan.get("texts", ())  # which older bundles do not have
        first = len(plan["order"]) - sum(text["width"] for text in texts)
        self.texts = [(text["name"], Terms(text["terms"], text["idf"]), first + text["start"]) for text in texts]
        self.order = np.array(plan["order"], dtype="int64")  # place of each model column

    def read_numbers(self, rows: Sequence[Row]) -> Array:
        """Return the numeric features, including derived ones, float64 of shape (rows, numbers); not finite where missing."""
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
        """Clip and impute numbers and append the missing indicators, shape (rows, numbers + indicators)."""
        present = np.isfinite(X)
        X = np.where(present, np.clip(X, self.low, self.high) if self.clips else X, self.fill)
        return np.concatenate([X, ~present[:, self.indicated]], axis=1) if self.indicated else X

    def build_matrix(self, rows: Sequence[Row]) -> Array:
        """Return the model's matrix, float64 of shape (rows, columns): imputed, scaled and encoded as in training."""
        wide = len(self.mean)
        whole = np.zeros((len(rows), len(self.order)))
        whole[:, :wide] = (self.fill_gaps(self.read_numbers(rows)) - self.mean) / self.scale
        found = []
        for number, row in enumerate(rows):
            for name, places, other in self.categories:
                value = row.get(name)
                place = places.get(value if self.strings else _to_category(value), other)
                if place is not None:
                    found.append(number * len(self.order) + place)
            for name, terms, first in self.texts:
                for term, weight in terms.weigh(row.get(name)):
                    whole[number, first + term] = weight
        whole.reshape(-1)[found] = 1.0
        return whole[:, self.order]


class LinearModel:
    """A logistic regression: a weight for each number, a curve for some of them, and a weight for each category and term."""

    def __init__(self, inputs: Inputs, record: Record) -> None:
        self.inputs = inputs
        weights = np.zeros(len(inputs.order))
        weights[inputs.order] = record["coefficients"]
        count, wide = len(inputs.numbers), len(inputs.mean)
        self.slopes = weights[:wide] / inputs.scale
        self.slopes_whole = self.slopes[:count]  # for rows without a missing value
        self.intercept = record["intercept"] - float(self.slopes @ inputs.mean)
        self.categories = [
            (
                name,
                {value: _read_weight(weights, place) for value, place in places.items()},
                _read_weight(weights, other),
            )
            for name, places, other in inputs.categories
        ]
        self.texts = [
            (name, terms, weights[first : first + len(terms.idf)].tolist()) for name, terms, first in inputs.texts
        ]
        self.curves = [
            (int(inputs.order[curve["column"]]), np.array(curve["breaks"]), np.array(curve["pieces"]))
            for curve in record.get("curves", [])
        ]
        self.gaps = (self.slopes_whole * inputs.fill).tolist()  # what a missing value adds
        for place, column in enumerate(inputs.indicated):
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
        """Return probabilities, shape (rows,)."""
        inputs = self.inputs
        X = inputs.read_numbers(rows)
        log_odds = np.einsum("ij,j->i", X, self.slopes_whole)  # with `@` the last bits of a row depend on its position
        if inputs.clips or not isfinite(log_odds.sum()):  # a missing value shows in the sum
            X = inputs.fill_gaps(X)
            log_odds = np.einsum("ij,j->i", X, self.slopes)
        log_odds += [self.add_words(row) for row in rows]
        for column, breaks, pieces in self.curves:
            log_odds += _evaluate_curve((X[:, column] - inputs.mean[column]) / inputs.scale[column], breaks, pieces)
        return np.asarray(1 / (1 + np.exp(-log_odds)))

    def predict_one(self, row: Row) -> float:
        """Return the probability of one row in plain Python: one call of numpy takes as long as ten columns do here."""
        if self.curves:
            with np.errstate(all="ignore"):
                return float(self.predict([row])[0])
        log_odds = self.add_words(row)
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
        return _to_probability(log_odds)

    def add_words(self, row: Row) -> float:
        """Return the sum of the intercept and the weights of a row's categories and terms."""
        total: float = self.intercept
        strings = self.inputs.strings
        for name, weights, other in self.categories:
            value = row.get(name)
            total += weights.get(value if strings else _to_category(value), other)
        for name, terms, slopes in self.texts:
            for term, weight in terms.weigh(row.get(name)):
                total += slopes[term] * weight
        return total


class TreeModel:
    """Trees that treelite evaluates on one thread."""

    def __init__(self, inputs: Inputs, record: Record, trees: bytes) -> None:
        self.inputs = inputs
        self.treelite = import_treelite()
        self.forest = self.treelite.Model.deserialize_bytes(trees)
        self.single, self.margin = record["inputs"] == "float32", record["output"] == "log-odds"

    def predict(self, rows: Sequence[Row]) -> Array:
        """Return probabilities, shape (rows,)."""
        X = self.inputs.build_matrix(rows)
        X = np.ascontiguousarray(X.astype(np.float32).astype(np.float64) if self.single else X)
        answer = self.treelite.gtil.predict(self.forest, X, nthread=1, pred_margin=self.margin).reshape(len(X), -1)
        if self.margin:
            return np.asarray(1 / (1 + np.exp(-answer[:, 0].astype("float64"))))
        return np.asarray(answer[:, -1], dtype="float64")

    def predict_one(self, row: Row) -> float:
        """Return the probability of one row."""
        with np.errstate(all="ignore"):
            return float(self.predict([row])[0])


def _find_places(column: Record, first: int) -> tuple[str, dict[str | None, int | None], int | None]:
    """Return a categorical column's name, the place of each category and of None, and the place of any other category.

    A place is a column of the matrix; None stands for a row of zeros.
    """

    def shift(place: int | None) -> int | None:
        return None if place is None else first + column["start"] + place

    codes: dict[str | None, int | None] = {**column["codes"], None: column["missing"]}
    return column["name"], {value: shift(place) for value, place in codes.items()}, shift(column["other"])


def _read_weight(weights: Array, place: int | None) -> float:
    """Return the weight of a category."""
    return 0.0 if place is None else float(weights[place])


def _find_codes(feature: Record, encoded: Record | None, dtype: str | None) -> dict[Any, float] | None:
    """Return the number of each category, or of each of the two named values of a boolean; None when values are numbers."""
    if encoded is not None:
        codes = {**encoded["codes"], None: encoded["missing"]}
        return codes if dtype == "string" else _Spelled(codes)
    values = feature["values"] if feature["kind"] == "boolean" else None
    return {value: float(place) for place, value in enumerate(values)} if values and values != [0, 1] else None


class _Spelled(dict[Any, float]):
    """The numbers of categories that are not text in a request, by their text."""

    def get(self, value: Any, default: Any = None) -> Any:
        """Return the number of a category."""
        return super().get(_to_category(value), default)


def _to_category(value: Any) -> str | None:
    """Return a category as the encoder knows it: a string, or None when it is missing."""
    return value if value is None or type(value) is str else str(value)


def _to_bounds(values: list[float | None], absent: float) -> Array:
    """Return a vector of floats with `absent` in place of None."""
    return np.array([absent if value is None else value for value in values], dtype="float64")


def _evaluate_curve(x: Array, breaks: Array, pieces: Array) -> Array:
    """Evaluate a piecewise polynomial that is constant beyond its outer breaks.

    pieces: shape (degree + 1, len(breaks) - 1), highest power first.
    """
    inside = np.clip(x, breaks[0], breaks[-1])
    piece = np.clip(np.searchsorted(breaks, inside, side="right") - 1, 0, len(breaks) - 2)
    distance = inside - breaks[piece]
    value = pieces[0][piece]
    for row in pieces[1:]:
        value = value * distance + row[piece]
    return np.asarray(value)


def import_treelite() -> Any:
    """Import treelite; where scipy is not installed, with a stand-in for the sparse matrix type that treelite checks for."""
    if find_spec("scipy") is None and "scipy" not in sys.modules:
        scipy, sparse = ModuleType("scipy"), ModuleType("scipy.sparse")
        sparse.csr_matrix = type("csr_matrix", (), {})  # type: ignore[attr-defined]
        scipy.sparse = sparse  # type: ignore[attr-defined]
        sys.modules |= {"scipy": scipy, "scipy.sparse": sparse}
    import treelite

    return treelite


def _build_calibration(record: Record) -> tuple[Callable[[Array], Array], Callable[[float], float]]:
    """Return the map from the model's probabilities to calibrated ones, for an array and for one value.

    Raises ValueError for an unknown kind.
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
            return _to_probability(slope * log(inside / (1 - inside)) + intercept)

        return apply_sigmoid, apply_sigmoid_one
    if record["kind"] == "isotonic":
        knots, values = np.array(record["knots"]), np.array(record["values"])

        def apply_isotonic(probability: Array) -> Array:
            return np.asarray(np.clip(np.interp(probability, knots, values), LIMIT, 1 - LIMIT))

        return apply_isotonic, lambda probability: float(
            min(max(np.interp(probability, knots, values), LIMIT), 1 - LIMIT)
        )
    raise ValueError(f"unknown calibration {record['kind']!r}")


def _to_probability(log_odds: float) -> float:
    """Return 1 / (1 + exp(-log-odds)) without an overflow."""
    return 0.0 if log_odds <= -_LARGEST_EXPONENT else 1 / (1 + exp(-log_odds))
