"""Simulated months of production: draw rows, change them as a scenario says, score them, and let labels arrive late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PARAMS
from lifecycle.core.records import Record
from lifecycle.serving.bundle import Bundle, to_request, to_requests

Array = np.ndarray[Any, Any]
ENTITY = "(entity)"  # the column of a pool that names the entity of each row
SIMULATED_LOG = "simulated"  # the name of every file of a simulated log, by which it is recognised

_SCORING_DAYS = (2, 16)  # of a month; few days, since a log has a file per day
_LABEL_DAY = 28  # of a month, on which the labels arrive that have become known since the last one
_DAY = 86_400_000_000  # microseconds
_WEIGHTED_KINDS = ("tilt", "mix", "prior")  # in which some rows are drawn more often


def check_scenario(name: str, scenario: Mapping[str, Any], pool: pd.DataFrame, contract: Contract) -> None:
    """Raise ProjectError for a scenario whose numbers are invalid, or whose column is missing or of the wrong kind."""
    kind, column, where = scenario["kind"], scenario["column"], f"{PARAMS}: simulate.scenarios.{name}"
    if not np.isfinite(scenario["factor"]):
        raise ProjectError(f"{where}: factor is {scenario['factor']}, expected a finite number.")
    if kind not in ("scale", "tilt") and scenario["factor"] < 0:
        raise ProjectError(f"{where}: factor is {scenario['factor']}, expected a number of at least 0.")
    if kind in ("none", "prior", "volume"):
        return
    features = [name for name in contract.names(Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN) if name in pool]
    if column not in features:
        raise ProjectError(
            f"{where}: column is {column!r}, expected a feature column of the table: {', '.join(features)}."
        )
    numeric = pd.api.types.is_numeric_dtype(pool[column])
    if kind == "category" and numeric:
        raise ProjectError(f"{where}: a new category needs a categorical column; {column} is numeric.")
    if kind == "tilt" and numeric and not pool[column].std() > 0:
        raise ProjectError(f"{where}: tilt needs a column with different values; those of {column} are all equal.")
    if kind in ("scale", "tilt", "reverse") and not numeric:
        raise ProjectError(f"{where}: {kind} needs a numeric column; {column} is not.")
    if kind == "mix" and scenario["category"] not in set(pool[column].astype(str)):
        raise ProjectError(f"{where}: category is {scenario['category']!r}, which {column} does not have.")


def draw_month(
    pool: pd.DataFrame, scenario: Mapping[str, Any], contract: Contract, *, month: int, rows: int, seed: int
) -> pd.DataFrame:
    """Return one month's rows (the first month is 1), changed as the scenario says.

    Rows are drawn without replacement, unless some are to be drawn more often, or more are needed than there are. Before the month
    `begin` all scenarios draw the same rows. The kinds:

    - none: no change.
    - scale: numbers are multiplied by `factor` (a price rise, a changed unit).
    - tilt, mix, prior: some rows are drawn more often, by a number (exp(factor × standard score)), a category, or the
      class; the relation between columns and target stays.
    - reverse: in `share` of the rows the lowest value of a column becomes its highest, and so on; the column's distribution
      stays, its relation to the target is reversed (concept drift).
    - category: a category that is not in the training data.
    - missing: values are missing.
    - volume: `factor` times as many rows.
    """
    generator = np.random.default_rng([seed, month])
    kind = scenario["kind"] if month >= scenario["begin"] else "none"
    count = round(rows * scenario["factor"]) if kind == "volume" else rows
    weights = weigh_rows(pool, scenario, contract) if kind in _WEIGHTED_KINDS else None
    again = weights is not None or count > len(pool)
    frame = pool.iloc[generator.choice(len(pool), count, replace=again, p=weights)].reset_index(drop=True)
    changed = generator.random(count) < scenario["share"]
    column = scenario["column"]
    if kind == "scale":
        scaled = frame[column].where(~changed, frame[column] * scenario["factor"])
        frame[column] = scaled.round() if pd.api.types.is_integer_dtype(pool[column]) else scaled
    elif kind == "reverse":
        frame[column] = frame[column].where(~changed, _reverse_numbers(frame[column], pool[column], generator))
    elif kind == "category":
        frame[column] = frame[column].astype(object).where(~changed, scenario["category"])
    elif kind == "missing":
        frame[column] = frame[column].astype(object).where(~changed, None)
    return frame


def weigh_rows(pool: pd.DataFrame, scenario: Mapping[str, Any], contract: Contract) -> Array:
    """Return each row's probability of being drawn, shape (rows,)."""
    kind, factor = scenario["kind"], scenario["factor"]
    if kind == "tilt":
        values = pool[scenario["column"]].to_numpy(dtype=np.float64, na_value=np.nan)
        scores = (values - np.nanmean(values)) / np.nanstd(values)
        weights = np.exp(factor * np.clip(np.nan_to_num(scores), -3, 3))
    elif kind == "mix":
        weights = np.where(pool[scenario["column"]].astype(str) == scenario["category"], factor, 1.0)
    else:
        weights = np.where(pool[contract.target] == contract.positive, factor, 1.0)
    return np.asarray(weights / weights.sum())


def _reverse_numbers(values: pd.Series, pool: pd.Series, generator: np.random.Generator) -> pd.Series:
    """Mirror numbers in the pool's order, the lowest for the highest; missing values stay missing.

    Equal values are ordered at random. Otherwise a frequent value would become a single one, and which one would differ
    from month to month: a drift of the column that the scenario does not describe.
    """
    ordered = np.sort(pool.dropna().to_numpy())
    known = values.notna().to_numpy()
    first, after = (np.searchsorted(ordered, values[known], side) for side in ("left", "right"))
    mirrored = values.copy()
    mirrored[known] = ordered[len(ordered) - 1 - generator.integers(first, after)]
    return mirrored


def _date_rows(first: str, month: int, count: int, seed: int) -> tuple[Array, datetime]:
    """Return when each of a month's rows is scored (microseconds since 1970, ascending), and when the month begins."""
    start = begin_month(first, month)
    generator = np.random.default_rng([seed, month, 1])
    days = np.array(_SCORING_DAYS)[generator.integers(0, len(_SCORING_DAYS), count)] - 1
    base = int(start.timestamp()) * 1_000_000
    return np.sort(base + days * _DAY + generator.integers(0, _DAY, count)), start


def begin_month(first: str, month: int) -> datetime:
    """Return the first moment of a month, counted from 1 at `first` (YYYY-MM)."""
    year, number = (int(part) for part in first.split("-"))
    place = year * 12 + number - 1 + month - 1
    return datetime(place // 12, place % 12 + 1, 1, tzinfo=UTC)


def _date_labels(
    first: str, month: int, at: Array, positive: Array, label_days: Mapping[Any, Sequence[int]], seed: int
) -> Array:  # fmt: skip
    """Return when each row's label arrives, microseconds since 1970: on the next 28th after the delay of its class."""
    generator = np.random.default_rng([seed, month, 2])
    least, most = (
        np.where(positive, *(label_days[name][place] for name in ("positive", "negative"))) for place in (0, 1)
    )
    known = at + generator.integers(least * _DAY, most * _DAY + 1)
    later = range(month, month + 3 + int(most.max(initial=0)) // 28)
    days = np.array(
        [int(begin_month(first, place).timestamp()) * 1_000_000 + (_LABEL_DAY - 1) * _DAY for place in later]
    )
    return np.asarray(days[np.searchsorted(days, known)])


def score_month(
    bundle: Bundle, frame: pd.DataFrame, contract: Contract, *, first: str, month: int,
    label_days: Mapping[Any, Sequence[int]], label_share: float, seed: int,
) -> Iterator[Record]:  # fmt: skip
    """Yield the log's records of a month: each row's prediction by the bundle's scorer, and the labels that arrive.

    label_days: the least and the greatest delay by class, `positive` and `negative`. `label_share` of the rows get a label.
    A column ENTITY names the entities.
    """
    rows = to_requests(frame, bundle.schema.names)
    at, start = _date_rows(first, month, len(frame), seed)
    positive = (frame[contract.target] == contract.positive).to_numpy()
    labelled_at = _date_labels(first, month, at, positive, label_days, seed)
    entities = frame[ENTITY].astype(str).tolist() if ENTITY in frame else [None] * len(frame)
    labelled = np.random.default_rng([seed, month, 3]).random(len(frame)) < label_share
    labels = [str(to_request({"label": value})["label"]) for value in frame[contract.target]]
    manifest = bundle.manifest
    probabilities = bundle.score(rows)
    for place, row in enumerate(rows):
        identity = f"{start:%Y%m}-{place:06d}"
        probability = float(probabilities[place])
        predicted = manifest.positive if probability >= manifest.threshold else manifest.negative
        yield {
            "kind": "prediction", "id": identity, "at": int(at[place]), "model": bundle.name, "probability": probability,
            "prediction": str(predicted), "degraded": False, "entity": entities[place], "features": row,
        }  # fmt: skip
        if labelled[place]:
            yield {"kind": "feedback", "id": identity, "at": int(labelled_at[place]), "label": labels[place]}


def describe_scenario(scenario: Mapping[str, Any]) -> str:
    """Return what a scenario changes, in words."""
    column, factor, share = scenario["column"], scenario["factor"], scenario["share"]
    part = "" if share >= 1 else f" in {share:.0%} of the rows"
    return {
        "none": "no change",
        "scale": f"{column} is multiplied by {factor:g}{part}",
        "tilt": f"more rows with a high {column}" if factor > 0 else f"more rows with a low {column}",
        "mix": f"rows with {column} = {scenario['category']} are {factor:g} times as frequent",
        "prior": f"the positive class is {factor:g} times as frequent",
        "reverse": f"the relation of {column} to the target is reversed{part} (concept drift)",
        "category": f"{column} has a new category{part}",
        "missing": f"{column} is missing{part}",
        "volume": f"{factor:g} times as many predictions",
    }[scenario["kind"]]  # fmt: skip


def is_simulated(folder: Path) -> bool:
    """Return whether a prediction log was simulated: whether the stage `simulate` or `lifecycle replay` wrote its files."""
    return next(folder.glob(f"*/*/{SIMULATED_LOG}.parquet"), None) is not None
