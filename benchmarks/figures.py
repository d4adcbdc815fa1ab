"""Figures: what a benchmark measured, each compared with a peer or with a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Limit:
    """A limit and whether it was kept. `exact`: it holds at every size; the others are meant for the full size."""

    text: str
    kept: bool
    exact: bool = False


def at_most(value: float, bound: float, of: str = "ratio") -> Limit:
    """Return the limit that `value` is at most `bound`; `of` names what the value is."""
    return Limit(f"{of} at most {bound:g}", value <= bound)


def at_least(value: float, bound: float, of: str = "ratio") -> Limit:
    """Return the limit that `value` is at least `bound`; `of` names what the value is."""
    return Limit(f"{of} at least {bound:g}", value >= bound)


def none_of(count: float) -> Limit:
    """Return the limit that `count` is zero, at every size."""
    return Limit("none", count == 0, exact=True)


@dataclass(frozen=True)
class Figure:
    """One measured number.

    name: what was measured, with its unit. ours: the number. peer, peer_name: the same number of what it is compared with,
    and what that is. ratio: ours divided by the peer's. limit: the limit in words. kept: whether it was kept. `peer`,
    `peer_name`, `ratio`, `limit` and `kept` are None where there is none.
    """

    name: str
    ours: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    limit: Limit | None

    @classmethod
    def of(
        cls, name: str, ours: float, peer: float | None = None, peer_name: str | None = None, limit: Limit | None = None
    ) -> Self:
        """Return a figure with its ratio."""
        ratio = float(ours) / float(peer) if peer else None
        return cls(name, float(ours), None if peer is None else float(peer), peer_name, ratio, limit)

    @property
    def kept(self) -> bool | None:
        """Whether the limit was kept; None without a limit."""
        return None if self.limit is None else bool(self.limit.kept)

    def without_limit(self) -> Self:
        """Return the figure as it counts at a small size: only exact limits apply."""
        return self if self.limit is None or self.limit.exact else replace(self, limit=None)

    def to_record(self) -> dict[str, Any]:
        """Return the figure as it is written to JSON, numbers rounded to six significant digits."""
        return {
            "name": self.name, "ours": round_number(self.ours), "peer": round_number(self.peer),
            "peer_name": self.peer_name, "ratio": round_number(self.ratio),
            "limit": self.limit.text if self.limit else None, "kept": self.kept,
        }  # fmt: skip


def round_number(value: float | None) -> float | None:
    """Return a number rounded to six significant digits."""
    return None if value is None else float(f"{value:.6g}")


def format_number(value: float | None) -> str:
    """Return a number as people read it: `12,345`, `3.21`, `0.0042`."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def format_verdict(kept: bool | None) -> str:
    """Return `kept`, `missed`, or nothing where there is no limit."""
    return "" if kept is None else "kept" if kept else "missed"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a table with aligned columns."""
    widths = [max(len(line[place]) for line in [header, *rows]) for place in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def format_figures(figures: Sequence[Figure]) -> str:
    """Return a table of figures."""
    rows = [
        (
            figure.name, format_number(figure.ours), format_number(figure.peer), figure.peer_name or "",
            format_number(figure.ratio), figure.limit.text if figure.limit else "", format_verdict(figure.kept),
        )
        for figure in figures
    ]  # fmt: skip
    return format_table(("figure", "ours", "peer", "peer is", "ratio", "limit", ""), rows)
