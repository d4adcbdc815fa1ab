"""The stakeholder's front page: its pictures, and its body from what the stages wrote."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lifecycle.reporting.plots import NEGATIVE, NEUTRAL, POSITIVE, STYLE

Record = Mapping[str, Any]


def encode_picture(figure: Figure) -> str:
    """A figure as a PNG data address: the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def draw_gain(gain: Sequence[Record]) -> str:
    """How many of the positives are found by calling the riskiest rows first."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.add_subplot()
        called = [0.0, *(point["predicted_positive"] for point in gain if point["predicted_positive"] > 0)]
        found = [0.0, *(point["gain"] for point in gain if point["predicted_positive"] > 0)]
        axes.plot(called, found, color=POSITIVE, linewidth=2, label="by the model's order")
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":", label="at random")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of all that are called", ylabel="share of the positives found")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_title("Whom to call first")
        axes.legend(loc="lower right", fontsize=8)
        return encode_picture(figure)


def draw_drivers(importance: Sequence[Record], most: int = 8) -> str:
    """The columns that move predictions most."""
    shown = sorted(importance, key=lambda record: -record["attribution"])[:most][::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.add_subplot()
        names = [name if len(name) <= 26 else name[:25] + "…" for name in (str(record["column"]) for record in shown)]
        axes.barh(range(len(shown)), [record["attribution"] for record in shown], color=NEGATIVE)
        axes.set_yticks(range(len(shown)), names)
        axes.set_xlabel("mean move of a prediction, in percentage points")
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axes.set_title("What moves the predictions")
        axes.grid(axis="y", visible=False)
        return encode_picture(figure)
