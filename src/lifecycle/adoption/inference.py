"""Inference: what each column of an unknown table seems to be, as a contract with a reason by each guess.

Nothing here is asked of anybody: a guess is made from a column's name and values, says why, and is there to be corrected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.core.contract import Column, Role
from lifecycle.core.errors import ProjectError
from lifecycle.validation.conversion import EPOCHS, EXACT, NUMBER, WORDS, convert_column, drop_blanks, read_plain
from lifecycle.validation.pii import find_personal

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]
Record = dict[str, Any]

LEAST_ROWS = 50  # of a table that has enough to learn and to judge by
LEAST_CLASS = 10  # rows of each class
LEVELS = 100  # categories of a column at most: each costs every model a column
CLOSED = 20  # categories at most that are listed as all that may occur
SEEN = 5  # rows of the rarest category, from which the list is held to be whole
READABLE = 0.99  # share of the present cells that must read as a number or a moment
LEAK = 0.995  # ROC AUC of a single column, from which it is held to know the answer
SUSPECT = 0.95  # from which it is worth a look
UNREADABLE = "holds values of a kind that no stage reads"
SHOWN = 5  # values that a comment quotes
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%d-%b-%Y",
         "%b %d, %Y", "%d %B %Y", "%B %d, %Y")  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H:%M:%S%z")
TWINS = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}  # read the same text as another day
YEARS = (pd.Timestamp(1900, 1, 1), pd.Timestamp(2100, 1, 1))
COUNTED = pd.Timestamp(1990, 1, 1)  # seconds since 1970 below this are rather numbers of something else
# Words of a column's name, and what they suggest.
IDS = {"id", "ids", "uuid", "guid", "rowid", "identifier"}
# As R and pandas name what counts rows, who may give it no name at all.
ROW = re.compile(r"(row|record|case)[ _.]?(names?|numbers?|no)|unnamed: 0|index|key|serial|", re.IGNORECASE)
MOMENTS = {"date", "time", "timestamp", "datetime", "day", "at", "when", "created", "month", "period"}
OTHER_MOMENTS = {"birth", "birthdate", "birthday", "dob", "born", "expiry", "expires", "expiration", "due", "end",
                 "updated"}  # fmt: skip
PERSONS = {"name", "names", "firstname", "lastname", "surname", "fullname", "email", "mail", "phone", "telephone", "mobile",
           "address", "street", "ssn", "passport", "iban"}  # fmt: skip
AFTER = {"date", "reason", "score", "probability", "predicted", "prediction", "label", "flag", "code", "amount",
         "outcome"}  # fmt: skip
TRUE = ("yes", "true", "1", "y", "t", "on", "positive", "1.0")
FALSE = ("no", "false", "0", "n", "f", "off", "negative", "0.0")


@dataclass(frozen=True)
class Guess:
    """What a column seems to be: its keys in the contract, why, and what somebody should look at (empty: nothing)."""

    column: Record
    why: str
    look: str = ""

    def ignore(self, why: str, look: str = "") -> Guess:
        """The same column, which nothing is to use."""
        return Guess({**strip_rules(self.column), "role": "ignored"}, why, look)


@dataclass(frozen=True)
class Profile:
    """A column as it came: its present values as a plain series, how often each occurs, and how many are missing."""

    name: str
    present: Series
    counts: Series = field(repr=False)
    missing: int
    others: tuple[str, ...] = ()  # a target's classes that count as one

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.counts)

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return not self.missing and self.distinct == len(self.present)

    @property
    def text(self) -> bool:
        """Whether the values are text."""
        return bool(self.present.dtype == "str")

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers, however they are stored."""
        if self.present.dtype == "Int64":
            return True
        return bool(
            self.present.dtype == "float64"
            and ((self.counts.index % 1 == 0) & (np.abs(self.counts.index.to_numpy()) <= EXACT)).all()
        )

    @property
    def named_id(self) -> bool:
        """Whether its name says that it tells rows apart."""
        return bool(self.words & IDS or ROW.fullmatch(self.name))

    @property
    def words(self) -> set[str]:
        """The words of the column's name."""
        return split_name(self.name)


def split_name(name: str) -> set[str]:
    """The words of a name, in small letters: `rowID` and `row_id` have the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return {word.lower() for word in re.split(r"[\W_]+", spaced) if word}


# The table.


def infer_columns(
    table: pa.Table, *, target: str, time: str | None = None, identity: str | None = None, positive: str | None = None
) -> dict[str, Guess]:
    """What each column of a table seems to be, in the table's order; nothing is known yet of how it goes with the target.

    Raises ProjectError for a column that is named and not there, for a target without two classes, a time that cannot be
    read, or a table that is too short.
    """
    check_request(table, {"--target": target, "--time": time, "--id": identity})
    asked: dict[str | None, Callable[[Profile], Guess]] = {
        identity: lambda profile: guess_identity(profile, "named by --id"),
        time: require_moment,
        target: lambda profile: guess_target(profile, positive),
    }
    guesses: dict[str, Guess] = {}
    for name in table.column_names:
        try:
            profile = profile_column(table[name], name)
        except (ProjectError, pa.ArrowException):
            if name in asked:
                raise
            guesses[name] = Guess(make_column("ignored", "string", name), UNREADABLE)
            continue
        guesses[name] = asked.get(name, guess_column)(profile)
    if identity is not None:  # whose rows these are is said: other columns that count rows say nothing more
        others = {name: guess for name, guess in guesses.items() if guess.column["role"] == "id" and name != identity}
        guesses |= {name: guess.ignore(f"{guess.why}; --id names another") for name, guess in others.items()}
    if time is None:
        guesses = choose_time(guesses)
    return protect_persons(table, guesses)


def check_request(table: pa.Table, named: Mapping[str, str | None]) -> None:
    """Refuse (ProjectError) an option that names no column, two that name the same, and a table that is too short."""
    names = {option: name for option, name in named.items() if name is not None}
    for option, name in names.items():
        if name not in table.column_names:
            there = format_values(table.column_names, 30)
            raise ProjectError(f"{option}: the table has no column {name!r}; it has {there}.")
    if len(set(names.values())) < len(names):
        raise ProjectError(f"{', '.join(names)} name the same column: each needs one of its own.")
    if table.num_rows < LEAST_ROWS:
        raise ProjectError(
            f"The table has {table.num_rows} rows: at least {LEAST_ROWS} are needed to learn and to judge by."
        )


def profile_column(column: pa.ChunkedArray, name: str) -> Profile:
    """A column's values and how often each occurs; raises ProjectError for values that are not plain."""
    series = drop_blanks(read_plain(column, name))
    present = series.dropna()
    return Profile(name, present, present.value_counts(), len(series) - len(present))


def protect_persons(table: pa.Table, guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """The guesses, with columns whose content looks personal given up."""
    columns = {
        name: column.model_copy(update={"role": Role.TEXT}) if column.role is Role.IGNORED else column
        for name, column in to_columns(guesses).items()
        if column.role is not Role.TARGET and guesses[name].why != UNREADABLE
    }
    raw = pd.DataFrame({name: read_plain(table[name], name) for name in columns})
    found = {finding.column: finding for finding in find_personal([raw], columns) if finding.decision != "redact"}
    changed = {}
    for name, guess in guesses.items():
        if name in found:
            finding = found[name]
            why = (
                f"{finding.cells:,} cells look like {finding.kind} ({finding.example}): dropped before anything sees it"
            )
            changed[name] = Guess({**strip_rules(guess.column), "role": "pii", "pii": "drop"}, why, "looks personal")
    return {**guesses, **changed}


def to_columns(guesses: Mapping[str, Guess]) -> dict[str, Column]:
    """The guesses as the contract's columns."""
    return {name: Column.model_validate(guess.column) for name, guess in guesses.items()}


def choose_time(guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """Where one moment alone is named as when a row came to be, it is the table's time."""
    named = [
        name
        for name, guess in guesses.items()
        if guess.column["role"] == "text" and guess.column["dtype"] == "datetime"
    ]
    likely = [name for name in named if is_event(name) and not guesses[name].column.get("nullable")]
    changed = {}
    if len(likely) == 1:
        guess = guesses[likely[0]]
        why = f"{guess.why}; the only one that its name makes the time of a row: the hold-out is the newest part"
        changed[likely[0]] = Guess({**guess.column, "role": "time"}, why, guess.look or "taken for the time of a row")
    for name in named:
        if name not in changed:
            why = f"{guesses[name].why}; no feature by itself: derive some (features.derived), or name it with --time"
            changed[name] = replace(guesses[name], why=why)
    return {**guesses, **changed}


def is_event(name: str) -> bool:
    """Whether a column of moments is by its name when a row came to be."""
    words = split_name(name)
    return bool(words & MOMENTS) and not words & OTHER_MOMENTS


# One column.


def make_column(role: str, dtype: str, name: str, **rules: Any) -> Record:
    """A column's keys in the contract; rules that say nothing are left out."""
    return {
        "role": role,
        "dtype": dtype,
        **{key: value for key, value in rules.items() if value not in (None, False, "")},
        "description": f"{name}." if name.strip() else "A column without a name.",
    }


def strip_rules(column: Record) -> Record:
    """A column's keys without what restricts its values."""
    return {key: value for key, value in column.items() if key in ("role", "dtype", "format", "description")}


def format_values(values: Any, most: int = SHOWN) -> str:
    """The first few of many values, in quotes."""
    listed = [repr(value if isinstance(value, str) else plain(value)) for value in list(values)[:most]]
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(text if len(text) <= 40 else text[:39] + "…" for text in listed) + more


def plain(value: Any) -> Any:
    """A value of numpy or pandas as Python has it."""
    return value.item() if isinstance(value, np.generic) else value


def guess_column(profile: Profile) -> Guess:
    """What a column seems to be, by its name and values."""
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
    return guess_text(profile) if profile.text else guess_number(profile)


def name_dtype(profile: Profile) -> str:
    """The contract's dtype of plain values as they are stored."""
    if pd.api.types.is_datetime64_any_dtype(profile.present):
        return "datetime"
    return {"boolean": "bool", "Int64": "int64", "float64": "float64"}.get(str(profile.present.dtype), "string")


def mark_missing(profile: Profile, column: Record, why: str, look: str = "") -> Guess:
    """A guess, with what becomes of missing values where there are some: their absence is a level of its own."""
    if not profile.missing:
        return Guess(column, why, look)
    share = profile.missing / (profile.missing + len(profile.present))
    description = column.pop("description")
    level = {"missing": "category"} if column["role"] in ("numeric", "categorical", "boolean") else {}
    return Guess({**column, "nullable": True, **level, "description": description}, f"{why}; {share:.2%} missing", look)


def guess_identity(profile: Profile, why: str) -> Guess:
    """A column that says whose row it is."""
    if profile.missing:
        why = f"{why}; missing in {profile.missing:,} rows"
    if not profile.unique:
        why = f"{why}; {profile.distinct:,} different in {len(profile.present):,} rows, which stay together when the table is split"
    dtype = "int64" if profile.whole else "string"
    return Guess(make_column("id", dtype, profile.name, nullable=profile.missing > 0), why)


def is_sequence(profile: Profile) -> bool:
    """Whether whole numbers count the rows: each one once, without a gap."""
    numbers = profile.counts.index
    return bool(len(numbers) > 2 and numbers.max() - numbers.min() == len(numbers) - 1)


def guess_number(profile: Profile) -> Guess:
    """What a column of numbers seems to be: an id, a moment, one of two codes, or a number."""
    name = profile.name
    if profile.whole:
        if profile.distinct == 2:
            return guess_pair(profile)
        if profile.unique and profile.named_id:
            return guess_identity(profile, "every row has its own, and its name says so")
        if profile.unique and is_sequence(profile):
            return guess_identity(profile, "it counts the rows")
        if profile.words & {"id", "ids"} and profile.distinct > LEVELS:
            why = f"its name says id, and {profile.distinct:,} values repeat: name it with --id if rows belong together by it"
            return Guess(make_column("ignored", "int64", name), why)
        if profile.words & (MOMENTS | OTHER_MOMENTS) and (found := find_format(profile)):
            return guess_moment(profile, *found)
    return guess_quantity(
        profile, profile.counts.index.to_numpy(dtype="float64"), "int64" if profile.whole else "float64"
    )


def guess_pair(profile: Profile) -> Guess:
    """One of two whole numbers."""
    low, high = sorted(int(value) for value in profile.counts.index)
    column = make_column("boolean", "int64", profile.name, values=[low, high])
    return mark_missing(profile, column, f"{low} or {high}")


def guess_quantity(profile: Profile, values: Array, dtype: str) -> Guess:
    """A number, its limits with as much room again as was seen, for what was seen is not all that there is."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Guess(make_column("ignored", dtype, profile.name), "holds no finite number")
    low, high = float(finite.min()), float(finite.max())
    column = make_column("numeric", dtype, profile.name)
    description = column.pop("description")
    why = f"{low:g} to {high:g} seen, {profile.distinct:,} different"
    return mark_missing(profile, {**column, **add_room(low, high), "description": description}, why)


def add_room(low: float, high: float) -> Record:
    """Limits around what was seen, a whole span beyond either end, in two digits; zero stays a limit, infinity is none."""
    span = high - low or abs(high) or 1.0
    least = 0.0 if low >= 0 else round_away(low - span, math.floor)
    most = 0.0 if high <= 0 and low < 0 else round_away(high + span, math.ceil)
    if not (math.isfinite(least) and math.isfinite(most)):
        return {}
    return {
        key: int(limit) if limit % 1 == 0 and abs(limit) < EXACT else limit
        for key, limit in (("min", least), ("max", most))
    }


def round_away(value: float, round_to: Any) -> float:
    """A number in two significant digits, rounded by `round_to`."""
    if not math.isfinite(value) or value == 0:
        return value
    digits = 1 - math.floor(math.log10(abs(value)))
    if digits > 300:
        return value
    step = 10.0**-digits
    return float(f"{round_to(value / step) * step:.6g}")


def guess_text(profile: Profile) -> Guess:
    """What a column of text seems to be: truth, a number, a moment, an id, a category, or words."""
    name, values = profile.name, pd.Series(profile.counts.index, dtype="str")
    lowered = values.str.strip().str.lower()
    if profile.distinct == 2 and set(lowered) <= {*TRUE, *FALSE} and len(order_classes(values)) == 2:
        column = make_column("boolean", "string", name, values=order_classes(values))
        return mark_missing(profile, column, f"{format_values(column['values'])}, the second of which is true")
    if profile.distinct > 1 and lowered.isin(list(WORDS)).all() and lowered.map(WORDS).nunique() == 2:
        return mark_missing(profile, make_column("boolean", "bool", name), f"true and false as {format_values(values)}")
    numbers = values.str.fullmatch(NUMBER)
    if share_cells(profile, numbers) >= READABLE and not values.str.fullmatch(r"\s*0[0-9]+\s*").any():
        return guess_numbers_in_text(profile, values, numbers)
    if found := find_format(profile):
        return guess_moment(profile, *found)
    words = float(values.str.count(r"\S+").mean())
    if profile.unique or (profile.distinct > LEVELS and profile.distinct > 0.5 * len(profile.present)):
        if words <= 1 and profile.unique and (profile.named_id or len(set(values.str.len())) == 1):
            return guess_identity(profile, "every row has its own")
        if profile.words & PERSONS:
            why = f"{profile.distinct:,} different, and its name speaks of a person: dropped before anything sees it"
            return Guess(make_column("pii", "string", name, pii="drop"), why, "may be personal")
    if profile.distinct > LEVELS or profile.unique:
        if words > 2:
            return mark_missing(
                profile,
                make_column("text", "string", name),
                f"words, {profile.distinct:,} different: no feature by itself",
            )
        why = (
            f"{profile.distinct:,} different values, more than {LEVELS} categories: group them in the source to use it"
        )
        return Guess(make_column("ignored", "string", name), why)
    return guess_category(profile)


def share_cells(profile: Profile, chosen: Series) -> float:
    """The share of the present cells that hold one of the chosen distinct values."""
    return float(profile.counts.to_numpy()[chosen.fillna(False).to_numpy(dtype=bool)].sum() / profile.counts.sum())


def guess_numbers_in_text(profile: Profile, values: Series, numbers: Series) -> Guess:
    """Numbers that came as text, with a few cells that are none."""
    found = pd.to_numeric(values[numbers]).to_numpy(dtype="float64")
    whole = bool((found % 1 == 0).all() and (np.abs(found) <= EXACT).all())
    read = replace(profile, counts=pd.Series(1, index=found)) if numbers.all() else profile
    if whole and numbers.all() and profile.distinct > 2 and profile.unique and (profile.named_id or is_sequence(read)):
        return guess_identity(profile, "every row has its own")
    if whole and profile.words & MOMENTS and (moment := find_format(profile)):
        return guess_moment(profile, *moment)
    guess = guess_quantity(profile, found, "int64" if whole else "float64")
    if numbers.all():
        return guess
    others = values[~numbers]
    count = int(profile.counts.to_numpy()[(~numbers).to_numpy()].sum())
    why = f"{guess.why}; {count:,} cells are no numbers ({format_values(others)}), and their rows go to quarantine"
    return replace(guess, why=why, look="has cells that are no numbers")


def guess_category(profile: Profile) -> Guess:
    """One of a few words; where each has been seen often, these are all."""
    levels = sorted(str(value) for value in profile.counts.index)
    closed = len(levels) <= CLOSED and int(profile.counts.min()) >= SEEN and len(levels) > 1
    column = make_column("categorical", "string", profile.name, values=levels if closed else None)
    often = ", ".join(f"{value!r} {count:,}" for value, count in profile.counts.head(2).items())
    why = f"{len(levels)} categories, such as {often}"
    return mark_missing(profile, column, why + ("" if closed else "; others may come"))


# Moments.


def find_format(profile: Profile) -> tuple[str, str | None] | None:
    """How a column's moments are written ("": ISO 8601) and what else they could be read as; None where they are none.

    Plain whole numbers are days (20241231), or seconds or milliseconds since 1970.
    """
    values = pd.Series(profile.counts.index, dtype=profile.present.dtype)
    formats = ["", *(date + clock for clock in CLOCKS for date in DATES)] if profile.text else ["%Y%m%d", *EPOCHS]
    first = [str(value).strip() for value in values.head(SHOWN)]
    if not any(letter.isdigit() for value in first for letter in value):
        return None
    fitting = [
        text
        for text in formats
        if (text in EPOCHS or any(reads(value, text) for value in first))  # spares most columns the slower whole
        and share_cells(profile, find_plausible(convert_column(values, "datetime", text), text)) >= READABLE
    ]
    if not fitting:
        return None
    best = fitting[0]
    twin = next((other for other in fitting[1:] if best.partition(" ")[0] in TWINS), None)
    return best, twin


def find_plausible(moments: Series, form: str) -> Series:
    """Which moments are of a year that a table may speak of."""
    return (moments >= (COUNTED if form in EPOCHS else YEARS[0])) & (moments < YEARS[1])


def reads(text: str, form: str) -> bool:
    """Whether one text is a moment written in a form ("": ISO 8601)."""
    try:
        datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - whether it reads
    except ValueError:
        return form == "" and re.match(r"\d{4}-\d\d", text) is not None
    return True


def guess_moment(profile: Profile, text: str, twin: str | None) -> Guess:
    """A moment, and how it is written; where day and month may be exchanged, that is said."""
    values = convert_column(profile.present, "datetime", text)
    column = make_column("text", "datetime", profile.name, format=text)
    why = f"{format_span(values.dropna())}, as in {format_values(profile.counts.index[:1])}"
    if twin is None:
        return mark_missing(profile, column, why)
    look = f"day or month first? taken as {text}"
    return mark_missing(
        profile, column, f"{why}; no value tells day from month: `format` may have to be {twin!r}", look
    )


def require_moment(profile: Profile) -> Guess:
    """The column that --time names; raises ProjectError where it cannot be read."""
    if pd.api.types.is_datetime64_any_dtype(profile.present):
        guess = mark_missing(profile, make_column("text", "datetime", profile.name), format_span(profile.present))
    elif profile.present.dtype == "boolean" or not (found := find_format(profile)):
        raise ProjectError(
            f"--time: column {profile.name!r} holds {format_values(profile.counts.index, 3)}: expected moments, such as "
            "2024-12-31, 2024-12-31 10:00:00+02:00, 31/12/2024, 20241231, or seconds since 1970."
        )
    else:
        guess = guess_moment(profile, *found)
    return replace(guess, column={**guess.column, "role": "time"})


def format_span(moments: Series) -> str:
    """From when to when moments are, and their zone."""
    zone = getattr(moments.dtype, "tz", None)
    told = f"{moments.min():%Y-%m-%d} to {moments.max():%Y-%m-%d}"
    return f"{told}, with a zone ({zone}): read as UTC" if zone is not None else told


# The target.


def order_classes(values: Any) -> list[Any]:
    """Two values, the one that says no before the one that says yes; empty where neither or both do."""
    said = {str(value).strip().lower(): value for value in values}
    yes = [value for word, value in said.items() if word in TRUE]
    no = [value for word, value in said.items() if word in FALSE]
    return [no[0], yes[0]] if len(yes) == len(no) == 1 else []


def guess_target(profile: Profile, positive: str | None) -> Guess:
    """The target: its two classes, and the one that a probability will speak of.

    Raises ProjectError, saying what is supported, for another number of classes, or too few rows of one.
    """
    name = profile.name
    if profile.distinct < 2:
        only = f"only {format_values(profile.counts.index)}" if profile.distinct else "nothing"
        raise ProjectError(f"--target: column {name!r} holds {only}: two classes are needed.")
    if profile.distinct > 2:
        profile, positive = group_classes(profile, positive)
    if int(profile.counts.min()) < LEAST_CLASS:
        rare = format_values(profile.counts.index[-1:])
        raise ProjectError(
            f"--target: column {name!r} is {rare} in {int(profile.counts.min())} rows: at least {LEAST_CLASS} rows of each "
            "class are needed to learn and to judge by."
        )
    dtype = "int64" if profile.whole else name_dtype(profile)
    if dtype == "datetime":
        raise ProjectError(
            f"--target: column {name!r} holds moments: two classes are needed, as words, numbers or booleans."
        )
    classes = [int(value) if dtype == "int64" else plain(value) for value in profile.counts.index]
    chosen, why = choose_positive(name, classes, positive)
    share = profile.counts.iloc[classes.index(chosen)] / len(profile.present)
    values = [next(value for value in classes if value != chosen), chosen]
    column = make_column("target", dtype, name, values=values, others=list(profile.others) or None)
    description = column.pop("description")
    why = f"{why}; {share:.2%} of {len(profile.present):,} rows"
    if profile.missing:
        why = f"{why}; missing in {profile.missing:,} rows, which go to quarantine"
    return Guess({**column, "positive": chosen, "description": description}, why, f"{chosen!r} is what is predicted")


def group_classes(profile: Profile, positive: str | None) -> tuple[Profile, str]:
    """More than two classes as one, which is given too, against the rest; raises ProjectError where none is named."""
    held = f"--target: column {profile.name!r} holds {profile.distinct:,} different values ({format_values(profile.counts.index)})"
    if profile.distinct > LEVELS or (profile.present.dtype == "float64" and not profile.whole):
        raise ProjectError(
            f"{held}: two classes are supported. Make a column of two in the source, such as whether it is above a limit."
        )
    words = convert_column(profile.present, "string")
    chosen = [word for word in words.unique() if positive in (word, word.removesuffix(".0"))]
    if len(chosen) != 1:
        missing = "" if positive is None else f", none of which is {positive!r}"
        raise ProjectError(
            f"{held}{missing}: two classes are supported. `--positive VALUE` makes two of them: VALUE, and the rest."
        )
    rest = f"not {chosen[0]}"
    present = words.where(words == chosen[0], rest)
    others = tuple(sorted(set(words) - {chosen[0], rest}))
    return replace(profile, present=present, counts=present.value_counts(), others=others), chosen[0]


def choose_positive(name: str, classes: list[Any], asked: str | None) -> tuple[Any, str]:
    """The class that is predicted, of two in the order of their rows, and why it is that one."""
    if asked is not None:
        chosen = [value for value in classes if asked in (str(value), str(value).lower())]
        if len(chosen) != 1:
            raise ProjectError(f"--positive: column {name!r} has no class {asked!r}; it has {format_values(classes)}.")
        return chosen[0], "named by --positive"
    if ordered := order_classes(classes):
        return ordered[1], "the class that says yes"
    return classes[-1], "the rarer class"


# Leakage.


def suspect_leaks(guesses: Mapping[str, Guess], areas: Mapping[str, float], target: str) -> dict[str, Guess]:
    """The guesses, with columns that seem to know the answer ignored, or marked where they are only suspected.

    `areas` are the ROC AUC of single columns, each from other rows than those it is judged on. Where nothing would be left
    to learn from, all stay, marked.
    """
    leaks = {name for name, area in areas.items() if area >= LEAK}
    features = {
        name for name, guess in guesses.items() if guess.column["role"] in ("numeric", "categorical", "boolean")
    }
    spare = bool(features - leaks)
    changed = {}
    for name, guess in guesses.items():
        area = areas.get(name, 0.5)
        if area >= LEAK and spare:
            why = f"alone it tells the classes apart (ROC AUC {area:.3f}): it may be known only after the target; {guess.why}"
            changed[name] = guess.ignore(why, f"seems to know the answer (ROC AUC {area:.3f}): ignored")
        elif area >= SUSPECT:
            why = f"{guess.why}; alone it nearly tells the classes apart (ROC AUC {area:.3f}): is it known before the target?"
            changed[name] = replace(guess, why=why, look=f"may know the answer (ROC AUC {area:.3f})")
        elif name in features and speaks_after(name, target):
            why = f"{guess.why}; by its name it may be known only after the target: set role ignored if it is"
            changed[name] = replace(guess, why=why, look="may be known only after the target, by its name")
    return {**guesses, **changed}


def speaks_after(name: str, target: str) -> bool:
    """Whether a column's name is the target's with a word that follows from it, as in `default_date`."""
    words, known = split_name(name), split_name(target)
    return bool(known) and known < words and bool((words - known) & AFTER)
