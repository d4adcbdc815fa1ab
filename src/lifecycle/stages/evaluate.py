"""Evaluate: measure the model on the hold-out, compare it with baselines and the champion, and describe its groups."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.dummy import DummyClassifier

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.paths import CANDIDATE, PARAMS, TEST_TABLE, TRAIN_METRICS
from lifecycle.core.records import Record
from lifecycle.modeling.bootstrap import bootstrap_metrics, expect_ece
from lifecycle.modeling.comparisons import (
    compare_auc,
    compare_means,
    estimate_delong,
    inflate_share,
    lose_rows,
    measure_slices,
)
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.family import Hyperparameters
from lifecycle.modeling.intervals import Estimate, bound_gap, bound_share
from lifecycle.modeling.metrics import Array
from lifecycle.modeling.model import Model
from lifecycle.modeling.pipelines import FeatureRecord, fit_pipeline
from lifecycle.modeling.slices import band_numbers, name_categories, sort_categories
from lifecycle.modeling.task import task_for
from lifecycle.modeling.weights import read_weights
from lifecycle.promotion.records import Verdict

_PAIRED = ("brier", "log_loss", "cost")  # compared row by row
_MIN_BASELINE_TREES = 100  # scikit-learn's default, which tutorials keep


def check_inputs(model: Model, trained: Record, test: pd.DataFrame, declaration: Record) -> None:
    """Raise ProjectError for a training report of another model, or for a hold-out that lacks a class."""
    if trained["model"] != model.sha256:
        raise ProjectError(
            f"{TRAIN_METRICS} is about model {trained['model'][:12]}, but {CANDIDATE} is {model.sha256[:12]}: "
            "run `dvc repro`."
        )
    if not task_for(declaration).has_enough_rows(test[str(declaration["target"])]):
        raise ProjectError(
            f"{TEST_TABLE}: column {declaration['target']!r} needs two rows of each class to evaluate a model; "
            f"raise features.test_share in {PARAMS}."
        )


# Baselines and the champion.


def predict_baselines(
    train: pd.DataFrame,
    test: pd.DataFrame,
    declaration: Record,
    tutorial_columns: Sequence[str],
    seed: int,
    threads: int,
) -> dict[str, Array]:
    """Return the probabilities, shape (rows,), of the hold-out's rows from each baseline, fitted on the training part only.

    prior: the training part's positive rate for every row. logistic: a logistic regression without derived features.
    tutorial: a random forest with default hyperparameters on `tutorial_columns`, left out when there are none. Both are fitted
    with the table's weights. Raises
    ProjectError for a tutorial column that is not a feature.
    """
    features = [{**feature, "monotone": None} for feature in declaration["features"]]  # a baseline is not constrained
    task = task_for(declaration)
    plain = [feature for feature in features if feature["source"] != "derived"] or features
    X, y = select_features(train, declaration), train[declaration["target"]].to_numpy()
    weights = read_weights(train, declaration)
    prior = DummyClassifier(strategy="prior").fit(train[[plain[0]["name"]]], y)
    predicted = {"prior": task.predict(prior, test[[plain[0]["name"]]])}
    baselines: dict[str, tuple[str, Hyperparameters, list[FeatureRecord]]] = {"logistic": ("logistic", {}, plain)}
    if tutorial_columns:
        settings = {"n_estimators": _MIN_BASELINE_TREES}
        baselines["tutorial"] = ("forest", settings, _pick_features(plain, tutorial_columns))
    for name, (family, hyperparameters, chosen) in baselines.items():
        columns = [feature["name"] for feature in chosen]
        model = fit_pipeline(
            family, hyperparameters, chosen, X[columns], y, seed=seed, threads=threads, weights=weights
        )
        predicted[name] = task.predict(model, test[columns])
    return predicted


def _pick_features(features: list[FeatureRecord], names: Sequence[str]) -> list[FeatureRecord]:
    """Return the features with these names; raise ProjectError for an unknown one."""
    known = {feature["name"]: feature for feature in features}
    if unknown := [name for name in names if name not in known]:
        raise ProjectError(
            f"{PARAMS}: evaluate.tutorial_columns names {unknown}, which are not feature columns of the table; there "
            f"are {list(known)}. An empty list leaves this baseline out."
        )
    return [known[name] for name in names]


def title_models(tutorial_columns: Sequence[str]) -> dict[str, str]:
    """Return the title of each model in tables and figures."""
    return {
        "candidate": "This model",
        "champion": "The champion",
        "logistic": "Logistic regression",
        "tutorial": f"Random forest on {len(tutorial_columns)} columns",
        "prior": "The base rate for every row",
    }


# Measurements.


def compare_models(
    target: Array,
    probabilities: Mapping[str, Array],
    thresholds: Mapping[str, float],
    cost: Mapping[str, float],
    replicates: int,
    seed: int,
    entities: Array | None = None,
    rows: Mapping[str, Array] | None = None,
) -> list[Record]:
    """Return a record for each model: its metrics with intervals, and the candidate's differences from it.

    entities: the entity of each row, where rows of one are not independent. rows: the rows that a model is compared on, by
    name, where they are not all.
    `differences` are the candidate's value minus the other's on the same rows, with a two-sided p: roc_auc by DeLong's
    test; brier, log_loss and cost by a paired t test. The candidate's own record has none.
    """
    records = []
    for name in probabilities:
        chosen = (rows or {}).get(name, np.ones(len(target), dtype=bool))
        actual, mine, probability = (
            values[chosen] for values in (target, probabilities["candidate"], probabilities[name])
        )
        cases = None if entities is None else entities[chosen]
        measured = bootstrap_metrics(
            actual, probability, threshold=thresholds[name], cost=cost, replicates=replicates, seed=seed, entities=cases
        )
        differences: dict[str, Estimate] = {}
        if name != "candidate":
            losses = lose_rows(actual, mine, thresholds["candidate"], cost)
            other = lose_rows(actual, probability, thresholds[name], cost)
            differences = {metric: compare_means(losses[metric], other[metric], cases) for metric in _PAIRED}
            differences["roc_auc"] = compare_auc(actual, mine, probability, cases)
        records.append({"name": name, "threshold": thresholds[name], "metrics": measured, "differences": differences})
    return records


def measure_chance(probability: Array, replicates: int, seed: int) -> Estimate:
    """Return the calibration error that chance alone causes on so many rows: value (mean) and high (95th percentile)."""
    value, high = expect_ece(probability, replicates, seed)
    return {"value": value, "low": 0.0, "high": high}


def compare_folds(
    target: Array, probability: Array, cv: Mapping[str, Mapping[str, float]], significance: float,
    entities: Array | None = None,
) -> Record:  # fmt: skip
    """Return the ROC AUC of training, cross-validation and hold-out, and the least to expect of the hold-out.

    `least` is the lower end of a one-sided interval at `significance` around the mean over the folds, from its standard error
    and DeLong's error of the hold-out, as if both were independent.
    """
    areas, covariance = estimate_delong(target, probability[None, :], entities)
    scores = cv["roc_auc"]
    spread, mean_error = (0.0 if math.isnan(scores[name]) else scores[name] for name in ("test_sd", "test_error"))
    error = math.hypot(mean_error, math.sqrt(covariance[0, 0]))
    return {
        "train_mean": scores["train_mean"],
        "test_mean": scores["test_mean"],
        "test_sd": spread,
        "gap": scores["train_mean"] - scores["test_mean"],
        "holdout": float(areas[0]),
        "least": scores["test_mean"] - float(ndtri(1 - significance)) * error,
    }


def choose_slices(test: pd.DataFrame, declaration: Record, max_categories: int) -> dict[str, pd.Series]:
    """Return the categories of each column that has at least two and at most `max_categories` in the hold-out."""
    return {
        feature["name"]: name_categories(test[feature["name"]], feature)
        for feature in declaration["features"]
        if feature["source"] == "column"
        and feature["kind"] != "text"
        and 2 <= test[feature["name"]].nunique(dropna=False) <= max_categories
    }


def measure_columns(
    target: Array,
    probability: Array,
    slices: Mapping[str, pd.Series],
    threshold: float,
    min_support: int,
    min_class: int,
    entities: Array | None = None,
) -> pd.DataFrame:
    """Return the metrics of every slice: a row for each category of each column.

    The columns are `column`, those of `measure_slices`, and `judged`: whether the slice has at least `min_support` rows,
    and `min_class` of each class.
    """
    if not slices:
        nothing = measure_slices(target, probability, pd.Series("all", index=range(len(target))), threshold).iloc[:0]
        return nothing.assign(judged=pd.Series(dtype=bool)).pipe(
            lambda table: table.assign(column=pd.Series(dtype=str))
        )
    tables = [
        measure_slices(target, probability, categories, threshold, entities).assign(column=name)
        for name, categories in slices.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    negatives = table["rows"] - table["positives"]
    judged = (table["rows"] >= min_support) & (np.minimum(table["positives"], negatives) >= min_class)
    return table.assign(judged=judged)[["column", *tables[0].columns.drop("column"), "judged"]]


def choose_groups(
    train: pd.DataFrame, test: pd.DataFrame, declaration: Record, contract: Contract, max_categories: int
) -> dict[str, pd.Series | None]:
    """Return the groups of each fairness column of the contract; numbers with many values are cut into quartile bands.

    The groups are None for a column that the feature table does not have, and for free text.
    """
    known = {feature["name"]: feature for feature in declaration["features"]}
    groups: dict[str, pd.Series | None] = {}
    for name in contract.fairness:
        if name not in known or name not in test or known[name]["kind"] == "text":
            groups[name] = None
        elif known[name]["kind"] == "numeric" and test[name].nunique() > max_categories:
            groups[name] = band_numbers(test[name], train[name])
        else:
            groups[name] = name_categories(test[name], known[name])
    return groups


def compare_groups(
    target: Array, probability: Array, groups: Mapping[str, pd.Series | None], threshold: float, min_class: int,
    entities: Array | None = None,
) -> list[Record]:  # fmt: skip
    """Return the rates of the groups of each fairness column and the gap between them, a record per column and rate.

    rate: the share of positive rows. recall: the share of the positive rows that is predicted positive (equal
    opportunity; Hardt et al. 2016). false_alarms: the share of the negative rows that is predicted positive.
    predicted_positive: the share of all rows that is (demographic parity). The gap is between the highest and the lowest
    rate among groups with at least `min_class` rows, with Newcombe's interval, widened for the most extreme of all pairs.
    Without two such groups the gap is None.
    """
    actual, predicted = np.asarray(target) == 1, np.asarray(probability) >= threshold
    all_rows = np.ones(len(actual), dtype=bool)
    counted = {  # the rows that a rate is a share of, and the rows that it counts
        "rate": (all_rows, actual), "recall": (actual, predicted), "false_alarms": (~actual, predicted),
        "predicted_positive": (all_rows, predicted),
    }  # fmt: skip
    records: list[Record] = []
    for column, categories in groups.items():
        if categories is None:
            records.append({"column": column, "metric": "recall", "groups": [], "gap": None})
            continue
        order = sort_categories(categories)
        codes = pd.Index(order).get_indexer(pd.Index(categories.astype(str)))
        for metric, (within, hit) in counted.items():
            inflation = np.ones(len(order)) if entities is None else inflate_share(hit, within, codes, entities)
            hits, rows = (
                pd.Series(np.bincount(codes[mask], minlength=len(order)), index=order)
                for mask in (within & hit, within)
            )
            records.append({"column": column, "metric": metric, **_compare_rates(hits, rows, inflation, min_class)})
    return records


def compare_protected(
    target: Array,
    probabilities: Mapping[str, Array],
    groups: Mapping[str, pd.Series | None],
    min_class: int,
    entities: Array | None = None,
    rows: Array | None = None,
) -> list[Record]:
    """Compare the Brier scores of candidate and champion on each group of the fairness columns.

    rows: those that the champion is compared on. A record has column, category, rows and the paired difference (lower is better) with its interval and two-sided p.
    Groups with fewer than `min_class` rows of a class are left out; without a champion in `probabilities` the list is
    empty.
    """
    candidate, champion = probabilities["candidate"], probabilities.get("champion")
    if champion is None:
        return []
    actual = np.asarray(target) == 1
    losses = (candidate - actual) ** 2, (champion - actual) ** 2
    records = []
    for column, categories in groups.items():
        words = None if categories is None else categories.astype(str).to_numpy()
        for category in [] if categories is None else sort_categories(categories):
            member = np.asarray(words == category) & (True if rows is None else rows)
            positives = int(actual[member].sum())
            if min(positives, int(member.sum()) - positives) >= min_class:
                cases = None if entities is None else entities[member]
                difference = compare_means(losses[0][member], losses[1][member], cases)
                records.append({"column": column, "category": category, "rows": int(member.sum()), "brier": difference})
    return records


def _compare_rates(hits: pd.Series, rows: pd.Series, inflation: Array, min_class: int) -> Record:
    """Return the groups' rates with Wilson's intervals, and the gap between the extreme groups with enough rows.

    `inflation` is that of the variance, by rows of one entity, shape (groups,).
    """
    low, high = bound_share(hits.to_numpy() / inflation, rows.to_numpy() / inflation)
    groups = [
        {
            "category": str(category),
            "rows": int(row),
            "hits": int(hit),
            "value": hit / row,
            "low": float(a),
            "high": float(b),
        }
        for category, row, hit, a, b in zip(rows.index, rows, hits, low, high, strict=True)
        if row > 0
    ]
    judged = [group for group in groups if group["rows"] >= min_class]
    if len(judged) < 2:
        return {"groups": groups, "gap": None}
    *_, most = ordered = sorted(judged, key=lambda group: group["value"])
    least = ordered[0]
    pairs = len(judged) * (len(judged) - 1) // 2
    times = dict(zip(map(str, rows.index), inflation.tolist(), strict=True))
    ends = [
        (group["hits"] / times[group["category"]], group["rows"] / times[group["category"]]) for group in (most, least)
    ]
    gap = bound_gap((ends[0][0], ends[1][0]), (ends[0][1], ends[1][1]), pairs)
    return {"groups": groups, "gap": {**gap, "most": most["category"], "least": least["category"]}}


# Records.


def list_metrics(evaluation: Record, verdict: Verdict) -> Record:
    """Return the main metrics, which `dvc metrics` and `dvc exp show` compare between experiments.

    cv_roc_auc is the mean over the folds, by which hyperparameters may be chosen; the others are those of the hold-out.
    """
    chosen = ("roc_auc", "pr_auc", "brier", "ece", "recall", "precision", "cost")
    return {
        "cv_roc_auc": evaluation["cv"]["test_mean"],
        **{name: evaluation["metrics"][name]["value"] for name in chosen},
        "threshold": evaluation["threshold"],
        "blessed": verdict.blessed,
    }


def announce_verdict(verdict: Verdict) -> None:
    """Print a failed gate in the notebook and on the terminal that runs it."""
    if not verdict.blessed:
        for stream in (sys.stdout, sys.stderr):
            print(f"NOT BLESSED: model {verdict.model[:12]}, because {verdict.because}", file=stream)


def plain(value: Any) -> Any:
    """Convert a value to plain JSON values: numpy's numbers to Python's, undefined ones to null."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def list_slices(table: pd.DataFrame) -> list[Record]:
    """Return the slices as records: column, category, rows, positives, judged, and each metric as value, low and high."""
    metrics = [name for name in table.columns if f"{name}_low" in table.columns]
    return [
        {
            **{name: row[name] for name in ("column", "category", "rows", "positives", "judged")},
            **{name: {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]} for name in metrics},
        }
        for row in table.to_dict("records")
    ]


def join_curves(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Interpolate the curves of both parts on a grid of 201 points from 0 to 1: columns x, `train` and `test`."""
    x, y = train.columns
    grid = np.linspace(0, 1, 201)
    sides = {side: np.interp(grid, curve[x], curve[y]) for side, curve in (("train", train), ("test", test))}
    return pd.DataFrame({x: grid, **sides})


def write_curve(curve: pd.DataFrame, path: Path) -> None:
    """Write a curve as CSV with six decimals, for `dvc plots`."""
    with replace_file(path) as aside:
        curve.to_csv(aside, index=False, float_format="%.6f", lineterminator="\n")
