"""Find out how numbers are written: decimal and thousands marks, currencies, percent, units, and where a minus stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.core.parsing import parse_text

Series: TypeAlias = "pd.Series[Any]"
_Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_CURRENCIES = {
    *"$€£¥₹₽₺₩₪฿₫₴₦₱¢", "R$", "US$", "A$", "C$", "kr", "kr.", "Kč", "zł", "Ft", "lei", "Fr", "Fr.", "SFr.", "Rs", "Rs.", "RM", "zl",
    *["USD", "EUR", "GBP", "JPY", "CNY", "INR", "CHF", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "TRY", "BRL", "MXN", "ZAR", "RUB", "KRW", "SGD", "HKD", "ILS", "THB", "IDR", "MYR", "PHP", "AED", "SAR", "CLP", "COP", "ARS", "PEN", "UAH", "BGN", "VND", "EGP", "NGN", "KES"],
}  # fmt: skip
_UNITS = {
    "%", "‰", "°", "°C", "°F", "mg", "g", "kg", "t", "lb", "lbs", "oz", "mm", "cm", "m", "km", "in", "ft", "yd", "mi", "mile", "miles",
    "m2", "m²", "qm", "km2", "km²", "sqft", "sq ft", "ha", "ml", "cl", "l", "L", "gal", "ms", "s", "sec", "min", "mins", "h", "hr", "hrs", "hours",
    "days", "day", "months", "month", "mo", "years", "year", "yrs", "yr", "Tage", "Monate", "Jahre", "Std", "Std.", "km/h", "mph", "kmh",
    "KB", "MB", "GB", "TB", "kB", "KiB", "MiB", "GiB", "B", "Mbps", "W", "kW", "MW", "kWh", "Wh", "MWh", "V", "A", "mAh", "hp", "PS", "cc", "kmpl", "bhp",
    "km/kg", "Nm", "bar", "psi", "bpm", "mmHg", "kcal", "cal", "Hz", "kHz", "MHz", "GHz", "dB", "px", "pts", "pct", "bps",
}  # fmt: skip
_AFFIXES = re.compile(
    r"^[\s(+\-\u2212]*(?P<prefix>[^\d\s.,'’()+\-\u2212][^\d\s(+\-\u2212]*)?[\s+\-\u2212]*[\d.,][\d.,'’\s\u00a0\u202f]*?"
    r"\s*(?P<suffix>[^\d\s.,'’()\-\u2212].*?)?[\s)\-\u2212]*$"
)
# thousands mark and decimal mark, in the order of preference among equals
_MARKS = (
    ("", "."),
    ("", ","),
    (",", "."),
    (".", ","),
    (" ", ","),
    (" ", "."),
    ("'", "."),
    ("'", ","),
    ("’", "."),
    ("_", "."),
)
_AFFIX_SHARE = 0.5  # of the cells that carry a currency or a unit, for it to be that of the column


@dataclass(frozen=True)
class NumberReading:
    """How a column's numbers are written: the contract's `format` and `unit`, and what was not certain.

    values: float64 (words,), NaN where a word is not read. decimal: the mark that the words prove (`.` or `,`), "" without
    proof. doubt: a sentence, empty when there is none.
    """

    form: str
    unit: str
    values: _Numbers
    decimal: str
    doubt: str = ""


def read_numbers(words: Series, counts: Series, comma: bool | None = None) -> NumberReading:
    """Return the reading of the words that leaves the fewest cells unread; `comma` is what other columns say of the decimal mark."""
    prefix, suffix = _find_affixes(words, counts)
    best: tuple[float, str, tuple[str, str]] | None = None
    marks_seen = {mark for mark in ".,'’_ \u00a0\u202f" if words.str.contains(mark, regex=False).any()}
    if marks_seen & {"\u00a0", "\u202f"}:
        marks_seen |= {" "}
    signs = bool(words.str.contains(r"^\s*\(.*\)\s*$|[0-9]\s*[-\u2212]\s*$|^\s*\u2212", regex=True).any())
    shares: dict[tuple[str, str], float] = {}
    total = float(counts.sum())
    for thousands, decimal in _MARKS:
        if (thousands and thousands not in marks_seen) or (decimal == "," and not thousands and "," not in marks_seen):
            continue
        form = _write_form(prefix, thousands, decimal, suffix, signs)
        read = ~np.isnan(_parse(words, form))
        share = float(counts.to_numpy()[read].sum()) / total
        shares[thousands, decimal] = share
        if best is None or share > best[0] + 1e-12:
            best = (share, form, (thousands, decimal))
    assert best is not None  # plain digits are always tried
    marks, doubt = _weigh_marks(words, best[2], shares, comma)
    form = _write_form(prefix, *marks, suffix, signs)
    values = _parse(words, form)
    return NumberReading(form, suffix or prefix, values, _prove_decimal(words, marks, values), doubt)


def _parse(words: Series, form: str) -> _Numbers:
    """Parse words to float64, NaN where they are not numbers of the form."""
    values, _ = parse_text(pa.array(words, pa.string()), "float64", form)
    numbers: _Numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _write_form(prefix: str, thousands: str, decimal: str, suffix: str, signs: bool) -> str:
    """Write 1234.5 with the marks; plain digits have no format."""
    if not (prefix or thousands or suffix or signs) and decimal == ".":
        return ""
    gap = " " if suffix and suffix not in ("%", "‰", "°") else ""
    return f"{prefix}1{thousands}234{decimal}5{gap}{suffix}{'' if prefix or suffix or not signs else '-'}"


def _find_affixes(words: Series, counts: Series) -> tuple[str, str]:
    """Return the currency before and the currency or unit after the numbers of most cells, "" without one."""
    if not words.str.contains(r"[^\d\s.,+\-eE]", regex=True).any():
        return "", ""
    found = words.str.extract(_AFFIXES)
    weights = counts.to_numpy()
    chosen = []
    for side, known in (("prefix", _CURRENCIES), ("suffix", _CURRENCIES | _UNITS)):
        texts = found[side].str.strip()
        shares = pd.Series(weights).groupby(texts.to_numpy()).sum() / weights.sum()
        common = str(shares.idxmax()) if len(shares) else ""
        chosen.append(common if common in known and shares[common] >= _AFFIX_SHARE else "")
    return chosen[0], chosen[1]


def _weigh_marks(
    words: Series, marks: tuple[str, str], shares: dict[tuple[str, str], float], comma: bool | None
) -> tuple[tuple[str, str], str]:
    """Return the marks, and the doubt where every word could be read in two ways: `1,234` and `1.234`.

    A single mark before three digits is a decimal or a thousands mark. Other columns of the table decide; without them a
    comma groups thousands, and a full stop is a decimal mark.
    """
    equal = [other for other, share in shares.items() if share >= shares[marks] - 1e-12]
    for mark, fraction, group in ((",", ("", ","), (",", ".")), (".", ("", "."), (".", ","))):
        marked = words[words.str.contains(mark, regex=False)]
        if not len(marked) or fraction not in equal or not _is_grouped(marked, mark):
            continue
        if group not in equal and mark == ",":
            continue
        thousands = comma is not True if mark == "," else comma is True
        if mark == "." and not thousands:
            return fraction, ""
        chosen, other = (group, fraction) if thousands else (fraction, group)
        example = str(marked.iloc[0]).strip()
        return chosen, (
            f"{example!r} is read with {mark!r} as a {'thousands' if thousands else 'decimal'} mark; "
            f"set format: {_write_form('', *other, '', False) or '1234.5'!r} if it is the other"
        )
    return marks, ""


def _is_grouped(words: Series, mark: str) -> bool:
    """Return whether the mark stands before exactly three digits in every word, as a thousands mark does."""
    digits = words.str.replace(rf"[^\d{re.escape(mark)}]", "", regex=True)
    return bool(digits.str.fullmatch(rf"[1-9][0-9]{{0,2}}{re.escape(mark)}[0-9]{{3}}").all())


def _prove_decimal(words: Series, marks: tuple[str, str], values: _Numbers) -> str:
    """Return the decimal mark that the words prove, as it is not before three digits everywhere; "" without proof."""
    decimal = marks[1]
    marked = words[words.str.contains(decimal, regex=False).to_numpy() & ~np.isnan(values)]
    if not len(marked):
        return {",": ".", ".": ","}[marks[0]] if marks[0] in (",", ".") and not _is_ambiguous(words, marks[0]) else ""
    return "" if _is_grouped(marked, decimal) else decimal


def _is_ambiguous(words: Series, mark: str) -> bool:
    """Return whether no word has the thousands mark twice."""
    return not (words.str.count(re.escape(mark)) > 1).any()
