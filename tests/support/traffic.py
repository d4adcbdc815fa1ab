"""Traffic for the small bundle of `bundles`: rows whose label is drawn from the bundle's own probability, and their log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.modeling.model import Model
from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving.bundle import MANIFEST, REFERENCE, Bundle, load_bundle, to_request
from lifecycle.stages import deploy
from tests.support.bundles import COLUMNS, write_small_bundle
from tests.support.contracts import make_contract

Record = dict[str, Any]
CONTRACT = make_contract(plan={"nullable": True})
MODEL = "a1b2c3d4e5f6" + "0" * 52
COST = {"false_positive": 1.0, "false_negative": 3.0}
WEIGHTS = {"months": 0.5, "spend": 0.2, "plan": 0.29, "senior": 0.01}
NAMES = [column["name"] for column in COLUMNS]
DAY = 86_400_000_000  # microseconds
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def draw_rows(rows: int, seed: int, **changes: Any) -> pd.DataFrame:
    """Rows of the contract without their target, of few distinct values; `changes` replace columns."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "id": np.arange(rows),
        "months": rng.integers(0, 12, rows) * 6,
        "spend": rng.integers(1, 11, rows) * 10.0,
        "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.5, 0.3, 0.2]),
        "senior": rng.integers(0, 2, rows),
        **changes,
    })  # fmt: skip


def to_rows(frame: pd.DataFrame) -> list[Record]:
    """Rows of a table as requests."""
    return [to_request(dict(zip(NAMES, row, strict=True))) for row in frame[NAMES].itertuples(index=False, name=None)]


def draw_labels(bundle: Bundle, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with a target that the bundle is calibrated for."""
    positive = np.random.default_rng([seed, 1]).random(len(frame)) < bundle.score(to_rows(frame))
    return frame.assign(left=np.where(positive, "yes", "no"))


def write_watched(folder: Path, model: str = MODEL, intercept: float = 0.0, rows: int = 1500) -> Bundle:
    """Write a small bundle with a reference of so many rows."""
    write_small_bundle(folder, model, intercept)
    bundle = load_bundle(folder)
    held_out, learned = draw_labels(bundle, draw_rows(rows, seed=1000), seed=1000), draw_rows(4 * rows, seed=1001)
    probability = np.asarray(bundle.score(to_rows(held_out)))
    importance = [{"column": name, "attribution": weight} for name, weight in WEIGHTS.items()]
    fitted = Model(None, {"threshold": 0.5, "cost": COST}, model)
    reference = deploy.describe_reference(held_out, learned, CONTRACT, COLUMNS, probability, fitted, importance, seed=0)
    write_json(reference, folder / REFERENCE)
    manifest = read_json(folder / MANIFEST)
    files = {**manifest["files"], REFERENCE: hash_file(folder / REFERENCE)}
    write_json({**manifest, "files": files}, folder / MANIFEST)
    return load_bundle(folder)


def make_records(
    bundle: Bundle, frame: pd.DataFrame, start: datetime, *, days: float = 28, wait: float | None = 10,
    name: str = "", degraded: bool = False,
) -> list[Record]:  # fmt: skip
    """The log's records of rows that are scored evenly over `days` from `start`; labels arrive `wait` days later."""
    rows, probability = to_rows(frame), bundle.score(to_rows(frame))
    first = to_micros(start)
    records = []
    for place, row in enumerate(rows):
        at = first + int(place * days * DAY / len(rows))
        identity = f"{name or f'{start:%Y%m%d}'}-{place:05d}"
        records.append({
            "kind": "prediction", "id": identity, "at": at, "model": bundle.name, "degraded": degraded,
            "probability": float(probability[place]), "prediction": "yes" if probability[place] >= 0.5 else "no",
            "features": row,
        })  # fmt: skip
        if wait is not None and "left" in frame:
            label = {"kind": "feedback", "id": identity, "at": at + int(wait * DAY), "label": frame["left"].iloc[place]}
            records.append(label)
    return records


def make_months(bundle: Bundle, frames: Sequence[pd.DataFrame], **settings: Any) -> list[Record]:
    """The records of one month per frame, from January 2026 on, with labels drawn from the bundle where a frame has none."""
    records = []
    for number, frame in enumerate(frames):
        labelled = frame if "left" in frame else draw_labels(bundle, frame, seed=number)
        start = datetime(2026 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
        records += make_records(bundle, labelled, start, **settings)
    return records


def write_segment(folder: Path, records: Sequence[Record]) -> Path:
    """Add records to a log as the server does, in a sealed segment; return the log's folder."""
    log = PredictionLog(folder, capacity=10**6)
    for record in records:
        assert log.append(record)
    assert log.close(30)
    return folder


def to_micros(moment: datetime) -> int:
    """A moment as the log has it: microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
