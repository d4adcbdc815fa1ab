"""Simulate: months of traffic from the held-out rows, through the real scorer into a prediction log, truths arriving late."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.monitoring.scenarios import NAME, begin_month
from lifecycle.prediction_log.compaction import write_partitions

Array = np.ndarray[Any, Any]
Record = dict[str, Any]


def find_pool(valid: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The held-out rows: whom the traffic is drawn from."""
    return valid[split["held_out"].to_numpy()].reset_index(drop=True)


def write_log(folder: Path, records: list[Record], until: datetime) -> None:
    """Write a prediction log as it stands at `until`: what comes later is not known yet. What was there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    last = int(until.timestamp()) * 1_000_000
    write_partitions(folder, NAME, [record for record in records if record["at"] < last])


def describe_truth(name: str, scenario: Mapping[str, Any], first: str, records: list[Record]) -> Record:
    """What truly happened: for judging detectors, who do not see it."""
    begins = None if scenario["kind"] == "none" else f"{begin_month(first, scenario['begin']):%Y-%m}"
    return {
        "scenario": name, **scenario, "begins": begins,
        "predictions": sum(record["kind"] == "prediction" for record in records),
        "truths": sum(record["kind"] == "feedback" for record in records),
    }  # fmt: skip


def summarise_log(records: list[Record]) -> pd.DataFrame:
    """A log by month of its predictions: columns month, predictions, rate (mean probability), truths (told in it)."""
    table = pd.DataFrame([{key: record.get(key) for key in ("kind", "at", "probability")} for record in records])
    month = pd.to_datetime(table["at"], unit="us").dt.strftime("%Y-%m")
    asked = table["kind"] == "prediction"
    grouped = table[asked].groupby(month[asked])["probability"].agg(["size", "mean"])
    told = table[~asked].groupby(month[~asked]).size().reindex(grouped.index, fill_value=0)
    return pd.DataFrame({
        "month": grouped.index, "predictions": grouped["size"].to_numpy(), "rate": grouped["mean"].to_numpy(), "truths": told.to_numpy()
    })  # fmt: skip
