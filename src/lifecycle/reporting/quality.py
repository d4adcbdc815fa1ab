"""Figures and tables of data quality, for the stage `validate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lifecycle.reporting.pages import render_part
from lifecycle.reporting.plots import ACCENT, NEGATIVE, POSITIVE, new_grid, wrap_label

_BARS = 15
_BOXES = 9
_CELLS = 24  # columns of the heat map
_POINTS = 200  # outliers drawn for each column
_NAME_WIDTH = 48  # characters of a name on an axis
_SENTENCE_WIDTH = 70  # characters of a sentence on an axis
_MEDIAN = {"color": NEGATIVE, "linewidth": 2}
_BEYOND = {"marker": ".", "markeredgecolor": POSITIVE, "markerfacecolor": POSITIVE}
# Outcomes in the order in which they are listed, with their labels and colours.
_OUTCOMES = {
    "error": ("✗ error", "var(--bad)"),
    "warning": ("! warning", "#9a6700"),
    "info": ("i info", "#9a6700"),
    "passed": ("✓ passed", "var(--good)"),
}


def render_verdict(verdict: dict[str, Any]) -> str:
    """Render the record checks.json as HTML: its verdict, its counts, and a table of its checks, failed ones first."""
    failed = [check for check in verdict["checks"] if check["status"] == "failed"]
    applied = [check for check in verdict["checks"] if check["status"] != "not applicable"]
    warnings = sum(check["severity"] == "warning" for check in failed)
    cards = [
        {"label": "rows valid", "value": f"{verdict['valid']:,}", "note": f"of {verdict['rows']:,}"},
        {"label": "rows in quarantine", "value": f"{verdict['quarantined'] + verdict['rejected']:,}",
         "note": f"the contract tolerates {verdict['tolerance']:.1%}{_describe_rejected(verdict['rejected'])}"},
        {"label": "warnings", "value": f"{warnings}", "note": f"from {len(applied)} checks that apply"},
        {"label": "columns removed", "value": f"{len(verdict['dropped'])}",
         "note": f"and {len(verdict['pseudonymised'])} pseudonymised"},
    ]  # fmt: skip
    return render_part(
        "checks.html.j2",
        verdict=verdict,
        cards=cards,
        checks=[check | _describe_outcome(check) for check in sorted(applied, key=_rank_outcome)],
        skipped=[check["title"].lower() for check in verdict["checks"] if check["status"] == "not applicable"],
    )


def _describe_rejected(count: int) -> str:
    """Describe how many of the rows in quarantine could not be read, after a comma; nothing if all could."""
    return f"; {count:,} could not be read" if count else ""


def _rank_outcome(check: dict[str, Any]) -> int:
    """Return the position of a check in the list: failures first, by severity."""
    return list(_OUTCOMES).index(check["severity"] if check["status"] == "failed" else "passed")


def _describe_outcome(check: dict[str, Any]) -> dict[str, str]:
    """Return the label and the colour of a check's outcome."""
    outcome, colour = list(_OUTCOMES.values())[_rank_outcome(check)]
    return {"outcome": outcome, "colour": colour}


def render_findings(verdict: dict[str, Any], *names: str) -> str:
    """Render the results of some checks as HTML, with examples; if none applies, the reason of the first."""
    named = {check["name"]: check for check in verdict["checks"]}
    checks = [named[name] for name in names]
    applied = [check for check in checks if check["status"] != "not applicable"]
    return render_part("findings.html.j2", checks=applied or checks[:1])


def _draw_bars(
    values: pd.Series[Any], *, title: str, label: str, colors: list[str], form: str, width: int = _NAME_WIDTH
) -> Figure:
    """Draw horizontal bars, the first on top, each with its value in the format `form`."""
    figure, (axes,) = new_grid(1, columns=1, height=0.85 + 0.26 * len(values))
    axes.barh(range(len(values)), values.to_numpy(), color=colors, height=0.7)
    for place, value in enumerate(values):
        axes.annotate(f" {value:{form}}", (value, place), va="center", fontsize=8)
    axes.set_yticks(range(len(values)), [wrap_label(name, width) for name in values.index])
    axes.invert_yaxis()
    axes.set(title=title, xlabel=label)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.1)
    return figure


def _describe_top(shown: int, whole: int) -> str:
    """Return the part of a title that says how many items are drawn, if not all are."""
    return f" (the first {shown} of {whole})" if shown < whole else ""


def draw_reasons(reasons: pd.DataFrame) -> Figure | None:
    """Draw rows in quarantine by reason (`BreachCounter.list_reasons`); None if there are none."""
    if reasons.empty:
        return None
    part = reasons.head(_BARS)
    title = f"Reasons for quarantine{_describe_top(len(part), len(reasons))}"
    values = part.set_index("reason")["rows"]
    label, colors = "rows (one may have several reasons)", [POSITIVE] * len(part)
    figure = _draw_bars(values, title=title, label=label, colors=colors, form=",d", width=_SENTENCE_WIDTH)
    figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_missing(shares: pd.Series[Any]) -> Figure | None:
    """Draw the share of missing values of the columns that have any, the most first; None if there are none."""
    some = shares[shares > 0].sort_values(ascending=False, kind="stable")
    if some.empty:
        return None
    part = some.head(_BARS)
    title = f"Missing values{_describe_top(len(part), len(some))}"
    figure = _draw_bars(part * 100, title=title, label="share of rows, %", colors=[NEGATIVE] * len(part), form=".2f")
    figure.axes[0].set_xlim(0, min(115, max(float(part.iloc[0]) * 125, 1)))
    return figure


def draw_outliers(numbers: pd.DataFrame, fences: pd.DataFrame) -> Figure | None:
    """Draw a box for each numeric column, its outer fences dashed, outliers as dots; None without numeric columns.

    `numbers` are the numeric columns as float64, of a sample of a long table; `fences` counts all rows `below` and `above`
    them. The columns with the most outliers come first.
    """
    if fences.empty:
        return None
    part = fences.assign(count=fences["below"] + fences["above"])
    part = part.sort_values("count", ascending=False, kind="stable").head(_BOXES)
    figure, grid = new_grid(len(part), height=1.45)
    for axes, name, lower, upper, count in zip(
        grid, part["column"], part["lower"], part["upper"], part["count"], strict=True
    ):
        values = numbers[name].to_numpy()
        box = _measure_box(values[np.isfinite(values)], lower, upper)
        axes.bxp([box], orientation="horizontal", widths=0.5, medianprops=_MEDIAN, flierprops=_BEYOND)
        low, high = axes.get_xlim()
        for fence in (lower, upper):
            if low <= fence <= high:
                axes.axvline(fence, color=ACCENT, linewidth=1, linestyle="--")
        axes.set_title(
            f"{wrap_label(name, 26, lines=2)}: {count:,} outliers" if count else wrap_label(name, 34, lines=2),
            fontsize=9,
        )
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=7)
        axes.locator_params(axis="x", nbins=5)
    title = "Quartiles, whiskers (1.5 IQR) and outliers beyond the outer fences (3 IQR)"
    figure.suptitle(f"{title}{_describe_top(len(part), len(fences))}", fontsize=10, x=0.01, ha="left", weight="bold")
    return figure


def _measure_box(finite: np.ndarray[Any, Any], lower: float, upper: float) -> dict[str, Any]:
    """Return the statistics of a box for matplotlib: quartiles, whiskers and at most POINTS outliers."""
    if not len(finite):
        return dict.fromkeys(("q1", "med", "q3", "whislo", "whishi"), np.nan) | {"fliers": []}
    first, middle, third = np.quantile(finite, [0.25, 0.5, 0.75])
    reach = 1.5 * (third - first)
    beyond = np.sort(finite[(finite < lower) | (finite > upper)])
    kept = np.unique(np.linspace(0, len(beyond) - 1, min(len(beyond), _POINTS)).round().astype(int))
    return {
        "q1": first,
        "med": middle,
        "q3": third,
        "whislo": finite[finite >= first - reach].min(),
        "whishi": finite[finite <= third + reach].max(),
        "fliers": beyond[kept],
    }


def draw_associations(associations: pd.DataFrame) -> Figure | None:
    """Draw the association of each pair as a heat map, of the CELLS most associated columns if there are more; None below 3."""
    size = len(associations)
    if size < 3:
        return None
    square = associations.to_numpy()
    strongest = np.where(np.eye(size, dtype=bool), 0, square).max(axis=1)
    kept = np.sort(np.argsort(-strongest, kind="stable")[:_CELLS])
    part = np.where(np.triu(np.ones((len(kept), len(kept)), dtype=bool)), np.nan, square[np.ix_(kept, kept)])
    names = [wrap_label(name, 40) for name in associations.index[kept]]
    figure, (axes,) = new_grid(1, columns=1, width=8.0, height=1.6 + 0.24 * len(kept))
    image = axes.imshow(part[1:, :-1], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(kept) - 1), names[:-1], rotation=90, fontsize=7)
    axes.set_yticks(range(len(kept) - 1), names[1:], fontsize=7)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"Associations between columns (0: none, 1: complete){_describe_top(len(kept), size)}")
    figure.colorbar(image, ax=axes, shrink=0.6, label="association")
    return figure


def draw_univariate_auc(aucs: pd.DataFrame, limit: float) -> Figure | None:
    """Draw the univariate ROC AUC of each column, with the limit above which a leak is suspected; None without columns."""
    if aucs.empty:
        return None
    part = aucs.head(_BARS).set_index("column")["roc_auc"]
    title = f"How well each column alone separates the classes{_describe_top(len(part), len(aucs))}"
    colors = [POSITIVE if area > limit else NEGATIVE for area in part]
    figure = _draw_bars(
        part, title=title, label="univariate ROC AUC (0.5: no better than chance)", colors=colors, form=".2f"
    )
    _draw_limit(figure, limit, "possible leak")
    figure.axes[0].set_xlim(0.5, 1.04)
    return figure


def draw_drift(drift: pd.DataFrame, limit: float) -> Figure | None:
    """Draw the PSI of each column against the profile, the largest first; None if no column changed."""
    moved = drift[drift["psi"] >= 0.0005].sort_values("psi", ascending=False, kind="stable")
    if moved.empty:
        return None
    part = moved.head(_BARS)
    shifted = (part["psi"] > limit) & (part["psi"] > part["chance"])
    colors = [POSITIVE if far else NEGATIVE for far in shifted]
    title = f"Change of columns since the profile{_describe_top(len(part), len(moved))}"
    values = part.set_index("column")["psi"]
    figure = _draw_bars(values, title=title, label="population stability index (PSI)", colors=colors, form=".3f")
    _draw_limit(figure, limit, "limit")
    figure.axes[0].set_xlim(0, 1.15 * max(limit, float(values.iloc[0])))
    return figure


def _draw_limit(figure: Figure, limit: float, label: str) -> None:
    """Draw a dashed line at the limit across a figure's bars, with its name at the bottom."""
    axes = figure.axes[0]
    axes.axvline(limit, color=POSITIVE, linewidth=1, linestyle="--")
    foot = axes.get_ylim()[0]
    axes.annotate(f"{label} ", (limit, foot), color=POSITIVE, fontsize=8, ha="right", va="bottom")


def draw_rows_over_time(
    times: pd.Series[Any], gaps: tuple[tuple[pd.Timestamp, pd.Timestamp], ...], rows: int
) -> Figure | None:
    """Draw rows over time in sixty bins, gaps shaded, from the times of all `rows` or of a sample; None without two times."""
    present = times.dropna()
    if present.nunique() < 2:
        return None
    figure, (axes,) = new_grid(1, columns=1, height=2.4)
    axes.hist(present.to_numpy(), bins=60, color=NEGATIVE, weights=np.full(len(present), rows / len(times)))
    for start, end in gaps:
        axes.axvspan(start, end, color=ACCENT, alpha=0.35)  # type: ignore[arg-type]
    axes.set(title="Rows over time (gaps shaded)" if gaps else "Rows over time", ylabel="rows")
    return figure
