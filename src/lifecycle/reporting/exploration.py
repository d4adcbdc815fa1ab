"""Figures of the stage `explore`, drawn from counts and rates; each function returns None if there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from lifecycle.reporting.plots import ACCENT, NEGATIVE, NEUTRAL, POSITIVE, new_grid, wrap_label
from lifecycle.reporting.wording import format_number, format_percent

_SHADES = LinearSegmentedColormap.from_list("association", ["#ffffff", "#c9d6e8", NEGATIVE, "#22304f"])
_SIDES = LinearSegmentedColormap.from_list("rate", [NEGATIVE, "#f7f7f5", POSITIVE])
_SMALL = 7.5  # points of the labels inside figures
_LINE = 48  # characters of a label on one line of an axis


def _label_percent(axis: Axis) -> None:
    """Format an axis of shares as percentages."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}\u00a0%"))


def plot_balance(classes: pd.DataFrame, target: str) -> Figure:
    """Draw the target's classes as parts of one bar, with the interval of the first class's share."""
    figure, (axes,) = new_grid(1, height=1.25)
    left = 0.0
    for row, color in zip(classes.to_dict("records"), (POSITIVE, NEGATIVE), strict=True):
        axes.barh(0, row["share"], left=left, color=color, height=0.6)
        text = f"{wrap_label(row['class'], 40)}: {format_percent(row['share'])}\n{row['rows']:,} rows"
        if row["share"] >= 0.12:
            axes.text(left + row["share"] / 2, 0, text, ha="center", va="center", color="white", weight="bold")
        else:
            place, side = left + row["share"] / 2, "left" if left < 0.5 else "right"
            axes.annotate(text, (place, 0.3), (0, 4), textcoords="offset points", color=color, fontsize=8, ha=side)
        left += row["share"]
    first = classes.iloc[0]
    span = [[first["share"] - first["low"]], [first["high"] - first["share"]]]
    axes.errorbar([first["share"]], [0], xerr=span, color="#1f2933", capsize=5, linewidth=1.5)
    axes.set(
        xlim=(0, 1),
        ylim=(-0.4, 0.75),
        yticks=[],
        xlabel=f"share of rows by {wrap_label(target, 60)}, with the 95 % interval",
    )
    axes.spines["left"].set_visible(False)
    _label_percent(axes.xaxis)
    return figure


def plot_missing(missing: pd.DataFrame, event: str, most: int = 20) -> Figure | None:
    """Draw the share of missing values of each column, in rows with the event and in the others."""
    if missing.empty:
        return None
    table = missing.head(most).iloc[::-1]
    figure, (axes,) = new_grid(1, height=0.9 + 0.28 * len(table))
    places = np.arange(len(table))
    axes.hlines(places, table["negative_share"], table["positive_share"], color="#d9dee4", linewidth=3)
    axes.scatter(table["negative_share"], places, color=NEGATIVE, zorder=3, label="the other rows")
    axes.scatter(table["positive_share"], places, color=POSITIVE, zorder=3, label=wrap_label(event, 60))
    axes.set_yticks(places, [wrap_label(name, _LINE) for name in table["column"]])
    axes.set(xlabel="share of the class's rows with a missing value", ylim=(-0.6, len(table) - 0.4))
    axes.set_xlim(0, max(0.001, table[["negative_share", "positive_share"]].to_numpy().max() * 1.12))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    _label_percent(axes.xaxis)
    return figure


def plot_numbers(
    bins: pd.DataFrame, numbers: pd.DataFrame, rates: pd.DataFrame, names: Sequence[str], units: Mapping[str, str],
    event: str, overall: float,
) -> Figure | None:  # fmt: skip
    """Draw for each numeric column its distribution by class (left), and the event's rate by bin (right)."""
    names = [name for name in names if name in set(numbers["column"])]
    if not names:
        return None
    figure, grid = new_grid(2 * len(names), columns=2, height=2.3)
    medians = numbers.set_index("column")
    for position, name in enumerate(names):
        left, right = grid[2 * position : 2 * position + 2]
        _draw_classes(left, bins[bins["column"] == name], medians[medians.index == name].iloc[0], units[name], event)
        left.set_title(wrap_label(name, 50, lines=2))
        _draw_bins(right, rates[rates["column"] == name], overall)
        right.set_xlabel(wrap_label(_label_unit(name, units[name]), 56, lines=2))
    grid[0].legend(fontsize=_SMALL, loc="best")
    grid[1].set_title(f"rate of {wrap_label(event, 50, lines=2)}", weight="normal")
    return figure


def _label_unit(name: str, unit: str) -> str:
    """Return a name with its unit, if it has one."""
    return f"{name} ({unit})" if unit else name


def _draw_classes(axes: Axes, bins: pd.DataFrame, medians: pd.Series[Any], unit: str, event: str) -> None:
    """Draw the classes' distributions over shared bins, as shares of their class, and their medians as dashed lines."""
    edges = np.append(bins["left"].to_numpy(), bins["right"].to_numpy()[-1])
    if _is_geometric(edges):
        axes.set_xscale("log")
    sides = (
        ("negatives", "negative_median", NEGATIVE, "the other rows", 0.9),
        ("positives", "positive_median", POSITIVE, event, 1.0),
    )
    for counts, median, color, label, height in sides:
        share = bins[counts].to_numpy() / max(int(bins[counts].sum()), 1)
        axes.stairs(share, edges, fill=True, color=color, alpha=0.28)
        axes.stairs(share, edges, color=color, linewidth=1.3, label=wrap_label(label, 28, lines=2))
        value = float(medians[median])
        if edges[0] <= value <= edges[-1]:
            axes.axvline(value, color=color, linestyle="--", linewidth=1.2)
            # One label below the other, as the medians may be close.
            axes.text(value, height, f" {format_number(value)}", color=color, fontsize=_SMALL, va="top",
                      transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set(ylabel="share of class", xlabel=wrap_label(unit, 56), xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
    _label_percent(axes.yaxis)


def _is_geometric(edges: Any) -> bool:
    """Return whether bins have equal ratios rather than equal widths."""
    return len(edges) > 2 and bool(edges[0] > 0) and not np.allclose(np.diff(edges), edges[1] - edges[0])


def _draw_bins(axes: Axes, rates: pd.DataFrame, overall: float) -> None:
    """Draw rates by ordered bin with their intervals, and the overall rate as a line."""
    places = np.arange(len(rates))
    _draw_intervals(axes, places, rates, overall)
    axes.axhline(overall, color=NEUTRAL, linewidth=1, linestyle=":")
    axes.set_xticks(places, [wrap_label(label, 22, lines=2) for label in rates["category"]], rotation=40, ha="right", fontsize=_SMALL,
                    rotation_mode="anchor")  # fmt: skip
    axes.set_ylim(0, None)
    axes.grid(axis="x", visible=False)
    _label_percent(axes.yaxis)


def _draw_intervals(axes: Axes, places: Any, rates: pd.DataFrame, overall: float, *, lying: bool = False) -> None:
    """Draw rates as points with intervals: red if the interval is above the overall rate, blue if below, grey if it includes it."""
    for color, chosen in (
        (POSITIVE, rates["low"] > overall),
        (NEGATIVE, rates["high"] < overall),
        (NEUTRAL, (rates["low"] <= overall) & (rates["high"] >= overall)),
    ):
        part, where = rates[chosen], places[chosen.to_numpy()]
        # Rounding may put a bound slightly inside its rate.
        span = np.maximum([part["rate"] - part["low"], part["high"] - part["rate"]], 0.0)
        if lying:
            axes.errorbar(part["rate"], where, xerr=span, fmt="o", color=color, markersize=4, linewidth=1.6)
        else:
            axes.errorbar(where, part["rate"], yerr=span, fmt="o", color=color, markersize=4, linewidth=1.6)


def plot_categories(rates: pd.DataFrame, names: Sequence[str], event: str, overall: float) -> Figure | None:
    """Draw for each categorical column the event's rate by category, the highest on top, with intervals and numbers of rows."""
    panels = [rates[rates["column"] == name].sort_values("rate", ascending=False, kind="stable") for name in names]
    panels = [panel for panel in panels if len(panel)]
    if not panels:
        return None
    # Two lists of columns side by side: one axes for each column would take ten times as long to draw.
    ends = np.cumsum([len(panel) + 2 for panel in panels])
    cut = int(np.searchsorted(ends, ends[-1] / 2)) + 1
    halves = [half for half in (panels[:cut], panels[cut:]) if half]
    lines = max(sum(len(panel) + 2 for panel in half) for half in halves)
    figure, grid = new_grid(len(halves), columns=2, height=0.6 + 0.165 * lines)
    top = min(1.0, 1.04 * max(float(panel["high"].max()) for panel in panels))
    for axes, half in zip(grid, halves, strict=True):
        _draw_category_list(axes, half, overall)
        axes.set(xlim=(0, top), ylim=(lines - 0.5, -1), xlabel=f"rate of {wrap_label(event, 50, lines=2)}")
        axes.grid(axis="y", visible=False)
        _label_percent(axes.xaxis)
    return figure


def _draw_category_list(axes: Axes, panels: Sequence[pd.DataFrame], overall: float) -> None:
    """Draw columns one below the other, each with a heading and its categories' rates; the y axis counts lines."""
    axes.axvline(overall, color=NEUTRAL, linewidth=1, linestyle=":")
    places: list[float] = []
    texts: list[str] = []
    line = 0
    for panel in panels:
        axes.text(0.01, line, wrap_label(panel["column"].iloc[0], 50), weight="bold", fontsize=8.5, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        places += range(line + 1, line + 1 + len(panel))
        texts += [
            f"{wrap_label(category, 40)}  ({rows:,})"
            for category, rows in zip(panel["category"], panel["rows"], strict=True)
        ]
        line += len(panel) + 2
    _draw_intervals(axes, np.array(places), pd.concat(panels), overall, lying=True)
    axes.set_yticks(places, texts, fontsize=_SMALL)
    axes.tick_params(axis="y", length=0)


def plot_trends(rates: pd.DataFrame, units: Mapping[str, str], event: str, overall: float) -> Figure | None:
    """Draw for each column of ordered bins (cohorts, periods) the event's rate with its interval, over numbers of rows."""
    panels = [(str(name), part) for name, part in rates.groupby("column", sort=False)]
    if not panels:
        return None
    figure, grid = new_grid(len(panels), columns=1, height=2.9)
    for axes, (name, part) in zip(grid, panels, strict=True):
        places = np.arange(len(part))
        counts = axes.twinx()
        counts.bar(places, part["rows"], color="#e4e7eb", width=0.8)
        counts.set(ylim=(0, part["rows"].max() * 2.2), ylabel="rows (bars)")
        counts.yaxis.label.set_color(NEUTRAL)
        counts.tick_params(axis="y", labelsize=_SMALL, colors=NEUTRAL)
        counts.grid(visible=False)
        axes.set_zorder(counts.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.fill_between(places, part["low"], part["high"], color=POSITIVE, alpha=0.2, linewidth=0)
        axes.plot(places, part["rate"], color=POSITIVE, marker="o", markersize=4)
        axes.axhline(overall, color=NEUTRAL, linewidth=1, linestyle=":")
        every = -(-len(part) // 14)
        axes.set_xticks(
            places[::every],
            [wrap_label(label, 22, lines=2) for label in part["category"].iloc[::every]],
            fontsize=_SMALL,
        )
        if len(part) > 7:
            axes.tick_params(axis="x", rotation=30)
        axes.set(ylabel=f"rate of\n{wrap_label(event, 32, lines=2)}", ylim=(0, min(1.0, part["high"].max() * 1.1)))
        axes.set_xlabel(wrap_label(_label_unit(name, units.get(name, "")), 100))
        _label_percent(axes.yaxis)
    return figure


def plot_ranking(ranked: pd.Series[float], kinds: Mapping[str, str], target: str, most: int = 30) -> Figure | None:
    """Draw each column's association with the target, the strongest on top, coloured by kind."""
    if ranked.empty:
        return None
    table = ranked.head(most).iloc[::-1]
    figure, (axes,) = new_grid(1, height=0.7 + 0.2 * len(table))
    colors = [ACCENT if kinds[str(name)] == "numeric" else NEGATIVE for name in table.index]
    bars = axes.barh([wrap_label(name, _LINE) for name in table.index], table.to_numpy(), color=colors, height=0.7)
    axes.bar_label(bars, [f"{value:.2f}" for value in table], padding=3, fontsize=_SMALL)
    axes.set(
        xlim=(0, min(1.1, max(0.1, table.max() * 1.12))),
        xlabel=f"association with {wrap_label(target, 60)} (0 none, 1 complete)",
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", visible=False)
    if len(set(colors)) > 1:
        patches = [Patch(color=color, label=kind) for color, kind in ((NEGATIVE, "categorical"), (ACCENT, "numeric"))]
        axes.legend(handles=patches, loc="lower right")
    return figure


def _draw_heat(axes: Axes, values: pd.DataFrame, **options: Any) -> None:
    """Draw a heat map with labels and, with `annot`, a text in each cell; the options are seaborn's."""
    import seaborn as sns  # the import takes most of a second, and only heat maps need it

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_visible(
        False
    )  # seaborn would draw the figure to see whether labels overlap; the caller rotates them anyway
    sns.heatmap(values, ax=axes, linewidths=1.0, annot_kws={"fontsize": 6.5}, **options)
    figure.set_visible(True)
    for text in axes.texts:
        text.set_in_layout(False)  # the texts are inside their cells and need no extra room
    axes.tick_params(length=0, labelsize=_SMALL)
    axes.set(xlabel="", ylabel="")
    axes.grid(visible=False)


def _turn_labels(axes: Axes, degrees: float) -> None:
    """Rotate the x axis's labels, with their ends below their ticks."""
    plt.setp(axes.get_xticklabels(), rotation=degrees, ha="right" if degrees else "center", rotation_mode="anchor")


def plot_associations(associations: pd.DataFrame) -> Figure | None:
    """Draw the associations of all pairs as a heat map, with associated columns side by side."""
    if len(associations) < 2:
        return None
    figure, (axes,) = new_grid(1, height=max(2.6, 1.4 + 0.29 * len(associations)))
    labels = [wrap_label(name, 36) for name in associations.index]
    hidden = ~np.tri(len(associations) - 1, dtype=bool)  # show each pair once, and no column with itself
    _draw_heat(
        axes, associations.iloc[1:, :-1], mask=hidden, cmap=_SHADES, vmin=0, vmax=1,
        annot=len(associations) <= 22, fmt=".2f", xticklabels=labels[:-1], yticklabels=labels[1:],
        cbar_kws={"shrink": 0.5, "pad": 0.01, "label": "association"},
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)
    _turn_labels(axes, 55)
    return figure


def plot_pairs(
    drawn: Mapping[tuple[str, str], pd.DataFrame], highlighted: Sequence[Mapping[str, Any]], event: str, overall: float
) -> Figure | None:
    """Draw for each pair the event's rate and rows in each cell, blue below the overall rate and red above it.

    The cells of `highlighted` have a frame. The rows of a panel are the bins of the pair's first column.
    """
    if not drawn:
        return None
    tallest = max(cells["one"].nunique() for cells in drawn.values())
    figure, grid = new_grid(len(drawn), columns=2, height=1.0 + 0.4 * tallest)
    highest = max(float(cells["rate"].max()) for cells in drawn.values())
    norm = TwoSlopeNorm(min(max(overall, 1e-6), 1 - 1e-6), 0.0, max(highest, overall + 1e-5))
    for axes, ((one, other), cells), cell in zip(grid, drawn.items(), highlighted, strict=True):
        rates = _spread_cells(cells, "rate")
        texts = _spread_cells(cells.assign(text=[f"{format_percent(rate)}\n{rows:,}" for rate, rows in
                                                zip(cells["rate"], cells["rows"], strict=True)]), "text")  # fmt: skip
        _draw_heat(
            axes, rates, cmap=_SIDES, norm=norm, annot=texts.fillna("").to_numpy(), fmt="", cbar=False,
            xticklabels=[wrap_label(category, 22, lines=2) for category in rates.columns],
            yticklabels=[wrap_label(category, 26, lines=2) for category in rates.index],
        )  # fmt: skip
        place = list(rates.columns).index(cell["other"]), list(rates.index).index(cell["one"])
        axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="#1f2933", linewidth=1.8, clip_on=False))
        axes.set_title(wrap_label(f"{one} (rows) × {other}", 52, lines=2), fontsize=9)
        axes.tick_params(axis="y", rotation=0)
        _turn_labels(axes, 25 if max(len(str(category)) for category in rates.columns) > 6 else 0)
    figure.suptitle(f"rate of {wrap_label(event, 80)}, and number of rows", fontsize=9, x=0.01, ha="left")
    return figure


def _spread_cells(cells: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return a pair's cells as a grid, the bins of both columns in order; NaN for a cell without rows."""
    grid = cells.pivot(index="one", columns="other", values=value)
    return grid.sort_index().sort_index(axis=1)
