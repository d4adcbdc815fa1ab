"""Pictures and tables of a table's quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lifecycle.reporting.pages import render_part
from lifecycle.reporting.plots import ACCENT, NEGATIVE, POSITIVE, new_grid

BARS = 15
BOXES = 9
CELLS = 24  # columns of the heat map
POINTS = 200  # outliers drawn for each column
LETTERS = 36  # of a name on an axis
SENTENCE = 64  # of a sentence there
MEDIAN = {"color": NEGATIVE, "linewidth": 2}
BEYOND = {"marker": ".", "markeredgecolor": POSITIVE, "markerfacecolor": POSITIVE}
# Outcomes in the order they are listed: what they are called, and their colour.
OUTCOMES = {
    "error": ("✗ failed", "var(--bad)"),
    "warning": ("! warning", "#9a6700"),
    "info": ("! note", "#9a6700"),
    "passed": ("✓ passed", "var(--good)"),
}


def render_verdict(verdict: dict[str, Any]) -> str:
    """The verdict of checks.json, its counts, and its checks as a table, those that failed first: HTML."""
    failed = [check for check in verdict["checks"] if check["status"] == "failed"]
    applied = [check for check in verdict["checks"] if check["status"] != "not applicable"]
    warnings = sum(check["severity"] == "warning" for check in failed)
    cards = [
        {"label": "rows valid", "value": f"{verdict['valid']:,}", "note": f"of {verdict['rows']:,}"},
        {"label": "rows in quarantine", "value": f"{verdict['quarantined']:,}",
         "note": f"{verdict['tolerance']:.1%} are tolerated"},
        {"label": "warnings", "value": f"{warnings}", "note": f"from {len(applied)} checks"},
        {"label": "columns left out", "value": f"{len(verdict['dropped'])}",
         "note": f"and {len(verdict['pseudonymised'])} pseudonymised"},
    ]  # fmt: skip
    return render_part(
        "checks.html.j2",
        verdict=verdict,
        cards=cards,
        checks=[check | describe_outcome(check) for check in sorted(applied, key=rank_outcome)],
        skipped=[check["title"].lower() for check in verdict["checks"] if check["status"] == "not applicable"],
    )


def rank_outcome(check: dict[str, Any]) -> int:
    """Where a check stands in the list: failures first, by how bad they are."""
    return list(OUTCOMES).index(check["severity"] if check["status"] == "failed" else "passed")


def describe_outcome(check: dict[str, Any]) -> dict[str, str]:
    """What a check's outcome is called, and its colour."""
    outcome, colour = list(OUTCOMES.values())[rank_outcome(check)]
    return {"outcome": outcome, "colour": colour}


def render_findings(verdict: dict[str, Any], *names: str) -> str:
    """What some checks of checks.json found, with their examples: HTML. Where none applies, why the first does not."""
    named = {check["name"]: check for check in verdict["checks"]}
    checks = [named[name] for name in names]
    applied = [check for check in checks if check["status"] != "not applicable"]
    return render_part("findings.html.j2", checks=applied or checks[:1])


def shorten(name: object, letters: int = LETTERS) -> str:
    """A name that fits an axis."""
    text = str(name).replace("$", r"\$")
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def draw_bars(
    values: pd.Series[Any], *, title: str, label: str, colors: list[str], form: str, letters: int = LETTERS
) -> Figure:
    """Horizontal bars, the first on top, each with its value written in the format `form`."""
    figure, (axes,) = new_grid(1, columns=1, height=0.85 + 0.26 * len(values))
    axes.barh(range(len(values)), values.to_numpy(), color=colors, height=0.7)
    for place, value in enumerate(values):
        axes.annotate(f" {value:{form}}", (value, place), va="center", fontsize=8)
    axes.set_yticks(range(len(values)), [shorten(name, letters) for name in values.index])
    axes.invert_yaxis()
    axes.set(title=title, xlabel=label)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.1)
    return figure


def describe_top(shown: int, whole: int) -> str:
    """What a title says when not everything is drawn."""
    return f" (the first {shown} of {whole})" if shown < whole else ""


def draw_reasons(reasons: pd.DataFrame) -> Figure | None:
    """Rows in quarantine by reason (`BreachCounter.list_reasons`); None where there are none."""
    if reasons.empty:
        return None
    part = reasons.head(BARS)
    title = f"Why rows are in quarantine{describe_top(len(part), len(reasons))}"
    values = part.set_index("reason")["rows"]
    label, colors = "rows (one may have several reasons)", [POSITIVE] * len(part)
    figure = draw_bars(values, title=title, label=label, colors=colors, form=",d", letters=SENTENCE)
    figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_missing(shares: pd.Series[Any]) -> Figure | None:
    """The share of missing values of the columns that have any, the most first; None where there are none."""
    some = shares[shares > 0].sort_values(ascending=False, kind="stable")
    if some.empty:
        return None
    part = some.head(BARS)
    title = f"Missing values{describe_top(len(part), len(some))}"
    figure = draw_bars(part * 100, title=title, label="rows, %", colors=[NEGATIVE] * len(part), form=".2f")
    figure.axes[0].set_xlim(0, min(115, max(float(part.iloc[0]) * 125, 1)))
    return figure


def draw_outliers(numbers: pd.DataFrame, fences: pd.DataFrame) -> Figure | None:
    """A box for each numeric column, its outer fences dashed, what lies beyond as dots; None without numeric columns.

    `numbers` are the numeric columns as float64, those of a sample where rows are many; `fences` count all rows `below` and
    `above` them. The columns with the most outliers come first.
    """
    if fences.empty:
        return None
    part = fences.assign(count=fences["below"] + fences["above"])
    part = part.sort_values("count", ascending=False, kind="stable").head(BOXES)
    figure, grid = new_grid(len(part), height=1.45)
    for axes, name, lower, upper, count in zip(
        grid, part["column"], part["lower"], part["upper"], part["count"], strict=True
    ):
        values = numbers[name].to_numpy()
        box = sketch_box(values[np.isfinite(values)], lower, upper)
        axes.bxp([box], orientation="horizontal", widths=0.5, medianprops=MEDIAN, flierprops=BEYOND)
        low, high = axes.get_xlim()
        for fence in (lower, upper):
            if low <= fence <= high:
                axes.axvline(fence, color=ACCENT, linewidth=1, linestyle="--")
        axes.set_title(f"{shorten(name)}: {count:,} beyond" if count else shorten(name), fontsize=9)
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=7)
        axes.locator_params(axis="x", nbins=5)
    title = "Quartiles, whiskers (1.5 IQR) and what lies beyond the outer fences (3 IQR)"
    figure.suptitle(f"{title}{describe_top(len(part), len(fences))}", fontsize=10, x=0.01, ha="left", weight="bold")
    return figure


def sketch_box(finite: np.ndarray[Any, Any], lower: float, upper: float) -> dict[str, Any]:
    """What matplotlib needs for a box: quartiles, whiskers and at most POINTS of the numbers beyond the fences."""
    if not len(finite):
        return dict.fromkeys(("q1", "med", "q3", "whislo", "whishi"), np.nan) | {"fliers": []}
    first, middle, third = np.quantile(finite, [0.25, 0.5, 0.75])
    reach = 1.5 * (third - first)
    beyond = np.sort(finite[(finite < lower) | (finite > upper)])
    kept = np.unique(np.linspace(0, len(beyond) - 1, min(len(beyond), POINTS)).round().astype(int))
    return {
        "q1": first,
        "med": middle,
        "q3": third,
        "whislo": finite[finite >= first - reach].min(),
        "whishi": finite[finite <= third + reach].max(),
        "fliers": beyond[kept],
    }


def draw_associations(associations: pd.DataFrame) -> Figure | None:
    """The association of each pair of columns as a heat map, of the most associated columns where there are many."""
    size = len(associations)
    if size < 3:
        return None
    square = associations.to_numpy()
    strongest = np.where(np.eye(size, dtype=bool), 0, square).max(axis=1)
    kept = np.sort(np.argsort(-strongest, kind="stable")[:CELLS])
    part = np.where(np.triu(np.ones((len(kept), len(kept)), dtype=bool)), np.nan, square[np.ix_(kept, kept)])
    names = [shorten(name) for name in associations.index[kept]]
    figure, (axes,) = new_grid(1, columns=1, width=8.0, height=1.6 + 0.24 * len(kept))
    image = axes.imshow(part[1:, :-1], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(kept) - 1), names[:-1], rotation=90, fontsize=7)
    axes.set_yticks(range(len(kept) - 1), names[1:], fontsize=7)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(
        f"How strongly columns go together (0: not at all, 1: one follows from the other){describe_top(len(kept), size)}"
    )
    figure.colorbar(image, ax=axes, shrink=0.6, label="association")
    return figure


def draw_univariate_auc(separation: pd.DataFrame, limit: float) -> Figure | None:
    """The AUC of each column alone, with the line above which a column is suspected to know the answer."""
    if separation.empty:
        return None
    part = separation.head(BARS).set_index("column")["roc_auc"]
    title = f"How well each column alone separates the classes{describe_top(len(part), len(separation))}"
    colors = [POSITIVE if area > limit else NEGATIVE for area in part]
    figure = draw_bars(part, title=title, label="ROC AUC (0.5: a coin)", colors=colors, form=".2f")
    draw_limit(figure, limit, "suspect of leakage")
    figure.axes[0].set_xlim(0.5, 1.04)
    return figure


def draw_drift(drift: pd.DataFrame, limit: float) -> Figure | None:
    """The stability index of each column against the reference, the furthest first; None where nothing moved."""
    moved = drift[drift["psi"] >= 0.0005].sort_values("psi", ascending=False, kind="stable")
    if moved.empty:
        return None
    part = moved.head(BARS)
    shifted = (part["psi"] > limit) & (part["psi"] > part["chance"])
    colors = [POSITIVE if far else NEGATIVE for far in shifted]
    title = f"How far columns are from the reference{describe_top(len(part), len(moved))}"
    values = part.set_index("column")["psi"]
    figure = draw_bars(values, title=title, label="population stability index", colors=colors, form=".3f")
    draw_limit(figure, limit, "limit")
    figure.axes[0].set_xlim(0, 1.15 * max(limit, float(values.iloc[0])))
    return figure


def draw_limit(figure: Figure, limit: float, label: str) -> None:
    """A dashed line at the limit across a figure's bars, with its name at the foot."""
    axes = figure.axes[0]
    axes.axvline(limit, color=POSITIVE, linewidth=1, linestyle="--")
    foot = axes.get_ylim()[0]
    axes.annotate(f"{label} ", (limit, foot), color=POSITIVE, fontsize=8, ha="right", va="bottom")


def draw_course(
    moments: pd.Series[Any], gaps: tuple[tuple[pd.Timestamp, pd.Timestamp], ...], rows: int
) -> Figure | None:
    """Rows over time in sixty bins, gaps shaded, from the moments of all `rows` or of a sample of them.

    None where no moment is there or all are one.
    """
    present = moments.dropna()
    if present.nunique() < 2:
        return None
    figure, (axes,) = new_grid(1, columns=1, height=2.4)
    axes.hist(present.to_numpy(), bins=60, color=NEGATIVE, weights=np.full(len(present), rows / len(moments)))
    for start, end in gaps:
        axes.axvspan(start, end, color=ACCENT, alpha=0.35)  # type: ignore[arg-type]
    axes.set(title="Rows over time (gaps shaded)" if gaps else "Rows over time", ylabel="rows")
    return figure
