"""Figures about monitoring: traffic, alerts, drift, performance, and a replayed year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lifecycle.core.records import Record
from lifecycle.reporting.front_page import encode_picture
from lifecycle.reporting.plots import ACCENT, NEGATIVE, NEUTRAL, POSITIVE, STYLE, new_grid

Array = np.ndarray[Any, Any]

_COLOURS = {"info": "#b9c4d0", "warning": ACCENT, "critical": POSITIVE}
_HEAT = LinearSegmentedColormap.from_list("psi", ["#f5f7fa", "#f6dfb0", "#edae49", "#d1495b"])
_LARGEST_PSI = 0.5  # at which the heat map's colours end
_CATEGORIES = 8  # of a categorical column that are drawn, the most frequent
_ROW_HEIGHT = 0.27  # inches, of a heat map or a timeline


class _Alert(Protocol):
    """What a timeline needs of an alert."""

    @property
    def kind(self) -> str:
        """The kind of the alert."""

    @property
    def column(self) -> str | None:
        """The column that it is about, None for an alert about all columns."""

    @property
    def window(self) -> str:
        """The name of the window."""

    @property
    def severity(self) -> str:
        """How serious it is."""


def _shorten(name: str, most: int = 30) -> str:
    """Return a name that fits next to a figure."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _label_windows(axes: Axes, names: Sequence[str]) -> None:
    """Label windows along the x axis, at most twelve so that their names do not overlap."""
    step = max(1, -(-len(names) // 12))
    axes.set_xticks(range(0, len(names), step), list(names[::step]), fontsize=7.5)


def draw_traffic(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw each log's predictions per month, and their mean probability."""
    figure, grid = new_grid(len(logs), columns=3, height=1.9)
    top = max(float(summary["rate"].max()) for summary in logs.values())
    for axes, (name, summary) in zip(grid, logs.items(), strict=True):
        axes.bar(range(len(summary)), summary["predictions"], color="#cfd8e3", width=0.8)
        axes.set_xticks([0, len(summary) - 1], [summary["month"].iloc[0], summary["month"].iloc[-1]], fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_title(_shorten(name), fontsize=9)
        rate = axes.twinx()
        rate.plot(range(len(summary)), summary["rate"], color=POSITIVE, linewidth=1.8)
        rate.set_ylim(0, top * 1.25)
        rate.tick_params(axis="y", labelsize=7, colors=POSITIVE)
        rate.grid(visible=False)
    figure.suptitle("Predictions per month (bars) and their mean probability (line)", fontsize=10, x=0.01, ha="left")
    return figure


def draw_timeline(timeline: Sequence[_Alert], names: Sequence[str]) -> Figure:
    """Draw the alerts of each window, coloured by severity: one row per column or kind of alert."""
    rows: dict[str, list[_Alert]] = {}
    for alert in timeline:
        rows.setdefault(alert.column or f"({alert.kind})", []).append(alert)
    order = sorted(rows, key=lambda name: (names.index(rows[name][0].window), name))
    figure, (axes,) = new_grid(1, columns=1, height=1.0 + _ROW_HEIGHT * max(len(order), 2))
    for place, name in enumerate(order):
        for alert in rows[name]:
            axes.barh(place, 0.94, left=names.index(alert.window) - 0.47, height=0.7, color=_COLOURS[alert.severity])
    axes.set_yticks(range(len(order)), [_shorten(name) for name in order], fontsize=8)
    axes.set_ylim(max(len(order), 2) - 0.4, -0.6)
    axes.set_xlim(-0.6, len(names) - 0.4)
    _label_windows(axes, names)
    axes.set_title("Alerts by window" if order else "No alert fired")
    axes.grid(axis="y", visible=False)
    axes.legend(
        handles=[Patch(color=_COLOURS[name], label=name) for name in _COLOURS], ncols=3, fontsize=8,
        loc="lower right", bbox_to_anchor=(1, 1),
    )  # fmt: skip
    return figure


def draw_heat(tables: Sequence[pd.DataFrame | None], names: Sequence[str], columns: Sequence[str]) -> Figure:
    """Draw each column's PSI in each window, in the given order; a dot is significant drift, grey was not judged."""
    wide = np.full((len(columns), len(names)), np.nan)
    drifted = np.zeros(wide.shape, dtype=bool)
    for place, table in enumerate(tables):
        if table is not None:
            found = table.set_index("column").reindex(list(columns))
            wide[:, place] = found["psi"].to_numpy(dtype=np.float64)
            drifted[:, place] = found["drifted"].fillna(value=False).to_numpy(dtype=bool)
    figure, (axes,) = new_grid(1, columns=1, height=1.1 + _ROW_HEIGHT * max(len(columns), 2))
    axes.set_facecolor("#e4e7eb")
    image = axes.imshow(np.sqrt(wide), aspect="auto", cmap=_HEAT, vmin=0, vmax=np.sqrt(_LARGEST_PSI))
    rows, places = np.nonzero(drifted)
    axes.scatter(places, rows, s=9, color="#1f2933", zorder=3)
    axes.set_yticks(range(len(columns)), [_shorten(name) for name in columns], fontsize=8)
    _label_windows(axes, names)
    axes.grid(visible=False)
    axes.set_title("PSI of each column in each window (by weight in the model; dot: drifted)")
    marks = [0.01, 0.1, 0.25, 0.5]
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01, ticks=np.sqrt(marks))
    bar.ax.set_yticklabels([f"{mark:g}" for mark in marks], fontsize=7.5)
    return figure


def draw_moves(reference: Record, counts: Any, columns: Sequence[str], name: str) -> Figure:
    """Draw the distributions of columns in the reference and in a window named `name`."""
    figure, grid = new_grid(max(len(columns), 1), columns=2, width=9.0 if len(columns) > 1 else 5.0, height=2.3)
    for axes, column in zip(grid, columns, strict=False):
        summary, now = reference["columns"][column], counts.columns[column]
        if summary["kind"] == "numeric":
            _draw_numbers(axes, summary, now)
        else:
            _draw_categories(axes, summary, now)
        axes.set_title(_shorten(column, 40), fontsize=9)
    handles = [Patch(color=NEUTRAL, label="hold-out"), Patch(color=POSITIVE, label=name)]
    figure.legend(handles=handles, ncols=2, fontsize=8, loc="outside upper right")
    return figure


def _draw_numbers(axes: Axes, summary: Record, now: Any) -> None:
    """Draw a numeric column's cumulative distribution before and now, which the Kolmogorov-Smirnov test compares."""
    edges = np.asarray(summary["edges"])
    before = np.asarray(summary["counts"], dtype=np.float64)
    for counts, colour in ((before, NEUTRAL), (np.asarray(now.counts, dtype=np.float64), POSITIVE)):
        if counts.sum() and len(edges):
            axes.plot(edges, np.cumsum(counts)[:-1] / counts.sum(), color=colour, linewidth=1.8)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share below", fontsize=8)
    axes.tick_params(labelsize=7.5)


def _draw_categories(axes: Axes, summary: Record, now: Any) -> None:
    """Draw the shares of a column's most frequent categories before and now."""
    names = [*summary["categories"], *(name for name in now.counts if name not in summary["categories"])]
    total, later = max(sum(summary["categories"].values()) + summary["other"], 1), max(now.present, 1)
    share = {name: (summary["categories"].get(name, 0) / total, now.counts.get(name, 0) / later) for name in names}
    shown = sorted(names, key=lambda name: -max(share[name]))[:_CATEGORIES]
    place = np.arange(len(shown))
    axes.barh(place - 0.2, [share[name][0] for name in shown], height=0.38, color=NEUTRAL)
    axes.barh(place + 0.2, [share[name][1] for name in shown], height=0.38, color=POSITIVE)
    axes.set_yticks(place, [_shorten(name, 22) for name in shown], fontsize=7.5)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="x", labelsize=7.5)


def draw_performance(performance: pd.DataFrame, metrics: Mapping[str, str], before: Record) -> Figure:
    """Draw each metric by window: expected without labels (band), realised on labels (dots), on the hold-out (dotted line)."""
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


def draw_losses(losses: pd.DataFrame) -> Figure:
    """Draw the running sum of each label's loss above the expected one, in the order in which the labels arrived."""
    figure, (axes,) = new_grid(1, columns=1, height=2.6)
    axes.plot(losses["labelled_at"], losses["loss"].cumsum(), color=NEGATIVE, linewidth=1.6)
    axes.axhline(0, color=NEUTRAL, linewidth=1, linestyle=":")
    axes.set(title="Squared error above the expected one, summed up as labels arrive", ylabel="squared error")
    axes.tick_params(labelsize=7.5)
    return figure


class _Score(Protocol):
    """What the figure of a replayed year needs of a model's score."""

    @property
    def roc_auc(self) -> float:
        """The ROC AUC of the month."""

    @property
    def cost(self) -> float:
        """The cost per row."""


class _Outcome(Protocol):
    """And of a retraining's outcome."""

    @property
    def outcome(self) -> str:
        """What retraining did."""


class _Month(Protocol):
    """And of a month."""

    @property
    def month(self) -> str:
        """The month, as in 2026-01."""

    @property
    def changed(self) -> bool:
        """Whether the scenario has begun."""

    @property
    def severity(self) -> str:
        """How serious it is."""

    @property
    def outcome(self) -> _Outcome | None:
        """What retraining did."""

    @property
    def served(self) -> _Score:
        """The scores of the model that was live."""

    @property
    def stale(self) -> _Score:
        """The scores of the first model."""


def draw_replay(months: Sequence[_Month]) -> str:
    """Draw ROC AUC and cost by month, of the champion and of the first model without retraining; return a data URL."""
    changed = next((place for place, month in enumerate(months) if month.changed), None)
    moved = [
        place
        for place, month in enumerate(months)
        if month.outcome and month.outcome.outcome in ("promoted", "rolled back")
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.1))
        for number, (metric, title) in enumerate((("roc_auc", "ROC AUC"), ("cost", "Cost per row"))):
            axes = figure.add_subplot(1, 2, number + 1)
            stale, served = (
                [getattr(getattr(month, kind), metric) for month in months] for kind in ("stale", "served")
            )
            axes.plot(stale, color=NEUTRAL, linestyle=":", label="first model, not retrained")
            axes.plot(served, color=NEGATIVE, linewidth=2, label="champion")
            for place, month in enumerate(months):
                if month.severity != "ok":
                    axes.scatter(place, served[place], s=32, color=_COLOURS[month.severity], zorder=3)
            if changed is not None:
                axes.axvspan(changed - 0.5, len(months) - 0.5, color=ACCENT, alpha=0.1, linewidth=0, label="the change")
            for place in moved:
                label = "new champion" if place == moved[0] else None
                axes.axvline(place + 0.5, color=POSITIVE, linewidth=1.2, label=label)
            _label_windows(axes, [month.month[5:] for month in months])
            axes.set(title=title, xlabel="simulated month")
        figure.axes[1].legend(fontsize=7.5)
        return encode_picture(figure)
