"""Categories: which words of a column are taken as such, and what is said of them.

Where there are many, they must repeat, and must not look like names of persons, identifiers or numbers.
"""

from __future__ import annotations

import unicodedata

from lifecycle.adoption.guess import Guess, Profile, fold_word, make_column, mark_missing
from lifecycle.adoption.words import Words
from lifecycle.core.parsing import NUMBER
from lifecycle.validation.names import NameKind

MAX_LISTED = 20  # a column with at most so many categories lists them in the contract
_SAME_SPELLINGS = 8  # pairs of spellings that are quoted
_NAMED = r"\p{Lu}\p{Ll}+(?:[ -]\p{Lu}[\p{Ll}.]*)+"  # what names of persons look like
_NAME = r"\p{Lu}\p{Ll}+"  # one word, as of a surname
_MOSTLY = 0.5  # share of the words that look like that, among many
_ALIKE = 0.9  # share of the words that do, for a doubt
TOGETHER = "use --id if rows with the same value belong together"


def guess_many(profile: Profile, words: Words) -> Guess:
    """Return a guess for more words than fit a column each: categories where they repeat and do not name persons or cases."""
    ignored, count = make_column("ignored", "string", profile.name), f"{profile.distinct:,} distinct values"
    if not profile.repeats:
        why = f"{count}, which hardly repeat: group them in the source to use the column"
        check = f"{profile.distinct:,} categories hardly repeat: it is left out; group them in the source to use it"
        doubt = doubt_form(words, r"\p{Nd}")
        return Guess(ignored, why, ("; ".join(filter(None, [check, doubt])),))
    may_be = ""
    if profile.named_id:
        may_be = "identifiers by its name"
    elif NameKind.CODE not in profile.kinds and words.search(r"\p{Nd}").mean() > _ALIKE:
        may_be = "identifiers, numbers or times, as they have digits"
    elif words.match(_NAMED).mean() > _MOSTLY:
        may_be = "names of persons"
    if may_be:
        check = (
            f"its {count} may be {may_be}: it is left out; {TOGETHER}, or set role categorical if they are categories"
        )
        return Guess(ignored, f"{count}, which may be {may_be}", (check,))
    check = f"taken as {profile.distinct:,} categories, each encoded by its share of positives; {TOGETHER}"
    persons = "if they are names of persons, set role pii and pii: drop" if words.match(_NAME).mean() > _ALIKE else ""
    return guess_category(profile, "; ".join(filter(None, [check, persons])))


def doubt_persons(profile: Profile, words: Words) -> str:
    """Return a doubt about words that look like names of persons where the name of their column does not say so."""
    if NameKind.PERSONAL in profile.kinds or words.match(_NAMED).mean() <= _ALIKE:
        return ""
    return "if they are names of persons, set role pii and pii: drop"


def doubt_form(words: Words, pattern: str) -> str:
    """Return a doubt about words that match a pattern: they may be numbers or times, written in a way that is not known."""
    if words.search(pattern).mean() <= _ALIKE:
        return ""
    odd = words.keep(~words.match(NUMBER))
    return f"if {(odd if len(odd) else words).head(1)[0]!r} is a number or a time, it is written in a way that is not known, or in several"


def guess_category(profile: Profile, doubt: str) -> Guess:
    """Return a guess for a category; if there are few, the contract lists those that were seen, and others may occur."""
    categories = sorted(str(value) for value in profile.counts.index)
    listed = 1 < len(categories) <= MAX_LISTED
    column = make_column("categorical", "string", profile.name, values=categories if listed else None, open=listed)
    often = ", ".join(f"{value!r} {count:,}" for value, count in profile.counts.head(2).items())
    why = f"{len(categories)} categories, such as {often}"
    return mark_missing(
        profile, column, why, doubt, _doubt_blanks(categories), find_spellings(categories), doubt_name(profile, "categories")
    )  # fmt: skip


def _doubt_blanks(categories: list[str]) -> str:
    """Return a doubt about categories with blanks around them, as columns of a fixed width have them; "" without any."""
    padded = [category for category in categories if category != category.strip()]
    if not padded:
        return ""
    return f"{padded[0]!r} has blanks around it, which are part of the category; remove them in the source if they mean nothing"


def _quote(word: str) -> str:
    """Quote a word so that an accent that is a character of its own shows."""
    return repr(word) if unicodedata.is_normalized("NFC", word) else ascii(word)


def find_spellings(categories: list[str]) -> str:
    """Describe the categories that differ by case, blanks or invisible characters alone; return "" if there are none."""
    groups: dict[str, list[str]] = {}
    for category in categories:
        groups.setdefault(fold_word(category), []).append(category)
    same = [group for group in groups.values() if len(group) > 1]
    if not same:
        return ""
    shown = "; ".join(" and ".join(map(_quote, group)) for group in same[:_SAME_SPELLINGS])
    return f"{shown} differ by case, blanks or invisible characters alone, and are different categories: make them one in the source if they mean the same"


def doubt_name(profile: Profile, used: str) -> str:
    """Return what to check of values whose name is that of an identifier or of personal data; "" of others."""
    if profile.named_id:
        return f"named like an identifier, and its {profile.distinct:,} values repeat: they are used as {used}; {TOGETHER}, or set role ignored"
    if NameKind.PERSONAL in profile.kinds:
        return (
            f"its name suggests personal data, but it has {profile.distinct:,} values, which are used as categories: "
            "set role pii and pii: drop if they are personal"
        )
    return ""
