"""Choose the rows that a challenger learns from: labelled rows of the log, and the rows that the champion was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.core.params import Retrain
from lifecycle.prediction_log.reader import find_span, frame_features, read_predictions
from lifecycle.retraining.records import ChosenRows, Decision
from lifecycle.serving.bundle import Bundle

DAY = 86_400.0  # seconds
AT, MODEL, SCORE = "(at)", "(model)", "(probability)"  # columns that the log adds to those of a request

_MAX_DUPLICATES = 0.1  # share of equal rows in the old table up to which equal requests are taken for one case
_CHUNK = timedelta(days=7)  # of a log that is read at once


def read_labelled(folder: Path, contract: Contract, names: Sequence[str]) -> pd.DataFrame:
    """Return the predictions of a log whose label is known, by any model, oldest first.

    Columns: those `names` of the requests, the target with the contract's values, and AT, MODEL and SCORE.
    """
    first, last = find_span(folder)
    classes = {str(value): value for value in contract.columns[contract.target].values or ()}
    labels = read_predictions(folder, "feedback").to_pandas().drop_duplicates("id", keep="first")[["id", "label"]]
    labels = labels[labels["label"].isin(classes)]
    parts, start = [], first
    while start <= last:  # rows without a label are dropped at once
        table = read_predictions(folder, "prediction", start, start + _CHUNK)
        predictions = table.select(["id", "at", "model", "probability"]).to_pandas()
        placed = predictions.assign(place=np.arange(len(predictions))).merge(labels, on="id")
        frame = frame_features(table, names).iloc[placed["place"].to_numpy()].reset_index(drop=True)
        known = frame.notna().any(axis="columns").to_numpy()  # a server without a bundle logs no features
        frame, placed = frame[known].reset_index(drop=True), placed[known].reset_index(drop=True)
        frame[contract.target] = placed["label"].map(classes)
        parts.append(frame.assign(**{AT: placed["at"], MODEL: placed["model"], SCORE: placed["probability"]}))
        start += _CHUNK
    labelled: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return labelled


def drop_repeats(labelled: pd.DataFrame, old: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the labelled rows without those that were requested again later: the newest is kept, with its label.

    A log has no ids. If few rows of the old table are equal, equal requests are one case, which must not be on both sides
    of a split; if many are equal, they are different cases, and all are kept.
    """
    if old.empty or old.duplicated([name for name in names if name in old]).mean() > _MAX_DUPLICATES:
        return labelled
    return labelled.drop_duplicates(list(names), keep="last", ignore_index=True)


def limit_rows(labelled: pd.DataFrame, at: datetime, window: str, sliding_days: int) -> pd.DataFrame:
    """Return the labelled rows of the window: with `sliding` those of the last `sliding_days` before `at`, else all."""
    if window != "sliding":
        return labelled
    since = at - timedelta(days=sliding_days)
    return labelled[labelled[AT] > since].reset_index(drop=True)


def choose_columns(bundle: Bundle, contract: Contract) -> list[str]:
    """Return the columns of a request in the contract's order: a log has no others."""
    return [name for name in contract.columns if name in bundle.schema.columns]


def choose_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, decision: Decision, contract: Contract, names: Sequence[str], rules: Retrain
) -> tuple[pd.DataFrame, ChosenRows]:  # fmt: skip
    """Return the challenger's table, oldest rows first, and how many rows it has of which origin.

    `old` are the rows that the champion was trained on. The windows: all takes those and all of the log; sliding takes the log's last
    `sliding_days`; drift_aware takes the log's rows since the onset of concept drift, and without it the same as all. The
    newest `holdout_rows` rows of the log are held out to compare challenger and champion.
    """
    columns = [*names, contract.target]
    if rules.window == "sliding":
        kept, before = limit_rows(labelled, decision.at, rules.window, rules.sliding_days), old.iloc[:0]
    elif rules.window == "drift_aware" and decision.onset:
        kept, before = labelled[labelled[AT] >= decision.onset], old.iloc[:0]
    else:
        kept, before = labelled, old
    held_out = min(rules.holdout_rows, len(kept) // 2)
    parts = [_match_types(part[columns], old[columns]) for part in (before, kept) if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else old[columns].iloc[:0]
    chosen = ChosenRows(
        old=len(before), new=len(kept), held_out=held_out, test_share=held_out / max(len(table), 1),
        oldest=kept[AT].min().to_pydatetime() if len(kept) else None,
    )  # fmt: skip
    return table, chosen


def _match_types(part: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Return the columns in the dtypes of another table, where their values allow it."""
    matched = {}
    for name in part.columns:
        try:
            typed = part[name].astype(like[name].dtype)
            same = bool((typed.isna() == part[name].isna()).all() and (typed.dropna() == part[name].dropna()).all())
        except (TypeError, ValueError):
            same = False
        matched[name] = typed if same else part[name]
    return pd.DataFrame(matched)
