"""What calls do to labels: a model measured and trained again on rows of which those predicted positive were called.

    python -m benchmarks.selective_labels [--rows 20000] [--repeats 10]

Customers have five columns and leave with a known probability. A first model, fitted on untouched labels, scores the rows of a year; the
tenth with the highest scores is called, but for a random control share, and half of those who would have left stay. The first figures are
the ROC AUC of that model on the labels of the year, as they count: all of them, without the called rows, or the control group alone. The others are
of a model that is trained on these labels and then measured on fresh customers whom nobody called: its ROC AUC among the tenth
who are most likely to leave, and the mean probability that it gives them. `weighted` counts the control rows among those to be
called for all of them (inverse probability weights; Horvitz & Thompson 1952). The peer is the same on the labels as they were
without any call. Each figure is the mean of the repeats, which draw everything anew.

There is no limit: the figures support docs/explanation/selective_labels.md.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.figures import Figure

Array = np.ndarray[Any, Any]
COLUMNS = 5
CALLED = 0.1  # share of the rows, those with the highest scores
SAVED = 0.5  # share of the leavers who stay when they are called
CONTROL = 0.1  # share of the rows that nobody calls
WAYS = ("all labels", "without called rows, no control group", "without called rows", "without called rows, weighted")
PEER = "labels without any call"


def draw_customers(rows: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return columns and probabilities of leaving, shapes (rows, COLUMNS) and (rows,)."""
    X = generator.normal(size=(rows, COLUMNS))
    log_odds = -1.8 + 1.2 * X[:, 0] + 0.9 * np.abs(X[:, 1]) + 0.7 * X[:, 2] * (X[:, 3] > 0)
    return X, 1 / (1 + np.exp(-log_odds))


def fit_model(X: Array, label: Array, weight: Array | None = None) -> HistGradientBoostingClassifier:
    """Return a small boosting model fitted on labels (rows,) of 0 and 1."""
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, learning_rate=0.1, random_state=0)
    return model.fit(X, label, weight)


def live_a_year(rows: int, seed: int) -> dict[str, float]:
    """Return all figures of one repeat, by name."""
    generator = np.random.default_rng(seed)
    (X, p), (before, chance) = draw_customers(rows, generator), draw_customers(rows // 2, generator)
    champion = fit_model(before, generator.random(len(chance)) < chance)
    score = champion.predict_proba(X)[:, 1]
    leaves, control = generator.random(rows) < p, generator.random(rows) < CONTROL
    chosen = score >= np.quantile(score, 1 - CALLED)
    saved = generator.random(rows) < SAVED
    called = chosen & ~control
    label = leaves & ~(called & saved)
    found = {
        "ROC AUC of the model, all labels": roc_auc_score(label, score),
        "ROC AUC of the model, without called rows": roc_auc_score(label[~called], score[~called]),
        "ROC AUC of the model, control group": roc_auc_score(label[control], score[control]),
        f"ROC AUC of the model, {PEER}": roc_auc_score(leaves, score),
    }
    weight = np.where(chosen & control, 1 / CONTROL, 1.0)
    fitted = {
        WAYS[0]: fit_model(X, label),
        WAYS[1]: fit_model(X[~chosen], leaves[~chosen]),
        WAYS[2]: fit_model(X[~called], label[~called]),
        WAYS[3]: fit_model(X[~called], label[~called], weight[~called]),
        PEER: fit_model(X, leaves),
    }
    fresh, truth = draw_customers(50_000, generator)
    outcome, top = generator.random(len(truth)) < truth, truth >= np.quantile(truth, 1 - CALLED)
    for name, model in fitted.items():
        given = model.predict_proba(fresh[top])[:, 1]
        found[f"ROC AUC in the riskiest tenth after training, {name}"] = roc_auc_score(outcome[top], given)
        found[f"mean probability of the riskiest tenth, {name}"] = float(given.mean())
    return {**found, "share of the riskiest tenth that leaves": float(truth[top].mean())}


def measure(options: argparse.Namespace) -> list[Figure]:
    """Return the mean figures of all repeats, each next to that of labels without any call."""
    progress = Progress(options.repeats, "years")
    years = []
    for seed in range(options.repeats):
        with threadpool_limits(1):  # on a busy machine, threads wait for each other most of the time
            years.append(live_a_year(options.rows, seed))
        progress.advance()
    mean = {name: float(np.mean([year[name] for year in years])) for name in years[0]}
    figures = []
    for name, value in mean.items():
        kind, _, way = name.partition(", ")
        if way != PEER:
            figures.append(Figure.of(name, value, mean.get(f"{kind}, {PEER}"), PEER if way else None))
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, default=20_000, help="of a year")
    parser.add_argument("--repeats", type=int, default=10)


BENCHMARK = Benchmark("selective_labels", measure, add_options, small={"rows": 2000, "repeats": 1})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
