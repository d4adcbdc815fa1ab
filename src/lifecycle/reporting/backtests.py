"""The figure and the sentences of a backtest."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from lifecycle.reporting.plots import NEGATIVE, NEUTRAL, POSITIVE, new_grid

_MODELS = {
    "once": ("fitted once, before the first", NEUTRAL), "again": ("fitted anew before each", POSITIVE),
    "recent": ("fitted anew on recent rows", NEGATIVE),
}  # fmt: skip


def draw_backtest(tested: Any) -> Figure:
    """Draw the ROC AUC of each model by period (`trace_backtest`), with 95 % intervals."""
    figure, (axes,) = new_grid(1, columns=1, width=9.0, height=3.4)
    for number, (key, (title, color)) in enumerate(_MODELS.items()):
        known = [(place, getattr(period, key)) for place, period in enumerate(tested.periods)]
        known = [(place, area) for place, area in known if area is not None]
        if not known:
            continue
        values = [area.value for _, area in known]
        reach = [[area.value - area.low for _, area in known], [area.high - area.value for _, area in known]]
        axes.errorbar(
            [place + 0.08 * (number - 1) for place, _ in known], values, reach, color=color, marker="o", markersize=5,
            capsize=3, label=title,
        )  # fmt: skip
    axes.set_xticks(range(len(tested.periods)), [period.name for period in tested.periods])
    axes.set(xlabel=f"{tested.unit} of the rows that are scored", ylabel="ROC AUC", title="Backtest")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return figure


def describe_backtest(tested: Any, time: str | None) -> str:
    """Say whether retraining would have paid, and on which rows, as Markdown."""
    if time is None:
        return "The table has no column of times, so that there is no past to test on."
    if tested is None:
        return "Too few past periods have enough rows of each class, or `train.backtest.periods` is 0."
    count = len(tested.periods)
    paid = "Retraining would have paid" if tested.again.low > 0 else "It is not shown that retraining would have paid"
    compared = (
        f"Over {count} {tested.unit}s, models that were fitted anew before each differ in ROC AUC from one that was fitted once "
        f"by {_format(tested.again)}, on average."
    )
    said = [f"**{paid}.** {compared}"]
    if tested.recent is not None:
        found = (
            "they are better, so that `retrain.window: sliding` would suit" if tested.recent.low > 0
            else "they are worse, so that `retrain.window: all` would suit" if tested.recent.high < 0
            else "they are shown to be neither better nor worse"
        )  # fmt: skip
        said.append(
            f"Models of recent rows alone differ from those of the whole history by {_format(tested.recent)}: {found}."
        )
    return " ".join(said)


def _format(area: Any) -> str:
    """Return a difference with its interval."""
    return f"{area.value:+.4f} ({area.low:+.4f} to {area.high:+.4f})"
