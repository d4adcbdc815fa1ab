"""Performance degradation: measure the model on labels, estimate its metrics without them, and test whether the two agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lifecycle.core.records import Record
from lifecycle.modeling.bootstrap import bootstrap_metrics, draw_tallies
from lifecycle.modeling.comparisons import estimate_delong
from lifecycle.modeling.intervals import LEVEL, Estimate, bound_auc, count_cases
from lifecycle.modeling.metrics import Array, Tally, join_scores, measure_tally, tally_scores
from lifecycle.monitoring.drift import POOLED_WINDOWS, combine_p, means_pvalue
from lifecycle.monitoring.entities import code_entities, correlate_codes, count_together

LabelledRows = tuple[Array, Array]  # labels (0 or 1) and probabilities of the same rows, each (rows,)
METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1", "brier", "log_loss", "cost", "predicted_positive", "ece")
_MOST = {"log_loss": np.inf, "cost": np.inf}  # other metrics are 1 at most
_REPLICATES = (
    200  # draws of labels behind an expected metric's interval, and bootstrap replicates behind a realised one's
)


def describe_performance(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int,
    entities: Array | None = None,
) -> Record:  # fmt: skip
    """Return the performance that later windows are compared with: the hold-out's metrics with intervals, and its residuals.

    entities: the entity of each row, from 0, where rows of one are not independent.
    """
    measured = bootstrap_metrics(
        target, probability, threshold=threshold, cost=cost, replicates=1000, seed=seed, entities=entities
    )
    about: Record = {}
    if entities is not None:
        about = {
            "rows_together": count_together(entities), "cases": count_cases(target, entities),
            "correlation": correlate_codes(np.asarray(target, np.int64), entities),
        }  # fmt: skip
    return {
        "rows": len(target),
        **about,
        "rate": float(np.mean(target)),
        "metrics": {name: measured[name] for name in METRICS},
        "residuals": measure_residuals(target, probability, entities),
        "estimation": _measure_estimation(target, probability, threshold, cost, seed, entities),
    }


def _measure_estimation(
    target: Array, probability: Array, threshold: float, cost: Mapping[str, float], seed: int, entities: Array | None
) -> dict[str, dict[str, float]]:
    """Return by how much each realised metric of the hold-out differs from the one expected, and the variance of that (bootstrap)."""
    errors = measure_error(target, probability, threshold, cost)
    drawn: dict[str, list[Array]] = {name: [] for name in METRICS}
    joined = join_scores(tally_scores(target, probability))
    for replicate in draw_tallies(target, probability, _REPLICATES, seed, entities):
        realised = measure_tally(replicate, threshold, cost, bins=joined)
        expected = _expect_tally(replicate.score, replicate.rows, threshold, cost, bins=joined)
        for name in METRICS:
            drawn[name].append(realised[name] - expected[name])
    return {
        name: {"error": errors[name], "variance": float(np.nanvar(np.concatenate(drawn[name])))} for name in METRICS
    }


def measure_residuals(target: Array, probability: Array, entities: Array | None = None) -> dict[str, dict[str, float]]:
    """Return by how much labels differ from what the probabilities imply, each with its mean and the variance of the mean.

    calibration: label less probability. brier: (label - p)² less p (1 - p). roc_auc: the area less the one expected of
    these probabilities. For a calibrated model all three are 0 on average, whatever rows it scores (Naeini et al. 2015; Gneiting &
    Raftery 2007, JASA 102, on proper scores): covariate shift alone does not move them, concept drift does.
    entities: the entity of each row, from 0, where rows of one are not independent; the variances are then those of entities.
    """
    label, p = np.asarray(target, np.float64), np.asarray(probability, np.float64)
    off, excess = label - p, (label - p) ** 2 - p * (1 - p)
    areas, covariance = estimate_delong(label, p[None, :], entities)
    return {
        "calibration": {"mean": float(off.mean()), "variance": _vary_mean(off, entities)},
        "brier": {"mean": float(excess.mean()), "variance": _vary_mean(excess, entities)},
        "roc_auc": {"mean": float(areas[0] - expect_metrics(p)["roc_auc"]), "variance": float(covariance[0, 0])},
    }


def _vary_mean(values: Array, entities: Array | None) -> float:
    """Return the variance of the mean of a value over rows, or over entities with several rows (Kish 1965)."""
    if entities is None:
        return float(values.var() / len(values))
    sums = np.bincount(entities, weights=values - values.mean())
    count = len(np.unique(entities))
    return float(sums @ sums / len(values) ** 2 * count / max(count - 1, 1))


def expect_metrics(probability: Array, threshold: float = 0.5, cost: Mapping[str, float] | None = None) -> Record:
    """Return every metric that is expected of calibrated probabilities, without labels.

    This is confidence-based performance estimation (CBPE; Garg et al. 2022, ICLR; NannyML): each row counts as p of a
    positive and 1 - p of a negative one.
    """
    joined = _tally_expected(probability)
    free = cost or {"false_positive": 0.0, "false_negative": 0.0}
    return {name: float(value) for name, value in _expect_tally(joined.score, joined.rows, threshold, free).items()}


def _expect_tally(
    score: Array, rows: Array, threshold: float, cost: Mapping[str, float], bins: Tally | None = None
) -> dict[str, Array]:
    """Return every metric expected of so many rows at each score; rows may have leading axes.

    Of a row's share of a positive and of a negative, the ROC AUC compares none: a row makes no pair with itself.
    """
    tally = Tally(score, rows * score, rows * (1 - score))
    metrics = measure_tally(tally, threshold, cost, bins)
    pairs = tally.positives.sum(-1) * tally.negatives.sum(-1)
    own = (rows * score * (1 - score)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (metrics["roc_auc"] * pairs - own / 2) / (pairs - own)
    return {**metrics, "roc_auc": np.where(pairs - own > 1e-9, area, np.nan)}


def _tally_expected(probability: Array) -> Tally:
    """Return how many rows of each class are expected at each score."""
    score, rows = np.unique(np.asarray(probability, np.float64), return_counts=True)
    return join_scores(Tally(score, rows * score, rows * (1 - score)))


def expect_performance(
    probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int,
    estimation: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Estimate]:  # fmt: skip
    """Return the metrics to expect of rows without labels, each with an interval.

    They hold while the probabilities are calibrated on these rows: they follow covariate shift and do not see concept
    drift. The interval is that of labels drawn from the probabilities, widened by how far off such an estimate was on the
    hold-out (`estimation`), as probabilities are never calibrated exactly.
    """
    expected = expect_metrics(probability, threshold, cost)
    joined = _tally_expected(probability)
    rows = np.rint(joined.rows).astype(np.int64)
    drawn = np.random.default_rng(seed).binomial(rows, np.clip(joined.score, 0, 1), size=(_REPLICATES, len(rows)))
    values = measure_tally(Tally(joined.score, drawn, rows - drawn), threshold, cost, bins=joined)
    estimates = {}
    for name in METRICS:
        finite = values[name][np.isfinite(values[name])]
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(finite) else (np.nan, np.nan)
        value = float(finite.mean()) if name == "ece" and len(finite) else expected[name]  # chance alone adds some
        estimates[name] = {"value": value, "low": float(low), "high": float(high)}
        if estimation is not None and np.isfinite(value):
            estimates[name] = _widen(estimates[name], **estimation[name], most=_MOST.get(name, 1.0))
    return estimates


def _widen(estimate: Estimate, error: float, variance: float, most: float) -> Estimate:
    """Return an interval that also has room for an error of the estimate, seen on other rows with a variance."""
    value, reach = estimate["value"], float(ndtri((1 + LEVEL) / 2)) * np.sqrt(variance)
    below, above = np.hypot(value - estimate["low"], reach), np.hypot(estimate["high"] - value, reach)
    return {
        "value": value,
        "low": max(0.0, float(value - below - max(0.0, -error))),
        "high": min(most, float(value + above + max(0.0, error))),
    }


def measure_performance(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], seed: int,
    entities: Array | None = None,
) -> dict[str, Estimate]:  # fmt: skip
    """Return the metrics of labelled rows, each with its 95 % interval (bootstrap; see `bootstrap_metrics`).

    entities: the entity of each row, from 0, where rows of one are not independent.
    """
    measured = bootstrap_metrics(
        target, probability, threshold=threshold, cost=cost, replicates=_REPLICATES, seed=seed, entities=entities
    )
    estimates = {name: measured[name] for name in METRICS}
    if entities is not None:
        return estimates
    positives = int(np.sum(target))
    low, high = bound_auc(estimates["roc_auc"]["value"], positives, len(target) - positives)
    return {**estimates, "roc_auc": {**estimates["roc_auc"], "low": float(low), "high": float(high)}}


def measure_error(target: Array, probability: Array, threshold: float, cost: Mapping[str, float]) -> dict[str, float]:
    """Return the difference of each realised metric of labelled rows from the one expected of the same rows."""
    realised = measure_tally(join_scores(tally_scores(target, probability)), threshold, cost)
    expected = expect_metrics(probability, threshold, cost)
    return {name: float(realised[name]) - expected[name] for name in METRICS}


def has_classes(target: Array, least: int) -> bool:
    """Return whether there are at least `least` rows of each class."""
    positives = int(np.sum(target))
    return min(positives, len(target) - positives) >= max(2, least)


def judge_degradation(
    baseline: Record, windows: Sequence[LabelledRows], *, false_alarms: float, min_class: int, min_effect: float,
    entities: Sequence[pd.Series] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Test whether labels agree with what the probabilities imply: one row per window.

    A window is tested alone, with the one before it, and with the POOLED_WINDOWS - 1 before it, since it may still have
    few labels. Columns: rows (labels of the window), used (labels of the clearest of these tests), p (of no difference
    from the hold-out's residuals, all tests combined), calibration, brier, roc_auc (each residual less the hold-out's, in that
    test), degraded. The latter requires p of at most `false_alarms` and an effect: a ROC AUC lower by `min_effect`, a Brier score
    higher by 2.5 times that share, or a calibration off by 1.5 times that. NaN where a class has fewer than `min_class` rows.
    entities: the entity of each row, by window (missing: a row of its own); the variances are those of entities where one repeats in the
    windows that are tested together, and NaN is then also the answer where a class has rows of one entity only.
    """
    unknown = {"used": 0, "p": np.nan, "calibration": np.nan, "brier": np.nan, "roc_auc": np.nan}
    rows = []
    for place, (target, _) in enumerate(windows):
        row: Record = {"rows": len(target), **unknown}
        found = []
        for start in range(place, max(-1, place - POOLED_WINDOWS), -1):
            label, p = _join_windows(windows[start : place + 1])
            named = None if entities is None else pd.concat(entities[start : place + 1], ignore_index=True)
            codes = None if named is None else code_entities(named)
            if has_classes(label, min_class) and (codes is None or _has_entities(label, codes)):
                found.append(_compare_residuals(baseline, label, p, codes))
        if found and len(target):
            clearest = min(found, key=lambda record: record["p"])
            row |= clearest | {"p": combine_p([record["p"] for record in found])}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["rows", "used", "p", "calibration", "brier", "roc_auc"])
    loss = table["brier"] / max(baseline["metrics"]["brier"]["value"], 1e-9)
    worse = (
        (table["roc_auc"] <= -min_effect) | (loss >= min_effect * 2.5) | (table["calibration"].abs() >= min_effect * 1.5)
    )  # fmt: skip
    return table.assign(degraded=(table["p"] <= false_alarms) & worse)


def _join_windows(windows: Sequence[LabelledRows]) -> LabelledRows:
    """Join the labels and probabilities of several windows."""
    return np.concatenate([label for label, _ in windows]), np.concatenate([p for _, p in windows])


def _has_entities(target: Array, entities: Array) -> bool:
    """Return whether each class has rows of two entities."""
    return all(len(np.unique(entities[target == value])) > 1 for value in (0, 1))


def _compare_residuals(baseline: Record, target: Array, probability: Array, entities: Array | None = None) -> Record:
    """Return the residuals of some rows less those of the hold-out, and the p-value of no difference.

    Variances of few entities are uncertain: the degrees of freedom are those of Welch (1947) and Satterthwaite (1946, Biometrics
    Bulletin 2), of the effective number of entities of the rarer class.
    """
    now, before = measure_residuals(target, probability, entities), baseline["residuals"]
    difference = {name: now[name]["mean"] - before[name]["mean"] for name in now}
    cases = np.inf if entities is None else count_cases(target, entities), baseline.get("cases", np.inf)
    tests = []
    for name, value in difference.items():
        parts = np.array([now[name]["variance"], before[name]["variance"]])
        spent = float((parts**2 / np.maximum(np.array(cases) - 1, 1)).sum())
        freedom = float(parts.sum() ** 2 / spent) if spent else np.inf
        tests.append(means_pvalue(value, float(parts.sum()), freedom))
    return {**difference, "p": combine_p(tests), "used": len(target)}
