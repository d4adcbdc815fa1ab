"""What is inferred about a column: its profile, the guess, and the texts that describe them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lifecycle.core.contract import ENCODED_CATEGORIES, ONE_HOT_CATEGORIES
from lifecycle.core.parsing import EXACT
from lifecycle.core.records import Record
from lifecycle.validation.names import NameKind, classify_name

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]
MAX_CATEGORIES = ONE_HOT_CATEGORIES  # of a column whose categories need not repeat
READABLE = 0.99  # share of the present cells that must convert to a number or a time
FEW = 3  # distinct words at most that may stand for missing values without being known as such
FEW_SHARE = 0.5  # share of the present cells that must convert where there are such words
_LEAST_REPEATS = 5  # mean rows of a category, where there are many
SHOWN = 5  # values quoted in a comment
YES_WORDS = ("yes", "true", "1", "y", "t", "on", "positive", "1.0")
NO_WORDS = ("no", "false", "0", "n", "f", "off", "negative", "0.0")


@dataclass(frozen=True)
class Guess:
    """An inferred column: its keys in the contract, the reason, and what a person should check, a sentence each."""

    column: Record
    why: str
    checks: tuple[str, ...] = ()

    def ignore(self, why: str, *checks: str) -> Guess:
        """Return the same column with the role ignored."""
        return Guess({**strip_rules(self.column), "role": "ignored"}, why, checks)


@dataclass(frozen=True)
class Profile:
    """A raw column: its present values as a series, the frequency of each, and the number of missing values."""

    name: str
    present: Series
    counts: Series = field(repr=False)
    missing: int
    others: tuple[str, ...] = ()  # the classes of a target that are grouped into one

    @property
    def distinct(self) -> int:
        """The number of distinct values."""
        return len(self.counts)

    @property
    def unique(self) -> bool:
        """Whether every row has a unique value."""
        return not self.missing and self.distinct == len(self.present)

    @property
    def repeats(self) -> bool:
        """Whether the categories are not too many, and repeat often enough to learn from each."""
        return self.distinct <= ENCODED_CATEGORIES and len(self.present) >= _LEAST_REPEATS * self.distinct

    @property
    def text(self) -> bool:
        """Whether the values are text."""
        return bool(self.present.dtype == "str")

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers, however they are stored."""
        if self.present.dtype == "Int64":
            return True
        numbers = self.counts.index.to_numpy()
        return bool(
            self.present.dtype == "float64" and ((numbers == np.trunc(numbers)) & (np.abs(numbers) <= EXACT)).all()
        )

    @property
    def kinds(self) -> frozenset[NameKind]:
        """What the column's name says of it."""
        return classify_name(self.name)

    @property
    def named_id(self) -> bool:
        """Whether its name is that of an identifier."""
        return NameKind.IDENTIFIER in self.kinds


def split_name(name: str) -> set[str]:
    """Return the words of a name in lower case: `rowID` and `row_id` have the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return {word.lower() for word in re.split(r"[\W_]+", spaced) if word}


def make_column(role: str, dtype: str, name: str, **rules: Any) -> Record:
    """Return a column's keys in the contract, without empty rules."""
    return {
        "role": role,
        "dtype": dtype,
        **{key: value for key, value in rules.items() if value not in (None, False, "")},
        "description": f"{name}." if name.strip() else "A column without a name.",
    }


def strip_rules(column: Record) -> Record:
    """Return a column's keys without the rules for its values."""
    return {
        key: value for key, value in column.items() if key in ("role", "dtype", "format", "null_values", "description")
    }


def format_values(values: Any, most: int = SHOWN) -> str:
    """Format the first few of many values, in quotes."""
    listed = [
        repr(str(value) if isinstance(value, (str, pd.Timestamp)) else plain(value)) for value in list(values)[:most]
    ]
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(text if len(text) <= 40 else text[:39] + "…" for text in listed) + more


def plain(value: Any) -> Any:
    """Return a value of numpy or pandas as a Python object, a time as text."""
    if isinstance(value, pd.Timestamp):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def name_dtype(profile: Profile) -> str:
    """Return the contract's dtype of stored values."""
    if pd.api.types.is_datetime64_any_dtype(profile.present):
        return "datetime"
    return {"boolean": "bool", "Int64": "int64", "float64": "float64"}.get(str(profile.present.dtype), "string")


def mark_missing(profile: Profile, column: Record, why: str, *checks: str) -> Guess:
    """Return a guess that states how missing values are treated, if there are any: as a category of their own."""
    if not profile.missing:
        return Guess(column, why, tuple(filter(None, checks)))
    share = profile.missing / (profile.missing + len(profile.present))
    description = column.pop("description")
    rule = {"missing": "category"} if column["role"] in ("numeric", "categorical", "boolean") else {}
    return Guess(
        {**column, "nullable": True, **rule, "description": description},
        f"{why}; {share:.2%} missing",
        tuple(filter(None, checks)),
    )


def share_cells(profile: Profile, chosen: Series) -> float:
    """Return the share of the present cells with one of the chosen distinct values."""
    return float(profile.counts.to_numpy()[chosen.fillna(False).to_numpy(dtype=bool)].sum() / profile.counts.sum())


def fold_word(word: str) -> str:
    """Return a word without what the eye may miss: case, blanks, invisible characters, and accents that are letters of their own."""
    shown = "".join(letter for letter in word if letter.isspace() or unicodedata.category(letter)[0] != "C")
    return " ".join(unicodedata.normalize("NFC", shown).split()).casefold()


def order_classes(values: Any) -> list[Any]:
    """Order two values so that the one that means no is first; return an empty list if that is not clear."""
    words = {str(value).strip().lower(): value for value in values}
    yes = [value for word, value in words.items() if word in YES_WORDS]
    no = [value for word, value in words.items() if word in NO_WORDS]
    return [no[0], yes[0]] if len(yes) == len(no) == 1 else []
