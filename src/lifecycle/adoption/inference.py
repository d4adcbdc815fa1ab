"""Infer the role and type of each column of an unknown table.

A guess is made from a column's name and values alone; it states its reason, so that a reader can correct it, and what is not
certain, so that nothing is guessed without a word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.adoption.categories import (
    MAX_LISTED,
    TOGETHER,
    doubt_form,
    doubt_name,
    doubt_persons,
    guess_category,
    guess_many,
)
from lifecycle.adoption.guess import (
    MAX_CATEGORIES,
    NO_WORDS,
    READABLE,
    YES_WORDS,
    Array,
    Guess,
    Profile,
    format_values,
    make_column,
    mark_missing,
    name_dtype,
    order_classes,
    strip_rules,
)
from lifecycle.adoption.reading import NO_VALUE, Reading, read_column
from lifecycle.adoption.target import guess_target
from lifecycle.adoption.times import describe_times, format_span, read_times
from lifecycle.adoption.words import Words
from lifecycle.core.contract import Column, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.moments import WORDS
from lifecycle.core.parsing import EXACT
from lifecycle.core.records import Record
from lifecycle.validation.conversion import convert_columns, drop_missing, read_plain
from lifecycle.validation.names import NameKind
from lifecycle.validation.pii import find_personal

_LEAST_ROWS = 50  # of a table, to have enough for training and evaluation
_TOP_ROWS = 20  # among which the names of the columns may be
_UNREADABLE = "contains values of a type that is not supported"
_PERSONAL_NUMBERS = {NameKind.PHONE, NameKind.NATIONAL_ID, NameKind.PAYMENT}
_MANY_WORDS = 2  # more words than this in the mean cell are a text, not a name
# What words begin with, or hold, that may be numbers or times in a form that is not known: `4.2k`, `>90`, `2024年`, `12:00`
_MEASURED = r"^\W*\p{Nd}|[0-9]:[0-9]{2}"
_DATED = r"^\p{Nd}{1,4}\D\p{Nd}{1,2}(?:\D|$)|[0-9]:[0-9]{2}"
_MARKS = {"x", "*"}  # among empty cells they mean yes, as in SAP's exports
_LONGEST_FORM = 40  # characters of a number or a time at most
_LEAST_TIMES = 8  # distinct times, for the others to show what is far from them
_FAR = np.timedelta64(3653, "D")  # ten years
_LARGEST = 2.0**64  # whole numbers beyond are no identifiers or times
_REPEATED = 3  # cells of a time that may stand for a missing one


# The table.


def infer_columns(
    table: pa.Table,
    *,
    target: str,
    time: str | None = None,
    identity: str | None = None,
    positive: str | None = None,
    quoted: Collection[str] = (),
) -> dict[str, Guess]:
    """Infer each column of a table, in the table's order, without regard to its association with the target.

    quoted: columns in which words such as NA are in quotes while numbers are not, so that they are words.
    Raises ProjectError for a named column that does not exist, a target without two classes, a time that cannot be
    converted, or a table that is too short.
    """
    _check_request(table, {"--target": target, "--time": time, "--id": identity})
    named: dict[str | None, Callable[[Reading], Guess]] = {
        identity: lambda reading: _guess_identity(reading.profile, "named by --id"),
        time: _require_time,
        target: lambda reading: guess_target(reading.profile, positive, _profile_column(table[target], target)),
    }
    readings = _read_columns(table, {name for name in named if name is not None}, quoted)
    guesses: dict[str, Guess] = {}
    for name in table.column_names:
        if name not in readings:
            guesses[name] = Guess(
                make_column("ignored", "string", name), _UNREADABLE, (f"{_UNREADABLE}: it is left out",)
            )
            continue
        reading = readings[name]
        if name == identity:
            reading = Reading(_profile_column(table[name], name), {})  # the text of an identifier is kept as it is
        guesses[name] = _add_reading(named.get(name, _guess_column)(reading), reading)
    if identity is not None:  # with a named identifier, other columns that number the rows are redundant
        others = {name: guess for name, guess in guesses.items() if guess.column["role"] == "id" and name != identity}
        guesses |= {name: guess.ignore(f"{guess.why}; --id names another column") for name, guess in others.items()}
    if time is None:
        guesses = _choose_time(guesses, readings)
    return _protect_persons(table, guesses)


def _check_request(table: pa.Table, named: Mapping[str, str | None]) -> None:
    """Raise ProjectError for an option that names no column, two that name the same one, and a table that is too short."""
    names = {option: name for option, name in named.items() if name is not None}
    for option, name in names.items():
        if name not in table.column_names:
            there = format_values(table.column_names, 30)
            raise ProjectError(f"{option}: the table has no column {name!r}; it has {there}.{_find_names(table, name)}")
    if len(set(names.values())) < len(names):
        raise ProjectError(f"{', '.join(names)} name the same column: each needs a different one.")
    if table.num_rows < _LEAST_ROWS:
        raise ProjectError(
            f"The table has {table.num_rows} rows: at least {_LEAST_ROWS} are needed for training and evaluation."
        )


def _find_names(table: pa.Table, name: str) -> str:
    """Return a sentence if a cell of the first rows is the name of the column that is missing: they may name the columns."""
    rows = table.slice(0, _TOP_ROWS).to_pylist()
    number = next((number for number, row in enumerate(rows, 1) if name in row.values()), 0)
    if not number:
        return ""
    return (
        f" Row {number} below these names has {name!r}: if it names the columns, say how many lines are above it (--option skip=LINES), "
        "or in a workbook where it begins (--option range=A4, say)."
    )


def _read_columns(table: pa.Table, named: set[str], quoted: Collection[str]) -> dict[str, Reading]:
    """Read each column; those of an unsupported type are left out.

    Columns whose numbers could be read in two ways are read once more where others prove a decimal comma.
    """
    profiles: dict[str, Profile] = {}
    for name in table.column_names:
        try:
            profiles[name] = _profile_column(table[name], name)
        except (ProjectError, pa.ArrowException):
            if name in named:
                raise
    found = {name: read_column(profile, quoted=name in quoted) for name, profile in profiles.items()}
    proven = Counter(decimal for _, decimal in found.values() if decimal)
    comma = proven[","] > proven["."]
    if comma:
        texts = {name: profile for name, profile in profiles.items() if profile.text and _has_marks(profile)}
        found |= {name: read_column(profile, comma, quoted=name in quoted) for name, profile in texts.items()}
    return {name: reading for name, (reading, _) in found.items()}


def _has_marks(profile: Profile) -> bool:
    """Return whether some text of the column holds a mark that numbers may have."""
    return bool(profile.counts.index.str.contains("[.,]", regex=True).any())


def _profile_column(column: pa.ChunkedArray, name: str) -> Profile:
    """Return a column's values and their frequencies; raise ProjectError for values of an unsupported type."""
    series = drop_missing(read_plain(column, name))
    present = series.dropna()
    return Profile(name, present, present.value_counts(), len(series) - len(present))


def _add_reading(guess: Guess, reading: Reading) -> Guess:
    """Return the guess with the rules by which its text is read, and with what was not certain about them."""
    rules, checks = dict(reading.rules), reading.checks
    if marks := guess.column.get("null_values"):  # of a target, which says itself what is missing
        rules["null_values"] = [*marks, *(mark for mark in rules.get("null_values", []) if mark not in marks)]
        checks = tuple(check for check in checks if "stays a word" not in check)
    if guess.column["dtype"] not in ("int64", "float64", "datetime"):
        rules.pop("format", None)
        rules.pop("unit", None)
    if guess.column["dtype"] == "datetime":
        rules.pop("unit", None)
    description = guess.column["description"]
    column = {key: value for key, value in guess.column.items() if key != "description"}
    why = "; ".join(filter(None, [guess.why, reading.why]))
    dropped = column["role"] in ("ignored", "pii")
    return Guess(
        {**column, **({} if dropped else rules), "description": description},
        why,
        (*guess.checks, *(() if dropped and not reading.profile.text else checks)),
    )


def _protect_persons(table: pa.Table, guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """Return the guesses, with columns whose values look personal marked to be dropped."""
    columns = {
        # categories are what was found in the column, and no proof that a person has declared them harmless
        name: column.model_copy(update={"values": None} | ({"role": Role.TEXT} if column.role is Role.IGNORED else {}))
        for name, column in to_columns(guesses).items()
        if column.role is not Role.TARGET and column.dtype != "float64" and guesses[name].why != _UNREADABLE
    }
    raw = pd.DataFrame({name: read_plain(table[name], name) for name in columns})
    found = {finding.column: finding for finding in find_personal([raw], columns) if finding.decision != "redact"}
    changed = {}
    for name, guess in guesses.items():
        if name in found:
            finding = found[name]
            why = f"{finding.cells:,} cells look like {finding.kind} ({finding.example}), so the column is dropped before any other stage reads it"
            plain = {
                key: value for key, value in strip_rules(guess.column).items() if key not in ("format", "null_values")
            }
            changed[name] = Guess(
                {**plain, "role": "pii", "dtype": "string", "pii": "drop"},
                why,
                (
                    f"its values look like personal data ({finding.kind}); it is dropped: set another role and pii: keep if it is not",
                ),
            )
    return {**guesses, **changed}


def to_columns(guesses: Mapping[str, Guess]) -> dict[str, Column]:
    """Return the guesses as columns of the contract."""
    return {name: Column.model_validate(guess.column) for name, guess in guesses.items()}


def _choose_time(guesses: Mapping[str, Guess], readings: Mapping[str, Reading]) -> dict[str, Guess]:
    """Choose the table's time column: the only one whose name says that it is the time of a row."""
    named = [
        name
        for name, guess in guesses.items()
        if guess.column["role"] == "text" and guess.column["dtype"] == "datetime"
    ]
    likely = [
        name
        for name in named
        if NameKind.TIME in readings[name].profile.kinds and not guesses[name].column.get("nullable")
    ]
    changed = {}
    if len(likely) == 1:
        guess = guesses[likely[0]]
        why = f"{guess.why}; the only column whose name is that of a row's time, by which rows are held out where that is possible"
        check = "taken as the time of a row; set role text if it is not"
        changed[likely[0]] = Guess({**guess.column, "role": "time"}, why, (*guess.checks, check))
    for name in named:
        if name not in changed:
            why = f"{guesses[name].why}; not used as a feature: derive features from it (features.derived), or name it with --time"
            checks = guesses[name].checks
            if len(likely) > 1 and name in likely:
                others = ", ".join(other for other in likely if other != name)
                checks = (*checks, f"it may be the time of a row, and so may {others}: name one with --time")
            changed[name] = replace(guesses[name], why=why, checks=checks)
    return {**guesses, **changed}


# One column.


def _guess_column(reading: Reading) -> Guess:
    """Infer a column from its name and values."""
    profile = reading.profile
    name, present = profile.name, profile.present
    if not name:  # the server takes such a key for a row's number
        return Guess(make_column("ignored", name_dtype(profile), name), "has no name", ("a column without a name is left out: name it in the source",))  # fmt: skip
    if not len(present):
        return Guess(make_column("ignored", "string", name), "is empty")
    if profile.distinct == 1 and not profile.missing:
        only = format_values(profile.counts.index)
        return Guess(make_column("ignored", name_dtype(profile), name), f"is {only} in every row")
    if profile.text and profile.distinct == 1 and str(profile.counts.index[0]).strip().lower() in NO_VALUE - _MARKS:
        return Guess(make_column("ignored", "string", name), f"contains only {format_values(profile.counts.index)}")
    if present.dtype == "boolean":
        return mark_missing(profile, make_column("boolean", "bool", name), "true or false")
    if pd.api.types.is_datetime64_any_dtype(present):
        return mark_missing(profile, make_column("text", "datetime", name), format_span(present), _doubt_far(profile))
    return _guess_text(reading) if profile.text else _guess_number(reading)


def _require_time(reading: Reading) -> Guess:
    """Return a guess for the column that --time names; raise ProjectError if it cannot be converted."""
    profile = reading.profile
    if pd.api.types.is_datetime64_any_dtype(profile.present):
        column = make_column("text", "datetime", profile.name)
        guess = mark_missing(profile, column, format_span(profile.present), _doubt_far(profile))
        return replace(guess, column={**guess.column, "role": "time"})
    if profile.present.dtype != "boolean" and len(profile.present):
        words = pd.Series(profile.counts.index, dtype=profile.present.dtype).astype("str").str.removesuffix(".0")
        times = read_times(Words.count(profile.counts.set_axis(words)), frozenset({NameKind.TIME}))
        if times is not None:
            column = make_column("time", "datetime", profile.name, format=times.form)
            values, _ = convert_columns(
                pd.DataFrame({profile.name: profile.present}), {profile.name: Column.model_validate(column)}
            )
            return mark_missing(profile, column, describe_times(values[profile.name], words), times.doubt)
    raise ProjectError(
        f"--time: column {profile.name!r} contains {format_values(profile.counts.index, 3)}: expected times, such as "
        "2024-12-31, 2024-12-31 10:00:00+02:00, 31/12/2024, 20241231, or seconds since 1970."
    )


def _doubt_far(profile: Profile) -> str:
    """Return a doubt about a repeated first or last time that is far from all others, such as 9999-12-31; "" without one."""
    moments = np.sort(profile.counts.index.to_numpy(dtype="datetime64[us]"))
    if len(moments) < _LEAST_TIMES:
        return ""
    first, last = moments[1], moments[-2]
    gaps = {moments[0]: first - moments[0], moments[-1]: moments[-1] - last}
    far = [pd.Timestamp(moment) for moment, gap in gaps.items() if gap > max(last - first, _FAR)]
    counts = {str(moment.date()): int(profile.counts.loc[moment]) for moment in far}
    shown = [f"{day} in {count:,} cells" for day, count in counts.items() if count >= _REPEATED]
    if not shown:
        return ""
    return (
        f"{' and '.join(shown)} is far from all other times; if it means missing, list it in null_values as it is written in the file, "
        "or leave it empty in the source"
    )


def _guess_identity(profile: Profile, why: str, *checks: str) -> Guess:
    """Return a guess for an identifier; digits stay text where a number would lose some of them."""
    if profile.missing:
        why = f"{why}; missing in {profile.missing:,} rows"
        checks = (*checks, f"it is missing in {profile.missing:,} rows, each of which counts as a case of its own")
    if profile.distinct < len(profile.present):
        why = f"{why}; {profile.distinct:,} distinct values in {len(profile.present):,} rows; the split keeps rows with the same value together"
    whole = profile.whole or (profile.text and bool(profile.present.str.fullmatch(r"0|-?[1-9][0-9]{0,17}").all()))
    return Guess(
        make_column("id", "int64" if whole else "string", profile.name, nullable=profile.missing > 0), why, checks
    )


def _is_sequence(profile: Profile) -> bool:
    """Return whether whole numbers number the rows: each occurs once, without a gap."""
    numbers = profile.counts.index
    return bool(len(numbers) > 2 and numbers.max() - numbers.min() == len(numbers) - 1)


def _guess_number(reading: Reading) -> Guess:
    """Infer a column of numbers: an identifier, a time, one of two codes, or a quantity."""
    profile, kinds = reading.profile, reading.profile.kinds
    if not reading.rules.get("format") and (guess := _guess_counted_time(profile)):
        return guess
    if profile.whole:
        if profile.distinct == 2:
            return _guess_pair(profile)
        if profile.distinct > MAX_CATEGORIES and kinds & _PERSONAL_NUMBERS:
            return _guess_personal(profile)
        if profile.named_id and profile.distinct == len(profile.present) > 2:
            return _guess_identity(profile, "each value occurs once, and it is named like an identifier")
        if profile.unique and _is_sequence(profile):
            return _guess_identity(profile, "it numbers the rows")
        if profile.named_id and (profile.distinct > MAX_CATEGORIES or not kinds & {NameKind.CODE, NameKind.QUANTITY}):
            return _guess_repeated(profile)
        if NameKind.CODE in kinds and NameKind.QUANTITY not in kinds:
            return _guess_code(profile)
        if (profile.counts.index.to_series().abs() > EXACT).mean() >= READABLE:
            return _guess_long(profile)
    guess = _guess_quantity(
        profile, profile.counts.index.to_numpy(dtype="float64"), "int64" if profile.whole else "float64"
    )
    if (
        profile.whole
        and profile.unique
        and not reading.rules
        and _has_digits_of_an_id(profile)
        and not kinds & {NameKind.QUANTITY}
    ):
        if bool(profile.present.is_monotonic_increasing):
            return _guess_identity(
                profile, "unique in every row, and rising from row to row",
                "unique in every row and rising from row to row, so it is taken as an identifier; set role numeric if it is a quantity",
            )  # fmt: skip
        return replace(
            guess, checks=("unique in every row: is it a number or an identifier? set role id if it is one",)
        )
    return guess


def _guess_repeated(profile: Profile) -> Guess:
    """Return a guess for whole numbers that repeat and have the name of an identifier, which may be that of a quantity: `week_no`."""
    if profile.distinct > MAX_CATEGORIES:
        return Guess(
            make_column("ignored", "int64", profile.name),
            f"named like an identifier, but its {profile.distinct:,} values repeat: {TOGETHER}",
            (f"named like an identifier, but its values repeat: it is left out; {TOGETHER}",),
        )
    if profile.name.lower().endswith("id"):
        why = f"{profile.distinct:,} values, named like an identifier"
        return mark_missing(
            profile, make_column("categorical", "string", profile.name), why, doubt_name(profile, "categories")
        )
    guess = _guess_quantity(profile, profile.counts.index.to_numpy(dtype="float64"), "int64")
    return replace(guess, checks=(doubt_name(profile, "numbers"),))


def _guess_counted_time(profile: Profile) -> Guess | None:
    """Return a guess for numbers that are times, such as 20241231 or seconds since 1970; None for other numbers."""
    if profile.distinct == 2 or profile.named_id or not (profile.whole or NameKind.TIME in profile.kinds):
        return None
    words = [str(int(value)) if profile.whole else repr(float(value)) for value in profile.counts.index]
    times = read_times(Words(pa.array(words, pa.string()), profile.counts.to_numpy()), profile.kinds)
    if times is None:
        return None
    column = make_column("text", "datetime", profile.name, format=times.form)
    values, _ = convert_columns(
        pd.DataFrame({profile.name: profile.present}), {profile.name: Column.model_validate(column)}
    )
    return mark_missing(profile, column, describe_times(values[profile.name], pd.Series(words)), times.doubt)


def _has_digits_of_an_id(profile: Profile) -> bool:
    """Return whether all whole numbers are positive and have the same number of digits, four at least; or rise by small steps."""
    numbers = profile.counts.index.to_numpy(dtype="float64")
    lengths = {len(str(int(abs(value)))) for value in (numbers.min(), numbers.max())}
    return bool(
        numbers.min() >= 0 and len(profile.present) > MAX_CATEGORIES and len(lengths) <= 2 and max(lengths) >= 3
    )


def _guess_long(profile: Profile) -> Guess:
    """Return a guess for whole numbers of more digits than float64 holds: names rather than quantities."""
    if profile.unique:
        return _guess_identity(
            profile, "unique in every row, and too long for a quantity",
            "unique in every row and too long for a quantity, so it is taken as an identifier; set role numeric if it is a quantity",
        )  # fmt: skip
    digits = profile.counts.index.astype("str")
    text = replace(profile, present=profile.present.astype("str"), counts=profile.counts.set_axis(digits))
    return _guess_text(Reading(text, {}, code=True))


def _guess_personal(profile: Profile) -> Guess:
    """Return a guess for a column whose name suggests personal data."""
    why = f"{profile.distinct:,} distinct values, and its name suggests personal data: the column is dropped before any other stage reads it"
    check = "its name suggests personal data; it is dropped: set another role if it is not"
    return Guess(make_column("pii", "string", profile.name, pii="drop"), why, (check,))


def _guess_code(profile: Profile) -> Guess:
    """Return a guess for whole numbers whose name says that they are a code, such as a postal code."""
    name = profile.name
    if profile.distinct <= MAX_CATEGORIES or profile.repeats:
        column = make_column("categorical", "string", name)
        why = f"{profile.distinct:,} codes by its name, not a quantity"
        return mark_missing(
            profile, column, why, "read as codes by its name; set role numeric and dtype int64 if it is a quantity"
        )
    values = profile.counts.index.to_numpy(dtype="float64")
    guess = _guess_quantity(profile, values, "int64")
    check = (
        f"its name is that of a code, but it has {profile.distinct:,} values, which hardly repeat: "
        "it is used as a number; set role ignored, or group the codes in the source"
    )
    return replace(guess, checks=(check,))


def _guess_pair(profile: Profile) -> Guess:
    """Return a guess for a column of two whole numbers."""
    low, high = sorted(int(value) for value in profile.counts.index)
    column = make_column("boolean", "int64", profile.name, values=[low, high])
    return mark_missing(profile, column, f"{low} or {high}")


def _guess_quantity(profile: Profile, values: Array, dtype: str) -> Guess:
    """Return a guess for a quantity; its limits leave as much room on each side as the range of the seen values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Guess(make_column("ignored", dtype, profile.name), "contains no finite number")
    low, high = float(finite.min()), float(finite.max())
    column = make_column("numeric", dtype, profile.name)
    description = column.pop("description")
    why = f"{low:g} to {high:g}, {profile.distinct:,} distinct values"
    infinite = int(profile.counts.to_numpy()[~np.isfinite(values)].sum())
    check = f"{infinite:,} cells are infinite; their rows are quarantined" if infinite else ""
    inexact = (np.abs(finite) > EXACT) & (np.abs(finite) < _LARGEST)
    if inexact.mean() >= READABLE:
        check = "its numbers have more digits than a double keeps; if they are identifiers or times, write them as whole numbers or text in the source"
    return mark_missing(profile, {**column, **_add_room(low, high), "description": description}, why, check)


def _add_room(low: float, high: float) -> Record:
    """Return limits one range beyond the seen values on each side, in two digits; zero stays a limit, infinity is omitted."""
    span = high - low or abs(high) or 1.0
    least = 0.0 if low >= 0 else _round_away(low - span, math.floor)
    most = 0.0 if high <= 0 and low < 0 else _round_away(high + span, math.ceil)
    if not (math.isfinite(least) and math.isfinite(most)):
        return {}
    return {
        key: int(limit) if limit % 1 == 0 and abs(limit) < EXACT else limit
        for key, limit in (("min", least), ("max", most))
    }


def _round_away(value: float, round_to: Any) -> float:
    """Round a number to two significant digits with `round_to`."""
    if not math.isfinite(value) or value == 0:
        return value
    digits = 1 - math.floor(math.log10(abs(value)))
    if digits > 300:
        return value
    step = 10.0**-digits
    return float(f"{round_to(value / step) * step:.6g}")


def _guess_text(reading: Reading) -> Guess:
    """Infer a column of text that is neither numbers nor times: a boolean, an identifier, a category, or words."""
    profile = reading.profile
    name, values, words = profile.name, profile.counts.index, Words.count(profile.counts)
    lowered = set(words.lowered.unique().slice(0, len(WORDS) + 1).to_pylist())
    if profile.distinct == 2 and lowered <= {*YES_WORDS, *NO_WORDS} and len(order_classes(list(values))) == 2:
        column = make_column("boolean", "string", name, values=order_classes(list(values)))
        return mark_missing(profile, column, f"{format_values(column['values'])}, the second of which is true")
    if profile.distinct > 1 and lowered <= WORDS.keys() and len({WORDS[word] for word in lowered}) == 2:
        said = {
            truth: format_values(sorted(word for word in lowered if WORDS[word] is truth)) for truth in (True, False)
        }
        check = f"{said[True]} is read as true, {said[False]} as false; set role categorical and dtype string if they differ"
        return mark_missing(
            profile, make_column("boolean", "bool", name), f"true and false as {format_values(values)}", check if len(lowered) > 2 else ""
        )  # fmt: skip
    many = profile.distinct > MAX_CATEGORIES or profile.unique
    count = words.count_pieces(10_000)
    single = count <= 1
    longest = words.lengths.max()
    if many and NameKind.PERSONAL in profile.kinds:
        return _guess_personal(profile)
    if many and single and profile.unique and (profile.named_id or words.lengths.min() == longest or reading.code):
        doubt = "" if profile.named_id or reading.code else doubt_form(words, _DATED)
        return _guess_identity(
            profile, "unique in every row", *filter(None, [doubt and f"taken as an identifier; {doubt}"])
        )
    if many and single and reading.code and longest > 15:
        return Guess(
            make_column("ignored", "string", name),
            f"{profile.distinct:,} whole numbers of up to {longest} digits, which are identifiers rather than quantities",
            (f"its numbers are too long for quantities: it is left out; {TOGETHER}",),
        )
    if many and count > _MANY_WORDS:
        doubt = doubt_form(words, _MEASURED) if longest <= _LONGEST_FORM else ""
        return mark_missing(
            profile, make_column("text", "string", name), f"text with {profile.distinct:,} distinct values: not used as a feature",
            f"taken as text and not used; {doubt}" if doubt else "its words are not used: add `terms: 100` to learn from them",
        )  # fmt: skip
    if many:
        return guess_many(profile, words)
    doubt = (
        ""
        if reading.code or profile.distinct <= MAX_LISTED
        else doubt_form(words, _MEASURED) or doubt_persons(profile, words)
    )
    return guess_category(profile, doubt and f"taken as {profile.distinct:,} categories; {doubt}")
