"""The page about the running server (reports/serving.html); DVC does not track it, because measured times vary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from lifecycle.core.files import replace_file
from lifecycle.core.records import Record
from lifecycle.reporting.front_page import encode_picture
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.plots import ACCENT, NEGATIVE, POSITIVE, STYLE


class _Blessing(Protocol):
    """What the page shows of the verdict on a serving bundle (`promotion.records.Blessing`)."""

    @property
    def bundle(self) -> str:
        """The content hash of the bundle."""

    @property
    def conditions(self) -> Sequence[object]:
        """The checks of the running server."""


def draw_latency(seconds: np.ndarray[Any, Any], limit: float) -> str:
    """Draw a histogram of request times in milliseconds, with percentiles and the budget; return it as a data address."""
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
        axes.set_title("Time to answer one row")
        return encode_picture(figure)


def write_serving(path: Path, project: str, blessing: _Blessing, measured: Record, picture: str) -> None:
    """Write the page: the verdict on the server, the measurements and a picture of the request times."""
    parts = {
        "verdict": render_part("verdict.html.j2", verdict=blessing),
        "cards": render_part("cards.html.j2", cards=_list_cards(measured)),
        "conditions": render_part("conditions.html.j2", conditions=blessing.conditions),
    }
    body = render_part(
        "serving.html.j2",
        bundle=blessing.bundle,
        picture=picture,
        **{name: Markup(part) for name, part in parts.items()},  # noqa: S704 - escaped by their templates
    )
    with replace_file(path) as temporary:
        text = render_page("Serving: measurements", body, project=project, links=[], current=path.name)
        temporary.write_text(text, encoding="utf-8")


def _list_cards(measured: Record) -> list[dict[str, str]]:
    """Return the headline numbers at the top of the page."""
    return [
        {"label": "Median", "value": f"{measured['serve_p50_ms']:.2f} ms", "note": "for one row, requests in sequence"},
        {"label": "99th percentile", "value": f"{measured['serve_p99_ms']:.2f} ms", "note": "for one row"},
        {
            "label": "Throughput",
            "value": f"{measured['serve_requests_per_second']:,.0f}",
            "note": "answers per second to one client",
        },
        {
            "label": "Start to ready",
            "value": f"{measured['serve_start_seconds']:.2f} s",
            "note": "including the start of Python",
        },
        {"label": "Memory", "value": f"{measured['serve_memory_mb']:.0f} MB", "note": "resident, of one worker"},
    ]
