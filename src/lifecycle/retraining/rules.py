"""The rules that decide whether a new model is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.core.paths import PARAMS
from lifecycle.modeling.metrics import compare_auc, compare_means, lose_rows
from lifecycle.monitoring.alerts import SEVERITIES
from lifecycle.retraining.window import AT, DAY, MODEL, SCORE
from lifecycle.serving.bundle import Bundle, to_requests

Record = dict[str, Any]
TRUTHS = ("decay", "label")  # kinds of alert that truths raise
DRIFTS = ("column", "missing", "unit", "category", "prediction", "multivariate")  # that rows raise by themselves
BROKEN = ("missing", "unit")  # kinds that a broken source raises: learning from it would make it the rule
NOBODY = "No rule asks for a new model."
LEAST = 200  # truths by which a model is compared with the one before it
SIGNIFICANCE = 0.01  # of that comparison


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
