"""Compile a fitted scikit-learn model into what a server needs: numbers and words in JSON, trees for treelite, no pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle.core.errors import ProjectError

Record = dict[str, Any]
MARK = "marks"  # the key of the missing indicators


def compile_model(classifier: Any, features: list[Record]) -> tuple[Record, bytes | None]:
    """A model's plan, plain values that JSON holds without loss, and its trees as treelite's bytes (None without trees).

    classifier: a fitted CalibratedClassifier over a pipeline of `prepare` and `model`. features: the records of its
    features, in its order. Raises ProjectError naming a step that cannot be compiled.
    """
    pipeline = classifier.classifier
    numbers, levels, order = compile_preparation(pipeline.named_steps["prepare"])
    step = pipeline.named_steps["model"]
    model, trees = find_compiler(step, MODELS)(step)
    kept = ("name", "kind", "expression", "columns", "values")
    plan = {
        "features": [{key: feature[key] for key in kept} for feature in features],
        "numbers": numbers,
        "categories": levels,
        "order": order,
        "model": model,
        "calibration": compile_calibration(classifier.calibrator),
    }
    return plan, trees


def find_compiler(step: Any, compilers: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """The compiler of a fitted step; raises ProjectError for a kind that is not known."""
    name = type(step).__name__
    if name not in compilers:
        raise ProjectError(f"{name} cannot be compiled for serving; there are {', '.join(compilers)}.")
    return compilers[name]


def compile_preparation(prepare: Any) -> tuple[Record, list[Record], list[int]]:
    """A fitted column transformer as two blocks, numbers and levels, and where each block's columns go.

    Numbers are clipped, filled and scaled as vectors; `marks` are indicators of what was missing. Each level column has
    the position of each level, of a missing one and of any other (None: all zeros). `order` says which of the
    blocks' columns, numbers, marks, then levels, stands at each place of the model's matrix.
    """
    numbers: Record = {key: [] for key in ("names", "low", "high", "fill", "mean", "scale", MARK)}
    levels: list[Record] = []
    places: list[tuple[str, int]] = []
    width = 0
    for _, branch, names in prepare.transformers_:
        if branch == "drop" or len(names) == 0:
            continue
        steps = {type(step).__name__: step for _, step in getattr(branch, "steps", [("", branch)])}
        for kind in set(steps) - {
            "FenceClipper",
            "SimpleImputer",
            "StandardScaler",
            "OneHotEncoder",
            "FunctionTransformer",
        }:
            raise ProjectError(f"{kind} cannot be compiled for serving.")
        if "OneHotEncoder" in steps:
            for record in compile_levels(steps["OneHotEncoder"], steps.get("SimpleImputer"), list(names)):
                levels.append({**record, "start": width})
                places += [("category", width + place) for place in range(record["width"])]
                width += record["width"]
        else:
            places += compile_numbers(steps, list(names), numbers)
    sizes = {"number": 0, "mark": len(numbers["names"]), "category": len(numbers["names"]) + len(numbers[MARK])}
    return numbers, levels, [sizes[block] + place for block, place in places]


def compile_numbers(steps: dict[str, Any], names: list[str], numbers: Record) -> list[tuple[str, int]]:
    """Add a numeric branch's columns and marks to the block `numbers`; the places of its output come back."""
    count, first, first_mark = len(names), len(numbers["names"]), len(numbers[MARK])
    clipper, imputer, scaler = (steps.get(name) for name in ("FenceClipper", "SimpleImputer", "StandardScaler"))
    marked = list(imputer.indicator_.features_) if imputer is not None and imputer.indicator_ is not None else []
    mean = scaler.mean_ if scaler is not None else np.zeros(count + len(marked))
    scale = scaler.scale_ if scaler is not None else np.ones(count + len(marked))
    numbers["names"] += names
    numbers["low"] += to_plain(clipper.low_) if clipper is not None else [None] * count
    numbers["high"] += to_plain(clipper.high_) if clipper is not None else [None] * count
    numbers["fill"] += to_plain(imputer.statistics_) if imputer is not None else [None] * count
    numbers["mean"] += to_plain(mean[:count])
    numbers["scale"] += to_plain(scale[:count])
    numbers[MARK] += [
        {"column": first + int(column), "mean": float(mean[count + place]), "scale": float(scale[count + place])}
        for place, column in enumerate(marked)
    ]
    places = [("number", first + place) for place in range(count)]
    return places + [("mark", first_mark + place) for place in range(len(marked))]


def compile_levels(encoder: Any, imputer: Any | None, names: list[str]) -> list[Record]:
    """Each column of a fitted one-hot encoder: the place of each level, of a missing one (`missing`) and of any other."""
    records = []
    infrequent = getattr(encoder, "infrequent_categories_", [None] * len(names))
    for column, name in enumerate(names):
        rare = [] if infrequent[column] is None else list(infrequent[column])
        frequent = [level for level in encoder.categories_[column] if not contains(rare, level)]
        codes = {level: place for place, level in enumerate(frequent) if not is_nan(level)}
        other = len(frequent) if rare else None
        missing = next((place for place, level in enumerate(frequent) if is_nan(level)), other)
        if imputer is not None:
            missing = codes.get(imputer.statistics_[column], other)
        records.append({
            "name": name, "codes": codes, "missing": missing, "other": other, "width": len(frequent) + bool(rare),
        })  # fmt: skip
    return records


def compile_linear(model: Any) -> tuple[Record, None]:
    """A logistic regression: its coefficients and intercept."""
    return {"kind": "linear", "coefficients": to_plain(model.coef_[0]), "intercept": float(model.intercept_[0])}, None


def compile_curves(pipeline: Any) -> tuple[Record, None]:
    """A logistic regression over columns and their splines: each column's splines become one piecewise cubic.

    de Boor, A Practical Guide to Splines (1978): a spline is a polynomial between two knots. Pieces are highest power first.
    """
    from scipy.interpolate import BSpline, PPoly

    kinds = [type(step).__name__ for _, step in pipeline.steps]
    if kinds != ["SplineAppender", "LogisticRegression"]:
        raise ProjectError(
            f"A pipeline of {', '.join(kinds)} cannot be compiled for serving; there is SplineAppender, LogisticRegression."
        )
    appender, model = (step for _, step in pipeline.steps)
    coefficients = model.coef_[0]
    place = appender.n_features_in_
    curves = []
    for column, basis in zip(appender.columns_, appender.bases_, strict=True):
        spline = basis.bsplines_[0]
        width = spline.c.shape[1] - 1  # the last one is left out: the basis sums to one
        weights = np.append(coefficients[place : place + width], 0.0)
        place += width
        inner = slice(spline.k, len(spline.t) - spline.k)
        whole = PPoly.from_spline(BSpline(spline.t, spline.c @ weights, spline.k))
        breaks, pieces = spline.t[inner], whole.c[:, spline.k : len(spline.t) - 1 - spline.k]
        curves.append({"column": column, "breaks": to_plain(breaks), "pieces": [to_plain(row) for row in pieces]})
    plain = to_plain(coefficients[: appender.n_features_in_])
    return {"kind": "linear", "coefficients": plain, "intercept": float(model.intercept_[0]), "curves": curves}, None


def compile_forest(model: Any) -> tuple[Record, bytes]:
    """A random forest: scikit-learn compares in float32, and averages the leaves' shares."""
    return {"kind": "trees", "inputs": "float32", "gives": "shares"}, import_trees(model)


def compile_boosting(model: Any) -> tuple[Record, bytes]:
    """Gradient boosted trees: the sum of the leaves is in log-odds."""
    return {"kind": "trees", "inputs": "float64", "gives": "log-odds"}, import_trees(model)


def import_trees(model: Any) -> bytes:
    """The trees of a scikit-learn model in treelite's serialisation; the same model gives the same bytes."""
    import treelite

    serialised: bytes = treelite.sklearn.import_model(model).serialize_bytes()
    return serialised


def compile_calibration(calibrator: Any) -> Record:
    """A fitted calibrator's numbers."""
    record: Record = {"kind": calibrator.method}
    if calibrator.method == "sigmoid":
        record |= {"slope": calibrator.slope_, "intercept": calibrator.intercept_}
    elif calibrator.method == "isotonic":
        record |= {"knots": to_plain(calibrator.knots_), "categories": to_plain(calibrator.levels_)}
    return record


def to_plain(values: Any) -> list[float | None]:
    """An array as a list that JSON holds without loss; NaN becomes None."""
    return [None if np.isnan(value) else float(value) for value in np.asarray(values, dtype="float64")]


def is_nan(level: Any) -> bool:
    """Whether a level stands for a missing value."""
    return level is None or (isinstance(level, float) and np.isnan(level))


def contains(levels: list[Any], level: Any) -> bool:
    """Whether a level is among others, where NaN is NaN."""
    return any(level == other or (is_nan(level) and is_nan(other)) for other in levels)


MODELS: dict[str, Callable[[Any], tuple[Record, bytes | None]]] = {
    "LogisticRegression": compile_linear,
    "Pipeline": compile_curves,
    "RandomForestClassifier": compile_forest,
    "HistGradientBoostingClassifier": compile_boosting,
}
