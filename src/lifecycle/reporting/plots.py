"""The house style of pictures, and what draws them for more than one stage."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POSITIVE = "#d1495b"  # the class that a probability speaks of
NEGATIVE = "#4a6fa5"
NEUTRAL = "#7b8794"
ACCENT = "#edae49"

STYLE: Any = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
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
    """Draw in the house style from here on; a notebook's first cell calls it."""
    plt.rcParams.update(STYLE)


def new_grid(count: int, *, columns: int = 3, width: float = 9.0, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of `columns`; `width` of the whole and `height` of a row are in inches."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False)
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.remove()
    return figure, flat[:count]
