"""Evaluate: the hold-out, looked at once, beside baselines and the champion, group by group; and the gate's verdict."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.dummy import DummyClassifier

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.paths import CANDIDATE, CHAMPION, PARAMS, TEST_TABLE, TRAIN_METRICS
from lifecycle.features.inputs import select_raw_rows
from lifecycle.modeling.metrics import (
    LEVEL,
    TITLES,
    Array,
    Estimate,
    bootstrap_metrics,
    bound_gap,
    bound_share,
    compare_auc,
    compare_means,
    estimate_delong,
    expect_ece,
    lose_rows,
    measure_slices,
)
from lifecycle.modeling.model import Model
from lifecycle.modeling.pipelines import FeatureRecord, build_pipeline
from lifecycle.promotion.gate import format_p
from lifecycle.promotion.records import Champion, Verdict
from lifecycle.reporting.wording import format_estimate
from lifecycle.serving.bundle import Bundle, load_release_bundle, to_requests

Record = dict[str, Any]
PAIRED = ("brier", "log_loss", "cost")  # compared row by row
MIN_BASELINE_TREES = 100  # scikit-learn's default, which tutorials keep


def check_inputs(model: Model, trained: Record, test: pd.DataFrame, declaration: Record) -> None:
    """Refuse what does not belong together, and a hold-out that lacks a class (ProjectError)."""
    if trained["model"] != model.sha256:
        raise ProjectError(
            f"{TRAIN_METRICS} is about model {trained['model'][:12]}, but {CANDIDATE} is {model.sha256[:12]}: "
            "run `dvc repro`."
        )
    counts = test[declaration["target"]].value_counts()
    if len(counts) < 2 or counts.min() < 2:
        raise ProjectError(
            f"{TEST_TABLE}: column {declaration['target']!r} needs two rows of each class to judge a model; "
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
    """Probabilities of the hold-out's rows, shape (rows,), from each baseline fitted on the training part alone.

    prior: the training part's rate for everybody. logistic: a logistic regression on the columns as they are, without
    derived features. tutorial: a random forest with default settings on `tutorial_columns`; left out when there are
    none. Raises ProjectError for a tutorial column that is no feature.
    """
    features: list[FeatureRecord] = declaration["features"]
    plain = [feature for feature in features if feature["source"] != "derived"] or features
    chosen = {"prior": [plain[0]], "logistic": plain, "tutorial": pick_features(plain, tutorial_columns)}
    models = {
        "prior": DummyClassifier(strategy="prior"),
        "logistic": build_pipeline("logistic", {}, plain, seed=seed, threads=threads),
    }
    if tutorial_columns:
        settings = {"n_estimators": MIN_BASELINE_TREES}
        models["tutorial"] = build_pipeline("forest", settings, chosen["tutorial"], seed=seed, threads=threads)
    return {
        name: predict_positive(model.fit(train[columns], train[declaration["target"]]), test[columns])
        for name, model in models.items()
        for columns in [[feature["name"] for feature in chosen[name]]]
    }


def predict_positive(classifier: Any, table: pd.DataFrame) -> Array:
    """The probability of class 1, wherever the classifier has its column."""
    return np.asarray(classifier.predict_proba(table)[:, list(classifier.classes_).index(1)])


def pick_features(features: list[FeatureRecord], names: Sequence[str]) -> list[FeatureRecord]:
    """The features of these names; raises ProjectError for one that there is not."""
    known = {feature["name"]: feature for feature in features}
    if unknown := [name for name in names if name not in known]:
        raise ProjectError(
            f"{PARAMS}: evaluate.tutorial_columns names {unknown}, which are no feature columns of the table; there "
            f"are {list(known)}. An empty list leaves this baseline out."
        )
    return [known[name] for name in names]


def title_models(tutorial_columns: Sequence[str]) -> dict[str, str]:
    """What a reader is told each one is."""
    return {
        "candidate": "This model",
        "champion": "The champion",
        "logistic": "Logistic regression",
        "tutorial": f"Random forest on {len(tutorial_columns)} columns",
        "prior": "The prior rate for all",
    }


def read_champion(root: Path) -> Bundle | None:
    """Load the serving bundle of the champion that models/champion.json names, None while there is none.

    The release's pickle is not read. Raises ProjectError when the bundle is missing or damaged, or is not the one that
    champion.json names.
    """
    champion = Champion.read(root / CHAMPION)
    return None if champion.model is None else load_release_bundle(root, champion.model, champion.bundle)


def relate_champion(champion: Bundle | None, candidate: Model, valid: pd.DataFrame) -> tuple[str, str]:
    """Return how the champion relates to the candidate (none, same, comparable or incomparable) and a sentence about it.

    A champion is incomparable when it needs columns that the validated table lacks, or predicts something else.
    """
    if champion is None:
        return "none", "There is no champion yet."
    if champion.manifest.model == candidate.sha256:
        return "same", "This model is the champion already."
    absent = [name for name in champion.schema.names if name not in valid.columns]
    if absent:
        return "incomparable", (
            f"The champion needs the columns {', '.join(absent)}, which the table no longer has, so it cannot be measured "
            f'whether this model is worse. Write {{"model": null}} to {CHAMPION} to start without a champion.'
        )
    mine = candidate.metadata["target"], candidate.metadata["positive"]
    its = champion.manifest.target, champion.manifest.positive
    if mine != its:
        return "incomparable", f"The champion predicts {its[0]} = {its[1]}, this model {mine[0]} = {mine[1]}."
    if champion.manifest.hashes.get("train") != candidate.metadata.get("train_sha256"):
        return "comparable", "The champion learned from another training part, which may hold rows of this hold-out."
    return "comparable", "Both learned from the same rows."


def score_champion(champion: Bundle, valid: pd.DataFrame, split: pd.DataFrame) -> Array:
    """Return the champion's probabilities of the hold-out's rows, computed by its bundle from the validated columns."""
    return champion.score(to_requests(select_raw_rows(valid, split, held_out=True), champion.schema.names))


# Measuring.


def compare_models(
    target: Array,
    probabilities: Mapping[str, Array],
    thresholds: Mapping[str, float],
    cost: Mapping[str, float],
    replicates: int,
    seed: int,
) -> list[Record]:
    """Each model's metrics with intervals, and its differences from `candidate`, a record a model.

    `differences` are the candidate's value less the other's on the same rows, with two-sided p: roc_auc by DeLong's
    test, brier, log_loss and cost by a paired bootstrap. The candidate's own record has none.
    """
    mine = probabilities["candidate"]
    losses = lose_rows(target, mine, thresholds["candidate"], cost)
    records = []
    for name, probability in probabilities.items():
        measured = bootstrap_metrics(
            target, probability, threshold=thresholds[name], cost=cost, replicates=replicates, seed=seed
        )
        differences: dict[str, Estimate] = {}
        if name != "candidate":
            other = lose_rows(target, probability, thresholds[name], cost)
            differences = {metric: compare_means(losses[metric], other[metric], replicates, seed) for metric in PAIRED}
            differences["roc_auc"] = compare_auc(target, mine, probability)
        records.append({"name": name, "threshold": thresholds[name], "metrics": measured, "differences": differences})
    return records


def measure_chance(probability: Array, replicates: int, seed: int) -> Estimate:
    """The calibration error that chance alone gives on so many rows: value (mean) and high (95th percentile)."""
    value, high = expect_ece(probability, replicates, seed)
    return {"value": value, "low": 0.0, "high": high}


def compare_folds(
    target: Array, probability: Array, cv: Mapping[str, Mapping[str, float]], significance: float
) -> Record:
    """ROC AUC of training, cross-validation and hold-out, and what cross-validation led to expect of the hold-out.

    `least` is the lower end of a one-sided interval at `significance`: the mean over the folds less their spread and
    DeLong's error of the hold-out, both as if independent.
    """
    areas, covariance = estimate_delong(target, probability[None, :])
    scores = cv["roc_auc"]
    spread = 0.0 if math.isnan(scores["test_sd"]) else scores["test_sd"]
    error = math.hypot(spread, math.sqrt(covariance[0, 0]))
    return {
        "train_mean": scores["train_mean"],
        "test_mean": scores["test_mean"],
        "test_sd": spread,
        "gap": scores["train_mean"] - scores["test_mean"],
        "holdout": float(areas[0]),
        "least": scores["test_mean"] - float(ndtri(1 - significance)) * error,
    }


def name_levels(column: pd.Series, feature: FeatureRecord) -> pd.Series:
    """A column's values as words, an ordered categorical for numbers; absent values are "(missing)"."""
    if feature["kind"] == "boolean":
        words = {float(code): str(value) for code, value in enumerate(feature.get("values") or ["no", "yes"])}
        return column.map(words).astype(object).where(column.notna(), "(missing)").astype(str)
    if feature["kind"] == "categorical":
        return column.astype(object).where(column.notna(), "(missing)").astype(str)
    values = np.unique(column.dropna())
    names = name_numbers(values)
    places = np.searchsorted(values, column.to_numpy(np.float64, na_value=np.nan))
    return name_ordered(np.where(column.isna(), len(names), places), [*names, "(missing)"], column.index)


def name_numbers(values: Array) -> list[str]:
    """Distinct numbers in few digits, in all of them where few would make two look the same."""
    names = [f"{value:g}" for value in values]
    return names if len(set(names)) == len(names) else [repr(float(value)) for value in values]


def name_ordered(codes: Array, names: list[str], index: pd.Index) -> pd.Series:
    """Names of codes as a categorical in the order of `names`."""
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names)), index=index)


def band_numbers(column: pd.Series, train: pd.Series) -> pd.Series:
    """A numeric column in four bands at the training part's quartiles, as an ordered categorical of words."""
    edges = np.unique(train.dropna().quantile([0.25, 0.5, 0.75]).dropna())
    marks = name_numbers(edges)
    names = (
        [f"up to {marks[0]}", *(f"{a} to {b}" for a, b in pairwise(marks)), f"above {marks[-1]}"] if marks else ["any"]
    )
    codes = np.searchsorted(edges, column.to_numpy(np.float64), side="left")
    return name_ordered(np.where(column.isna(), len(names), codes), [*names, "(missing)"], column.index)


def choose_slices(test: pd.DataFrame, declaration: Record, max_categories: int) -> dict[str, pd.Series]:
    """The levels of every column of the contract that has at least two and at most `max_categories` in the hold-out."""
    return {
        feature["name"]: name_levels(test[feature["name"]], feature)
        for feature in declaration["features"]
        if feature["source"] == "column" and 2 <= test[feature["name"]].nunique(dropna=False) <= max_categories
    }


def measure_columns(
    target: Array,
    probability: Array,
    slices: Mapping[str, pd.Series],
    threshold: float,
    min_support: int,
    min_class: int,
) -> pd.DataFrame:
    """The metrics of every slice: a row a level of a column, with `judged` where its support allows it.

    Columns as those of `measure_slices`, after column. Judging takes `min_support` rows, `min_class` of each class.
    """
    if not slices:
        nothing = measure_slices(target, probability, pd.Series("all", index=range(len(target))), threshold).iloc[:0]
        return nothing.assign(judged=pd.Series(dtype=bool)).pipe(
            lambda table: table.assign(column=pd.Series(dtype=str))
        )
    tables = [
        measure_slices(target, probability, levels, threshold).assign(column=name) for name, levels in slices.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    negatives = table["rows"] - table["positives"]
    judged = (table["rows"] >= min_support) & (np.minimum(table["positives"], negatives) >= min_class)
    return table.assign(judged=judged)[["column", *tables[0].columns.drop("column"), "judged"]]


def choose_groups(
    train: pd.DataFrame, test: pd.DataFrame, declaration: Record, contract: Contract, max_categories: int
) -> dict[str, pd.Series | None]:
    """The groups of each column that the contract names for fairness; numbers of many values in quartile bands.

    None for a column that the feature table does not have.
    """
    known = {feature["name"]: feature for feature in declaration["features"]}
    groups: dict[str, pd.Series | None] = {}
    for name in contract.fairness:
        if name not in known or name not in test:
            groups[name] = None
        elif known[name]["kind"] == "numeric" and test[name].nunique() > max_categories:
            groups[name] = band_numbers(test[name], train[name])
        else:
            groups[name] = name_levels(test[name], known[name])
    return groups


def compare_groups(
    target: Array, probability: Array, groups: Mapping[str, pd.Series | None], threshold: float, min_class: int
) -> list[Record]:
    """The gaps between the groups of each fairness column: a record a column and rate, with the rate of each group.

    rate: the share truly positive, which the others follow. recall: of those, the share caught (equal opportunity;
    Hardt et al. 2016). false_alarms: of those truly negative, the share called. called: the share called of all
    (demographic parity). The gap is that between the greatest and the least rate of groups with `min_class` rows to
    judge it by, its interval Newcombe's, wide enough for the most extreme of all pairs. Without two such groups the gap
    is None.
    """
    truth, called = np.asarray(target) == 1, np.asarray(probability) >= threshold
    everyone = np.ones(len(truth), dtype=bool)
    counted = {  # whom a rate is of, and whom it counts
        "rate": (everyone, truth), "recall": (truth, called), "false_alarms": (~truth, called),
        "predicted_positive": (everyone, called),
    }  # fmt: skip
    records: list[Record] = []
    for column, levels in groups.items():
        if levels is None:
            records.append({"column": column, "metric": "recall", "groups": [], "gap": None})
            continue
        order, words = sorted_levels(levels), levels.astype(str)
        for metric, (within, hit) in counted.items():
            rows = words[within].value_counts().reindex(order, fill_value=0)
            hits = words[within & hit].value_counts().reindex(order, fill_value=0)
            records.append({"column": column, "metric": metric, **compare_rates(hits, rows, min_class)})
    return records


def compare_protected(
    target: Array,
    candidate: Array,
    champion: Array | None,
    groups: Mapping[str, pd.Series | None],
    min_class: int,
    replicates: int,
    seed: int,
) -> list[Record]:
    """Candidate and champion on each group of the fairness columns: column, level, rows, and the difference of Brier scores.

    The difference (less is better) is paired, with its interval and two-sided p. Groups with fewer than `min_class` rows of a
    class are left out; without a champion to compare with there are none.
    """
    if champion is None:
        return []
    truth = np.asarray(target) == 1
    losses = (np.asarray(candidate) - truth) ** 2, (np.asarray(champion) - truth) ** 2
    records = []
    for column, levels in groups.items():
        words = None if levels is None else levels.astype(str).to_numpy()
        for level in [] if levels is None else sorted_levels(levels):
            member = np.asarray(words == level)
            positives = int(truth[member].sum())
            if min(positives, int(member.sum()) - positives) >= min_class:
                difference = compare_means(losses[0][member], losses[1][member], replicates, seed)
                records.append({"column": column, "category": level, "rows": int(member.sum()), "brier": difference})
    return records


def sorted_levels(levels: pd.Series) -> list[str]:
    """The levels that occur, in the order of an ordered categorical, else by name."""
    return [str(level) for level in pd.factorize(levels, sort=True)[1]]


def compare_rates(hits: pd.Series, rows: pd.Series, min_class: int) -> Record:
    """The groups' rates with Wilson's intervals, and the gap between the extreme ones of enough rows."""
    low, high = bound_share(hits.to_numpy(), rows.to_numpy())
    groups = [
        {
            "category": str(level),
            "rows": int(row),
            "hits": int(hit),
            "value": hit / row,
            "low": float(a),
            "high": float(b),
        }
        for level, row, hit, a, b in zip(rows.index, rows, hits, low, high, strict=True)
        if row > 0
    ]
    judged = [group for group in groups if group["rows"] >= min_class]
    if len(judged) < 2:
        return {"groups": groups, "gap": None}
    *_, most = ordered = sorted(judged, key=lambda group: group["value"])
    least = ordered[0]
    pairs = len(judged) * (len(judged) - 1) // 2
    gap = bound_gap((most["hits"], least["hits"]), (most["rows"], least["rows"]), pairs)
    return {"groups": groups, "gap": {**gap, "most": most["category"], "least": least["category"]}}


# What is written and shown.


def list_metrics(evaluation: Record, verdict: Verdict) -> Record:
    """The few numbers that tell one experiment from another: what `dvc metrics` and `dvc exp show` print.

    cv_roc_auc is the mean over the folds, which settings may be chosen by; the others are the hold-out's, and the
    verdict.
    """
    chosen = ("roc_auc", "pr_auc", "brier", "ece", "recall", "precision", "cost")
    return {
        "cv_roc_auc": evaluation["cv"]["test_mean"],
        **{name: evaluation["metrics"][name]["value"] for name in chosen},
        "threshold": evaluation["threshold"],
        "blessed": verdict.blessed,
    }


def announce_verdict(verdict: Verdict) -> None:
    """Say a refusal where nobody misses it: in the notebook, and on the terminal that runs it."""
    if not verdict.blessed:
        for stream in (sys.stdout, sys.stderr):
            print(f"NOT BLESSED: model {verdict.model[:12]}, because {verdict.because}", file=stream)


def plain(value: Any) -> Any:
    """A value as JSON has it: numpy's numbers as Python's, undefined ones as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def list_slices(table: pd.DataFrame) -> list[Record]:
    """The slices as records: column, level, rows, positives, judged, and each metric as value, low and high."""
    metrics = [name for name in table.columns if f"{name}_low" in table.columns]
    return [
        {
            **{name: row[name] for name in ("column", "category", "rows", "positives", "judged")},
            **{name: {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]} for name in metrics},
        }
        for row in table.to_dict("records")
    ]


def join_curves(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """One curve of both parts on a grid of 201 points from 0 to 1: its x, then `train` (rows fitted on) and `test`."""
    x, y = train.columns
    grid = np.linspace(0, 1, 201)
    sides = {side: np.interp(grid, curve[x], curve[y]) for side, curve in (("train", train), ("test", test))}
    return pd.DataFrame({x: grid, **sides})


def write_curve(curve: pd.DataFrame, path: Path) -> None:
    """Write a curve as CSV with six decimals, for `dvc plots`."""
    with replace_file(path) as aside:
        curve.to_csv(aside, index=False, float_format="%.6f", lineterminator="\n")


def tabulate_metrics(metrics: Mapping[str, Estimate]) -> pd.DataFrame:
    """Every metric in a row: its value and its interval, as text."""
    rows = [(title, format_estimate(metrics[name])) for name, title in TITLES.items()]
    return pd.DataFrame(dict(rows), index=[f"value ({LEVEL:.0%} interval)"]).T


def tabulate_models(records: Sequence[Record], titles: Mapping[str, str]) -> pd.DataFrame:
    """The candidate and what it is compared with: a row each, with the paired differences, as text."""
    rows = {}
    for record in sorted(records, key=lambda record: list(titles).index(record["name"])):
        differences = record["differences"]
        rows[titles[record["name"]]] = {
            "ROC AUC": format_estimate(record["metrics"]["roc_auc"]),
            "Brier": f"{record['metrics']['brier']['value']:.4f}",
            "Cost per row": format_estimate(record["metrics"]["cost"]),
            "Difference in ROC AUC": f"{differences['roc_auc']['value']:+.3f}, {format_p(differences['roc_auc']['p'])}"
            if differences else "",
            "Difference in cost": f"{differences['cost']['value']:+.3f}, {format_p(differences['cost']['p'])}"
            if differences else "",
        }  # fmt: skip
    return pd.DataFrame(rows).T


def tabulate_slices(slices: Sequence[Record]) -> pd.DataFrame:
    """Every slice in a row, as text: its size, rate and metrics with intervals."""
    rows = [
        {
            "group": f"{record['column']} = {record['category']}",
            "rows": f"{record['rows']:,}",
            "positive": f"{record['rate']['value']:.1%}",
            "ROC AUC": format_estimate(record["roc_auc"]),
            "recall": format_estimate(record["recall"], 2),
            "precision": format_estimate(record["precision"], 2),
            "": "" if record["judged"] else "too few to judge",
        }
        for record in slices
    ]
    return pd.DataFrame(rows).set_index("group").rename_axis(None) if rows else pd.DataFrame()


def tabulate_gaps(fairness: Sequence[Record]) -> pd.DataFrame:
    """The gap between the groups of each fairness column, a column a rate, as text; empty without such columns."""
    titles = {
        "rate": "Truly positive",
        "recall": "Caught",
        "false_alarms": "False alarms",
        "predicted_positive": "Called positive",
    }
    cells = {(record["column"], titles[record["metric"]]): format_gap(record["gap"]) for record in fairness}
    columns = list(dict.fromkeys(column for column, _ in cells))
    rows = [[cells.get((column, title), "\u2013") for title in titles.values()] for column in columns]
    return pd.DataFrame(rows, index=columns, columns=list(titles.values()))


def format_gap(gap: Mapping[str, Any] | None) -> str:
    """A gap in percentage points, and between whom."""
    if gap is None:
        return "cannot be told"
    numbers = [100 * gap[key] for key in ("value", "low", "high")]
    return f"{numbers[0]:.1f} points ({numbers[1]:.1f} to {numbers[2]:.1f}), most for {gap['most']}"
