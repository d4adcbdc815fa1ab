"""Pictures of live traffic: what came, what moved, what rang, and how well the model did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lifecycle.reporting.front_page import encode_picture
from lifecycle.reporting.plots import ACCENT, NEGATIVE, NEUTRAL, POSITIVE, STYLE, new_grid

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
COLOURS = {"note": "#b9c4d0", "look": ACCENT, "act": POSITIVE}
WORDS = {"note": "worth knowing", "look": "have a look", "act": "act"}
HEAT = LinearSegmentedColormap.from_list("psi", ["#f5f7fa", "#f6dfb0", "#edae49", "#d1495b"])
LARGEST = 0.5  # PSI at which the heat map's colour ends
LEVELS = 8  # of a category that are drawn; the rest is one
ROW = 0.27  # inches a row of a heat map or a timeline takes


def shorten(name: str, most: int = 30) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= most else name[: most - 1] + "…"


def thin_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Windows along the x axis, not so many that their names overlap."""
    step = max(1, -(-len(names) // 12))
    axes.set_xticks(range(0, len(names), step), list(names[::step]), fontsize=7.5)


def draw_traffic(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Each log's predictions a month, and their mean probability."""
    figure, grid = new_grid(len(logs), columns=3, height=1.9)
    top = max(float(summary["rate"].max()) for summary in logs.values())
    for axes, (name, summary) in zip(grid, logs.items(), strict=True):
        axes.bar(range(len(summary)), summary["predictions"], color="#cfd8e3", width=0.8)
        axes.set_xticks([0, len(summary) - 1], [summary["month"].iloc[0], summary["month"].iloc[-1]], fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_title(shorten(name), fontsize=9)
        rate = axes.twinx()
        rate.plot(range(len(summary)), summary["rate"], color=POSITIVE, linewidth=1.8)
        rate.set_ylim(0, top * 1.25)
        rate.tick_params(axis="y", labelsize=7, colors=POSITIVE)
        rate.grid(visible=False)
    figure.suptitle("Predictions a month (bars) and their mean probability (line)", fontsize=10, x=0.01, ha="left")
    return figure


def draw_timeline(timeline: Sequence[Record], names: Sequence[str]) -> Figure:
    """What rang in which window, and how grave it was: a row a column or kind of alert."""
    rows: dict[str, list[Record]] = {}
    for alert in timeline:
        rows.setdefault(alert["column"] or f"({alert['kind']})", []).append(alert)
    order = sorted(rows, key=lambda name: (names.index(rows[name][0]["window"]), name))
    figure, (axes,) = new_grid(1, columns=1, height=1.0 + ROW * max(len(order), 2))
    for place, name in enumerate(order):
        for alert in rows[name]:
            axes.barh(
                place, 0.94, left=names.index(alert["window"]) - 0.47, height=0.7, color=COLOURS[alert["severity"]]
            )
    axes.set_yticks(range(len(order)), [shorten(name) for name in order], fontsize=8)
    axes.set_ylim(max(len(order), 2) - 0.4, -0.6)
    axes.set_xlim(-0.6, len(names) - 0.4)
    thin_ticks(axes, names)
    axes.set_title("What rang, and when" if order else "Nothing rang")
    axes.grid(axis="y", visible=False)
    axes.legend(
        handles=[Patch(color=COLOURS[name], label=WORDS[name]) for name in COLOURS], ncols=3, fontsize=8,
        loc="lower right", bbox_to_anchor=(1, 1),
    )  # fmt: skip
    return figure


def draw_heat(tables: Sequence[pd.DataFrame | None], names: Sequence[str], columns: Sequence[str]) -> Figure:
    """Each column's PSI in each window, in the order of the columns; a dot marks what is no chance, grey what was not judged."""
    wide = np.full((len(columns), len(names)), np.nan)
    drifted = np.zeros(wide.shape, dtype=bool)
    for place, table in enumerate(tables):
        if table is not None:
            found = table.set_index("column").reindex(list(columns))
            wide[:, place] = found["psi"].to_numpy(dtype=np.float64)
            drifted[:, place] = found["drifted"].fillna(value=False).to_numpy(dtype=bool)
    figure, (axes,) = new_grid(1, columns=1, height=1.1 + ROW * max(len(columns), 2))
    axes.set_facecolor("#e4e7eb")
    image = axes.imshow(np.sqrt(wide), aspect="auto", cmap=HEAT, vmin=0, vmax=np.sqrt(LARGEST))
    rows, places = np.nonzero(drifted)
    axes.scatter(places, rows, s=9, color="#1f2933", zorder=3)
    axes.set_yticks(range(len(columns)), [shorten(name) for name in columns], fontsize=8)
    thin_ticks(axes, names)
    axes.grid(visible=False)
    axes.set_title("How far each column has moved (PSI; heaviest first; a dot: more than chance)")
    marks = [0.01, 0.1, 0.25, 0.5]
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01, ticks=np.sqrt(marks))
    bar.ax.set_yticklabels([f"{mark:g}" for mark in marks], fontsize=7.5)
    return figure


def draw_moves(reference: Record, counts: Any, columns: Sequence[str], name: str) -> Figure:
    """How the columns were distributed in the reference, and are in a window called `name`."""
    figure, grid = new_grid(max(len(columns), 1), columns=2, width=9.0 if len(columns) > 1 else 5.0, height=2.3)
    for axes, column in zip(grid, columns, strict=False):
        sketch, now = reference["columns"][column], counts.columns[column]
        if sketch["kind"] == "numeric":
            draw_numbers(axes, sketch, now)
        else:
            draw_levels(axes, sketch, now)
        axes.set_title(shorten(column, 40), fontsize=9)
    handles = [Patch(color=NEUTRAL, label="reference"), Patch(color=POSITIVE, label=name)]
    figure.legend(handles=handles, ncols=2, fontsize=8, loc="outside upper right")
    return figure


def draw_numbers(axes: Axes, sketch: Record, now: Any) -> None:
    """A number's shares below each value, then and now: what Kolmogorov and Smirnov look at."""
    edges = np.asarray(sketch["edges"])
    before = np.asarray(sketch["counts"], dtype=np.float64)
    for counts, colour in ((before, NEUTRAL), (np.asarray(now.counts, dtype=np.float64), POSITIVE)):
        if counts.sum() and len(edges):
            axes.plot(edges, np.cumsum(counts)[:-1] / counts.sum(), color=colour, linewidth=1.8)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share below", fontsize=8)
    axes.tick_params(labelsize=7.5)


def draw_levels(axes: Axes, sketch: Record, now: Any) -> None:
    """A category's shares, then and now."""
    names = [*sketch["categories"], *(name for name in now.counts if name not in sketch["categories"])]
    total, later = max(sum(sketch["categories"].values()) + sketch["other"], 1), max(now.present, 1)
    share = {name: (sketch["categories"].get(name, 0) / total, now.counts.get(name, 0) / later) for name in names}
    shown = sorted(names, key=lambda name: -max(share[name]))[:LEVELS]
    place = np.arange(len(shown))
    axes.barh(place - 0.2, [share[name][0] for name in shown], height=0.38, color=NEUTRAL)
    axes.barh(place + 0.2, [share[name][1] for name in shown], height=0.38, color=POSITIVE)
    axes.set_yticks(place, [shorten(name, 22) for name in shown], fontsize=7.5)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="x", labelsize=7.5)


def draw_performance(performance: pd.DataFrame, metrics: Mapping[str, str], before: Record) -> Figure:
    """Each metric by window: expected before truths came (band), realised since (dots with intervals), the hold-out's (line)."""
    figure, grid = new_grid(len(metrics), columns=3, height=2.3)
    for axes, (metric, title) in zip(grid, metrics.items(), strict=True):
        part = performance[performance["metric"] == metric].reset_index(drop=True)
        place = np.arange(len(part))
        axes.fill_between(place, part["expected_low"], part["expected_high"], color=NEGATIVE, alpha=0.18, linewidth=0)
        axes.plot(place, part["expected"], color=NEGATIVE, linewidth=1.6, label="expected (CBPE)")
        known = part["realised"].notna()
        value = part["realised"][known]
        spread = [
            np.maximum(value - part["realised_low"][known], 0),
            np.maximum(part["realised_high"][known] - value, 0),
        ]
        axes.errorbar(
            place[known], value, yerr=spread, fmt="o", markersize=4, color=POSITIVE, elinewidth=1, label="realised"
        )
        axes.axhline(before[metric]["value"], color=NEUTRAL, linewidth=1, linestyle=":", label="hold-out")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7.5)
        axes.set_xlim(-0.5, len(part) - 0.5)
        step = max(1, -(-len(part) // 4))
        axes.set_xticks(place[::step], part["window"][::step], fontsize=7.5)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3, fontsize=8, loc="outside upper right")
    return figure


def draw_losses(losses: pd.DataFrame, found: Mapping[str, int | None]) -> Figure:
    """The running sum of each truth's loss beyond what was promised, and where the streaming detectors noticed."""
    figure, (axes,) = new_grid(1, columns=1, height=2.6)
    axes.plot(losses["told_at"], losses["loss"].cumsum(), color=NEGATIVE, linewidth=1.6)
    axes.axhline(0, color=NEUTRAL, linewidth=1, linestyle=":")
    for (name, place), colour in zip(found.items(), (POSITIVE, ACCENT), strict=False):
        if place is not None:
            axes.axvline(losses["told_at"].iloc[place], color=colour, linewidth=1.4, label=name.replace("_", "-"))
    axes.set(title="Loss beyond what was promised, added up as truths come", ylabel="squared error")
    axes.tick_params(labelsize=7.5)
    if any(place is not None for place in found.values()):
        axes.legend(fontsize=8, loc="upper left")
    return figure


def draw_year(months: Sequence[Record]) -> str:
    """ROC AUC and cost by month, of the model that served and of the first one left alone; a data address."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.1))
        names = [month["month"] for month in months]
        changed = next((place for place, month in enumerate(months) if month["changed"]), None)
        moved = [
            place
            for place, month in enumerate(months)
            if month["outcome"] and month["outcome"]["outcome"] in ("promoted", "rolled back")
        ]
        for number, (metric, title) in enumerate((("roc_auc", "ROC AUC"), ("cost", "Cost a row"))):
            axes = figure.add_subplot(1, 2, number + 1)
            axes.plot(
                [month["stale"][metric] for month in months],
                color=NEUTRAL,
                linestyle=":",
                label="the first model, left alone",
            )
            axes.plot([month["served"][metric] for month in months], color=NEGATIVE, linewidth=2, label="what served")
            for place, month in enumerate(months):
                if month["severity"] != "quiet":
                    axes.scatter(place, month["served"][metric], s=32, color=COLOURS[month["severity"]], zorder=3)
            if changed is not None:
                axes.axvspan(changed - 0.5, len(months) - 0.5, color=ACCENT, alpha=0.1, linewidth=0, label="the change")
            for place in moved:
                axes.axvline(
                    place + 0.5,
                    color=POSITIVE,
                    linewidth=1.2,
                    label="the champion moved" if place == moved[0] else None,
                )
            thin_ticks(axes, [name[5:] for name in names])
            axes.set_title(title)
        figure.axes[1].legend(fontsize=7.5)
        return encode_picture(figure)
