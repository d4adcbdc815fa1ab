"""Infer columns of times and their formats."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pandas as pd

from lifecycle.adoption.guess import (
    READABLE,
    SHOWN,
    Guess,
    Profile,
    Series,
    format_values,
    make_column,
    mark_missing,
    share_cells,
)
from lifecycle.core.errors import ProjectError
from lifecycle.validation.conversion import EPOCHS, convert_column

_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%d-%b-%Y",
         "%b %d, %Y", "%d %B %Y", "%B %d, %Y")  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H:%M:%S%z")
_TWINS = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}  # formats that read the same text as another day
_YEARS = (pd.Timestamp(1900, 1, 1), pd.Timestamp(2100, 1, 1))
_COUNTED = pd.Timestamp(1990, 1, 1)  # earlier values are more likely counts than seconds since 1970


def find_format(profile: Profile) -> tuple[str, str | None] | None:
    """Return the format of a column's times ("": ISO 8601) and another format that also fits; None if they are not times.

    Whole numbers may be days (20241231), or seconds or milliseconds since 1970.
    """
    values = pd.Series(profile.counts.index, dtype=profile.present.dtype)
    formats = ["", *(date + clock for clock in _CLOCKS for date in _DATES)] if profile.text else ["%Y%m%d", *EPOCHS]
    first = [str(value).strip() for value in values.head(SHOWN)]
    if not any(letter.isdigit() for value in first for letter in value):
        return None
    fitting = [
        text
        for text in formats
        if (
            text in EPOCHS or any(_matches_format(value, text) for value in first)
        )  # a quick test that rules out most columns
        and share_cells(profile, _find_plausible(convert_column(values, "datetime", text), text)) >= READABLE
    ]
    if not fitting:
        return None
    best = fitting[0]
    twin = next((other for other in fitting[1:] if best.partition(" ")[0] in _TWINS), None)
    return best, twin


def _find_plausible(times: Series, form: str) -> Series:
    """Return which times are in a plausible year."""
    return (times >= (_COUNTED if form in EPOCHS else _YEARS[0])) & (times < _YEARS[1])


def _matches_format(text: str, form: str) -> bool:
    """Return whether one text is a time in the format `form` ("": ISO 8601)."""
    try:
        datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - whether it reads
    except ValueError:
        return form == "" and re.match(r"\d{4}-\d\d", text) is not None
    return True


def guess_time(profile: Profile, text: str, twin: str | None) -> Guess:
    """Return a guess for a column of times; it says if day and month could be exchanged."""
    values = convert_column(profile.present, "datetime", text)
    column = make_column("text", "datetime", profile.name, format=text)
    why = f"{format_span(values.dropna())}, as in {format_values(profile.counts.index[:1])}"
    if twin is None:
        return mark_missing(profile, column, why)
    check = f"is the day or the month first? It is read as {text}"
    return mark_missing(
        profile,
        column,
        f"{why}; no value shows whether the day or the month is first; the `format` could also be {twin!r}",
        check,
    )


def require_time(profile: Profile) -> Guess:
    """Return a guess for the column that --time names; raise ProjectError if it cannot be converted."""
    if pd.api.types.is_datetime64_any_dtype(profile.present):
        guess = mark_missing(profile, make_column("text", "datetime", profile.name), format_span(profile.present))
    elif profile.present.dtype == "boolean" or not (found := find_format(profile)):
        raise ProjectError(
            f"--time: column {profile.name!r} contains {format_values(profile.counts.index, 3)}: expected times, such as "
            "2024-12-31, 2024-12-31 10:00:00+02:00, 31/12/2024, 20241231, or seconds since 1970."
        )
    else:
        guess = guess_time(profile, *found)
    return replace(guess, column={**guess.column, "role": "time"})


def format_span(times: Series) -> str:
    """Format the range of times, and their time zone."""
    zone = getattr(times.dtype, "tz", None)
    span = f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}"
    return f"{span}, with a time zone ({zone}), converted to UTC" if zone is not None else span
