"""Simulated months of production: what a scenario changes, and when labels arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PARAMS
from lifecycle.serving.bundle import Bundle, to_request, to_requests

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
DAYS = (2, 16)  # of a month, on which rows are scored: a log has a file a day
TOLD = 28  # the day on which what has become known in a month is told
DAY = 86_400_000_000  # microseconds
WEIGHED = ("tilt", "mix", "prior")  # kinds in which some rows come more often
NAME = "simulated"  # of every file: the log's own names tell the time


def check_scenario(name: str, scenario: Mapping[str, Any], pool: pd.DataFrame, contract: Contract) -> None:
    """Refuse (ProjectError) a scenario about a column, or a kind of column, that the rows do not have."""
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
        raise ProjectError(f"{where}: a level needs a column of words; {column} holds numbers.")
    if kind == "tilt" and numeric and not pool[column].std() > 0:
        raise ProjectError(f"{where}: tilt needs values that differ; those of {column} do not.")
    if kind in ("scale", "tilt", "reverse") and not numeric:
        raise ProjectError(f"{where}: {kind} needs a column of numbers; {column} is none.")
    if kind == "mix" and scenario["category"] not in set(pool[column].astype(str)):
        raise ProjectError(f"{where}: level is {scenario['category']!r}, which {column} does not have.")


def draw_month(
    pool: pd.DataFrame, scenario: Mapping[str, Any], contract: Contract, *, month: int, rows: int, seed: int
) -> pd.DataFrame:
    """One month's rows (the first month is 1), with what the scenario does to them.

    A row is drawn at most once a month, unless some are to come more often, or more are wanted than there are. Before
    `begin` all scenarios draw the same. none: nothing. scale: numbers times `factor` (a price rise, another unit).
    tilt, mix, prior: some rows are drawn more often, by a number (exp(factor × standard score)), a level, or the class:
    the relation stays. reverse: in `share` of the rows the lowest value of a number becomes its highest, and so on: its
    distribution stays, its relation turns round. level: a level that nobody has seen. missing: values are gone. volume:
    `factor` times as many rows.
    """
    generator = np.random.default_rng([seed, month])
    kind = scenario["kind"] if month >= scenario["begin"] else "none"
    count = round(rows * scenario["factor"]) if kind == "volume" else rows
    weights = weigh_rows(pool, scenario, contract) if kind in WEIGHED else None
    again = weights is not None or count > len(pool)
    frame = pool.iloc[generator.choice(len(pool), count, replace=again, p=weights)].reset_index(drop=True)
    struck = generator.random(count) < scenario["share"]
    column = scenario["column"]
    if kind == "scale":
        scaled = frame[column].where(~struck, frame[column] * scenario["factor"])
        frame[column] = scaled.round() if pd.api.types.is_integer_dtype(pool[column]) else scaled
    elif kind == "reverse":
        frame[column] = frame[column].where(~struck, reverse_numbers(frame[column], pool[column]))
    elif kind == "category":
        frame[column] = frame[column].astype(object).where(~struck, scenario["category"])
    elif kind == "missing":
        frame[column] = frame[column].astype(object).where(~struck, None)
    return frame


def weigh_rows(pool: pd.DataFrame, scenario: Mapping[str, Any], contract: Contract) -> Array:
    """The chance of each row of the pool to be drawn, shape (rows,)."""
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


def reverse_numbers(values: pd.Series, pool: pd.Series) -> pd.Series:
    """Numbers mirrored in the pool's order: the lowest for the highest; what is absent stays so."""
    ordered = np.sort(pool.dropna().to_numpy())
    known = values.notna().to_numpy()
    middle = (
        np.searchsorted(ordered, values[known], "left") + np.searchsorted(ordered, values[known], "right") - 1
    ) // 2
    mirrored = values.copy()
    mirrored[known] = ordered[len(ordered) - 1 - middle]
    return mirrored


def date_rows(first: str, month: int, count: int, seed: int) -> tuple[Array, datetime]:
    """When each of a month's rows is asked for: microseconds since 1970, ascending; and when the month begins."""
    start = begin_month(first, month)
    generator = np.random.default_rng([seed, month, 1])
    days = np.array(DAYS)[generator.integers(0, len(DAYS), count)] - 1
    base = int(start.timestamp()) * 1_000_000
    return np.sort(base + days * DAY + generator.integers(0, DAY, count)), start


def begin_month(first: str, month: int) -> datetime:
    """The first moment of a month, counted from 1 at `first` (YYYY-MM)."""
    year, number = (int(part) for part in first.split("-"))
    place = year * 12 + number - 1 + month - 1
    return datetime(place // 12, place % 12 + 1, 1, tzinfo=UTC)


def date_truths(first: str, month: int, at: Array, label_days: list[int], seed: int) -> Array:
    """When each row's truth is told, microseconds since 1970: known `label_days` [least, most] later, told on the next 28th."""
    generator = np.random.default_rng([seed, month, 2])
    known = at + generator.integers(label_days[0] * DAY, label_days[1] * DAY + 1, len(at))
    later = range(month, month + 3 + label_days[1] // 28)
    days = np.array([int(begin_month(first, place).timestamp()) * 1_000_000 + (TOLD - 1) * DAY for place in later])
    return np.asarray(days[np.searchsorted(days, known)])


def score_month(
    bundle: Bundle, frame: pd.DataFrame, contract: Contract, *, first: str, month: int, label_days: list[int],
    label_share: float, seed: int,
) -> Iterator[Record]:  # fmt: skip
    """The log's records of a month: each row's prediction by the bundle's scorer, and when its truth is told (`told`).

    `label_share` of the truths come, those of `date_truths`.
    """
    rows = to_requests(frame, bundle.schema.names)
    at, start = date_rows(first, month, len(frame), seed)
    told_at = date_truths(first, month, at, label_days, seed)
    told = np.random.default_rng([seed, month, 3]).random(len(frame)) < label_share
    truths = [str(to_request({"label": value})["label"]) for value in frame[contract.target]]
    manifest = bundle.manifest
    probabilities = bundle.score(rows)
    for place, row in enumerate(rows):
        identity = f"{start:%Y%m}-{place:06d}"
        probability = float(probabilities[place])
        label = manifest.positive if probability >= manifest.threshold else manifest.negative
        yield {
            "kind": "prediction", "id": identity, "at": int(at[place]), "model": bundle.name, "probability": probability,
            "prediction": str(label), "degraded": False, "features": row,
        }  # fmt: skip
        if told[place]:
            yield {"kind": "feedback", "id": identity, "at": int(told_at[place]), "label": truths[place]}


def describe_scenario(scenario: Mapping[str, Any]) -> str:
    """What a scenario does, in words."""
    column, factor, share = scenario["column"], scenario["factor"], scenario["share"]
    part = "" if share >= 1 else f" in {share:.0%} of the rows"
    return {
        "none": "nothing changes",
        "scale": f"{column} times {factor:g}{part}",
        "tilt": f"rows with a high {column} come more often" if factor > 0 else f"rows with a low {column} come more often",
        "mix": f"rows with {column} = {scenario['category']} come {factor:g} times as often",
        "prior": f"the positive class comes {factor:g} times as often",
        "reverse": f"the relation to {column} turns round{part}",
        "category": f"{column} has a level that nobody has seen{part}",
        "missing": f"{column} is gone{part}",
        "volume": f"{factor:g} times as many rows",
    }[scenario["kind"]]  # fmt: skip
