"""What was measured of the running server: reports/serving.html, which DVC does not track, for it is another each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from lifecycle.core.files import replace_file
from lifecycle.reporting.front_page import encode_picture
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.plots import ACCENT, NEGATIVE, POSITIVE, STYLE

Record = dict[str, Any]


def draw_latency(seconds: np.ndarray[Any, Any], limit: float) -> str:
    """Times of single requests in milliseconds, on a logarithmic axis, with percentiles and the budget; a data address."""
    times = np.asarray(seconds) * 1e3
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.0))
        axes = figure.add_subplot()
        low, high = times.min() * 0.7, max(times.max(), limit) * 1.2
        axes.hist(times, bins=np.geomspace(low, high, 80).tolist(), color=NEGATIVE)
        axes.set_xscale("log")
        top = axes.get_ylim()[1]
        for share, colour, side, align in ((50, ACCENT, 0.98, "right"), (99, POSITIVE, 1.02, "left")):
            value = np.percentile(times, share)
            axes.axvline(value, color=colour, linewidth=1.5)
            axes.text(
                value * side, top * 0.9, f"p{share} {value:.2f} ms", color=colour, fontsize=8, ha=align,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
        axes.axvline(limit, color=POSITIVE, linewidth=1, linestyle=":")
        axes.text(limit * 0.98, top * 0.6, f"p99 budget {limit:g} ms", color=POSITIVE, fontsize=8, ha="right")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="milliseconds from request to answer", ylabel="requests", xlim=(low, high))
        axes.set_title("How long one row takes")
        return encode_picture(figure)


def write_serving(path: Path, project: str, blessing: Record, measured: Record, picture: str) -> None:
    """Write the page: the verdict on the server, what was measured, and how long requests took."""
    parts = {
        "verdict": render_part("verdict.html.j2", verdict=blessing),
        "cards": render_part("cards.html.j2", cards=list_cards(measured)),
        "conditions": render_part("conditions.html.j2", conditions=blessing["conditions"]),
    }
    body = render_part(
        "serving.html.j2",
        blessing=blessing,
        picture=picture,
        **{name: Markup(part) for name, part in parts.items()},  # noqa: S704 - escaped by their templates
    )
    with replace_file(path) as aside:
        text = render_page("Serving: what was measured", body, project=project, links=[], current=path.name)
        aside.write_text(text, encoding="utf-8")


def list_cards(measured: Record) -> list[dict[str, str]]:
    """The few numbers at the top of the page."""
    return [
        {"label": "Median", "value": f"{measured['serve_p50_ms']:.2f} ms", "note": "of one row, one after the other"},
        {"label": "99 of 100 within", "value": f"{measured['serve_p99_ms']:.2f} ms", "note": "of one row"},
        {
            "label": "One client gets",
            "value": f"{measured['serve_requests_per_second']:,.0f}",
            "note": "answers a second",
        },
        {
            "label": "Start to ready",
            "value": f"{measured['serve_start_seconds']:.2f} s",
            "note": "with Python's own start",
        },
        {"label": "Memory", "value": f"{measured['serve_memory_mb']:.0f} MB", "note": "resident, of one worker"},
    ]
