"""Figures, tables and sentences about what a model's decisions are worth, whom they concern, and where they err."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from lifecycle.core.records import Record
from lifecycle.reporting.plots import ACCENT, NEUTRAL, POSITIVE, new_grid
from lifecycle.reporting.wording import format_number, format_percent, quote

_TITLES = {"loss": "high loss", "over": "predicts too much", "under": "predicts too little"}
_MEASURES = {  # of a slice: the columns of its table, with their formats
    "predicted": ("predicted", ".1%"), "positive": ("rate", ".1%"), "loss": ("loss", ".3f"),
    "expected": ("expected", ".3f"), "others": ("rest", ".3f"), "effect": ("effect", "+.2f"),
}  # fmt: skip
_LEAST_TOP = 0.001  # of the figure's axis, where positives are so rare that acting is worth nothing
_FLOOR = -0.15  # of the net benefit in the figure, as a part of its greatest value


def draw_net_benefit(curve: pd.DataFrame, threshold: float) -> Figure:
    """Draw the decision curve (`trace_net_benefit`) with its band, beside acting on every row and on none.

    Thresholds from which on the model predicts nothing positive are left out, unless none is left then.
    """
    used = curve[(curve["high"] > 0) | (curve["threshold"] <= threshold)]
    used = curve if used.empty else used
    figure, (axes,) = new_grid(1, columns=1, width=6.5, height=3.2)
    axes.fill_between(used["threshold"], used["low"], used["high"], color=POSITIVE, alpha=0.18, linewidth=0)
    axes.plot(used["threshold"], used["model"], color=POSITIVE, label="this model, with 95 % band")
    axes.plot(used["threshold"], used["everyone"], color=NEUTRAL, linestyle="--", label="act on every row")
    axes.axhline(0, color="black", linewidth=1, label="act on none")
    axes.axvline(threshold, color="black", linewidth=1, linestyle=":")
    top = float(max(used["high"].max(), used["everyone"].max(), _LEAST_TOP))
    axes.annotate(f" threshold {threshold:.2f}", (threshold, 1.08 * top), fontsize=8, va="top")
    axes.set(
        xlabel="probability from which it pays to act", ylabel="net benefit (true positives per row)",
        title="Decision curve (hold-out)", xlim=(0, float(used["threshold"].max())), ylim=(_FLOOR * top, 1.1 * top),
    )  # fmt: skip
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper right", fontsize=8, bbox_to_anchor=(1, 0.93))
    return figure


def describe_net_benefit(record: Record) -> str:
    """Describe the decision curve at the model's threshold, as Markdown."""
    model, everyone, gained = (_per_thousand(record[name]) for name in ("model", "everyone", "over_everyone"))
    over = record["over_everyone"]
    shown = (
        "better than acting on every row" if over["low"] > 0 else "worse than acting on every row" if over["high"] < 0
        else "not shown to be better than acting on every row"
    )  # fmt: skip
    none = "better than acting on none" if record["model"]["low"] > 0 else "not shown to be better than acting on none"
    return (
        f"At the threshold {record['threshold']:.2f}, the decisions on a thousand rows are worth as much as finding **{model}** "
        f"positives without a single false alarm. Acting on every row is worth {everyone}; the difference is {gained}. The "
        f"model is {shown}, and {none}."
    )


def _per_thousand(estimate: Mapping[str, float]) -> str:
    """Format a share and its interval in thousandths."""
    value, low, high = (1000 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.0f} ({low:.0f} to {high:.0f})"


def draw_profit(curve: pd.DataFrame, record: Record) -> Figure:
    """Draw the profit by capacity (`trace_profit`) with its band, the wanted capacity, and that of greatest profit."""
    figure, (axes,) = new_grid(1, columns=1, width=6.5, height=3.2)
    axes.fill_between(curve["capacity"], curve["low"], curve["high"], color=POSITIVE, alpha=0.18, linewidth=0)
    axes.plot(curve["capacity"], curve["value"], color=POSITIVE, label=f"by {record['by']}, with 95 % band")
    axes.plot(curve["capacity"], curve["random"], color=NEUTRAL, linestyle="--", label="at random")
    axes.axhline(0, color="black", linewidth=1)
    axes.plot(
        [record["capacity"]], [record["value"]["value"]], "o", color="black", markersize=5,
        label=f"capacity {record['capacity']:,}: {format_number(record['value']['value'])}",
    )  # fmt: skip
    best = record["best"]
    axes.axvspan(best["capacity"]["low"], best["capacity"]["high"], color=ACCENT, alpha=0.2, linewidth=0)
    axes.axvline(
        best["capacity"]["value"], color=ACCENT, linewidth=1,
        label=f"greatest profit, near {best['capacity']['value']:,.0f} (95 % interval)",
    )  # fmt: skip
    axes.set(
        xlabel=f"rows acted on, of {record['population']:,}", ylabel="profit", title="Profit by capacity (hold-out, scaled)",
        xlim=(0, record["population"]),
    )  # fmt: skip
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="best", fontsize=8)
    return figure


def describe_profit(record: Record) -> str:
    """Describe whom to act on and what that is worth, as Markdown."""
    size, value, best, rule = record["capacity"], record["value"], record["best"], record["rule"]
    cutoff = f"{record['cutoff']:.2f}" if record["by"] == "probability" else format_number(record["cutoff"])
    place = best["capacity"]
    return (
        f"Of {record['population']:,} rows like these, act on the **{size:,}** with the highest {record['by']}, which is "
        f"{cutoff} or more. That is worth **{_format_range(value)}**, where as many rows at random are worth "
        f"{format_number(record['random'])}; {format_percent(record['found'])} of the positives are among them. The profit is "
        f"greatest near {place['value']:,.0f} rows ({place['low']:,.0f} to {place['high']:,.0f}). Acting on every row whose "
        f"expected value is not below zero, {rule['capacity']:,} of them, is worth {_format_range(rule['value'])}. "
        f"{record['note']}"
    ).strip()


def _format_range(estimate: Mapping[str, float]) -> str:
    """Format a value and its interval."""
    return f"{format_number(estimate['value'])} ({format_number(estimate['low'])} to {format_number(estimate['high'])})"


def tabulate_flips(flips: Record, most: int = 12) -> pd.DataFrame:
    """Return a table of the decisions that differ from the champion's (`count_flips`), as text.

    After all rows come the slices with the largest shares, at most so many.
    """
    ordered = sorted(flips["by_slice"], key=lambda record: -record["flips"]["value"])[:most]
    rows = {
        name: {
            "rows": f"{record['rows']:,}",
            "treated otherwise": _format_share(record["flips"]),
            "newly predicted positive": _format_share(record["to_positive"]),
            "no longer": _format_share(record["to_negative"]),
        }
        for name, record in [
            ("all rows", flips),
            *((f"{record['column']} = {record['category']}", record) for record in ordered),
        ]
    }
    return pd.DataFrame(rows).T


def _format_share(estimate: Mapping[str, float]) -> str:
    """Format a share and its interval in percent."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f}\u2013{high:.1f})"


def tabulate_suspects(suspects: Sequence[Record]) -> pd.DataFrame:
    """Return a table of the slices that stood out out of fold (`find_weak_slices`), as text; empty without any."""
    rows = [{"suspected": _TITLES[record["kind"]], **_format_errors(record)} for record in suspects]
    return pd.DataFrame(rows, index=[_name_slice(record) for record in suspects])


def tabulate_weak_slices(records: Sequence[Record]) -> pd.DataFrame:
    """Return a table of the suspects on the hold-out (`confirm_weak_slices`), as text; empty without any."""
    rows = [
        {
            "suspected": _TITLES[record["kind"]],
            **_format_errors(record),
            "confirmed": _format_test(record),
        }
        for record in records
    ]
    return pd.DataFrame(rows, index=[_name_slice(record) for record in records])


def _format_test(record: Record) -> str:
    """Return whether the hold-out confirms a suspect, and its p-value."""
    if record["p"] is None:
        return "too few rows"
    p = "< 0.001" if record["p"] < 0.001 else f"= {record['p']:.3f}"
    return f"{'yes' if record['confirmed'] else 'no'}, p {p}"


def _format_errors(record: Record) -> dict[str, str]:
    """Return what is measured of a slice as the cells of a table."""
    if record["loss"] is None:
        return {"rows": f"{record['rows']:,}", **dict.fromkeys(_MEASURES, "\u2013")}
    cells = {name: f"{record[key]:{form}}" for name, (key, form) in _MEASURES.items()}
    return {"rows": f"{record['rows']:,}", **cells}


def describe_weak_slices(records: Sequence[Record], significance: float) -> str:
    """Describe what became of the suspects on the hold-out, as Markdown."""
    if not records:
        return "No group of rows stood out in the search on the training part."
    confirmed = [record for record in records if record["confirmed"]]
    tested = sum(record["confirmed"] is not None for record in records)
    found = (
        f"Of {len(records)} groups that stood out in the search on the training part, the hold-out has enough rows to test "
        f"{tested} and confirms **{len(confirmed)}**. The p-values are corrected for {tested} tests by Holm's method, so that "
        f"the chance of a false confirmation is {significance:.0%} at most."
    )
    said = []
    for record in confirmed:
        if record["kind"] == "loss":
            more = (
                "which its probabilities themselves expect: these rows are hard to tell apart, not wrongly predicted"
                if record["loss"] <= 1.1 * record["expected"] else "more than its probabilities expect"
            )  # fmt: skip
            said.append(
                f"{quote(_name_slice(record))}: log loss {record['loss']:.3f}, where other rows have {record['rest']:.3f}, {more}."
            )
        else:
            said.append(
                f"{quote(_name_slice(record))}: the model {_TITLES[record['kind']]}, {format_percent(record['predicted'])} on average where "
                f"{format_percent(record['rate'])} are positive."
            )
    return "\n- ".join([found + "\n" * bool(said), *said])


def _name_slice(record: Record) -> str:
    """Return the name of a slice over one column or two."""
    return ", ".join(f"{column} = {category}" for column, category in record["values"].items())
