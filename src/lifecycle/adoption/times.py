"""Infer columns of times and their formats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from lifecycle.adoption.guess import FEW, FEW_SHARE, READABLE, SHOWN, Series, format_values
from lifecycle.adoption.words import Words, to_numpy
from lifecycle.core.parsing import EXCEL
from lifecycle.validation.names import NameKind

_DATES = (
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y/%d/%m", "%d %b %Y", "%d-%b-%Y",
    "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d. %B %Y", "%d. %b %Y", "%d%b%Y", "%Y-%b-%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
    "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d", "%d-%b-%y", "%d %b %y", "%d%b%y", "%b-%d-%y", "%a %d %b %Y", "%a, %d %b %Y",
    "%A, %d %B %Y", "%A, %B %d, %Y", "%d/%b/%Y",
)  # fmt: skip
_CLOCKS = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", ", %H:%M", ", %H:%M:%S", " - %H:%M", "T%H:%M:%S",
    " %H:%M:%S%z", " %H:%M:%S %z", ":%H:%M:%S %z", " %H:%M:%S,%f", " %H.%M", " %H:%M:%S UTC", " %H:%M:%S GMT", " %H:%M %z", ":%H:%M:%S",
)  # fmt: skip
_WHOLE = (
    "%a %b %d %H:%M:%S %Y", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S%z", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S.%f", "%Y%m%dT%H%M%S.%fZ",
    "%Y%m%d %H%M%S", "%Y%m%d %H:%M:%S", "%m/%Y", "%b %Y", "%B %Y", "%b-%y", "%b-%Y", "%Y/%m", "%Ym%m", "%Y-%m-%d %H.%M.%S", "%Y-%m-%d-%H.%M.%S",
    "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC",
    "%Y-%m-%d %H:%M UTC", "%Y-%m-%d %H:%M:%S GMT", "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S UTC %Y", "%b %d %Y", "%b %d %Y %I:%M%p",
)  # fmt: skip
_FORMATS = ("", *_WHOLE, *(date + clock for clock in _CLOCKS for date in _DATES))
TIME_DIGITS = {
    8: ("%Y%m%d",),
    14: ("%Y%m%d%H%M%S",),
    12: ("%Y%m%d%H%M",),
    6: ("%Y%m", "%y%m%d"),
}  # by the number of digits
_EPOCH_DIGITS = {10: "epoch seconds", 13: "epoch milliseconds", 16: "epoch microseconds", 19: "epoch nanoseconds"}
_YEARS = (pd.Timestamp(1900, 1, 1), pd.Timestamp(2100, 1, 1))
_COUNTED = (pd.Timestamp(1990, 1, 1), pd.Timestamp(2050, 1, 1))  # plausible times among numbers
# What a time has at least: digits that are separated twice, or a month next to digits.
_TIMELY = re.compile(
    r"\d[-/. ,:T]+\d+[-/. ,:T]+\d|[A-Za-z]{3}.*\d|\d.*[A-Za-z]{3}|^\d{4}-\d\d|^\d{1,4}[/-]\d{1,4}$|\d[Tm]\d"
)
_SHAPES = {
    "%d": r"\d{1,2}", "%m": r"\d{1,2}", "%Y": r"\d{4}", "%y": r"\d{2}", "%H": r"\d{1,2}", "%I": r"\d{1,2}", "%M": r"\d{1,2}",
    "%S": r"\d{1,2}", "%f": r"\d{1,6}", "%p": r"[AaPp][Mm]", "%b": r"[A-Za-z]{3}", "%B": r"[A-Za-z]{3,9}", "%a": r"[A-Za-z]{3}",
    "%A": r"[A-Za-z]{6,9}", "%z": r"(?:Z|[+-]\d{2}:?\d{2})",
}  # fmt: skip
_DIGIT = re.compile(r"\d")
_TRIED = 200  # words that say whether a column holds digits alone
_NAMED = {NameKind.TIME, NameKind.OTHER_TIME}
_PERSUADING = 12  # distinct months that all exist, for six digits without a telling name to be months
UNMISTAKABLE = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M")  # formats of digits that other numbers hardly fit


@dataclass(frozen=True)
class TimeReading:
    """How a column's times are written: the contract's `format`, the share of the present cells that it reads, and a doubt."""

    form: str
    share: float
    doubt: str = ""


def read_times(words: Words, kinds: frozenset[NameKind]) -> TimeReading | None:
    """Return the format of a column's times, None when its words are not times.

    The format that reads most cells is taken; where two read equally many, the doubt says so. Digits alone are times only
    when their form or the column's name says so.
    """
    if words.match(r"[+-]?[0-9]*\.?[0-9]*")[:_TRIED].mean() >= READABLE:
        return _read_digits(words, kinds)
    first = words.head(SHOWN)
    if not any(_TIMELY.search(word) for word in first):
        return None
    fitting = {form for word in first for form in _find_shapes(_DIGIT.sub("0", word))}
    shares = {form: _measure_share(words, form, _YEARS) for form in _FORMATS if form in fitting}
    good = {form: share for form, share in shares.items() if share is not None}
    if not good:
        return None
    best = max(good, key=lambda form: good[form])
    twins = [
        form for form, share in good.items() if form != best and share >= good[best] and _differ(words, best, form)
    ]
    doubt = ""
    if twins:
        doubt = f"no value shows the order of day, month and year in {first[0]!r}: it is read as {best}; set format: {twins[0]!r} if that is wrong"
    elif "%y" in best:
        doubt = _doubt_century(words, best)
    return TimeReading(best, good[best], doubt)


def _differ(words: Words, one: str, other: str) -> bool:
    """Return whether two formats read some word as different times."""
    return not words.parse("datetime", one).equals(words.parse("datetime", other))


def _doubt_century(words: Words, form: str) -> str:
    """Return a doubt about two-digit years if they are spread over so many years that the century may be wrong."""
    years = pc.min_max(pc.year(words.parse("datetime", form))).as_py()
    if years["max"] - years["min"] < 60:
        return ""
    return f"years of two digits are read as {years['min']} to {years['max']}: write four digits if that is wrong"


def _read_digits(words: Words, kinds: frozenset[NameKind]) -> TimeReading | None:
    """Return the format of times that are written in digits alone."""
    lengths = to_numpy(pc.utf8_length(pc.replace_substring_regex(words.trimmed, r"\..*", "")))
    length = int(np.bincount(lengths).argmax())
    named = bool(kinds & _NAMED)
    shown = words.head(1)[0]
    for form in TIME_DIGITS.get(length, ()):
        share = _measure_share(words, form, _YEARS if named else _COUNTED, lengths == length)
        sure = form in UNMISTAKABLE or named or (form == "%Y%m" and len(words) >= _PERSUADING)
        if share is not None and sure:
            doubt = (
                ""
                if form in UNMISTAKABLE
                else f"{shown!r} is read as {form}; set role numeric and remove format if it is a number"
            )
            return TimeReading(form, share, doubt if not named or form == "%y%m%d" else "")
    if not named or kinds & {NameKind.CODE, NameKind.IDENTIFIER}:
        return None
    form = _EPOCH_DIGITS.get(length, "")
    if form and (share := _measure_share(words, form, _COUNTED)) is not None:
        return TimeReading(form, share)
    if length == 9 and (share := _measure_share(words, "epoch seconds", _COUNTED)) is not None:
        return TimeReading("epoch seconds", share)
    days = (pd.Timestamp(1954, 1, 1), _COUNTED[1])
    if length == 5 and (share := _measure_share(words, EXCEL, days)) is not None:
        doubt = f"{shown!r} is read as the serial day of a spreadsheet; set role numeric and remove format if it is a number"
        return TimeReading(EXCEL, share, doubt)
    return None


def _measure_share(
    words: Words, form: str, years: tuple[pd.Timestamp, pd.Timestamp], among: np.ndarray[Any, Any] | None = None
) -> float | None:
    """Return the share of the present cells that a format reads as times in plausible years; None when it is too small.

    A few words may be left out, as marks of missing values. Only words `among` those of a mask count as read, where one is given.
    """
    moments = to_numpy(words.parse("datetime", form)).astype("datetime64[us]")
    fits = (moments >= years[0].to_datetime64()) & (moments < years[1].to_datetime64())
    if among is not None:
        fits &= among
    share = words.measure_share(fits)
    few = len(fits) - fits.sum() <= FEW < fits.sum() and share >= FEW_SHARE
    return share if share >= READABLE or few else None


@lru_cache(maxsize=4096)
def _find_shapes(word: str) -> tuple[str, ...]:
    """Return the formats of whose shape a word is, its digits replaced by zeros: a quick test that rules out most of them."""
    return tuple(form for form in _FORMATS if _compile_shape(form).fullmatch(word))


@cache
def _compile_shape(form: str) -> re.Pattern[str]:
    """Return the pattern of a format's shape ("": ISO 8601)."""
    if not form:
        return re.compile(r"\d{4}-\d\d.*")
    parts = re.split(r"(%[a-zA-Z])", form)
    return re.compile("".join(_SHAPES.get(part, re.escape(part)) for part in parts))


def format_span(times: Series) -> str:
    """Format the range of times, and their time zone."""
    zone = getattr(times.dtype, "tz", None)
    span = f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}"
    return f"{span}, with a time zone ({zone}), converted to UTC" if zone is not None else span


def describe_times(times: Series, words: pd.Series[str]) -> str:
    """Describe the range of times, and how one is written."""
    return f"{format_span(times.dropna())}, as in {format_values(words.head(1))}"
