"""Retrain: whether a new model is due, by rule, and from which rows it learns; the training itself is the other stages'."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.contract import Contract
from lifecycle.data.tables import write_table
from lifecycle.modeling.metrics import compare_auc, compare_means, lose_rows
from lifecycle.monitoring.alerts import SEVERITIES
from lifecycle.paths import PARAMS
from lifecycle.serving.archive import find_span, frame_features, read_predictions
from lifecycle.serving.bundle import Bundle, load_bundle, to_requests

__all__ = ["load_bundle", "write_table"]

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
TRUTHS = ("decay", "label")  # kinds of alert that truths raise
DRIFTS = ("column", "missing", "unit", "level", "prediction", "multivariate")  # that rows raise by themselves
BROKEN = ("missing", "unit")  # kinds that a broken source raises: learning from it would make it the rule
NOBODY = "No rule asks for a new model."
LEAST = 200  # truths by which a model is compared with the one before it
ALIKE = 0.1  # share of equal rows up to which rows are told apart by what they hold
SIGNIFICANCE = 0.01  # of that comparison
DAY = 86_400.0  # seconds
AT, MODEL, SCORE = "(at)", "(model)", "(probability)"  # what the log says of a row, beside what the row says
STRETCH = timedelta(days=7)  # of a log that is held at once


# The rows.


def read_labelled(folder: Path, contract: Contract, names: Sequence[str]) -> pd.DataFrame:
    """The predictions of a log whose truth is known, by any model, oldest first.

    Columns: those `names` of the requests, the target in the contract's words, and AT, MODEL and SCORE.
    """
    first, last = find_span(folder)
    classes = {str(value): value for value in contract.columns[contract.target].values or ()}
    truths = read_predictions(folder, "feedback").to_pandas().drop_duplicates("id", keep="first")[["id", "truth"]]
    truths = truths[truths["truth"].isin(classes)]
    parts, start = [], first
    while start <= last:  # what has no truth is let go at once
        table = read_predictions(folder, "prediction", start, start + STRETCH)
        said = table.select(["id", "at", "model", "probability"]).to_pandas()
        asked = said.assign(place=np.arange(len(said))).merge(truths, on="id")
        frame = frame_features(table, names).iloc[asked["place"].to_numpy()].reset_index(drop=True)
        frame[contract.target] = asked["truth"].map(classes)
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


# The decision.


def decide(
    record: Record,
    labelled: pd.DataFrame,
    *,
    max_age_days: int,
    on_drift: str,
    on_decay: str,
    min_rows: int,
    holdout_rows: int,
    window: str,
) -> Record:
    """Whether a new model is due, and why: due, because (a sentence), rules (each with due and message), onset.

    record: what monitoring found (reports/monitor.json). A rule calls for a model: its age, drift, decay. Two hold it
    back: a source that looks broken, and too few truths since what changed. onset: from when the relation is another, None
    where it is not, or where `window` takes no notice.
    """
    calls = list_calls(record, max_age_days=max_age_days, on_drift=on_drift, on_decay=on_decay)
    relation = find_onset(record, choose_alerts(record, ("decay",), "note")) if window == "drift_aware" else None
    shift = find_onset(record, choose_alerts(record, DRIFTS, on_drift))
    since = relation or shift
    fresh = labelled if since is None else labelled[labelled[AT] >= since]
    least = holdout_rows if shift and not relation else min_rows
    holds = [judge_source(record), judge_rows(len(fresh), least, since)]
    called, held = [rule for rule in calls if rule["due"]], [rule for rule in holds if not rule["due"]]
    if not called:
        because = NOBODY
    elif held:
        because = " ".join(["A new model is asked for, and waits.", *(rule["message"] for rule in held)])
    else:
        because = " ".join(["A new model is due.", *(rule["message"] for rule in called)])
    return {
        "due": bool(called and not held),
        "because": because,
        "at": record["at"],
        "model": record["model"],
        "onset": relation.isoformat() if relation else None,
        "rules": [*calls, *holds],
    }


def list_calls(record: Record, *, max_age_days: int, on_drift: str, on_decay: str) -> list[Record]:
    """The rules that may ask for a new model, judged."""
    return [judge_age(record, max_age_days), judge_drift(record, on_drift), judge_decay(record, on_decay)]


def make_rule(name: str, due: bool, message: str) -> Record:
    """A rule's record."""
    return {"name": name, "due": bool(due), "message": message}


def judge_age(record: Record, most: int) -> Record:
    """The model has been live for longer than it should."""
    lived = datetime.fromisoformat(record["at"]) - datetime.fromisoformat(record["since"])
    days = int(lived.total_seconds() / DAY)
    return make_rule("age", days > most, f"The model has answered for {days} days; after {most} it is trained anew.")


def judge_drift(record: Record, least: str) -> Record:
    """A drift alert stands that is grave enough."""
    return judge_alerts("drift", choose_alerts(record, DRIFTS, least), least, "columns or predictions")


def judge_decay(record: Record, least: str) -> Record:
    """An alert about the truths stands that is grave enough."""
    return judge_alerts("decay", choose_alerts(record, TRUTHS, least), least, "the truths")


def choose_alerts(record: Record, kinds: Sequence[str], least: str) -> list[Record]:
    """The alerts of these kinds that are at least so grave; none for `never`."""
    ranks = SEVERITIES[SEVERITIES.index(least) :] if least != "never" else ()
    return [alert for alert in record["alerts"] if alert["kind"] in kinds and alert["severity"] in ranks]


def judge_alerts(name: str, grave: Sequence[Record], least: str, what: str) -> Record:
    """Whether an alert stands that is grave enough."""
    if least == "never":
        return make_rule(name, due=False, message=f"Alerts about {what} never ask for a model: {PARAMS} says so.")
    if not grave:
        return make_rule(name, due=False, message=f"No alert about {what} is as grave as {least!r}.")
    return make_rule(name, due=True, message=grave[0]["message"])


def judge_source(record: Record) -> Record:
    """The source does not look broken."""
    broken = [alert for alert in record["alerts"] if alert["kind"] in BROKEN and alert["severity"] == "act"]
    if broken:
        return make_rule("source", due=False, message=f"The source looks broken: mend it first. {broken[0]['message']}")
    return make_rule("source", due=True, message="Nothing suggests that the source is broken.")


def judge_rows(rows: int, least: int, since: datetime | None) -> Record:
    """There are truths enough to learn and judge by, of rows since something changed."""
    which = f" of rows since {since:%Y-%m-%d}, when it began," if since else ""
    return make_rule("rows", rows >= least, f"{rows:,} truths{which} are known; {least:,} are needed.")


def find_onset(record: Record, alerts: Sequence[Record]) -> datetime | None:
    """When the first window begins of these alerts; None where there are none."""
    since = {alert["since"] for alert in alerts}
    starts = [datetime.fromisoformat(window["start"]) for window in record["windows"] if window["name"] in since]
    return min(starts, default=None)


# The model before this one.


def compare_previous(
    labelled: pd.DataFrame, bundle: Bundle, previous: Bundle | None, contract: Contract, cost: Mapping[str, float],
    seed: int,
) -> Record:  # fmt: skip
    """Whether the model before this one would have done better on the rows that this one answered: rollback, message.

    Paired on the same truths: Brier score (bootstrap) and ROC AUC (DeLong); better is a lower Brier score, by more than
    chance, without a lower area.
    """
    if previous is None:
        return {"rollback": False, "message": "There is no model before this one."}
    mine = labelled[labelled[MODEL] == bundle.name]
    truth = (mine[contract.target] == contract.positive).to_numpy().astype(np.int8)
    if min(truth.sum(), len(truth) - truth.sum()) < 2 or len(truth) < LEAST:
        return {"rollback": False, "message": f"{len(truth):,} truths are too few to compare it with the model before."}
    missing = [name for name in previous.schema.columns if name not in mine]
    if missing:
        return {"rollback": False, "message": f"The model before needs columns that the log has not: {missing}."}
    before, now = (
        np.asarray(previous.score(to_requests(mine, previous.schema.names))),
        mine[SCORE].to_numpy(dtype=np.float64),
    )
    losses = [lose_rows(truth, p, 0.5, cost)["brier"] for p in (now, before)]
    loss, area = compare_means(losses[0], losses[1], 1000, seed), compare_auc(truth, now, before)
    worse = loss["value"] > 0 and loss["p"] < SIGNIFICANCE and not (area["value"] > 0 and area["p"] < SIGNIFICANCE)
    return {
        "rollback": bool(worse),
        "message": f"On {len(truth):,} truths since it is live its Brier score differs by {loss['value']:+.4f} from that of the model before "
        f"(p = {loss['p']:.3f}; less is better), its ROC AUC by {area['value']:+.3f} (p = {area['p']:.3f})."
        + (" The model before is better: it comes back." if worse else ""),
    }  # fmt: skip


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


def start_folder(folder: Path) -> None:
    """Begin with an empty folder: a table of an earlier decision is none of this one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def describe_start(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings that the challenger's study tries first: the champion's own."""
    return {metadata["family"]: dict(metadata["settings"])}


def tabulate_rows(chosen: Record) -> pd.DataFrame:
    """The challenger's rows in words."""
    told = {
        "of the table that the champion is from": f"{chosen['old']:,}",
        "of the log": f"{chosen['new']:,}",
        "from": (chosen["from"] or "")[:10],
        "to learn from": f"{chosen['old'] + chosen['new'] - chosen['held_out']:,}",
        "held out, the newest": f"{chosen['held_out']:,}",
    }
    return pd.DataFrame({"rows": told})


def tabulate_rules(decision: Record) -> pd.DataFrame:
    """The rules in words."""
    asked = {"age": "asks for a model", "drift": "asks for a model", "decay": "asks for a model"}
    rows = [
        {
            "rule": rule["name"],
            "verdict": (asked.get(rule["name"], "lets it") if rule["due"] else "does not ask" if rule["name"] in asked else "holds it back"),
            "why": rule["message"],
        }
        for rule in decision["rules"]
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("rule")
