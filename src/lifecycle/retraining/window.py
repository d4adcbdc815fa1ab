"""Choose the rows that a challenger learns from: labelled rows of the log, and the rows that the champion was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.params import Retrain
from lifecycle.core.split_rule import SplitRule
from lifecycle.core.tables import set_columns
from lifecycle.core.values import name_category
from lifecycle.modeling.entities import CONTENT, find_keys
from lifecycle.modeling.rule import find_unlearned, list_kinds
from lifecycle.modeling.split import place_rows
from lifecycle.prediction_log.actions import read_actions
from lifecycle.prediction_log.reader import find_span, frame_features, read_predictions
from lifecycle.retraining.records import ChosenRows, Decision
from lifecycle.serving.bundle import Bundle

Array = np.ndarray[Any, Any]

DAY = 86_400.0  # seconds
AT, MODEL, SCORE, ENTITY = "(at)", "(model)", "(probability)", "(entity)"  # what a log adds to the columns of a request

_CROWDED = 1.25  # times its share, a rule may hold out of a log, besides what chance adds
_MOST_LEFT = 0.25  # of the rows may belong to held-out ones without being held out
_MAX_DUPLICATES = 0.1  # share of equal rows in the old table up to which equal requests are taken for one case
_CHUNK = timedelta(days=7)  # of a log that is read at once


def read_labelled(
    folder: Path, contract: Contract, names: Sequence[str], until: datetime | None = None, treated: str = "keep"
) -> pd.DataFrame:
    """Return the predictions of a log whose label is known, by any model, oldest first; `until`: no later ones.

    treated: leave_out drops those that an action followed, whose labels it may have changed.

    Columns: those `names` of the requests, the target with the contract's values, and AT, MODEL, SCORE and ENTITY (as text,
    or None).
    """
    first, last = find_span(folder)
    classes = {str(value): value for value in contract.columns[contract.target].values or ()}
    labels = read_predictions(folder, "feedback").to_pandas().drop_duplicates("id", keep="first")[["id", "label"]]
    labels = labels[labels["label"].isin(classes)]
    if treated == "leave_out":
        labels = labels[~labels["id"].isin(read_actions(folder).index)]
    parts, start = [], first
    while start <= last:  # rows without a label are dropped at once
        table = read_predictions(folder, "prediction", start, start + _CHUNK)
        predictions = table.select(["id", "at", "model", "probability", "entity"]).to_pandas()
        placed = predictions.assign(place=np.arange(len(predictions))).merge(labels, on="id")
        frame = frame_features(table, names).iloc[placed["place"].to_numpy()].reset_index(drop=True)
        known = frame.notna().any(axis="columns").to_numpy()  # a server without a bundle logs no features
        frame, placed = frame[known].reset_index(drop=True), placed[known].reset_index(drop=True)
        frame[contract.target] = placed["label"].map(classes)
        more = {AT: placed["at"], MODEL: placed["model"], SCORE: placed["probability"], ENTITY: placed["entity"]}
        parts.append(frame.assign(**more))
        start += _CHUNK
    labelled: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return labelled if until is None else labelled[labelled[AT] <= until].reset_index(drop=True)


def drop_repeats(labelled: pd.DataFrame, old: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the labelled rows without those that were requested again later: the newest is kept, with its label.

    Equal requests for one entity are one case. Without entities they are if few rows of the old table are equal; if many
    are, equal requests are different cases, and all are kept.
    """
    named = labelled[ENTITY].notna().all()
    if not named and (old.empty or old.duplicated([name for name in names if name in old]).mean() > _MAX_DUPLICATES):
        return labelled
    return labelled.drop_duplicates([*names, *([ENTITY] if named else [])], keep="last", ignore_index=True)


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
    old: pd.DataFrame, labelled: pd.DataFrame, decision: Decision, contract: Contract, names: Sequence[str], champion: Bundle,
    rules: Retrain, seed: int,
) -> tuple[pd.DataFrame, ChosenRows]:  # fmt: skip
    """Return the challenger's table, training rows before the held-out ones, and how many rows it has of which origin.

    `old` is the table that the champion was trained on. The windows: all takes its rows and those of the log; sliding takes the log's
    last `sliding_days`; drift_aware takes the log's rows since the onset of concept drift, and without it the same as all.
    A rule holds out entities, or else contents, of table and log alike, so that no row and no entity is on both sides; it is the
    champion's where that can be, so that both models were kept from the same rows. The newest `holdout_rows` of the log that it
    holds out are the hold-out.
    """
    if rules.window == "sliding":
        kept, before = limit_rows(labelled, decision.at, rules.window, rules.sliding_days), old.iloc[:0]
    elif rules.window == "drift_aware" and decision.onset:
        kept, before = labelled[labelled[AT] >= decision.onset], old.iloc[:0]
    else:
        kept, before = labelled, old
    entity = name_entity(contract)
    named = bool(len(kept)) and bool(kept[ENTITY].notna().all())
    columns = [*names, contract.target]
    parts = [_match_types(part[columns], old[columns]) for part in (before, kept)]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    if named:
        ids = [*(before[entity] if entity in before else [None] * len(before)), *kept[ENTITY]]
        table[entity] = pd.Series([None if pd.isna(value) else name_category(value) for value in ids], dtype="str")
    logged = np.arange(len(table)) >= len(before)
    rule, held_out, left_out = _hold_out(
        table, logged, contract, champion.manifest.rule, [entity] if named else [], rules, seed
    )
    places = np.flatnonzero(held_out & logged)
    unlearned = places[find_unlearned_rows(champion, kept.iloc[places - len(before)])]
    if len(unlearned) >= rules.min_compared:
        places, rule = unlearned, rule.model_copy(update={"champion": champion.manifest.model})
    places = places[-rules.holdout_rows :]
    learned = np.flatnonzero(~(held_out | left_out))
    chosen = ChosenRows(
        old=int((learned < len(before)).sum()), new=int((learned >= len(before)).sum()), held_out=len(places),
        left_out=len(table) - len(learned) - len(places),
        oldest=kept[AT].min().to_pydatetime() if len(kept) else None, rule=rule,
    )  # fmt: skip
    return table.iloc[np.concatenate([learned, places])].reset_index(drop=True), chosen


def name_entity(contract: Contract) -> str:
    """Return the column of a challenger's table that names the entity: the contract's first id, or else `entity_id`."""
    return next(iter(contract.names(Role.ID)), "entity_id")


def describe_entity() -> Column:
    """Return the column of a challenger's table that names the entity: its ids are text, as in the log."""
    return Column(role=Role.ID, dtype="string", description="The entity that a prediction is about.", nullable=True)


def _hold_out(
    table: pd.DataFrame, logged: Array, contract: Contract, champion: SplitRule | None, ids: list[str], rules: Retrain, seed: int
) -> tuple[SplitRule, Array, Array]:  # fmt: skip
    """Return the rule, which rows it holds out, and which belong to these without being held out, as masks (rows,)."""
    offered = []
    if champion is not None and _can_apply(champion, table, ids):  # a larger share has all rows of the champion's
        offered.append(champion.model_copy(update={"share": max(champion.share, rules.holdout_share)}))
    content = list_kinds(contract, [name for name in table if name in contract.names(*CONTENT)])
    if ids:
        offered.append(SplitRule(kind="ids", ids=ids, salt=seed, share=rules.holdout_share))
    offered.append(SplitRule(kind="content", columns=content, salt=seed, share=rules.holdout_share))
    kept = {name: column for name, column in contract.columns.items() if column.role is not Role.ID}
    kept |= {name: describe_entity() for name in ids}
    for rule in offered if len(table) else []:
        keys = find_keys(table, contract.model_copy(update={"columns": kept}), rule.columns or content)
        if rule.kind == "content" and keys.contents is None:  # equal rows are different cases
            continue
        held_out, left_out, _ = place_rows(keys, rule)
        count, share = int(logged.sum()), rule.share
        most = _CROWDED * share * count + 4 * math.sqrt(share * (1 - share) * count)
        crowded = held_out[logged].sum() > most  # as in a log of rows that were held out before
        if left_out.mean() <= _MOST_LEFT and not crowded:  # contents leave out most rows of entities that have many
            return rule, held_out, left_out
    newest = np.arange(len(table)) >= len(table) - min(rules.holdout_rows, int(logged.sum()) // 2)
    return SplitRule(kind="rows"), newest & logged, np.zeros(len(table), dtype=bool)


def _can_apply(rule: SplitRule, table: pd.DataFrame, ids: list[str]) -> bool:
    """Return whether the rows of a challenger's table have what a rule needs."""
    return rule.ids == ids if rule.kind == "ids" else rule.kind == "content" and set(rule.columns) <= set(table)


def find_unlearned_rows(champion: Bundle, rows: pd.DataFrame) -> Array:
    """Return which labelled rows a model cannot have learned from, as a mask (rows,); none where its release does not say."""
    rule, entity = champion.manifest.rule, champion.manifest.entity
    if rule is None:
        return np.zeros(len(rows), dtype=bool)
    named = rows if entity is None else set_columns(rows, {entity: rows[ENTITY]})
    return find_unlearned(rule, named, rows[AT], logged=True)


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
