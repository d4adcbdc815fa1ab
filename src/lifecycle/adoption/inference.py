"""Infer the role and type of each column of an unknown table.

A guess is made from a column's name and values alone; it states its reason, so that a reader can correct it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.adoption.guess import (
    MAX_CATEGORIES,
    NO_WORDS,
    READABLE,
    YES_WORDS,
    Array,
    Guess,
    Profile,
    Series,
    format_values,
    make_column,
    mark_missing,
    name_dtype,
    order_classes,
    share_cells,
    split_name,
    strip_rules,
)
from lifecycle.adoption.target import guess_target
from lifecycle.adoption.times import find_format, format_span, guess_time, require_time
from lifecycle.core.contract import Column, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.validation.conversion import EXACT, NUMBER, WORDS, drop_blanks, read_plain
from lifecycle.validation.pii import find_personal

_LEAST_ROWS = 50  # of a table, to have enough for training and evaluation
_MAX_LISTED = 20  # a column with at most so many categories may list them as the only valid ones
_LISTED_ROWS = 5  # rows of the rarest category for the list to count as complete
_UNREADABLE = "contains values of a type that is not supported"
_TIME_WORDS = {"date", "time", "timestamp", "datetime", "day", "at", "when", "created", "month", "period"}
_OTHER_TIME_WORDS = {"birth", "birthdate", "birthday", "dob", "born", "expiry", "expires", "expiration", "due", "end",
                 "updated"}  # fmt: skip
_PERSONAL_WORDS = {"name", "names", "firstname", "lastname", "surname", "fullname", "email", "mail", "phone", "telephone", "mobile",
           "address", "street", "ssn", "passport", "iban"}  # fmt: skip


# The table.


def infer_columns(
    table: pa.Table, *, target: str, time: str | None = None, identity: str | None = None, positive: str | None = None
) -> dict[str, Guess]:
    """Infer each column of a table, in the table's order, without regard to its association with the target.

    Raises ProjectError for a named column that does not exist, a target without two classes, a time that cannot be
    converted, or a table that is too short.
    """
    _check_request(table, {"--target": target, "--time": time, "--id": identity})
    named: dict[str | None, Callable[[Profile], Guess]] = {
        identity: lambda profile: _guess_identity(profile, "named by --id"),
        time: require_time,
        target: lambda profile: guess_target(profile, positive),
    }
    guesses: dict[str, Guess] = {}
    for name in table.column_names:
        try:
            profile = _profile_column(table[name], name)
        except (ProjectError, pa.ArrowException):
            if name in named:
                raise
            guesses[name] = Guess(make_column("ignored", "string", name), _UNREADABLE)
            continue
        guesses[name] = named.get(name, _guess_column)(profile)
    if identity is not None:  # with a named identifier, other columns that number the rows are redundant
        others = {name: guess for name, guess in guesses.items() if guess.column["role"] == "id" and name != identity}
        guesses |= {name: guess.ignore(f"{guess.why}; --id names another column") for name, guess in others.items()}
    if time is None:
        guesses = _choose_time(guesses)
    return _protect_persons(table, guesses)


def _check_request(table: pa.Table, named: Mapping[str, str | None]) -> None:
    """Raise ProjectError for an option that names no column, two that name the same one, and a table that is too short."""
    names = {option: name for option, name in named.items() if name is not None}
    for option, name in names.items():
        if name not in table.column_names:
            there = format_values(table.column_names, 30)
            raise ProjectError(f"{option}: the table has no column {name!r}; it has {there}.")
    if len(set(names.values())) < len(names):
        raise ProjectError(f"{', '.join(names)} name the same column: each needs a different one.")
    if table.num_rows < _LEAST_ROWS:
        raise ProjectError(
            f"The table has {table.num_rows} rows: at least {_LEAST_ROWS} are needed for training and evaluation."
        )


def _profile_column(column: pa.ChunkedArray, name: str) -> Profile:
    """Return a column's values and their frequencies; raise ProjectError for values of an unsupported type."""
    series = drop_blanks(read_plain(column, name))
    present = series.dropna()
    return Profile(name, present, present.value_counts(), len(series) - len(present))


def _protect_persons(table: pa.Table, guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """Return the guesses, with columns whose values look personal marked to be dropped."""
    columns = {
        name: column.model_copy(update={"role": Role.TEXT}) if column.role is Role.IGNORED else column
        for name, column in to_columns(guesses).items()
        if column.role is not Role.TARGET and guesses[name].why != _UNREADABLE
    }
    raw = pd.DataFrame({name: read_plain(table[name], name) for name in columns})
    found = {finding.column: finding for finding in find_personal([raw], columns) if finding.decision != "redact"}
    changed = {}
    for name, guess in guesses.items():
        if name in found:
            finding = found[name]
            why = f"{finding.cells:,} cells look like {finding.kind} ({finding.example}), so the column is dropped before any other stage reads it"
            changed[name] = Guess(
                {**strip_rules(guess.column), "role": "pii", "pii": "drop"},
                why,
                "its values look like personal data; it is dropped",
            )
    return {**guesses, **changed}


def to_columns(guesses: Mapping[str, Guess]) -> dict[str, Column]:
    """Return the guesses as columns of the contract."""
    return {name: Column.model_validate(guess.column) for name, guess in guesses.items()}


def _choose_time(guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """Choose the table's time column: the only one whose name says that it is the time of a row."""
    named = [
        name
        for name, guess in guesses.items()
        if guess.column["role"] == "text" and guess.column["dtype"] == "datetime"
    ]
    likely = [name for name in named if _is_event(name) and not guesses[name].column.get("nullable")]
    changed = {}
    if len(likely) == 1:
        guess = guesses[likely[0]]
        why = f"{guess.why}; the only column whose name is that of a row's time, so the newest rows are held out"
        changed[likely[0]] = Guess(
            {**guess.column, "role": "time"},
            why,
            guess.check or "taken as the time of a row; the newest rows are held out",
        )
    for name in named:
        if name not in changed:
            why = f"{guesses[name].why}; not used as a feature: derive features from it (features.derived), or name it with --time"
            changed[name] = replace(guesses[name], why=why)
    return {**guesses, **changed}


def _is_event(name: str) -> bool:
    """Return whether the name of a column of times says that it is the time of a row."""
    words = split_name(name)
    return bool(words & _TIME_WORDS) and not words & _OTHER_TIME_WORDS


# One column.


def _guess_column(profile: Profile) -> Guess:
    """Infer a column from its name and values."""
    name, present = profile.name, profile.present
    if not len(present):
        return Guess(make_column("ignored", "string", name), "is empty")
    if profile.distinct == 1 and not profile.missing:
        only = format_values(profile.counts.index)
        return Guess(make_column("ignored", name_dtype(profile), name), f"is {only} in every row")
    if present.dtype == "boolean":
        return mark_missing(profile, make_column("boolean", "bool", name), "true or false")
    if pd.api.types.is_datetime64_any_dtype(present):
        return mark_missing(profile, make_column("text", "datetime", name), format_span(present))
    return _guess_text(profile) if profile.text else _guess_number(profile)


def _guess_identity(profile: Profile, why: str) -> Guess:
    """Return a guess for an identifier."""
    if profile.missing:
        why = f"{why}; missing in {profile.missing:,} rows"
    if not profile.unique:
        why = f"{why}; {profile.distinct:,} distinct values in {len(profile.present):,} rows; the split keeps rows with the same value together"
    dtype = "int64" if profile.whole else "string"
    return Guess(make_column("id", dtype, profile.name, nullable=profile.missing > 0), why)


def _is_sequence(profile: Profile) -> bool:
    """Return whether whole numbers number the rows: each occurs once, without a gap."""
    numbers = profile.counts.index
    return bool(len(numbers) > 2 and numbers.max() - numbers.min() == len(numbers) - 1)


def _guess_number(profile: Profile) -> Guess:
    """Infer a column of numbers: an identifier, a time, one of two codes, or a quantity."""
    name = profile.name
    if profile.whole:
        if profile.distinct == 2:
            return _guess_pair(profile)
        if profile.unique and profile.named_id:
            return _guess_identity(profile, "unique in every row, and named like an identifier")
        if profile.unique and _is_sequence(profile):
            return _guess_identity(profile, "it numbers the rows")
        if profile.words & {"id", "ids"} and profile.distinct > MAX_CATEGORIES:
            why = f"named like an identifier, but its {profile.distinct:,} values repeat: use --id if rows with the same value belong together"
            return Guess(make_column("ignored", "int64", name), why)
        if profile.words & (_TIME_WORDS | _OTHER_TIME_WORDS) and (found := find_format(profile)):
            return guess_time(profile, *found)
    return _guess_quantity(
        profile, profile.counts.index.to_numpy(dtype="float64"), "int64" if profile.whole else "float64"
    )


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
    return mark_missing(profile, {**column, **_add_room(low, high), "description": description}, why)


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


def _guess_text(profile: Profile) -> Guess:
    """Infer a column of text: a boolean, a number, a time, an identifier, a category, or words."""
    name, values = profile.name, pd.Series(profile.counts.index, dtype="str")
    lowered = values.str.strip().str.lower()
    if profile.distinct == 2 and set(lowered) <= {*YES_WORDS, *NO_WORDS} and len(order_classes(values)) == 2:
        column = make_column("boolean", "string", name, values=order_classes(values))
        return mark_missing(profile, column, f"{format_values(column['values'])}, the second of which is true")
    if profile.distinct > 1 and lowered.isin(list(WORDS)).all() and lowered.map(WORDS).nunique() == 2:
        return mark_missing(profile, make_column("boolean", "bool", name), f"true and false as {format_values(values)}")
    numbers = values.str.fullmatch(NUMBER)
    if share_cells(profile, numbers) >= READABLE and not values.str.fullmatch(r"\s*0[0-9]+\s*").any():
        return _guess_numbers_in_text(profile, values, numbers)
    if found := find_format(profile):
        return guess_time(profile, *found)
    words = float(values.str.count(r"\S+").mean())
    if profile.unique or (profile.distinct > MAX_CATEGORIES and profile.distinct > 0.5 * len(profile.present)):
        if words <= 1 and profile.unique and (profile.named_id or len(set(values.str.len())) == 1):
            return _guess_identity(profile, "unique in every row")
        if profile.words & _PERSONAL_WORDS:
            why = f"{profile.distinct:,} distinct values, and its name suggests personal data: the column is dropped before any other stage reads it"
            return Guess(
                make_column("pii", "string", name, pii="drop"), why, "its name suggests personal data; it is dropped"
            )
    if profile.distinct > MAX_CATEGORIES or profile.unique:
        if words > 2:
            return mark_missing(
                profile,
                make_column("text", "string", name),
                f"text with {profile.distinct:,} distinct values: not used as a feature",
            )
        why = f"{profile.distinct:,} distinct values, more than the limit of {MAX_CATEGORIES} categories: group them in the source to use the column"
        return Guess(make_column("ignored", "string", name), why)
    return _guess_category(profile)


def _guess_numbers_in_text(profile: Profile, values: Series, numbers: Series) -> Guess:
    """Return a guess for numbers stored as text, of which a few cells may not convert."""
    found = pd.to_numeric(values[numbers]).to_numpy(dtype="float64")
    whole = bool(((found == np.trunc(found)) & (np.abs(found) <= EXACT)).all())
    read = replace(profile, counts=pd.Series(1, index=found)) if numbers.all() else profile
    if whole and numbers.all() and profile.distinct > 2 and profile.unique and (profile.named_id or _is_sequence(read)):
        return _guess_identity(profile, "unique in every row")
    if whole and profile.words & _TIME_WORDS and (time_format := find_format(profile)):
        return guess_time(profile, *time_format)
    guess = _guess_quantity(profile, found, "int64" if whole else "float64")
    if numbers.all():
        return guess
    others = values[~numbers]
    count = int(profile.counts.to_numpy()[(~numbers).to_numpy()].sum())
    why = f"{guess.why}; {count:,} cells are not numbers ({format_values(others)}), and their rows are quarantined"
    return replace(guess, why=why, check="some cells are not numbers; their rows are quarantined")


def _guess_category(profile: Profile) -> Guess:
    """Return a guess for a category; if each category is frequent, the contract lists them as the only valid ones."""
    categories = sorted(str(value) for value in profile.counts.index)
    closed = len(categories) <= _MAX_LISTED and int(profile.counts.min()) >= _LISTED_ROWS and len(categories) > 1
    column = make_column("categorical", "string", profile.name, values=categories if closed else None)
    often = ", ".join(f"{value!r} {count:,}" for value, count in profile.counts.head(2).items())
    why = f"{len(categories)} categories, such as {often}"
    return mark_missing(profile, column, why + ("" if closed else "; other categories are allowed"))
