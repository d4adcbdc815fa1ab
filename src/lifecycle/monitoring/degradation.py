"""Decay: how well the model does as truths arrive, what it should do before they have, and whether the two still agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.modeling.metrics import (
    LEVEL,
    Array,
    Estimate,
    Tally,
    bootstrap_metrics,
    bound_auc,
    estimate_delong,
    join_scores,
    measure_tally,
    tally_scores,
)
from lifecycle.monitoring.drift import LOOKS, combine_p, means_pvalue

Record = dict[str, Any]
Pair = tuple[Array, Array]  # truths (0 or 1) and probabilities of the same rows, each (rows,)
METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1", "brier", "log_loss", "cost", "predicted_positive", "ece")
DRAWS = 200  # of truths, behind an expected metric's interval


def describe_performance(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int
) -> Record:
    """What live performance is held against: the hold-out's metrics with intervals, and its residuals.

    `residuals` are of what a calibrated model would leave at 0 on average, each with its mean, the variance of the mean
    and rows: see `measure_residuals`.
    """
    measured = bootstrap_metrics(target, probability, threshold=threshold, cost=cost, replicates=1000, seed=seed)
    return {
        "rows": len(target),
        "rate": float(np.mean(target)),
        "metrics": {name: measured[name] for name in METRICS},
        "residuals": measure_residuals(target, probability),
    }


def measure_residuals(target: Array, probability: Array) -> dict[str, dict[str, float]]:
    """By how much truths differ from what the probabilities promised: mean and variance of the mean of each.

    calibration: truth less probability. brier: (truth - p)² less p (1 - p). roc_auc: the area less the one expected of
    these probabilities. All three are 0 on average for a calibrated model, whatever rows it meets (Naeini et al. 2015; Gneiting &
    Raftery 2007, JASA 102, on proper scores): covariate shift alone does not move them, a changed relation does.
    """
    truth, p = np.asarray(target, np.float64), np.asarray(probability, np.float64)
    off, excess = truth - p, (truth - p) ** 2 - p * (1 - p)
    areas, covariance = estimate_delong(truth, p[None, :])
    return {
        "calibration": {"mean": float(off.mean()), "variance": float(off.var() / len(p))},
        "brier": {"mean": float(excess.mean()), "variance": float(excess.var() / len(p))},
        "roc_auc": {"mean": float(areas[0] - expect_tally(p)["roc_auc"]), "variance": float(covariance[0, 0])},
    }


def expect_tally(probability: Array, threshold: float = 0.5, cost: Mapping[str, float] | None = None) -> Record:
    """Every metric that calibrated probabilities promise of themselves, without a truth.

    Confidence-based performance estimation (CBPE; Garg et al. 2022, ICLR; NannyML): each row counts as p of a positive
    and 1 - p of a negative one.
    """
    tally = tally_promises(probability)
    free = cost or {"false_positive": 0.0, "false_negative": 0.0}
    return {name: float(value) for name, value in measure_tally(tally, threshold, free).items()}


def tally_promises(probability: Array) -> Tally:
    """How many rows of each class the probabilities themselves promise at each score."""
    score, rows = np.unique(np.asarray(probability, np.float64), return_counts=True)
    return join_scores(Tally(score, rows * score, rows * (1 - score)))


def expect_performance(
    probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int
) -> dict[str, Estimate]:
    """The metrics to expect of rows whose truths are not known yet, each with the interval that chance leaves.

    It holds as long as the probabilities are calibrated on these rows: it follows a change of the rows, and is blind to one
    of the relation. The interval is that of DRAWS draws of the truths from the probabilities.
    """
    expected = expect_tally(probability, threshold, cost)
    joined = tally_promises(probability)
    rows = np.rint(joined.rows).astype(np.int64)
    drawn = np.random.default_rng(seed).binomial(rows, np.clip(joined.score, 0, 1), size=(DRAWS, len(rows)))
    values = measure_tally(Tally(joined.score, drawn, rows - drawn), threshold, cost, bins=joined)
    estimates = {}
    for name in METRICS:
        finite = values[name][np.isfinite(values[name])]
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(finite) else (np.nan, np.nan)
        value = float(finite.mean()) if name == "ece" and len(finite) else expected[name]  # chance alone leaves some
        estimates[name] = {"value": value, "low": float(low), "high": float(high)}
    return estimates


def measure_performance(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int
) -> dict[str, Estimate]:
    """The metrics of rows whose truths are known, each with its 95 % interval (bootstrap)."""
    measured = bootstrap_metrics(target, probability, threshold=threshold, cost=cost, replicates=DRAWS, seed=seed)
    estimates = {name: measured[name] for name in METRICS}
    positives = int(np.sum(target))
    low, high = bound_auc(estimates["roc_auc"]["value"], positives, len(target) - positives)
    return {**estimates, "roc_auc": {**estimates["roc_auc"], "low": float(low), "high": float(high)}}


def measure_error(target: Array, probability: Array, threshold: float, cost: Mapping[str, float]) -> dict[str, float]:
    """By how much each metric of rows whose truths are known is above what was expected of the same rows without them."""
    realised = measure_tally(join_scores(tally_scores(target, probability)), threshold, cost)
    expected = expect_tally(probability, threshold, cost)
    return {name: float(realised[name]) - expected[name] for name in METRICS}


def has_classes(target: Array, least: int) -> bool:
    """Whether there are `least` rows of each class."""
    positives = int(np.sum(target))
    return min(positives, len(target) - positives) >= max(2, least)


def judge_decay(
    baseline: Record, windows: Sequence[Pair], *, false_alarms: float, min_class: int, min_effect: float
) -> pd.DataFrame:
    """Whether truths still agree with what the probabilities promise: a row a window.

    A window is looked at alone, with the one before it and with the LOOKS - 1 before it, for its own truths may be few as yet.
    Columns: rows (truths of the window), used (of the look that tells most), p (of no difference from the hold-out's residuals, the three
    and all looks combined), calibration, brier, roc_auc (each residual less the hold-out's, in that look), decayed. That asks for p at
    most `false_alarms` and for an effect: an area lower by `min_effect`, a Brier score higher by 2.5 times that share, or a
    calibration off by 1.5 times that. NaN where a class has fewer than `min_class` rows.
    """
    unknown = {"used": 0, "p": np.nan, "calibration": np.nan, "brier": np.nan, "roc_auc": np.nan}
    rows = []
    for place, (target, _) in enumerate(windows):
        row: Record = {"rows": len(target), **unknown}
        pools = [join_pairs(windows[start : place + 1]) for start in range(place, max(-1, place - LOOKS), -1)]
        found = [compare_residuals(baseline, truth, p) for truth, p in pools if has_classes(truth, min_class)]
        if found and len(target):
            clearest = min(found, key=lambda record: record["p"])
            row |= clearest | {"p": combine_p([record["p"] for record in found])}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["rows", "used", "p", "calibration", "brier", "roc_auc"])
    loss = table["brier"] / max(baseline["metrics"]["brier"]["value"], 1e-9)
    worse = (
        (table["roc_auc"] <= -min_effect) | (loss >= min_effect * 2.5) | (table["calibration"].abs() >= min_effect * 1.5)
    )  # fmt: skip
    return table.assign(decayed=(table["p"] <= false_alarms) & worse)


def join_pairs(windows: Sequence[Pair]) -> Pair:
    """Truths and probabilities of several windows."""
    return np.concatenate([truth for truth, _ in windows]), np.concatenate([p for _, p in windows])


def compare_residuals(baseline: Record, target: Array, probability: Array) -> Record:
    """The residuals of some rows less those of the hold-out, and the p-value of no difference."""
    now, before = measure_residuals(target, probability), baseline["residuals"]
    apart = {name: now[name]["mean"] - before[name]["mean"] for name in now}
    tests = [means_pvalue(apart[name], now[name]["variance"] + before[name]["variance"]) for name in now]
    return {**apart, "p": combine_p(tests), "used": len(target)}


def detect_changes(losses: Iterable[float]) -> dict[str, int | None]:
    """Where streaming detectors first notice that a loss within -1 and 1 has changed: positions, None where never.

    ADWIN (Bifet & Gavaldà 2007, SDM) and Page-Hinkley (Page 1954, Biometrika 41), as the library `river` has them.
    """
    from river.drift import ADWIN, PageHinkley

    kinds: dict[str, Any] = {"adwin": ADWIN, "page_hinkley": PageHinkley}  # untyped
    detectors = {"adwin": kinds["adwin"](delta=0.002), "page_hinkley": kinds["page_hinkley"](mode="up", threshold=15.0)}
    first: dict[str, int | None] = dict.fromkeys(detectors)
    for place, loss in enumerate(losses):
        for name, detector in detectors.items():
            if first[name] is None:
                detector.update((loss + 1) / 2 if name == "adwin" else loss)
                if detector.drift_detected:
                    first[name] = place
    return first
