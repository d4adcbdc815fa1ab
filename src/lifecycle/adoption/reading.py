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
from lifecycle.adoption.numbers import read_numbers
from lifecycle.adoption.times import read_times
from lifecycle.core.parsing import CLOCK, EXACT, WORDS, parse_text
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
# Of these nobody makes a category: in a column of words, too, they mean missing.
_NEVER_WORDS = {"nan", "-nan", "<na>", "#n/a", "#na", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", "\\n", "(null)", "<null>",
                "nat", "1.#qnan", "?", "??", "???", "-", "--", "---", "–", "—", "k.a.", "k. a.", "keine angabe"}  # fmt: skip
_LONG = 16  # digits from which a whole number is a name rather than a quantity, as float64 is exact up to 15
_SENTINEL_SHARE = 0.002  # of the cells at least, for a repeated extreme such as -999 to mean missing
_TIMES = {NameKind.TIME, NameKind.OTHER_TIME}
_LEADING_ZERO = r"[+-]?0\d+"
_EXPONENT = r"\d+[eE]\d+"  # a code such as 4E12, where programs write the number as 4e+12


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
    words = pd.Series(profile.counts.index.to_numpy(dtype=object), dtype="str")
    counts = profile.counts
    empty = words.str.strip().str.lower().isin(list(NO_VALUE)).to_numpy()
    if empty.all():
        return Reading(profile, {}), ""
    rest, rest_counts = words[~empty].reset_index(drop=True), counts[~empty]
    kinds = classify_name(profile.name)
    reading, decimal = _read_values(profile, rest, rest_counts, kinds, comma)
    if reading is None:
        return _read_words(profile, words, empty & (not quoted)), ""
    if empty.any():
        marks = list(words[empty])
        count = int(counts.to_numpy()[empty].sum())
        reading = replace(
            reading,
            rules={**reading.rules, "null_values": [*marks, *reading.rules.get("null_values", [])]},
            why=f"{reading.why}; {format_values(marks)} in {count:,} cells means missing".removeprefix("; "),
        )
    return _drop_sentinels(reading), decimal


def _read_values(
    profile: Profile, words: pd.Series[str], counts: Series, kinds: frozenset[NameKind], comma: bool | None
) -> tuple[Reading | None, str]:
    """Return the reading of the words as times or numbers, None when they are words or codes."""
    trimmed = words.str.strip()
    if not comma and not kinds & _TIMES and (plain := _read_plain(profile, words, counts)) is not None:
        return plain, "."
    lowered = trimmed.str.lower()
    if len(words) > 1 and set(lowered) == {"true", "false"}:
        values = _parse(profile.present, "bool", "")
        return _complete(profile, words, counts, values, {}, "", "true or false"), ""
    if len(words) > 1 and lowered.isin(list(WORDS)).all() and not trimmed.str.fullmatch(r"[01](\.0+)?").all():
        return None, ""  # words for true and false
    times = read_times(words, counts, kinds)
    if times is not None:
        values = _parse(profile.present, "datetime", times.form)
        rules: dict[str, Any] = {"format": times.form}
        if times.share < READABLE:
            read = parse_text(pa.array(words, pa.string()), "datetime", times.form)[0].is_valid()
            rules["null_values"] = list(words[~read.to_numpy(zero_copy_only=False)])
        return _complete(profile, words, counts, values, rules, times.doubt, "times"), ""
    if trimmed.str.fullmatch(_LEADING_ZERO).any() or _is_long(trimmed) or trimmed.str.fullmatch(_EXPONENT).all():
        return None, ""  # a code
    if _share_clock(trimmed, counts) >= READABLE:
        values = _parse(profile.present, "float64", CLOCK)
        reading = _complete(profile, words, counts, values, {"format": CLOCK, "unit": "seconds"}, "", "clock times")
        return replace(reading, why="times of day or durations, read as seconds"), ""
    found = read_numbers(words, counts, comma)
    read = ~np.isnan(found.values)
    share = float(counts.to_numpy()[read].sum() / counts.sum())
    odd = trimmed[~read]
    few = len(odd) <= FEW < int(read.sum()) and share >= FEW_SHARE and not odd.str.contains(r"\d", regex=True).any()
    if share < READABLE and not few:
        return None, ""
    whole = bool(
        (found.values[read] == np.trunc(found.values[read])).all() and (np.abs(found.values[read]) <= EXACT).all()
    )
    dtype = "int64" if whole else "float64"
    rules = {"format": found.form, "unit": found.unit}
    if few and len(odd):
        rules["null_values"] = list(words[~read])
    values = _parse(profile.present, dtype, found.form, tuple(rules.get("null_values", ())))
    doubt = found.doubt or _doubt_same(trimmed[read].reset_index(drop=True), found.values[read])
    return _complete(profile, words, counts, values, rules, doubt, "numbers"), found.decimal


def _read_plain(profile: Profile, words: pd.Series[str], counts: Series) -> Reading | None:
    """Return the reading of fractions in plain digits, which most columns of numbers are; None for any other column."""
    if not words.str.contains(".", regex=False).any():
        return None
    values, failed = parse_text(pa.array(words, pa.string()), "float64")
    numbers = values.to_numpy(zero_copy_only=False)
    if (
        pc.any(failed).as_py()
        or (numbers == np.trunc(numbers)).all()
        or words.str.contains(r"^\s*0\d|[eE]", regex=True).any()
    ):
        return None
    doubt = _doubt_same(words.str.strip(), numbers)
    return _complete(profile, words, counts, _parse(profile.present, "float64", ""), {}, doubt, "numbers")


def _parse(present: Series, dtype: str, form: str, null_values: tuple[str, ...] = ()) -> Series:
    """Parse the present cells of a column to the series that a typed column would have."""
    values, _ = parse_text(pa.array(present, pa.string(), from_pandas=True), dtype, form, null_values)
    plain = values.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get)
    return pd.Series(plain).set_axis(present.index)


def _complete(
    profile: Profile,
    words: pd.Series[str],
    counts: Series,
    values: Series,
    rules: dict[str, Any],
    doubt: str,
    what: str,
) -> Reading:
    """Return the reading of typed values, and say what becomes of the cells that it leaves out."""
    present = values.dropna()
    null_values = list(rules.get("null_values", []))
    lost = profile.present[values.isna().to_numpy()]
    lost = lost[~lost.str.strip().str.lower().isin([*NO_VALUE, *(word.strip().lower() for word in null_values)])]
    checks = [doubt] if doubt else []
    if null_values:
        count = int(counts.to_numpy()[words.isin(null_values).to_numpy()].sum())
        checks.append(
            f"{format_values(null_values)} in {count:,} cells is taken as missing; remove it from null_values if it is not"
        )
    if len(lost):
        checks.append(
            f"{len(lost):,} cells are not {what} ({format_values(list(lost.unique()))}); their rows are quarantined"
        )
    typed = Profile(
        profile.name, present, present.value_counts(), profile.missing + len(profile.present) - len(present) - len(lost)
    )
    kept = {key: value for key, value in rules.items() if value}
    return Reading(typed, kept, "", tuple(checks))


def _doubt_same(words: pd.Series[str], values: np.ndarray[Any, Any]) -> str:
    """Return a doubt if two words such as 3.1 and 3.10 become one number, as versions and codes would."""
    if not words.str.contains(".", regex=False).any() or len(words) < FEW:
        return ""
    same = pd.Series(values).duplicated(keep=False).to_numpy() & words.str.fullmatch(r"\d+\.\d+").to_numpy()
    pair = list(words[same & (values == values[same][0])])[:2] if same.any() else []
    if len(pair) < 2:
        return ""
    return (
        f"{pair[0]!r} and {pair[1]!r} become the same number; set role categorical and dtype string if they are codes"
    )


def _is_long(words: pd.Series[str]) -> bool:
    """Return whether whole numbers are too long to be quantities: float64 would alter them."""
    digits = words.str.fullmatch(r"[+-]?\d+")
    return bool(digits.all() and (words.str.len() >= _LONG).mean() >= READABLE / 2)


def _share_clock(words: pd.Series[str], counts: Series) -> float:
    """Return the share of cells that are times of day or durations."""
    values, _ = parse_text(pa.array(words, pa.string()), "float64", CLOCK)
    return float(counts.to_numpy()[values.is_valid().to_numpy(zero_copy_only=False)].sum() / counts.sum())


def _read_words(profile: Profile, words: pd.Series[str], empty: np.ndarray[Any, Any]) -> Reading:
    """Return the reading of a column of words: what may mean missing stays a word where it may be a category."""
    trimmed = words.str.strip()
    never = trimmed.str.lower().isin(list(_NEVER_WORDS)).to_numpy() & empty
    code = bool(trimmed[~empty].str.fullmatch(r"[+-]?\d+").mean() >= READABLE)
    checks: tuple[str, ...] = ()
    if (doubtful := words[empty & ~never]).size:
        count = int(profile.counts.to_numpy()[empty & ~never].sum())
        checks = (
            f"{format_values(list(doubtful))} in {count:,} cells stays a word; add it to null_values if it means missing",
        )
    if not never.any():
        return Reading(profile, {}, checks=checks, code=code)
    marks = list(words[never])
    present = profile.present[~profile.present.isin(marks)]
    typed = Profile(
        profile.name, present, present.value_counts(), profile.missing + len(profile.present) - len(present)
    )
    count = int(profile.counts.to_numpy()[never].sum())
    checks += (
        f"{format_values(marks)} in {count:,} cells is taken as missing; remove it from null_values if it is a word",
    )
    return Reading(typed, {"null_values": marks}, "", checks, code)


def _drop_sentinels(reading: Reading) -> Reading:
    """Take a repeated extreme of nines far from all other values, such as -999, as missing, and say so."""
    profile = reading.profile
    if not pd.api.types.is_numeric_dtype(profile.present) or profile.present.dtype == "boolean" or profile.distinct < 8:
        return reading
    numbers = np.sort(profile.counts.index.to_numpy(dtype="float64"))
    numbers = numbers[np.isfinite(numbers)]
    marks = [value for value in {numbers[0], numbers[-1]} if _is_nines(value)] if len(numbers) > 2 else []
    others = numbers[~np.isin(numbers, marks)]
    if not len(others):
        return reading
    span = float(others[-1] - others[0]) or 1.0
    for value in sorted(marks):
        count = int(profile.counts.loc[value])
        gap = min(abs(value - others[0]), abs(value - others[-1]))
        apart = gap > max(span, 0.5 * abs(value)) or value < 0 <= others[0]  # alone below zero
        if not apart or count < max(3, _SENTINEL_SHARE * len(profile.present)):
            continue
        present = profile.present[profile.present != value]
        profile = Profile(profile.name, present, present.value_counts(), profile.missing + count)
        text = f"{value:g}" if value == int(value) else repr(value)
        check = f"{text} in {count:,} cells is taken as missing, as it is far from all other values; remove it from null_values if it is a number"
        reading = replace(
            reading, profile=profile, rules={**reading.rules, "null_values": [*reading.rules.get("null_values", []), text]},
            checks=(*reading.checks, check),
        )  # fmt: skip
    return reading


def _is_nines(value: float) -> bool:
    """Return whether a number is written in nines alone, as marks of missing values are."""
    digits = f"{abs(value):.10g}".replace(".", "")
    return len(digits) >= 2 and set(digits) == {"9"}
