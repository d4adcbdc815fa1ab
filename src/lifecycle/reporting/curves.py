"""Figures of a model's quality and of its explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lifecycle.core.records import Record
from lifecycle.reporting.plots import ACCENT, NEGATIVE, NEUTRAL, POSITIVE, new_grid

Array = np.ndarray[Any, Any]
_LONGEST = 34  # characters of a name in a figure
_LINE = 0.26  # inches per line of a list


def _shorten(text: str, length: int = _LONGEST) -> str:
    """Shorten a name for a figure, and escape what matplotlib would read as a formula."""
    return (text if len(text) <= length else text[: length - 1] + "…").replace("$", r"\$")


def _show_shares(axes: Axes, *, x: bool = False, y: bool = False, decimals: int = 0) -> None:
    """Format an axis's numbers as percentages."""
    for wanted, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if wanted:
            axis.set_major_formatter(PercentFormatter(1, decimals=decimals))


# Quality.


def draw_quality(roc: pd.DataFrame, pr: pd.DataFrame, calibration: pd.DataFrame, rate: float) -> Figure:
    """Draw the ROC and precision-recall curves of both parts, and the calibration on the hold-out with intervals.

    `roc` and `pr` have columns x, train and test; `rate` is the positive rate, which is a random guess's precision.
    """
    figure, (left, middle, right) = new_grid(3, height=3.3, width=9.6)
    for part, label, color in (("train", "rows it was fitted on", NEUTRAL), ("test", "hold-out", POSITIVE)):
        left.plot(roc.iloc[:, 0], roc[part], color=color, label=label)
        middle.plot(pr.iloc[:, 0], pr[part], color=color, label=label)
    left.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":")
    left.set(xlabel="false alarms among negatives", ylabel="positives found", title="ROC")
    left.legend(loc="lower right", fontsize=8)
    middle.axhline(rate, color=NEUTRAL, linewidth=1, linestyle=":")
    middle.annotate("random guess", (0.02, rate), color=NEUTRAL, fontsize=8, va="bottom")
    middle.set(
        xlabel="positives found",
        ylabel="predicted positives that are right",
        title="Precision and recall",
        ylim=(0, 1.02),
    )
    right.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":")
    errors = np.maximum(
        [calibration["observed"] - calibration["low"], calibration["high"] - calibration["observed"]], 0
    )
    right.errorbar(
        calibration["predicted"], calibration["observed"], errors, color=POSITIVE, marker="o", markersize=4, linewidth=1
    )
    right.set(xlabel="predicted probability", ylabel="observed rate", title="Calibration (hold-out)")
    reach = min(1.0, 1.05 * max(calibration["high"].max(), calibration["predicted"].max()))
    right.set(xlim=(0, reach), ylim=(0, reach))
    for axes in (left, middle, right):
        _show_shares(axes, x=True, y=True)
    return figure


def draw_decisions(
    confusion: Mapping[str, int], gain: pd.DataFrame, target: Array, probability: Array, threshold: float
) -> Figure:
    """Draw the confusion matrix at the threshold, the probabilities of both classes, and the gain curve."""
    figure, (left, middle, right) = new_grid(3, height=3.2, width=9.6)
    _draw_confusion(left, confusion)
    edges = [step / 25 for step in range(26)]
    for value, label, color in ((0, "negative", NEGATIVE), (1, "positive", POSITIVE)):
        part = probability[target == value]
        middle.hist(
            part, edges, weights=np.full(len(part), 1 / len(part)), color=color, alpha=0.55, label=f"actually {label}"
        )
    middle.axvline(threshold, color="black", linewidth=1)
    middle.annotate(
        f" threshold {threshold:.2f}", (threshold, 0.97), xycoords=("data", "axes fraction"), fontsize=8, va="top"
    )
    middle.set(xlabel="predicted probability", ylabel="share of the class", title="Probabilities by class", xlim=(0, 1))
    middle.legend(loc="upper right", fontsize=8, bbox_to_anchor=(1, 0.9))
    flagged = (confusion["tp"] + confusion["fp"]) / sum(confusion.values())
    found = confusion["tp"] / (confusion["tp"] + confusion["fn"])
    right.plot([0, *gain["predicted_positive"]], [0, *gain["gain"]], color=POSITIVE)
    right.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":")
    right.plot([flagged], [found], color="black", marker="o", markersize=5)
    offset: dict[str, Any] = (
        {"xytext": (8, -8), "ha": "left"} if flagged < 0.6 else {"xytext": (-4, -14), "ha": "right"}
    )
    right.annotate(
        f"threshold: {flagged:.0%} of rows,\n{found:.0%} of positives", (flagged, found), **offset,
        textcoords="offset points", fontsize=8, va="top",
    )  # fmt: skip
    right.set(
        xlabel="share of rows, most likely first", ylabel="positives found", title="Gain", xlim=(0, 1), ylim=(0, 1.02)
    )
    _show_shares(middle, x=True, y=True)
    _show_shares(right, x=True, y=True)
    return figure


def _draw_confusion(axes: Axes, confusion: Mapping[str, int]) -> None:
    """Draw the confusion matrix; each cell has its rows and their share of the actual class."""
    counts = np.array([[confusion["tn"], confusion["fp"]], [confusion["fn"], confusion["tp"]]])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for row in range(2):
        for column in range(2):
            axes.text(column, row, f"{counts[row, column]:,}\n{shares[row, column]:.0%}", ha="center", va="center")
    axes.set_xticks([0, 1], ["predicted\nnegative", "predicted\npositive"])
    axes.set_yticks([0, 1], ["actually\nnegative", "actually\npositive"])
    axes.set_title("Decisions at the threshold")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_intervals(
    axes: Axes, names: Sequence[str], estimates: Sequence[Mapping[str, float]], colors: Sequence[str]
) -> None:
    """Draw a dot with its interval for each name, from the top down."""
    places = np.arange(len(names))[::-1]
    for place, estimate, color in zip(places, estimates, colors, strict=True):
        axes.plot([estimate["low"], estimate["high"]], [place, place], color=color, linewidth=2, solid_capstyle="butt")
        axes.plot([estimate["value"]], [place], color=color, marker="o", markersize=6)
    axes.set_yticks(places, [_shorten(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def draw_comparison(records: Sequence[Record], titles: Mapping[str, str]) -> Figure:
    """Draw the ROC AUC and the cost per row of the candidate and the models that it is compared with."""
    ordered = [record for name in titles for record in records if record["name"] == name]
    names = [titles[record["name"]] for record in ordered]
    colors = [POSITIVE if record["name"] == "candidate" else NEGATIVE for record in ordered]
    figure, (left, right) = new_grid(2, columns=2, height=0.9 + _LINE * 1.3 * len(names))
    _draw_intervals(left, names, [record["metrics"]["roc_auc"] for record in ordered], colors)
    left.set(title="ROC AUC (higher is better)")
    _draw_intervals(right, names, [record["metrics"]["cost"] for record in ordered], colors)
    right.set(title="Cost per row (lower is better)", yticklabels=[])
    return figure


def draw_slices(slices: Sequence[Record], overall: float, limit: float, most: int = 16) -> Figure:
    """Draw the judged slices with the lowest ROC AUC, with intervals, the value of all rows, and the gate's limit."""
    judged = sorted((record for record in slices if record["judged"]), key=lambda record: record["roc_auc"]["value"])
    shown = judged[:most]
    figure, (axes,) = new_grid(1, columns=1, height=0.9 + _LINE * max(len(shown), 2))
    names = [f"{_shorten(record['column'])} = {_shorten(record['category'])}  ({record['rows']:,})" for record in shown]
    colors = [POSITIVE if record["roc_auc"]["value"] < limit else NEGATIVE for record in shown]
    _draw_intervals(axes, names, [record["roc_auc"] for record in shown], colors)
    axes.set_yticks(axes.get_yticks(), names, fontsize=8)
    axes.axvline(overall, color=NEUTRAL, linewidth=1)
    axes.axvline(limit, color=POSITIVE, linewidth=1, linestyle="--")
    top = len(shown) - 0.4
    axes.annotate(
        "all rows ", (overall, top), fontsize=8, color=NEUTRAL, va="bottom", ha="center", annotation_clip=False
    )
    axes.annotate("limit", (limit, top), fontsize=8, color=POSITIVE, va="bottom", ha="center", annotation_clip=False)
    axes.set(xlabel="ROC AUC with 95% interval")
    axes.set_title(f"The {len(shown)} groups with the lowest ROC AUC, of {len(judged)} judged (rows)", pad=16)
    return figure


def draw_fairness(fairness: Sequence[Record]) -> Figure:
    """Draw the rates of each fairness column's groups: positives, positives found, false alarms, predicted positives."""
    metrics = {
        "rate": "Actually positive",
        "recall": "Positives found",
        "false_alarms": "False alarms",
        "predicted_positive": "Predicted positive",
    }
    columns = list(dict.fromkeys(record["column"] for record in fairness if record["groups"]))
    lines = sum(len(record["groups"]) for record in fairness if record["metric"] == "recall")
    figure, grid = new_grid(4, columns=4, height=0.9 + _LINE * 1.2 * max(lines, 2), width=9.6)
    palette = [NEGATIVE, ACCENT, POSITIVE, NEUTRAL]
    for axes, (metric, title) in zip(grid, metrics.items(), strict=True):
        parts = [record for record in fairness if record["metric"] == metric and record["groups"]]
        groups = [(record["column"], group) for record in parts for group in record["groups"]]
        names = [f"{_shorten(column, 20)} = {_shorten(group['category'], 14)}" for column, group in groups]
        colors = [palette[columns.index(column) % len(palette)] for column, _ in groups]
        _draw_intervals(axes, names, [group for _, group in groups], colors)
        axes.set(title=title, xlim=(0, 1), xticks=(0, 0.5, 1))
        _show_shares(axes, x=True)
        if axes is not grid[0]:
            axes.set_yticklabels([])
    return figure


# Explanations.


def draw_importance(importance: pd.DataFrame, most: int = 15) -> Figure:
    """Draw the most important columns: the mean size of their attributions, and the ROC AUC lost when shuffled.

    `importance` has column, attribution, permutation and permutation_error, the greatest attribution first.
    """
    shown = importance.head(most).iloc[::-1]
    places = np.arange(len(shown))
    figure, (left, right) = new_grid(2, columns=2, height=0.9 + _LINE * max(len(shown), 2))
    left.barh(places, shown["attribution"], color=NEGATIVE)
    left.set_yticks(places, [_shorten(name) for name in shown["column"]], fontsize=8)
    left.set(title="Average effect on a prediction", xlabel="percentage points (mean |Shapley value|)")
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    right.barh(places, shown["permutation"], xerr=1.96 * shown["permutation_error"], color=ACCENT, ecolor=NEUTRAL)
    right.set_yticks(places, [])
    right.set(title="Permutation importance", xlabel="drop of ROC AUC when its values are shuffled")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    return figure


def draw_effects(effects: Mapping[str, pd.DataFrame], units: Mapping[str, str]) -> Figure:
    """Draw each column's centred effect: a line for numbers, bars for categories.

    Dashed lines and diamonds: the mean prediction of the rows that have the value.
    """
    figure, grid = new_grid(max(len(effects), 1), height=2.5, width=9.6)
    drawn = [effect[["low", "high", "observed"]] for effect in effects.values()]
    low = min((effect.min().min() for effect in drawn), default=-0.1)
    high = max((effect.max().max() for effect in drawn), default=0.1)
    for axes, (name, effect) in zip(grid, effects.items(), strict=False):
        if all(isinstance(value, float) for value in effect["value"]) and len(effect) > 2:
            values = effect["value"].astype(float)
            axes.fill_between(values, effect["low"], effect["high"], color=NEGATIVE, alpha=0.18, linewidth=0)
            axes.plot(values, effect["mean"], color=NEGATIVE, linewidth=2)
            axes.plot(values, effect["observed"], color=NEUTRAL, linewidth=1.2, linestyle="--")
            axes.set_xlabel(_shorten(units.get(name, ""), 30))
        else:
            _draw_categories(axes, effect)
        axes.axhline(0, color=NEUTRAL, linewidth=1)
        axes.set_title(_shorten(name, 30))
        axes.set_ylim(low - 0.02, high + 0.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    for place in range(0, len(effects), 3):
        grid[place].set_ylabel("percentage points")
    return figure


def _draw_categories(axes: Axes, effect: pd.DataFrame) -> None:
    """Draw a categorical effect as bars, with the spread over rows."""
    ordered = effect.sort_values("mean", kind="stable")
    places = np.arange(len(ordered))
    errors = np.maximum([ordered["mean"] - ordered["low"], ordered["high"] - ordered["mean"]], 0)
    colors = [POSITIVE if value > 0 else NEGATIVE for value in ordered["mean"]]
    axes.plot(places, ordered["observed"], color=NEUTRAL, marker="D", markersize=5, linestyle="", zorder=4)
    axes.bar(places, ordered["mean"], yerr=errors, color=colors, ecolor=NEUTRAL, width=0.6)
    names = [f"{value:g}" if isinstance(value, float) else str(value) for value in ordered["value"]]
    crowded = len(names) > 3 or max(map(len, names)) > 12
    turned: dict[str, Any] = {"rotation": 20, "ha": "right"} if crowded else {}
    axes.set_xticks(places, [_shorten(name, 22) for name in names], fontsize=8, **turned)
    axes.grid(axis="x", visible=False)


def draw_waterfalls(cases: Sequence[Record], base: float) -> Figure:
    """Draw how single predictions come about: a step per column, from the average to the row's probability.

    Each case has title, probability, and steps: a list of (what, value) in their order, ending at the probability.
    """
    lines = max(len(case["steps"]) for case in cases)
    figure, grid = new_grid(len(cases), columns=1, height=1.1 + _LINE * lines, width=9.0)
    reach = [base]
    for case in cases:
        reach += list(base + np.cumsum([value for _, value in case["steps"]]))
    for axes, case in zip(grid, cases, strict=True):
        places = np.arange(len(case["steps"]))[::-1]
        values = np.array([value for _, value in case["steps"]])
        starts = base + np.concatenate([[0.0], np.cumsum(values)[:-1]])
        axes.barh(
            places, values, left=starts, color=[POSITIVE if value > 0 else NEGATIVE for value in values], height=0.7
        )
        for place, start, value in zip(places, starts, values, strict=True):
            end = max(start, start + value)
            axes.annotate(f" {100 * value:+.1f}", (end, place), fontsize=8, va="center")
        axes.axvline(base, color=NEUTRAL, linewidth=1, linestyle=":")
        axes.axvline(case["probability"], color="black", linewidth=1)
        axes.set_yticks(places, [_shorten(name, 52) for name, _ in case["steps"]], fontsize=8)
        axes.set_title(_shorten(case["title"], 90))
        axes.set_xlim(min(0.0, *reach), max(reach) + 0.08)
        axes.set_ylim(-0.6, len(values) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        _show_shares(axes, x=True)
    grid[-1].set_xlabel(f"probability (dotted: the average, {base:.0%}; black: this row's)")
    return figure
