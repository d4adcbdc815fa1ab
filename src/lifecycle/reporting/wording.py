"""Numbers and names as they stand in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def quote(text: object, value: object = None) -> str:
    """A name, or `name = value`, as it stands in a sentence of Markdown."""
    words = f"{text}" if value is None else f"{text} = {value}"
    return "`" + " ".join(words.replace("`", "'").split()) + "`"


def format_percent(share: float) -> str:
    """A share as a percentage, with enough digits to be told from none and from all."""
    edge = min(share, 1 - share)
    digits = 1 if edge >= 0.001 or edge <= 0 else 2 if edge >= 0.0001 else 3
    return f"{100 * share:.{digits}f}\u00a0%"


def format_number(value: float, unit: str = "") -> str:
    """A number with three digits, or whole from a hundred on, and its unit."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def format_estimate(estimate: Mapping[str, float | None], digits: int = 3) -> str:
    """A value with its interval, as `0.842 (0.820-0.862)`; a dash where it is undefined."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None or math.isnan(value):
        return "\u2013"
    return f"{value:.{digits}f} ({low:.{digits}f}\u2013{high:.{digits}f})"
