"""Simulate: draw months of traffic from the hold-out, score it with the bundle, and write prediction logs with late labels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.core.records import Record
from lifecycle.monitoring.scenarios import ENTITY, SIMULATED_LOG, begin_month
from lifecycle.prediction_log.compaction import write_partitions


def find_pool(valid: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return the held-out rows, from which traffic is drawn; each is an entity, which may come again in another month."""
    pool = valid[split["held_out"].to_numpy()].reset_index(drop=True)
    return pool.assign(**{ENTITY: [f"simulated {place}" for place in pool.index]})


def write_log(folder: Path, records: list[Record], until: datetime) -> None:
    """Write a prediction log as it is at `until`, without the records that come later; replace what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    last = int(until.timestamp()) * 1_000_000
    write_partitions(folder, SIMULATED_LOG, [record for record in records if record["at"] < last])


def summarize_scenario(name: str, scenario: Mapping[str, Any], first: str, records: list[Record]) -> Record:
    """Return what happens in a scenario and from when on, which the detectors do not see, and the size of its log."""
    begins = None if scenario["kind"] == "none" else f"{begin_month(first, scenario['begin']):%Y-%m}"
    return {
        "scenario": name, **scenario, "begins": begins,
        "predictions": sum(record["kind"] == "prediction" for record in records),
        "labels": sum(record["kind"] == "feedback" for record in records),
    }  # fmt: skip


def summarize_log(records: list[Record]) -> pd.DataFrame:
    """Return a log by month: columns month, predictions, rate (mean probability), labels (that arrive in the month)."""
    table = pd.DataFrame([{key: record.get(key) for key in ("kind", "at", "probability")} for record in records])
    month = pd.to_datetime(table["at"], unit="us").dt.strftime("%Y-%m")
    predicted = table["kind"] == "prediction"
    grouped = table[predicted].groupby(month[predicted])["probability"].agg(["size", "mean"])
    labels = table[~predicted].groupby(month[~predicted]).size().reindex(grouped.index, fill_value=0)
    return pd.DataFrame({
        "month": grouped.index, "predictions": grouped["size"].to_numpy(), "rate": grouped["mean"].to_numpy(),
        "labels": labels.to_numpy(),
    })  # fmt: skip
