"""Read a prediction log window by window: counts of the columns, probabilities, and the labels that have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.records import Record
from lifecycle.monitoring.drift import PREDICTION
from lifecycle.monitoring.reference import WindowCounts, count_window
from lifecycle.prediction_log.actions import read_actions
from lifecycle.prediction_log.reader import find_span, frame_features, read_predictions
from lifecycle.serving.bundle import REFERENCE, Bundle

Array = np.ndarray[Any, Any]

_KEPT = ["at", "labelled_at", "label", "probability", "entity", "action", "control"]  # columns of labelled rows


@dataclass(frozen=True)
class TimeWindow:
    """A stretch of time in UTC, from `start` up to but not including `end`."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Traffic:
    """A window's predictions by one model: counts, probabilities, and the rows whose label is known.

    mature: how many are so old that their labels count. labelled: of these, columns at, labelled_at, label (0 or 1), probability,
    entity, action (None without one) and control. groups: the requested columns of the same rows. last: the time of the newest
    prediction. cases: the number of predictions (rows) by action and control. left_out: labelled rows that do not count, as they were treated.
    """

    window: TimeWindow
    counts: WindowCounts
    probability: Array
    mature: int
    labelled: pd.DataFrame
    groups: pd.DataFrame
    last: datetime | None
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def labels(self) -> tuple[Array, Array]:
        """The labels (0 or 1) and the probabilities of the rows whose label is known."""
        return self.labelled["label"].to_numpy(), self.labelled["probability"].to_numpy(dtype=np.float64)

    @property
    def sample(self) -> pd.DataFrame:
        """The labelled rows that stand for all predictions: where treated rows were left out, those of the control group."""
        return self.labelled if self.left_out.empty else self.labelled[self.labelled["control"]]


def read_reference(bundle: Bundle, folder: Path) -> Record:
    """Read the reference that later rows are compared with; raise ProjectError for a bundle that has none."""
    path = folder / REFERENCE
    if not path.is_file():
        raise ProjectError(
            f"bundle {bundle.sha256[:12]} has no {REFERENCE} to compare with: an older version made it. `make repro` makes "
            "a bundle that has one."
        )
    reference: Record = read_json(path)
    return reference


def list_windows(folder: Path, length: str) -> list[TimeWindow]:
    """Return the days, weeks (from Monday) or months from the first prediction of a log to the last, without a gap.

    Raises ProjectError for an empty log.
    """
    first, last = find_span(folder)
    windows, start = [], _begin_window(first, length)
    while start <= last:
        end = _begin_window(start + timedelta(days={"day": 1, "week": 7, "month": 31}[length]), length)
        windows.append(TimeWindow(_name_window(start, length), start, end))
        start = end
    return windows


def find_mature(folder: Path, days: int) -> datetime:
    """Return the moment until which predictions are mature: so many days before the newest prediction or label of a log."""
    _, last = find_span(folder)
    newest: list[datetime | None] = [
        pc.max(read_predictions(folder, "prediction", datetime.combine(last, time.min, UTC))["at"]).as_py(),
        pc.max(read_predictions(folder, "feedback")["at"]).as_py(),
    ]
    return max(moment for moment in newest if moment is not None) - timedelta(days=days)


def _begin_window(moment: datetime, length: str) -> datetime:
    """Return the first moment of the window that contains a moment."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if length == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if length == "week" else day


def _name_window(start: datetime, length: str) -> str:
    """Return a window's name: 2026-06, 2026-W23 or 2026-06-01."""
    return start.strftime({"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[length])


def _read_labels(folder: Path, positive: Any) -> pd.DataFrame:
    """Read the labels of predictions: columns id, label (1: positive), labelled_at; the first where there are several."""
    table = read_predictions(folder, "feedback").to_pandas()
    table = table.drop_duplicates("id", keep="first")
    return pd.DataFrame({
        "id": table["id"], "label": (table["label"] == str(positive)).astype("int8"), "labelled_at": table["at"]
    })  # fmt: skip


def read_traffic(
    folder: Path, windows: Sequence[TimeWindow], bundle: Bundle, reference: Record, keep: Sequence[str],
    until: datetime | None = None, treated: str = "keep",
) -> Iterator[Traffic]:  # fmt: skip
    """Yield each window's predictions by the bundle's model; memory holds one window at a time, and all labels.

    `keep` names the columns that are kept for the labelled rows. Labels of predictions after `until` do not count, as
    those of one class may arrive before those of the other; nor do those of treated rows where `treated` is leave_out.
    """
    actions = read_actions(folder)
    labels = _read_labels(folder, bundle.manifest.positive)
    for window in windows:
        table = read_predictions(folder, "prediction", window.start, window.end)
        mine = pc.and_(pc.equal(table["model"], bundle.name), pc.is_valid(table["probability"]))
        table = table.filter(mine)
        predictions = table.drop_columns("features").to_pandas()
        followed = predictions["id"].map(actions).astype(object)
        predictions["action"] = followed.where(followed.notna(), None)
        predictions["control"] = predictions["control"].eq(other=True)
        frame = frame_features(table, bundle.schema.names)
        frame[PREDICTION] = predictions["probability"]
        mature = predictions["at"].notna() if until is None else predictions["at"] <= until
        placed = predictions[["id", "at", "probability", "entity", "action", "control"]].assign(
            place=np.arange(len(predictions))
        )[mature]
        labelled = placed.merge(labels, on="id").sort_values("labelled_at", kind="stable", ignore_index=True)
        dropped = labelled["action"].notna() if treated == "leave_out" else np.zeros(len(labelled), dtype=bool)
        left_out, labelled = labelled[dropped], labelled[~dropped].reset_index(drop=True)
        yield Traffic(
            window,
            count_window(frame, reference, predictions["entity"]),
            frame[PREDICTION].to_numpy(dtype=np.float64),
            int(mature.sum()),
            labelled[_KEPT],
            frame[list(keep)].iloc[labelled["place"].to_numpy()].reset_index(drop=True),
            predictions["at"].max().to_pydatetime() if len(predictions) else None,
            predictions.groupby(["action", "control"], dropna=False).size().rename("rows").reset_index(),
            left_out[_KEPT],
        )


def drop_leading_windows(traffic: Sequence[Traffic]) -> list[Traffic]:
    """Return the windows from the model's first prediction on; raise ProjectError where it made none."""
    first = next((place for place, part in enumerate(traffic) if part.counts.rows), None)
    if first is None:
        raise ProjectError("The log holds no prediction of this model: expected at least one.")
    return list(traffic[first:])


def choose_groups(contract: Contract, bundle: Bundle) -> list[str]:
    """Return the fairness columns that requests contain, by whose groups live performance is measured."""
    return [name for name in contract.fairness if name in bundle.schema.columns]
