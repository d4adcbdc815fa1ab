"""Figures of tuning and training: the study, the folds, the calibration and the threshold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from lifecycle.core.records import Record
from lifecycle.reporting.plots import ACCENT, NEGATIVE, NEUTRAL, POSITIVE, new_grid

Array = np.ndarray[Any, Any]


def draw_history(trials: pd.DataFrame) -> Figure:
    """Draw every trial's score by family, with pruned trials hollow, and the best so far."""
    figure, (axes,) = new_grid(1, columns=1, height=3.2)
    for name, part in trials.groupby("family", sort=True):
        points = axes.scatter(part["trial"], part["last_mean"], s=28, label=str(name), zorder=3)
        pruned = part["state"] == "pruned"
        axes.scatter(part["trial"][pruned], part["last_mean"][pruned], s=12, color="white", zorder=4)
        points.set_edgecolor(points.get_facecolor())
    complete = trials["roc_auc"].cummax().ffill()
    axes.step(trials["trial"], complete, where="post", color=NEUTRAL, linewidth=1, label="best so far")
    low = trials["last_mean"].quantile(0.1)
    spread = max(trials["last_mean"].max() - low, 1e-3)
    axes.set_ylim(low - 0.25 * spread, trials["last_mean"].max() + 0.15 * spread)
    axes.set(xlabel="trial", ylabel="mean ROC AUC of the folds scored", title="Trial by trial (hollow: pruned)")
    axes.legend(ncols=5, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


def draw_importance(importance: dict[str, float], family: str) -> Figure:
    """Draw how much of the score's variation each hyperparameter explains."""
    figure, (axes,) = new_grid(1, columns=1, height=0.6 + 0.32 * max(len(importance), 2))
    names = list(importance)[::-1]
    axes.barh(names, [importance[name] for name in names], color=NEGATIVE)
    axes.set(
        xlabel="share of the variation explained (fANOVA)",
        title=f"Which hyperparameters of {family} matter",
        xlim=(0, 1),
    )
    axes.grid(axis="y", visible=False)
    return figure


def draw_space(trials: pd.DataFrame, family: str, spaces: dict[str, Any]) -> Figure:
    """Draw the score of the best family's trials over each of its hyperparameters."""
    part = trials[trials["family"] == family]
    hyperparameters = pd.DataFrame([json.loads(text) for text in part["settings"]])
    names = list(spaces)
    figure, grid = new_grid(max(len(names), 1), columns=4, height=2.1)
    complete = (part["state"] == "complete").to_numpy()
    best = int(part["roc_auc"].argmax())
    for axes, name in zip(grid, names, strict=False):
        values = hyperparameters[name]
        if isinstance(spaces[name], list):  # in the order of the search space, tried or not
            values = values.map(spaces[name].index)
            axes.set_xticks(range(len(spaces[name])), [str(choice) for choice in spaces[name]])
        score = part["last_mean"].to_numpy()
        axes.scatter(values[complete], score[complete], s=18, color=NEGATIVE)
        axes.scatter(values[~complete], score[~complete], s=18, facecolor="white", edgecolor=NEGATIVE)
        axes.scatter(values.iloc[[best]], score[[best]], s=50, color=POSITIVE, marker="*", zorder=4)
        if isinstance(spaces[name], dict) and spaces[name]["log"]:
            axes.set_xscale("log")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.suptitle(
        f"The space explored for {family} (star: the best trial; hollow: pruned)", fontsize=10, x=0.01, ha="left"
    )
    return figure


def draw_scores(scores: pd.DataFrame) -> Figure:
    """Draw each metric on each fold, for the rows of the fit and for the others."""
    names = [name for name in scores.columns if name not in ("fold", "side")]
    figure, (axes,) = new_grid(1, columns=1, height=3.0)
    for side, color, shift in (("train", NEUTRAL, -0.1), ("test", POSITIVE, 0.1)):
        part = scores[scores["side"] == side]
        for position, name in enumerate(names):
            label = {"train": "rows it was fitted on", "test": "other rows"}[side] if not position else None
            axes.scatter(np.full(len(part), position + shift), part[name], s=16, color=color, alpha=0.6, label=label)
            axes.hlines(part[name].mean(), position + shift - 0.08, position + shift + 0.08, color=color, linewidth=2)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set(title="Cross-validation: a dot for each fold, a bar for the mean", ylabel="score")
    axes.legend(loc="lower left", fontsize=8)
    return figure


def draw_calibration(target: Array, curves: dict[str, Array]) -> Figure:
    """Draw the observed rate by predicted probability, before and after calibration (ten bins of equal size)."""
    figure, (axes,) = new_grid(1, columns=1, width=4.6, height=3.8)
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":")
    for (name, probability), color in zip(curves.items(), (NEGATIVE, POSITIVE, ACCENT), strict=False):
        observed, predicted = calibration_curve(target, probability, n_bins=10, strategy="quantile")
        axes.plot(predicted, observed, marker="o", markersize=4, color=color, label=name)
    axes.set(xlabel="predicted probability", ylabel="observed rate", title="Calibration, out of fold", aspect="equal")
    axes.legend(loc="upper left", fontsize=8)
    return figure


def draw_costs(curve: pd.DataFrame, threshold: float) -> Figure:
    """Draw the mean cost of a decision by threshold, and mark the chosen one."""
    figure, (axes,) = new_grid(1, columns=1, width=6.5, height=3.0)
    axes.plot(curve["threshold"], curve["cost"], color=NEGATIVE)
    axes.axvline(threshold, color=POSITIVE, linewidth=1)
    axes.annotate(f" chosen: {threshold:.2f}", (threshold, curve["cost"].max()), color=POSITIVE, va="top", fontsize=8)
    axes.set(xlabel="threshold", ylabel="mean cost of a decision", title="Cost of a decision, out of fold", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    return figure


def draw_learning_curve(curve: Record) -> Figure:
    """Draw the ROC AUC by the rows of a fold (`trace_learning_curve`), with a standard error above and below."""
    points = curve["points"]
    rows = [point["rows"] for point in points]
    figure, (axes,) = new_grid(1, columns=1, width=6.5, height=3.0)
    axes.errorbar(
        rows, [point["roc_auc"] for point in points], [point["error"] for point in points], color=POSITIVE, marker="o",
        markersize=5, capsize=3,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.set(xlabel="rows that a fold is fitted on", ylabel="mean ROC AUC of the other rows", title="Learning curve")
    return figure


def describe_learning_curve(curve: Record) -> str:
    """Say whether more rows would help, from the last step of the curve, as Markdown."""
    gain, points = curve["gain"], curve["points"]
    if gain is None:
        return "The rows are too few, or no shares are named, to see whether more of them would help."
    before, now = points[-2]["rows"], points[-1]["rows"]
    step, again = f"From {before:,} to {now:,} rows in a fold", f"{now / before:.2g} times as many again"
    measured = f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
    if gain["low"] > 0:
        return (
            f"**More rows would probably help.** {step}, ROC AUC rose by {measured}. As learning curves flatten, {again} would "
            "bring about as much or less."
        )
    most = (
        f"As learning curves flatten, {again} would hardly bring more than {gain['high']:.4f}."
        if gain["high"] > 0 else "On these folds it even fell."
    )  # fmt: skip
    return f"**It is not shown that more rows would help.** {step}, ROC AUC changed by {measured}. {most}"
