"""The style of all figures, and the drawing functions that several stages share."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POSITIVE = "#d1495b"  # the class whose probability is predicted
NEGATIVE = "#4a6fa5"
NEUTRAL = "#7b8794"
ACCENT = "#edae49"

STYLE: Any = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # part of matplotlib, so that the glyphs are the same on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NEUTRAL,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=[NEGATIVE, POSITIVE, ACCENT, "#2a9d8f", "#8f5fa8", NEUTRAL]),
    "legend.frameon": False,
}


def use_style() -> None:
    """Use this style for all figures that follow; a notebook's first cell calls it."""
    plt.rcParams.update(STYLE)


def new_grid(count: int, *, columns: int = 3, width: float = 9.0, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """Create a figure with `count` axes in rows of `columns`; `width` of the figure and `height` of a row are in inches."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False)
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.remove()
    return figure, flat[:count]


def wrap_label(text: object, width: int, lines: int = 1) -> str:
    """Wrap a label into at most `lines` lines of `width` characters, at spaces and punctuation; the last may end in "…".

    Dollar signs are escaped, since matplotlib would read mathematics between them.
    """
    wrapped = [""]
    for part in re.split(r"(?<=[\s_/.,;:-])", " ".join(str(text).split())):
        if wrapped[-1] and len(wrapped[-1]) + len(part.rstrip()) > width and len(wrapped) < lines:
            wrapped[-1] = wrapped[-1].rstrip()
            wrapped.append("")
        wrapped[-1] += part
        while len(wrapped[-1].rstrip()) > width and len(wrapped) < lines:
            wrapped[-1:] = [wrapped[-1][:width], wrapped[-1][width:]]
    if len(wrapped[-1].rstrip()) > width:
        wrapped[-1] = wrapped[-1][: width - 1].rstrip() + "…"
    return "\n".join(wrapped).rstrip().replace("$", r"\$")
