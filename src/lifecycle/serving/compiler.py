"""Compile a fitted scikit-learn model into a plan for the server: numbers and names in JSON, trees for treelite, no pickle."""

from __future__ import annotations

from typing import Any

import numpy as np

from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.modeling.family import Compiled, to_plain

_INDICATORS = "missing_indicators"


def compile_model(classifier: Any, features: list[Record], family: str) -> Compiled:
    """Return a model's plan (plain values that JSON holds without loss) and its trees as treelite's bytes, or None.

    classifier: a fitted CalibratedClassifier over a pipeline of `prepare` and `model`. features: the records of its
    features, in the model's order. family: the name of the family that compiles the model. Raises ProjectError naming a
    step that cannot be compiled.
    """
    from lifecycle.modeling.families import find_family  # imports scikit-learn

    pipeline = classifier.classifier
    numbers, categories, encoded, texts, order = _compile_preparation(pipeline.named_steps["prepare"])
    model, trees = find_family(family).compile(pipeline.named_steps["model"])
    kept = ("name", "kind", "expression", "columns", "values")
    plan = {
        "features": [{key: feature[key] for key in kept} for feature in features],
        "numbers": numbers,
        "categories": categories,
        "encoded": encoded,
        "texts": texts,
        "order": order,
        "model": model,
        "calibration": _compile_calibration(classifier.calibrator),
    }
    return plan, trees


def _compile_preparation(prepare: Any) -> tuple[Record, list[Record], list[Record], list[Record], list[int]]:
    """Return a fitted column transformer as numeric, categorical and encoded columns, texts, and the order of the model's matrix.

    Numeric columns are clipped, imputed and scaled as vectors, and may have missing indicators. Each categorical column
    has the position of each category, of a missing value and of any other category (None: all zeros). An encoded column is
    a numeric one, with the number of each category and of a missing value; any other category is imputed. A text
    has the place of each term and their inverse document frequencies. `order` holds, for each column of the model's matrix, its
    place among numeric columns, missing indicators, categories and terms, in this order.
    """
    numbers: Record = {key: [] for key in ("names", "low", "high", "fill", "mean", "scale", _INDICATORS)}
    categories: list[Record] = []
    encoded: list[Record] = []
    texts: list[Record] = []
    places: list[tuple[str, int]] = []
    width = wide = 0  # of the categories, and of the terms
    for _, branch, names in prepare.transformers_:
        if branch == "drop" or len(names) == 0:
            continue
        steps = {type(step).__name__: step for _, step in getattr(branch, "steps", [("", branch)])}
        for kind in set(steps) - {
            "FenceClipper",
            "SimpleImputer",
            "StandardScaler",
            "LevelEncoder",
            "LevelCoder",
            "FunctionTransformer",
            "CategoryNumbers",
            "TargetEncoder",
            "TermEncoder",
        }:
            raise ProjectError(f"{kind} cannot be compiled for serving.")
        if "LevelEncoder" in steps:
            for record in _compile_categories(steps["LevelEncoder"], steps.get("SimpleImputer"), list(names)):
                categories.append({**record, "start": width})
                places += [("category", width + place) for place in range(record["width"])]
                width += record["width"]
        elif "TermEncoder" in steps:
            for name, terms in zip(names, steps["TermEncoder"].terms_, strict=True):
                texts.append({
                    "name": name, "terms": dict(terms.places), "idf": to_plain(terms.idf), "width": terms.width, "start": wide
                })  # fmt: skip
                places += [("term", wide + place) for place in range(terms.width)]
                wide += terms.width
        else:
            first = len(numbers["names"])
            places += _compile_numbers({} if "LevelCoder" in steps else steps, list(names), numbers)
            coder = next((name for name in _CODERS if name in steps), None)
            if coder is not None:
                records, numbers["fill"][first:] = _CODERS[coder](steps, list(names))
                encoded += records
    count, indicators = len(numbers["names"]), len(numbers[_INDICATORS])
    starts = {"number": 0, "indicator": count, "category": count + indicators, "term": count + indicators + width}
    return numbers, categories, encoded, texts, [starts[block] + place for block, place in places]


def _compile_encoding(steps: dict[str, Any], names: list[str]) -> tuple[list[Record], list[float | None]]:
    """Return the number of each category and of a missing value of target-encoded columns, and those of other categories.

    Raises ProjectError for a target encoder of anything but numbered categories.
    """
    if "CategoryNumbers" not in steps:
        raise ProjectError("TargetEncoder cannot be compiled for serving without CategoryNumbers.")
    numbered = steps["CategoryNumbers"]
    *found, missing, other = steps["TargetEncoder"].transform(numbered.list_numbers(names))
    records = [
        {
            "name": name,
            "codes": {category: float(row[place]) for category, row in zip(categories, found, strict=False)},
            "missing": float(missing[place]),
        }
        for place, (name, categories) in enumerate(zip(names, numbered.categories_, strict=True))
    ]
    return records, to_plain(other)


def _compile_levels(steps: dict[str, Any], names: list[str]) -> tuple[list[Record], list[float | None]]:
    """Return the code of each category and of a missing value of coded columns, and those of other categories."""
    coder, imputer = steps["LevelCoder"], steps.get("SimpleImputer")
    records = []
    for column, (name, (codes, absent)) in enumerate(zip(names, coder.list_codes(), strict=True)):
        missing = absent if imputer is None else codes.get(imputer.statistics_[column], float(coder.others_[column]))
        records.append({"name": name, "codes": codes, "missing": missing})
    return records, to_plain(coder.others_)


_CODERS = {"TargetEncoder": _compile_encoding, "LevelCoder": _compile_levels}


def _compile_numbers(steps: dict[str, Any], names: list[str], numbers: Record) -> list[tuple[str, int]]:
    """Add a numeric branch's columns and missing indicators to `numbers`; return the block and place of each output."""
    count, first, first_indicator = len(names), len(numbers["names"]), len(numbers[_INDICATORS])
    clipper, imputer, scaler = (steps.get(name) for name in ("FenceClipper", "SimpleImputer", "StandardScaler"))
    indicated = list(imputer.indicator_.features_) if imputer is not None and imputer.indicator_ is not None else []
    mean = scaler.mean_ if scaler is not None else np.zeros(count + len(indicated))
    scale = scaler.scale_ if scaler is not None else np.ones(count + len(indicated))
    numbers["names"] += names
    numbers["low"] += to_plain(clipper.low_) if clipper is not None else [None] * count
    numbers["high"] += to_plain(clipper.high_) if clipper is not None else [None] * count
    numbers["fill"] += to_plain(imputer.statistics_) if imputer is not None else [None] * count
    numbers["mean"] += to_plain(mean[:count])
    numbers["scale"] += to_plain(scale[:count])
    numbers[_INDICATORS] += [
        {"column": first + int(column), "mean": float(mean[count + place]), "scale": float(scale[count + place])}
        for place, column in enumerate(indicated)
    ]
    places = [("number", first + place) for place in range(count)]
    return places + [("indicator", first_indicator + place) for place in range(len(indicated))]


def _compile_categories(encoder: Any, imputer: Any | None, names: list[str]) -> list[Record]:
    """Return, for each column of a one-hot encoder, the place of each category, of a missing value and of any other."""
    records = []
    infrequent = getattr(encoder, "infrequent_categories_", [None] * len(names))
    for column, name in enumerate(names):
        rare = [] if infrequent[column] is None else list(infrequent[column])
        frequent = [value for value in encoder.categories_[column] if not _contains(rare, value)]
        codes = {value: place for place, value in enumerate(frequent) if not _is_nan(value)}
        other = len(frequent) if rare else None
        missing = next((place for place, value in enumerate(frequent) if _is_nan(value)), other)
        if imputer is not None:
            missing = codes.get(imputer.statistics_[column], other)
        records.append({
            "name": name, "codes": codes, "missing": missing, "other": other, "width": len(frequent) + bool(rare),
        })  # fmt: skip
    return records


def _compile_calibration(calibrator: Any) -> Record:
    """Return the parameters of a fitted calibrator."""
    record: Record = {"kind": calibrator.method}
    if calibrator.method == "sigmoid":
        record |= {"slope": calibrator.slope_, "intercept": calibrator.intercept_}
    elif calibrator.method == "isotonic":
        record |= {"knots": to_plain(calibrator.knots_), "values": to_plain(calibrator.levels_)}
    return record


def _is_nan(value: Any) -> bool:
    """Return whether a category stands for a missing value."""
    return value is None or (isinstance(value, float) and np.isnan(value))


def _contains(values: list[Any], value: Any) -> bool:
    """Return whether a category is in a list; NaN equals NaN."""
    return any(value == other or (_is_nan(value) and _is_nan(other)) for other in values)
