"""Read one time, or a word for true or false, as `core.parsing` reads a column of them, in plain Python.

The server imports neither pandas nor pyarrow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

# Formats of numbers: microseconds of a unit, and of the moment that 0 stands for since 1970, in UTC.
COUNTED: dict[str, tuple[float, int]] = {
    "epoch seconds": (10**6, 0), "epoch milliseconds": (10**3, 0), "epoch microseconds": (1, 0), "epoch nanoseconds": (1e-3, 0),
    "excel days": (86_400 * 10**6, -25_569 * 86_400 * 10**6),  # serial day 0 is 30 December 1899
}  # fmt: skip
WORDS = {"true": True, "yes": True, "1": True, "1.0": True, "t": True, "y": True,
         "false": False, "no": False, "0": False, "0.0": False, "f": False, "n": False}  # fmt: skip
_ZERO = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are in UTC, without a zone
LATEST = 2.0**63 / 1000  # microseconds: later times do not fit pandas' nanoseconds
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LONGEST = 40  # characters of a time that is a number
_ISO = re.compile(
    r"(\d{4})-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d|\d(?=:))(?::?(\d\d)(?::?(\d\d)(?:[.,](\d*))?)?)?"
    r"\s*(?:([Zz])|([+-])(\d\d)(?::?([0-5]\d))?)?)?)?",
    re.ASCII,
)


def read_truth(text: str) -> bool:
    """Return what a word such as `TRUE` or `no` means; raise ValueError for any other text."""
    try:
        return WORDS[text.strip().lower()]
    except KeyError:
        raise ValueError("not a word for true or false") from None


def read_moment(text: str, form: str = "") -> datetime:
    """Return a time in UTC without a zone; one without an offset is taken as UTC. Raises ValueError for any other text.

    form: the contract's `format`. ISO 8601 is read whatever the format is, but what fits both is read in the format.
    """
    text = text.strip()
    if form:
        try:
            return _read_number(text, form) if form in COUNTED else _to_utc(datetime.strptime(text, form))  # noqa: DTZ007
        except ValueError:
            pass
    return _read_iso(text)


def count_moment(number: float, form: str) -> datetime:
    """Return the time that a number stands for, by one of the formats `COUNTED`; raise ValueError when it is out of range."""
    unit, zero = COUNTED[form]
    if isinstance(number, int):  # exact, as a float may not be
        counted = number // 1000 if unit < 1 else number * int(unit)
    else:
        scaled = number * unit
        counted = round(scaled) if abs(scaled) < 2 * LATEST else int(2 * LATEST)  # round() refuses an infinite number
    if abs(counted + zero) >= LATEST:
        raise ValueError("the time is out of range")
    return _ZERO + timedelta(microseconds=counted + zero)


def _read_number(text: str, form: str) -> datetime:
    """Return the time that digits stand for; raise ValueError for other text."""
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return count_moment(int(text) if _WHOLE.fullmatch(text) else float(text), form)


def _read_iso(text: str) -> datetime:
    """Return an ISO 8601 date or time in UTC; digits beyond microseconds are dropped. Raises ValueError for other text."""
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError("not a date or time of ISO 8601")
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = found.groups()
    moment = datetime(  # noqa: DTZ001
        int(year), int(month), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
        int((fraction or "").ljust(6, "0")[:6]),
    )  # fmt: skip
    if sign is None:
        return moment
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return _to_utc(moment.replace(tzinfo=timezone(offset if sign == "+" else -offset)))


def _to_utc(moment: datetime) -> datetime:
    """Return a time in UTC without a zone; raise ValueError when it is out of range."""
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError as error:
        raise ValueError("the time in UTC is out of range") from error
