"""The rows that a challenger learns from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.prediction_log.reader import find_span, frame_features, read_predictions
from lifecycle.serving.bundle import Bundle

Record = dict[str, Any]
ALIKE = 0.1  # share of equal rows up to which rows are told apart by what they hold
STRETCH = timedelta(days=7)  # of a log that is held at once
DAY = 86_400.0  # seconds
AT, MODEL, SCORE = "(at)", "(model)", "(probability)"  # what the log says of a row, beside what the row says


# The rows.


def read_labelled(folder: Path, contract: Contract, names: Sequence[str]) -> pd.DataFrame:
    """The predictions of a log whose truth is known, by any model, oldest first.

    Columns: those `names` of the requests, the target in the contract's words, and AT, MODEL and SCORE.
    """
    first, last = find_span(folder)
    classes = {str(value): value for value in contract.columns[contract.target].values or ()}
    truths = read_predictions(folder, "feedback").to_pandas().drop_duplicates("id", keep="first")[["id", "label"]]
    truths = truths[truths["label"].isin(classes)]
    parts, start = [], first
    while start <= last:  # what has no truth is let go at once
        table = read_predictions(folder, "prediction", start, start + STRETCH)
        said = table.select(["id", "at", "model", "probability"]).to_pandas()
        asked = said.assign(place=np.arange(len(said))).merge(truths, on="id")
        frame = frame_features(table, names).iloc[asked["place"].to_numpy()].reset_index(drop=True)
        frame[contract.target] = asked["label"].map(classes)
        parts.append(frame.assign(**{AT: asked["at"], MODEL: asked["model"], SCORE: asked["probability"]}))
        start += STRETCH
    labelled: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return labelled


def drop_repeats(labelled: pd.DataFrame, old: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The labelled rows without those that were asked for again later: the newest is kept, with its truth.

    A log has no ids. Where hardly two rows of the old table are alike, equal requests are one case asked for again, which
    must not stand on both sides of a split; where many are, they are many cases, and all stay.
    """
    if old.empty or old.duplicated([name for name in names if name in old]).mean() > ALIKE:
        return labelled
    return labelled.drop_duplicates(list(names), keep="last", ignore_index=True)


def limit_rows(labelled: pd.DataFrame, at: str, window: str, sliding_days: int) -> pd.DataFrame:
    """The labelled rows that a window of this kind takes: with `sliding` those of the last `sliding_days` before `at`."""
    if window != "sliding":
        return labelled
    since = datetime.fromisoformat(at) - timedelta(days=sliding_days)
    return labelled[labelled[AT] > since].reset_index(drop=True)


def choose_columns(bundle: Bundle, contract: Contract) -> list[str]:
    """The columns of a request in the contract's order: all that a log has of a row."""
    return [name for name in contract.columns if name in bundle.schema.columns]


# The window.


def choose_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, decision: Record, contract: Contract, names: Sequence[str], *,
    window: str, sliding_days: int, holdout_rows: int,
) -> tuple[pd.DataFrame, Record]:  # fmt: skip
    """The challenger's table, oldest rows first, and a record of it: old, new, held_out, test_share.

    old: the rows that the champion was made from. all: those and all of the log. sliding: those of the last `sliding_days`.
    drift_aware: the log's since the relation changed, where it has; else all. The newest `holdout_rows` rows of the log are what
    challenger and champion are compared on.
    """
    columns = [*names, contract.target]
    if window == "sliding":
        kept, before = limit_rows(labelled, decision["at"], window, sliding_days), old.iloc[:0]
    elif window == "drift_aware" and decision["onset"]:
        kept, before = labelled[labelled[AT] >= datetime.fromisoformat(decision["onset"])], old.iloc[:0]
    else:
        kept, before = labelled, old
    held_out = min(holdout_rows, len(kept) // 2)
    parts = [match_types(part[columns], old[columns]) for part in (before, kept) if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else old[columns].iloc[:0]
    record = {
        "old": len(before), "new": len(kept), "held_out": held_out, "test_share": held_out / max(len(table), 1),
        "from": kept[AT].min().isoformat() if len(kept) else None,
    }  # fmt: skip
    return table, record


def match_types(part: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """The columns in the types of another table, where their values allow it."""
    matched = {}
    for name in part.columns:
        try:
            typed = part[name].astype(like[name].dtype)
            same = bool((typed.isna() == part[name].isna()).all() and (typed.dropna() == part[name].dropna()).all())
        except (TypeError, ValueError):
            same = False
        matched[name] = typed if same else part[name]
    return pd.DataFrame(matched)
