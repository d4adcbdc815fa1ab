"""Who was treated: metrics of treated rows, of untreated ones and of the control group, and what the actions achieve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.modeling.bootstrap import bootstrap_metrics
from lifecycle.modeling.comparisons import inflate_share
from lifecycle.modeling.intervals import Estimate, bound_gap, bound_share
from lifecycle.monitoring.degradation import has_classes
from lifecycle.monitoring.entities import number_entities
from lifecycle.monitoring.traffic import Traffic
from lifecycle.reporting.wording import format_estimate

Array = np.ndarray[Any, Any]

_REPLICATES = 400  # behind each interval of a metric
_MOST_ACTIONS = 5  # that have a row of their own, the most frequent first
_MIN_LABELS = 10  # inside and outside the control group, for a difference to be stated


def is_treated(traffic: Sequence[Traffic]) -> bool:
    """Return whether a log has actions or a control group."""
    return any(part.cases["action"].notna().any() or part.cases["control"].any() for part in traffic)


def tabulate_treatment(
    traffic: Sequence[Traffic], *, threshold: float, cost: Mapping[str, float], min_class: int, seed: int
) -> pd.DataFrame:
    """Return the treated, the untreated and the control rows of all windows as text, and the treated ones by action.

    Rows of the control group are in no other group, even where they were treated. The share of positives, the mean
    probability and the metrics are those of the labelled rows, with 95 % intervals by entity; the metrics are empty
    where a class has fewer than `min_class` rows. cost: of both kinds of errors.
    """
    cases = pd.concat([part.cases for part in traffic], ignore_index=True).astype({"control": bool})
    labelled = _join_labelled(traffic)
    entities = number_entities(labelled["entity"])
    among = dict(_find_groups(labelled, cases))
    rows = []
    for name, mask in _find_groups(cases, cases):
        chosen = among[name]
        label, p = labelled["label"].to_numpy()[chosen], labelled["probability"].to_numpy(dtype=np.float64)[chosen]
        row = {"rows": name, "predictions": f"{cases['rows'].to_numpy()[mask].sum():,}", "labels": f"{len(label):,}"}
        row |= dict.fromkeys(("positive", "mean probability", "ROC AUC", "Brier"), "")
        if len(label):
            positive = format_estimate(measure_positives(labelled[chosen]))
            row |= {"positive": positive, "mean probability": f"{p.mean():.3f}"}
        if has_classes(label, min_class):
            measured = bootstrap_metrics(
                label, p, threshold=threshold, cost=cost, replicates=_REPLICATES, seed=seed,
                entities=np.unique(entities[chosen], return_inverse=True)[1],
            )  # fmt: skip
            row |= {name: format_estimate(measured[key]) for name, key in (("ROC AUC", "roc_auc"), ("Brier", "brier"))}
        rows.append(row)
    return pd.DataFrame(rows).set_index("rows")


def measure_effect(traffic: Sequence[Traffic], threshold: float) -> dict[str, Any] | None:
    """Return what the actions change among the rows predicted positive: the share of positives outside the control group less that in it.

    Keys: value, low, high (Newcombe's interval, by entity), outside and inside (shares), rows (labelled, of both), treated
    (share of the rows outside). All rows outside count, treated or not, since those who were reached differ from those who were not, and
    only the groups that chance made are alike (intention to treat; Hollis & Campbell 1999, BMJ 319). None with too few labels.
    """
    labelled = _join_labelled(traffic)
    labelled = labelled[labelled["probability"] >= threshold].reset_index(drop=True)
    inside = labelled["control"].to_numpy(dtype=bool)
    counts = int((~inside).sum()), int(inside.sum())
    if min(counts) < _MIN_LABELS:
        return None
    entities, label = number_entities(labelled["entity"]), labelled["label"].to_numpy()
    hits = [float(label[part].sum()) for part in (~inside, inside)]
    inflated = [_inflate(label[part], entities[part]) for part in (~inside, inside)]
    gap = bound_gap((hits[0] / inflated[0], hits[1] / inflated[1]), (counts[0] / inflated[0], counts[1] / inflated[1]))
    treated = labelled["action"].notna().to_numpy()
    return {
        **gap, "outside": hits[0] / counts[0], "inside": hits[1] / counts[1], "rows": counts,
        "treated": float(treated[~inside].mean()), "crossed": int(treated[inside].sum()),
    }  # fmt: skip


def describe_effect(traffic: Sequence[Traffic], threshold: float) -> str:
    """Return what the actions change, as the control group shows it, in sentences."""
    if not any(part.cases["control"].any() for part in traffic):
        return (
            "The log has no control group, so that nothing shows what the actions change, nor how good the model is on the rows that "
            "were treated."
        )
    effect = measure_effect(traffic, threshold)
    if effect is None:
        return f"Too few rows that were predicted positive have a label: {_MIN_LABELS} are needed inside and outside the control group."
    outside, inside = effect["rows"]
    verdict = "" if effect["low"] > 0 or effect["high"] < 0 else " Chance alone may explain it."
    crossed = (
        f" {effect['crossed']:,} of the rows in the control group were treated nevertheless, which hides a part of the difference."
        if effect["crossed"]
        else ""
    )
    return (
        f"Of the rows that were predicted positive, {effect['outside']:.1%} of {outside:,} labels outside the control group are positive, and "
        f"{effect['inside']:.1%} of {inside:,} in it: a difference of {100 * effect['value']:+.1f} percentage points (95 % interval "
        f"{100 * effect['low']:+.1f} to {100 * effect['high']:+.1f}). {effect['treated']:.0%} of those outside were treated.{verdict}{crossed}"
    )


def measure_positives(labelled: pd.DataFrame) -> Estimate:
    """Return the share of positives of labelled rows, at least one, with its 95 % interval by entity (Wilson's)."""
    label = labelled["label"].to_numpy()
    inflated = _inflate(label, number_entities(labelled["entity"]))
    low, high = (float(bound) for bound in bound_share(label.sum() / inflated, len(label) / inflated))
    return {"value": float(label.mean()), "low": low, "high": high}


def _find_groups(table: pd.DataFrame, cases: pd.DataFrame) -> Iterator[tuple[str, Array]]:
    """Yield the groups that a log has and which rows of a table are in them, as masks (rows,)."""
    control, treated = table["control"].to_numpy(dtype=bool), table["action"].notna().to_numpy()
    actions = cases[cases["action"].notna() & ~cases["control"]].groupby("action")["rows"].sum()
    names = actions.sort_values(ascending=False, kind="stable").index
    yield "treated", treated & ~control
    for name in names[:_MOST_ACTIONS] if len(names) > 1 else []:
        yield f"treated: {name}", (table["action"] == name).to_numpy(dtype=bool) & ~control
    yield "untreated", ~treated & ~control
    if cases["control"].any():
        yield "control", control


def _join_labelled(traffic: Sequence[Traffic]) -> pd.DataFrame:
    """Return the labelled rows of all windows, with those that were left out."""
    parts = [frame for part in traffic for frame in (part.labelled, part.left_out)]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _inflate(label: Array, entities: Array) -> float:
    """Return by how much rows of one entity inflate the variance of the share of positives, at least 1."""
    everything = np.ones(len(label), dtype=bool)
    return float(inflate_share(label == 1, everything, np.zeros(len(label), dtype=np.int64), entities)[0])
