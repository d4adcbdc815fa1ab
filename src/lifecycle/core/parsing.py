"""Parse text to the types of the contract, vectorised: numbers, times and booleans as people and programs write them.

A column's `format` says how its text is written:

- of a time: "" for ISO 8601, the letters of strftime (`%d.%m.%Y`), `epoch seconds` (or milliseconds, microseconds,
  nanoseconds) for time since 1970 in UTC, `excel days` for the serial days of a spreadsheet;
- of a number: "" for plain digits (`-1234.5`, `1e3`), the number 1234.5 as it would be written (`1.234,5`, `$1,234.5`,
  `1234,5 %`), or `clock` for a time of day or a duration (`07:30`, `12:00:05 PM`), which is read as seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core.moments import COUNTED, LATEST, WORDS

EXACT = 2**53  # whole numbers up to this are exact in float64
EXCEL = "excel days"
CLOCK = "clock"
TYPES = {
    "string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "datetime": pa.timestamp("us"),
}  # fmt: skip
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
_MOMENT = r"^[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ].*)?)?$"
_EXAMPLE = re.compile(r"(?P<prefix>[^\d(]*)\(?1(?P<thousands>\D?)234(?P<decimal>\D)5(?P<suffix>[^\d)]*)\)?")
_CLOCK = (
    r"^(?P<h>[0-9]{1,4}):(?P<m>[0-5][0-9])(?::(?P<s>[0-5][0-9](?:[.,][0-9]+)?))?\s*(?P<half>[AaPp]?)(?:\.?[Mm]\.?)?$"
)
_BLANKS = "[ \u00a0\u202f\u2009]"  # a blank that groups digits; many locales write one that does not break a line


def parse_text(
    text: pa.Array | pa.ChunkedArray, dtype: str, form: str = "", null_values: tuple[str, ...] = ()
) -> tuple[pa.Array, pa.Array]:
    """Parse an array of strings to a contract's dtype; cells that would lose information or make no sense are not parsed.

    Returns the values (types as in `TYPES`; null where missing or not parsed) and a mask of the cells with something that
    could not be parsed. Missing are null, blank text and `null_values`. The array is cast as a whole first; patterns are
    tried only where that fails.
    """
    text = join_chunks(text)
    text = _blank(text, find_words(text, null_values)) if null_values else text
    if (values := _cast_whole_array(text, dtype, form)) is not None:
        return values, _no_cells(text)
    distinct = text.dictionary_encode()
    words = trim(distinct.dictionary)
    missing = pc.equal(words, "")
    values = _PARSERS[dtype](_blank(words, missing), form)
    failed = pc.and_(pc.invert(missing), pc.is_null(values))
    return values.take(distinct.indices), pc.fill_null(failed.take(distinct.indices), False)


def join_chunks(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one array of Arrow: pandas' text is in chunks as soon as it was joined from parts."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _no_cells(text: pa.Array) -> pa.Array:
    """Return a mask without a cell."""
    return pa.repeat(False, len(text))


def trim(text: pa.Array) -> pa.Array:
    """Strip blanks, among them those that do not break a line."""
    return pc.utf8_trim_whitespace(text)


def find_words(text: pa.Array, words: tuple[str, ...]) -> pa.Array:
    """Return which cells are one of the words, blanks aside."""
    if not words:
        return _no_cells(text)
    return pc.is_in(trim(text), value_set=pa.array([word.strip() for word in words], pa.string()))


def _blank(text: pa.Array, mask: pa.Array) -> pa.Array:
    """Replace the cells of a mask by null; where the mask is null, too."""
    return pc.if_else(pc.fill_null(pc.invert(mask), False), text, pa.scalar(None, text.type))


def _keep(text: pa.Array, pattern: str) -> pa.Array:
    """Replace the cells that a pattern does not match by null."""
    return _blank(text, pc.invert(pc.match_substring_regex(text, pattern)))


def _cast_whole_array(text: pa.Array, dtype: str, form: str) -> pa.Array | None:
    """Cast an array at once; return None where some cell needs a closer look."""
    if dtype == "string":
        return text
    if form == "1234,5" and not pc.any(pc.match_substring(text, ".")).as_py():
        text, form = pc.replace_substring(text, ",", "."), ""  # the commonest format besides the plain one
    if form or dtype == "bool":
        return None
    try:
        values = text.cast(TYPES[dtype])
    except pa.ArrowInvalid:
        return None
    if dtype == "float64" and not pc.all(pc.is_finite(values)).as_py():
        return None  # `nan` and `inf` are words, and a number too large may have been written out
    return values


# Numbers.


@dataclass(frozen=True)
class NumberFormat:
    """The marks of a number, from the number 1234.5 as it would be written; an example needs all of its digits."""

    thousands: str
    decimal: str
    prefix: str
    suffix: str

    @classmethod
    def read(cls, example: str) -> NumberFormat:
        """Read the marks off an example; raise ValueError for text that is not one."""
        found = _EXAMPLE.fullmatch(example.strip())
        if found is None or found["thousands"] == found["decimal"]:
            raise ValueError(
                f"format {example!r} is not how 1234.5 would be written, as in 1234.5, 1.234,5, $1,234.5 or 1234,5 %"
            )
        prefix, suffix = found["prefix"].strip("+- \u00a0\u202f"), found["suffix"].strip("+- \u00a0\u202f")
        return cls(found["thousands"], found["decimal"], prefix, suffix)

    def unmark(self, text: pa.Array) -> pa.Array:
        """Return numbers as plain digits, null where the marks are not in their places.

        The prefix and the suffix may be absent; a minus may be before or after the number, and brackets mean negative.
        """
        for affix, place in ((self.prefix, "^([(+-]?)BLANK*{}BLANK*"), (self.suffix, "BLANK*{}()(BLANK*[)-]?)$")):
            if affix:
                pattern = place.replace("BLANK", _BLANKS).format(re.escape(affix))
                text = pc.replace_substring_regex(text, pattern, r"\1" if place.startswith("^") else r"\1\2")
        text = pc.replace_substring(text, "\u2212", "-")  # the minus sign of typography
        text = trim(text)
        for around in (r"^\((.*)\)$", r"^([^-]*[^-\s])\s*-$"):
            text = pc.replace_substring_regex(text, around, r"-\1")
        thousands, decimal = (re.escape(mark) if mark != " " else _BLANKS for mark in (self.thousands, self.decimal))
        if thousands in (_BLANKS, re.escape("\u00a0"), re.escape("\u202f")):
            thousands = _BLANKS
        inner = "[0-9]{2,3}" if self.thousands == "," else "[0-9]{3}"  # 1,00,000 is how India groups
        whole = rf"[0-9]{{1,3}}(?:{thousands}{inner})*{thousands}[0-9]{{3}}|[0-9]+" if self.thousands else "[0-9]+"
        text = _keep(text, rf"^[+-]?\s*(?:(?:{whole})(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?$")
        if self.thousands:
            text = pc.replace_substring_regex(text, thousands, "")
        return pc.replace_substring_regex(pc.replace_substring(text, self.decimal, "."), r"\s", "")


read_number_format = lru_cache(maxsize=256)(NumberFormat.read)


def _to_digits(text: pa.Array, form: str) -> pa.Array:
    """Return numbers as plain digits without a plus, null for other text."""
    plain = read_number_format(form).unmark(text) if form else text
    return pc.replace_substring_regex(_keep(plain, f"^{NUMBER}$"), r"^\+", "")


def _parse_number(text: pa.Array, form: str) -> pa.Array:
    """Parse numbers to float64; `inf`, `nan` and other marks than those of the format are not accepted."""
    return _parse_clock(text) if form == CLOCK else _to_digits(text, form).cast(pa.float64())


def _parse_whole(text: pa.Array, form: str) -> pa.Array:
    """Parse whole numbers to int64, exactly; `12.0` and `1e3` are accepted, fractions and larger numbers are not."""
    if form == CLOCK:
        numbers, exact = _parse_clock(text), pa.nulls(len(text), pa.int64())
    else:
        digits = _to_digits(text, form)
        exact = _cast_exactly(_keep(digits, "^-?[0-9]+$"))
        numbers = _blank(digits, pc.match_substring_regex(digits, "^-?[0-9]+$")).cast(pa.float64())
    fits = pc.and_(pc.equal(numbers, pc.round(numbers)), pc.less_equal(pc.abs(numbers), EXACT))
    return pc.coalesce(exact, _blank(numbers, pc.invert(fits)).cast(pa.int64()))


def _cast_exactly(digits: pa.Array) -> pa.Array:
    """Cast whole numbers to int64, null beyond its range."""
    try:
        return digits.cast(pa.int64())
    except pa.ArrowInvalid:
        numbers = (None if word is None else int(word) for word in digits.to_pylist())
        return pa.array(
            [number if number is not None and -(2**63) <= number < 2**63 else None for number in numbers], pa.int64()
        )


def _parse_clock(text: pa.Array) -> pa.Array:
    """Parse times of day and durations to seconds, float64."""
    found = pc.extract_regex(text, _CLOCK)
    part = {name: pc.struct_field(found, name) for name in ("h", "m", "s", "half")}
    hours = part["h"].cast(pa.float64())
    half = pc.utf8_lower(part["half"])
    twelve = pc.if_else(pc.equal(hours, 12), 0.0, hours)  # 12 AM is midnight
    hours = pc.if_else(pc.equal(half, ""), hours, pc.if_else(pc.equal(half, "p"), pc.add(twelve, 12.0), twelve))
    seconds = pc.replace_substring(part["s"], ",", ".")
    seconds = pc.if_else(pc.equal(seconds, ""), "0", seconds).cast(pa.float64())
    minutes = part["m"].cast(pa.float64())
    return pc.add(pc.add(pc.multiply(hours, 3600.0), pc.multiply(minutes, 60.0)), seconds)


def _parse_truth(text: pa.Array, form: str) -> pa.Array:
    """Parse true, yes, t, y, 1 and false, no, f, n, 0, in any case."""
    place = pc.index_in(pc.utf8_lower(text), value_set=pa.array([*WORDS], pa.string()))
    return pa.array([*WORDS.values()], pa.bool_()).take(place)


# Times.


def _parse_moment(text: pa.Array, form: str) -> pa.Array:
    """Parse times to microseconds in UTC: in the format, and in ISO 8601, which a server's log has whatever the format is."""
    if not form:
        return _parse_iso(text)
    if form in COUNTED:
        moments = _count_microseconds(text, *COUNTED[form])
    else:
        written = pd.to_datetime(text.to_pandas(), format=form, errors="coerce", utc=True)
        moments = _from_pandas(written)
    if moments.null_count == text.null_count:
        return moments
    return pc.coalesce(moments, _parse_iso(_blank(text, pc.is_valid(moments))))


def _parse_iso(text: pa.Array) -> pa.Array:
    """Parse ISO 8601 dates and times, in UTC when they name an offset; nanoseconds are truncated."""
    iso = pc.replace_substring_regex(_keep(text, _MOMENT), r"(\.[0-9]{6})[0-9]+", r"\1")
    return _from_pandas(pd.to_datetime(iso.to_pandas(), errors="coerce", utc=True, format="ISO8601"))


def _from_pandas(moments: pd.Series) -> pa.Array:
    """Return pandas' times as microseconds without a zone."""
    plain = pd.Series(moments).dt.tz_localize(None).astype("datetime64[us]")
    return pa.array(plain, pa.timestamp("us"), from_pandas=True)


def _count_microseconds(text: pa.Array, unit: float, zero: int) -> pa.Array:
    """Return times that are counted in a unit of so many microseconds, from `zero` microseconds since 1970 on.

    Whole numbers are exact; of others the fraction of a microsecond is lost.
    """
    digits = _to_digits(text, "")
    numbers = digits.cast(pa.float64()).to_numpy(zero_copy_only=False)
    whole = _cast_exactly(_keep(digits, "^-?[0-9]+$"))
    scaled = np.round(numbers * unit)
    fits = np.isfinite(scaled) & (np.abs(scaled + zero) < LATEST)
    exact = whole.fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # what does not fit is masked
        counted = exact // 1000 if unit < 1 else exact * int(unit)
    rounded = np.where(fits, scaled, 0).astype(np.int64)
    values = np.where(whole.is_valid().to_numpy(zero_copy_only=False), counted, rounded) + zero
    return pa.array(values, pa.int64(), mask=~fits).cast(pa.timestamp("us"))


_PARSERS: dict[str, Callable[[pa.Array, str], pa.Array]] = {
    "int64": _parse_whole, "float64": _parse_number, "bool": _parse_truth, "datetime": _parse_moment,
}  # fmt: skip
