"""Infer the target with its two classes, and find columns that may leak it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from lifecycle.adoption.guess import (
    MAX_CATEGORIES,
    Guess,
    Profile,
    fold_word,
    format_values,
    make_column,
    name_dtype,
    order_classes,
    plain,
    split_name,
)
from lifecycle.adoption.reading import NO_VALUE
from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.validation.conversion import convert_column

_LEAST_CLASS = 10  # rows of each class
_LEAK = 0.995  # univariate ROC AUC from which a column counts as a leak
_SUSPECT = 0.95  # and from which it should be checked
_OUTCOME_WORDS = {"date", "reason", "score", "probability", "predicted", "prediction", "label", "flag", "code", "amount",
         "outcome"}  # fmt: skip


def guess_target(profile: Profile, positive: str | None, raw: Profile) -> Guess:
    """Return a guess for the target: its two classes, and which of them is predicted.

    `raw` has the column's cells as they are stored. Words such as NA are no class, and words that differ by case,
    blanks or invisible characters alone are one class; the guess says so.
    Raises ProjectError for another number of classes, or too few rows of a class.
    """
    name = profile.name
    profile, rules, checks = _unify_words(profile, positive)
    if profile.distinct < 2:
        only = f"only {format_values(profile.counts.index)}" if profile.distinct else "no value"
        blank = f", and no value in {profile.missing:,} rows" if profile.distinct and profile.missing else ""
        rest = " If an empty cell means the other class, write a word for it in the source." if blank else ""
        raise ProjectError(f"--target: column {name!r} contains {only}{blank}: two classes are needed.{rest}")
    if profile.distinct > 2:
        profile, positive = _group_classes(raw if raw.text and not profile.text else profile, positive)
    if int(profile.counts.min()) < _LEAST_CLASS:
        rare = format_values(profile.counts.index[-1:])
        raise ProjectError(
            f"--target: column {name!r} is {rare} in {int(profile.counts.min())} rows: at least {_LEAST_CLASS} rows of each "
            "class are needed for training and evaluation."
        )
    dtype = "int64" if profile.whole else name_dtype(profile)
    if dtype == "datetime":
        raise ProjectError(
            f"--target: column {name!r} contains times: two classes are needed, as words, numbers or booleans."
        )
    classes = [int(value) if dtype == "int64" else plain(value) for value in profile.counts.index]
    chosen, why = _choose_positive(name, classes, positive)
    share = profile.counts.iloc[classes.index(chosen)] / len(profile.present)
    values = [next(value for value in classes if value != chosen), chosen]
    column = make_column("target", dtype, name, values=values, others=list(profile.others) or None, **rules)
    description = column.pop("description")
    why = f"{why}; {share:.2%} of {len(profile.present):,} rows"
    if profile.missing:
        why = f"{why}; missing in {profile.missing:,} rows, which are quarantined"
        checks.append(f"it is missing in {profile.missing:,} rows, which are quarantined")
    named = [] if positive is not None else [f"{chosen!r} is the class that is predicted; --positive names the other"]
    return Guess({**column, "positive": chosen, "description": description}, why, (*named, *checks))


def _unify_words(profile: Profile, positive: str | None) -> tuple[Profile, Record, list[str]]:
    """Return a target of text without words such as NA, and with one spelling of each class; the rules for it, and what to check."""
    if not profile.text or profile.distinct < 2:
        return profile, {}, []
    present, checks = profile.present, list[str]()
    rules: Record = {}
    words = pd.Series(profile.counts.index, dtype="str")
    empty = words.str.strip().str.lower().isin(list(NO_VALUE)) | (
        words == profile.name
    )  # a header again, of joined files
    none = words[empty & (words != (positive or ""))]
    if len(none) and len(words) - len(none) > 1:
        present = present[~present.isin(list(none))]
        rules["null_values"] = list(none)
        checks.append(f"{format_values(list(none))} is taken as missing, not as a class")
    counts = present.value_counts()
    groups: dict[str, list[str]] = {}
    for word in counts.index:
        groups.setdefault(fold_word(word), []).append(word)
    spellings = {
        other: min(group, key=lambda word: (-counts[word], word)) for group in groups.values() for other in group
    }
    spellings = {other: word for other, word in spellings.items() if other != word}
    if spellings:
        present = present.replace(spellings)
        rules["spellings"] = spellings
        pairs = ", ".join(f"{other!r} as {word!r}" for other, word in list(spellings.items())[:5])
        checks.append(
            f"{pairs} is the same class, as only case, blanks or invisible characters differ; remove it from spellings if it is not"
        )
    missing = profile.missing + len(profile.present) - len(present)
    return replace(profile, present=present, counts=present.value_counts(), missing=missing), rules, checks


def _group_classes(profile: Profile, positive: str | None) -> tuple[Profile, str]:
    """Group more than two classes into the named one and the rest; raise ProjectError if none is named."""
    found = f"--target: column {profile.name!r} contains {profile.distinct:,} different values ({format_values(profile.counts.index)})"
    if profile.distinct > MAX_CATEGORIES or (profile.present.dtype == "float64" and not profile.whole):
        raise ProjectError(
            f"{found}: two classes are supported. Add a column with two classes to the source, such as whether the value is above a limit."
        )
    words = convert_column(profile.present, "string")
    chosen_words = words.unique()
    chosen = [word for word in chosen_words if positive in (word, word.removesuffix(".0"))]
    if not chosen and positive is not None:
        chosen = [word for word in chosen_words if word.strip().casefold() == positive.strip().casefold()]
    if len(chosen) != 1:
        missing = "" if positive is None else f", none of which is {positive!r}"
        raise ProjectError(
            f"{found}{missing}: two classes are supported. `--positive VALUE` groups them into VALUE and the rest."
        )
    rest = f"not {chosen[0]}"
    present = words.where(words == chosen[0], rest)
    others = tuple(sorted(set(words) - {chosen[0], rest}))
    return replace(profile, present=present, counts=present.value_counts(), others=others), chosen[0]


def _choose_positive(name: str, classes: list[Any], named: str | None) -> tuple[Any, str]:
    """Return which of two classes, the more frequent first, is predicted, and the reason."""
    if named is not None:
        folded = named.strip().casefold()
        chosen = [value for value in classes if named == str(value)] or [
            value for value in classes if folded == str(value).strip().casefold()
        ]
        if len(chosen) != 1:
            raise ProjectError(f"--positive: column {name!r} has no class {named!r}; it has {format_values(classes)}.")
        return chosen[0], "named by --positive"
    if ordered := order_classes(classes):
        return ordered[1], "the class that means yes"
    return classes[-1], "the rarer class"


def suspect_leaks(guesses: Mapping[str, Guess], aucs: Mapping[str, float], target: str) -> dict[str, Guess]:
    """Return the guesses, with likely leaks ignored and suspected ones marked to be checked.

    `areas` are the univariate ROC AUCs of the columns. If ignoring the leaks would leave no feature, they are marked instead.
    """
    leaks = {name for name, auc in aucs.items() if auc >= _LEAK}
    features = {
        name for name, guess in guesses.items() if guess.column["role"] in ("numeric", "categorical", "boolean")
    }
    spare = bool(features - leaks)
    changed = {}
    for name, guess in guesses.items():
        auc = aucs.get(name, 0.5)
        if auc >= _LEAK and spare:
            why = f"it separates the classes by itself (ROC AUC {auc:.3f}), so it may be known only after the target; {guess.why}"
            changed[name] = guess.ignore(
                why,
                f"ignored as a likely leak of the target (ROC AUC {auc:.3f}); set another role if it is known before",
            )
        elif auc >= _SUSPECT:
            why = f"{guess.why}; it nearly separates the classes by itself (ROC AUC {auc:.3f}): is it known before the target?"
            changed[name] = replace(
                guess,
                why=why,
                checks=(
                    f"possible leak of the target (ROC AUC {auc:.3f}); set role ignored if it is known only later",
                ),
            )
        elif name in features and _is_named_as_outcome(name, target):
            why = (
                f"{guess.why}; its name suggests that it is known only after the target: set role ignored in that case"
            )
            changed[name] = replace(
                guess,
                why=why,
                checks=("its name suggests that it is known only after the target; set role ignored in that case",),
            )
    return {**guesses, **changed}


def _is_named_as_outcome(name: str, target: str) -> bool:
    """Return whether a column's name is the target's name with a word for a consequence, as in `default_date`."""
    words, known = split_name(name), split_name(target)
    return bool(known) and known < words and bool((words - known) & _OUTCOME_WORDS)
