"""Figures of the front page, encoded into the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lifecycle.reporting.plots import NEGATIVE, NEUTRAL, POSITIVE, STYLE, wrap_label

_Record = Mapping[str, Any]


def encode_picture(figure: Figure) -> str:
    """Encode a figure as a PNG data URL; equal figures have equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def draw_gain(gain: Sequence[_Record]) -> str:
    """Draw the share of positives found when the rows with the highest probability are predicted positive first."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.add_subplot()
        flagged = [0.0, *(point["predicted_positive"] for point in gain if point["predicted_positive"] > 0)]
        found = [0.0, *(point["gain"] for point in gain if point["predicted_positive"] > 0)]
        axes.plot(flagged, found, color=POSITIVE, linewidth=2, label="ordered by the model")
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":", label="at random")
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1),
            xlabel="share of all rows, highest probability first",
            ylabel="share of all positives found",
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_title("How many positives are found")
        axes.legend(loc="lower right", fontsize=8)
        return encode_picture(figure)


def draw_drivers(importance: Sequence[_Record], most: int = 8) -> str:
    """Draw the columns that change predictions most."""
    shown = sorted(importance, key=lambda record: -record["attribution"])[:most][::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.add_subplot()
        names = [wrap_label(record["column"], 24, lines=2) for record in shown]
        axes.barh(range(len(shown)), [record["attribution"] for record in shown], color=NEGATIVE)
        axes.set_yticks(range(len(shown)), names)
        axes.set_xlabel("mean change of a prediction, in percentage points")
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axes.set_title("What drives the predictions")
        axes.grid(axis="y", visible=False)
        return encode_picture(figure)
