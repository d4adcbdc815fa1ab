"""Formatting of numbers and names for sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def quote(text: object, value: object = None) -> str:
    """Format a name, or `name = value`, as code in a sentence of Markdown."""
    words = f"{text}" if value is None else f"{text} = {value}"
    return "`" + " ".join(words.replace("`", "'").split()) + "`"


def format_percent(share: float) -> str:
    """Format a share as a percentage, with enough digits to differ from 0 % and 100 %."""
    edge = min(share, 1 - share)
    digits = 1 if edge >= 0.001 or edge <= 0 else 2 if edge >= 0.0001 else 3
    return f"{100 * share:.{digits}f}\u00a0%"


def format_number(value: float, unit: str = "") -> str:
    """Format a number with three digits, or without decimals from 100 on, and its unit."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def join_words(words: Sequence[str]) -> str:
    """Join words as in `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def format_estimate(estimate: Mapping[str, float | None], digits: int = 3) -> str:
    """Format a value with its interval, as `0.842 (0.820-0.862)`; a dash if it is undefined."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None or math.isnan(value):
        return "\u2013"
    return f"{value:.{digits}f} ({low:.{digits}f}\u2013{high:.{digits}f})"


def format_p(p: float) -> str:
    """Format a p-value, as `p = 0.012`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
