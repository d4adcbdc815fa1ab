"""How a column of text is read: as numbers, times or words, and which words in it mean missing.

A reading is decided from the whole column, by its distinct words and how often each occurs. What it is not sure of, it says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.adoption.guess import FEW, FEW_SHARE, READABLE, Profile, Series, format_values
from lifecycle.adoption.numbers import read_numbers, seem_grouped
from lifecycle.adoption.times import TIME_DIGITS, read_times
from lifecycle.adoption.words import Words, to_arrow, to_numpy
from lifecycle.core.moments import WORDS
from lifecycle.core.parsing import CLOCK, EXACT, find_words, parse_text
from lifecycle.validation.names import NameKind, classify_name

# What programs and people write for "there is no value", in lower case; `#` marks the errors of a spreadsheet.
NO_VALUE = {
    "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "nan", "-nan", "null", "(null)", "<null>", "nul", "nil", "none", "<na>", "nat", "\\n", "?", "??", "???",
    "-", "--", "---", "–", "—", ".", "..", "...", "…", "*", "**", "x", "/", "_", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", "1.#qnan",
    "missing", "(missing)", "unknown", "(unknown)", "(blank)", "blank", "empty", "(empty)", "not available", "not applicable", "no data", "nd", "n.d.",
    "n/d", "tbd", "tba", "undefined", "k.a.", "k. a.", "k.a", "ka", "keine angabe", "keine angaben", "unbekannt", "n.v.", "leer", "fehlt", "entfällt",
    "inconnu", "non renseigné", "nr", "n.r.", "s/d", "s/o", "sin datos", "sin dato", "desconocido", "sconosciuto", "non disponibile", "n.d.a.",
    "desconhecido", "não informado", "onbekend", "brak", "brak danych", "nieznany", "okänd", "saknas", "ukendt", "ukjent", "bilinmiyor", "yok",
    "0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00.00.0000", "0000/00/00",
}  # fmt: skip
# These are never a category: in a column of words, too, they mean missing.
_NEVER_WORDS = {"nan", "-nan", "<na>", "#n/a", "#na", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", "\\n", "(null)", "<null>",
                "nat", "1.#qnan", "?", "??", "???", "-", "--", "---", "–", "—", "k.a.", "k. a.", "keine angabe"}  # fmt: skip
_LONG = 16  # digits from which a whole number is a name rather than a quantity, as float64 is exact up to 15
_SENTINEL_SHARE = 0.002  # of the cells at least, for a repeated extreme such as -999 to mean missing
_SCALE = 8  # distinct numbers from which a column is no scale of answers, among which 99 may be a number like another
_FAR = 1e300  # numbers beyond are no codes, and the distances between them may be infinite
_CODES = 3  # numbers at most that may be codes for missing values
_SUSPECT = np.array([-(10.0**digits) + 1 for digits in range(3, 16)] + [10.0**digits - 1 for digits in range(7, 16)])
_TIMES = {NameKind.TIME, NameKind.OTHER_TIME}
_NO_VALUE = to_arrow(NO_VALUE)
_NO_WORDS = to_arrow(_NEVER_WORDS)
_TRUTHS, _TRUE_FALSE = to_arrow(WORDS), to_arrow(["true", "false"])
_LEADING_ZERO = "[+-]?0[0-9]+"
_EXPONENT = "[0-9]+[eE][0-9]+"  # a code such as 4E12, where programs write the number as 4e+12


@dataclass(frozen=True)
class Reading:
    """A column as it is read: the profile of its values, the contract's rules for its text, and sentences for the person.

    rules: `format`, `unit` and `null_values` where they are needed. code: digits that are a name, of a place or an account.
    """

    profile: Profile
    rules: dict[str, Any]
    why: str = ""
    checks: tuple[str, ...] = ()
    code: bool = False


def read_column(profile: Profile, comma: bool | None = None, *, quoted: bool = False) -> tuple[Reading, str]:
    """Return how a column is read, and the decimal mark that it proves ("" without proof).

    `comma` says whether other columns of the table prove a decimal comma, `quoted` that words such as NA are in quotes while
    numbers are not. A column that is not text is read as it is, but
    for numbers that stand for missing values.
    """
    if not profile.text or not len(profile.present):
        return _drop_sentinels(Reading(profile, {})), ""
    words = Words.count(profile.counts)
    empty = words.find(_NO_VALUE)
    if empty.all():
        return Reading(profile, {}), ""
    reading, decimal = _read_values(profile, words.keep(~empty), classify_name(profile.name), comma)
    if reading is None:
        return _read_words(profile, words, empty & (not quoted)), ""
    if empty.any():
        marks = words.to_list(empty)
        reading = replace(
            reading,
            rules={**reading.rules, "null_values": [*marks, *reading.rules.get("null_values", [])]},
            why=f"{reading.why}; {format_values(marks)} in {words.count_cells(empty):,} cells means missing".removeprefix(
                "; "
            ),
        )
    return _drop_sentinels(reading, words), decimal


def _read_values(
    profile: Profile, words: Words, kinds: frozenset[NameKind], comma: bool | None
) -> tuple[Reading | None, str]:
    """Return the reading of the words as times or numbers, None when they are words or codes."""
    if not kinds & _TIMES:
        plain = _read_plain_whole(profile, words) or (None if comma else _read_plain(profile, words))
        if plain is not None:
            return plain
    if words.find(_TRUE_FALSE).all() and len(words.lowered.unique()) == 2:
        return _complete(profile, words, "bool", {}, "", "true or false"), ""
    if len(words) > 1 and words.find(_TRUTHS).all() and not words.match(r"[01](\.0+)?").all():
        return None, ""  # words for true and false
    if not words.search("[0-9]").any():
        return None, ""
    times = read_times(words, kinds)
    if times is not None:
        rules: dict[str, Any] = {"format": times.form}
        if times.share < READABLE:
            rules["null_values"] = words.to_list(to_numpy(words.parse("datetime", times.form).is_null()))
        return _complete(profile, words, "datetime", rules, times.doubt, "times"), ""
    if words.match(_LEADING_ZERO).any() or _is_long(words) or words.match(_EXPONENT).all():
        return None, ""  # a code
    if words.measure_share(to_numpy(words.parse("float64", CLOCK).is_valid())) >= READABLE:
        reading = _complete(
            profile, words, "float64", {"format": CLOCK, "unit": "seconds"}, _doubt_clock(words), "clock times"
        )
        return replace(reading, why="times of day or durations, read as seconds"), ""
    found = read_numbers(words, comma)
    read = ~np.isnan(found.values)
    share = words.measure_share(read)
    odd = words.keep(~read)
    few = len(odd) <= FEW < int(read.sum()) and share >= FEW_SHARE and not odd.search("[0-9]").any()
    if share < READABLE and not few:
        return None, ""
    numbers = found.values[read]
    whole = bool((numbers == np.trunc(numbers)).all() and (np.abs(numbers) <= EXACT).all())
    rules = {"format": found.form, "unit": found.unit}
    if few and len(odd):
        rules["null_values"] = odd.to_list()
    doubt = found.doubt or _doubt_same(words.keep(read), numbers) or ("" if whole else _doubt_long(words))
    return _complete(profile, words, "int64" if whole else "float64", rules, doubt, "numbers"), found.decimal


def _read_plain(profile: Profile, words: Words) -> tuple[Reading, str] | None:
    """Return the reading of fractions in plain digits, which most columns of numbers are; None for any other column."""
    if not words.contain(".").any() or seem_grouped(words):
        return None
    values, failed = parse_text(words.text, "float64")
    numbers = to_numpy(values)
    if pc.any(failed).as_py() or (numbers == np.trunc(numbers)).all() or words.search(r"^\s*0[0-9]|[eE]").any():
        return None
    return _complete(profile, words, "float64", {}, _doubt_same(words, numbers), "numbers"), "."


def _read_plain_whole(profile: Profile, words: Words) -> tuple[Reading, str] | None:
    """Return the reading of whole numbers in plain digits; None for any other column, and where they may be times or codes."""
    lengths = words.lengths
    if lengths.max() >= _LONG or int(np.bincount(lengths).argmax()) in TIME_DIGITS:
        return None
    if not words.match("-?(?:0|[1-9][0-9]*)").all():
        return None
    return _complete(profile, words, "int64", {}, "", "numbers"), ""


def _parse(present: Series, dtype: str, form: str, null_values: tuple[str, ...]) -> Series:
    """Parse the present cells of a column to the series that a typed column would have."""
    values, _ = parse_text(pa.array(present, pa.string(), from_pandas=True), dtype, form, null_values)
    plain = values.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get)
    return pd.Series(plain).set_axis(present.index)


def _complete(profile: Profile, words: Words, dtype: str, rules: dict[str, Any], doubt: str, what: str) -> Reading:
    """Return the reading of a column as the dtype by its rules, and say what becomes of the cells that it leaves out."""
    null_values = tuple(rules.get("null_values", ()))
    values = _parse(profile.present, dtype, rules.get("format", ""), null_values)
    present = values.dropna()
    checks = [doubt] if doubt else []
    if null_values:
        count = words.count_cells(to_numpy(find_words(words.text, null_values)))
        checks.append(
            f"{format_values(null_values)} in {count:,} cells is taken as missing; remove it from null_values if it is not"
        )
    left = 0
    if len(present) < len(values):
        out = Words.count(profile.present[values.isna().to_numpy()].value_counts(sort=False))
        lost = out.keep(~(out.find(_NO_VALUE) | to_numpy(find_words(out.text, null_values))))
        if left := int(lost.counts.sum()):
            checks.append(
                f"{left:,} cells are not {what} ({format_values(lost.to_list())}); their rows are quarantined"
            )
    missing = profile.missing + len(profile.present) - len(present) - left
    typed = Profile(profile.name, present, present.value_counts(), missing)
    return Reading(typed, {key: value for key, value in rules.items() if value}, "", tuple(checks))


def _doubt_same(words: Words, values: np.ndarray[Any, Any]) -> str:
    """Return a doubt if two words such as 3.1 and 3.10 become one number, as versions and codes would."""
    if len(words) < FEW or len(np.unique(values)) == len(values):
        return ""
    same = pd.Series(values).duplicated(keep=False).to_numpy() & words.match(r"[0-9]+\.[0-9]+")
    pair = words.keep(same & (values == values[same][0])).head(2) if same.any() else []
    if len(pair) < 2:
        return ""
    return (
        f"{pair[0]!r} and {pair[1]!r} become the same number; set role categorical and dtype string if they are codes"
    )


def _doubt_clock(words: Words) -> str:
    """Return a doubt if only some durations have three parts: `59:30` next to `1:02:03` may be minutes and seconds."""
    short, full = (words.keep(words.match(f"[0-9]+(?::[0-9]{{2}}){{{parts}}}")) for parts in (1, 2))
    if not len(short) or not len(full):
        return ""
    return (
        f"{short.head(1)[0]!r} is read as hours and minutes although others, such as {full.head(1)[0]!r}, have seconds; "
        "write all three parts in the source if it is minutes and seconds"
    )


def _doubt_long(words: Words) -> str:
    """Return a doubt if some whole numbers have more digits than float64 keeps, as account numbers have."""
    long = words.keep(words.match(f"[+-]?[0-9]{{{_LONG + 1},}}"))
    if not len(long):
        return ""
    return f"{long.head(1)[0]!r} has more digits than a number keeps; set dtype string and role id or ignored if it is a name"


def _is_long(words: Words) -> bool:
    """Return whether whole numbers are too long to be quantities: float64 would alter them."""
    return bool((words.lengths >= _LONG).mean() >= READABLE / 2 and words.match("[+-]?[0-9]+").all())


def _read_words(profile: Profile, words: Words, empty: np.ndarray[Any, Any]) -> Reading:
    """Return the reading of a column of words: what may mean missing stays a word where it may be a category."""
    never = words.find(_NO_WORDS) & empty
    code = bool(words.match("[+-]?[0-9]+")[~empty].mean() >= READABLE)
    checks: tuple[str, ...] = ()
    if (doubtful := empty & ~never).any():
        checks = (
            f"{format_values(words.to_list(doubtful))} in {words.count_cells(doubtful):,} cells stays a word; add it to null_values if it means missing",
        )
    if not never.any():
        return Reading(profile, {}, checks=checks, code=code)
    marks = words.to_list(never)
    present = profile.present[~profile.present.isin(marks)]
    typed = Profile(
        profile.name, present, present.value_counts(), profile.missing + len(profile.present) - len(present)
    )
    checks += (
        f"{format_values(marks)} in {words.count_cells(never):,} cells is taken as missing; remove it from null_values if it is a word",
    )
    return Reading(typed, {"null_values": marks}, "", checks, code)


def _drop_sentinels(reading: Reading, words: Words | None = None) -> Reading:
    """Take a repeated extreme of nines far from all other values, such as -999, as missing, and say so.

    Where little speaks for it, as with 99 among the answers 1 to 5, or -999 between other numbers, it stays a number, and a
    check says so. `words` are those of a column of text, as `-999.00` is to be listed as it is written.
    """
    profile = reading.profile
    if not pd.api.types.is_numeric_dtype(profile.present) or profile.present.dtype == "boolean" or profile.distinct < 3:
        return reading
    numbers = np.sort(profile.counts.index.to_numpy(dtype="float64"))
    numbers = numbers[np.abs(numbers) < _FAR]
    marks = [value for value in {numbers[0], numbers[-1]} if _is_nines(value)] if len(numbers) > 2 else []
    others = numbers[~np.isin(numbers, marks)]
    if not len(others):
        return reading
    least = max(3, _SENTINEL_SHARE * len(profile.present))
    span = float(others[-1] - others[0]) or 1.0
    for value in sorted(marks):
        count = int(profile.counts.loc[value])
        gap = min(abs(value - others[0]), abs(value - others[-1]))
        apart = gap > max(span, 0.5 * abs(value)) or value < 0 <= others[0]  # alone below zero
        if not apart or count < least or (value > 0 and len(numbers) < _SCALE):
            continue
        numbers = numbers[numbers != value]
        present = profile.present[profile.present != value]
        profile = Profile(profile.name, present, present.value_counts(), profile.missing + count)
        text, spelled = _write_number(value), [_write_number(value)]
        if words is not None:
            spelled = words.to_list(to_numpy(words.parse("float64", reading.rules.get("format", ""))) == value)
        check = f"{text} in {count:,} cells is taken as missing, as it is far from all other values; remove it from null_values if it is a number"
        reading = replace(
            reading, profile=profile, rules={**reading.rules, "null_values": [*reading.rules.get("null_values", []), *spelled]},
            checks=(*reading.checks, check),
        )  # fmt: skip
    far = _find_far(numbers)
    if profile.counts.loc[far].sum() < least:
        far = far[[_is_nines(value) and abs(value) > 100 for value in far]]
    if not len(suspects := np.union1d(far, numbers[np.isin(numbers, _SUSPECT)])):
        return reading
    count = int(profile.counts.loc[suspects].sum())
    apart = " apart from all others" if len(suspects) == len(far) else ""
    check = f"{', '.join(map(_write_number, suspects))} in {count:,} cells stays a number{apart}; add it to null_values if it means missing"
    return replace(reading, checks=(*reading.checks, check))


def _find_far(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which of a column's numbers, in their order, may be codes for missing values, as surveys have them.

    They are the only one below zero, such as -1, or up to three far above the others that end with nines, such as 77, 88 and 99.
    """
    if len(numbers) > _CODES and numbers[0] < 0 <= numbers[1] and numbers[0] == int(numbers[0]):
        return numbers[:1]
    for count in range(1, _CODES + 1):
        others, far = numbers[:-count], numbers[-count:]
        if len(others) < 2 or not _is_nines(far[-1]):
            break
        if far[0] - others[-1] > max(others[-1] - others[0], 0.5 * abs(far[0])):
            return far
    return numbers[:0]


def _write_number(value: float) -> str:
    """Write a number as a file has it."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _is_nines(value: float) -> bool:
    """Return whether a number is written in nines alone, as marks of missing values are."""
    digits = f"{abs(value):.10g}".replace(".", "")
    return len(digits) >= 2 and set(digits) == {"9"}
