"""Find out how numbers are written: decimal and thousands marks, currencies, percent, units, and where a minus stands."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc

from lifecycle.adoption.words import Words, to_numpy

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
_SIGNS = (
    r"^\s*\(.*\)\s*$|[0-9]\s*[-\x{2212}]\s*$|^\s*\x{2212}"  # brackets, a minus after the number, and that of typography
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


def read_numbers(words: Words, comma: bool | None = None) -> NumberReading:
    """Return the reading of the words that leaves the fewest cells unread; `comma` is what other columns say of the decimal mark."""
    prefix, suffix = _find_affixes(words)
    best: tuple[float, str, tuple[str, str]] | None = None
    marks_seen = {mark for mark in ".,'’_ \u00a0\u202f" if words.contain(mark).any()}
    if marks_seen & {"\u00a0", "\u202f"}:
        marks_seen |= {" "}
    signs = bool(words.search(_SIGNS).any())
    shares: dict[tuple[str, str], float] = {}
    for thousands, decimal in _MARKS:
        if (thousands and thousands not in marks_seen) or (decimal == "," and not thousands and "," not in marks_seen):
            continue
        form = _write_form(prefix, thousands, decimal, suffix, signs)
        share = words.measure_share(~np.isnan(_parse(words, form)))
        shares[thousands, decimal] = share
        if best is None or share > best[0] + 1e-12:
            best = (share, form, (thousands, decimal))
    assert best is not None  # plain digits are always tried
    marks, doubt = _weigh_marks(words, best[2], shares, comma)
    form = _write_form(prefix, *marks, suffix, signs)
    values = _parse(words, form)
    doubts = filter(None, [doubt, _doubt_bare(words, suffix or prefix, values)])
    return NumberReading(form, suffix or prefix, values, _prove_decimal(words, marks, values), "; ".join(doubts))


def _doubt_bare(words: Words, unit: str, values: _Numbers) -> str:
    """Return a doubt if some numbers other than 0 lack the unit of the others: `0.5` among `50%` may be meant otherwise."""
    bare = words.keep(~words.contain(unit) & ~np.isnan(values) & (values != 0))  # every word contains ""
    if not len(bare):
        return ""
    return f"{bare.counts.sum():,} cells such as {bare.head(1)[0]!r} have no {unit!r}, and are read as if they had"


def _parse(words: Words, form: str) -> _Numbers:
    """Parse words to float64, NaN where they are not numbers of the form."""
    return to_numpy(words.parse("float64", form)).astype(np.float64)


def _write_form(prefix: str, thousands: str, decimal: str, suffix: str, signs: bool) -> str:
    """Write 1234.5 with the marks; plain digits have no format."""
    if not (prefix or thousands or suffix or signs) and decimal == ".":
        return ""
    gap = " " if suffix and suffix not in ("%", "‰", "°") else ""
    return f"{prefix}1{thousands}234{decimal}5{gap}{suffix}{'' if prefix or suffix or not signs else '-'}"


def _find_affixes(words: Words) -> tuple[str, str]:
    """Return the currency before and the currency or unit after the numbers of most cells, "" without one."""
    if not words.search(r"[^0-9\s.,+\-eE]").any():
        return "", ""
    cells = {"prefix": Counter[str](), "suffix": Counter[str]()}
    for word, count in zip(words.to_list(), words.counts.tolist(), strict=True):
        if found := _AFFIXES.match(word):
            for side, text in found.groupdict(default="").items():
                cells[side][text.strip()] += count
    chosen = []
    for side, known in (("prefix", _CURRENCIES), ("suffix", _CURRENCIES | _UNITS)):
        least = _AFFIX_SHARE * words.counts.sum()
        chosen.append(next((text for text, count in cells[side].items() if text in known and count >= least), ""))
    return chosen[0], chosen[1]


def _weigh_marks(
    words: Words, marks: tuple[str, str], shares: dict[tuple[str, str], float], comma: bool | None
) -> tuple[tuple[str, str], str]:
    """Return the marks, and the doubt where every word could be read in two ways: `1,234` and `1.234`.

    A single mark before three digits is a decimal or a thousands mark. Other columns of the table decide; without them a
    comma groups thousands, and a full stop is a decimal mark.
    """
    equal = [other for other, share in shares.items() if share >= shares[marks] - 1e-12]
    for mark, fraction, group in ((",", ("", ","), (",", ".")), (".", ("", "."), (".", ","))):
        marked = words.keep(words.contain(mark))
        if not len(marked) or fraction not in equal or not _is_grouped(marked, mark):
            continue
        if group not in equal and mark == ",":
            continue
        thousands = comma is not True if mark == "," else comma is True
        if mark == "." and not thousands and not seem_grouped(words):
            return fraction, ""
        chosen, other = (group, fraction) if thousands else (fraction, group)
        return chosen, (
            f"{marked.head(1)[0]!r} is read with {mark!r} as a {'thousands' if thousands else 'decimal'} mark; "
            f"set format: {_write_form('', *other, '', False) or '1234.5'!r} if it is the other"
        )
    return marks, ""


def seem_grouped(words: Words) -> bool:
    """Return whether full stops seem to group thousands, as in `985` and `4.170`: of a fraction, the last zero would be left out."""
    dotted = words.contain(".")
    marked, plain = words.keep(dotted), words.keep(~dotted)
    if not len(marked) or not len(plain) or not plain.match("[0-9]{1,3}").all():
        return False
    return _is_grouped(marked, ".") and bool(marked.match(".*0").any())


def _is_grouped(words: Words, mark: str) -> bool:
    """Return whether the mark stands before exactly three digits in every word, as a thousands mark does."""
    digits = pc.replace_substring_regex(words.text, rf"[^0-9{re.escape(mark)}]", "")
    pattern = rf"^[1-9][0-9]{{0,2}}{re.escape(mark)}[0-9]{{3}}$"
    return bool(pc.all(pc.match_substring_regex(digits, pattern), min_count=0).as_py())


def _prove_decimal(words: Words, marks: tuple[str, str], values: _Numbers) -> str:
    """Return the decimal mark that the words prove, as it is not before three digits everywhere; "" without proof."""
    thousands, decimal = marks
    marked = words.keep(words.contain(decimal) & ~np.isnan(values))
    if not len(marked):
        twice = f"{re.escape(thousands)}.*{re.escape(thousands)}"  # no decimal mark occurs twice
        return {",": ".", ".": ","}[thousands] if thousands in (",", ".") and words.search(twice).any() else ""
    return "" if _is_grouped(marked, decimal) else decimal
