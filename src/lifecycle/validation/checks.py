"""The checklist: each item a named check in plain words, made from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.paths import PROFILE
from lifecycle.validation.chronology import Course
from lifecycle.validation.conversion import list_names
from lifecycle.validation.duplicates import Places
from lifecycle.validation.pii import Finding
from lifecycle.validation.rules import name_keys

# Every check: its title, and how bad it is when it fails.
CHECKS: dict[str, tuple[str, Severity]] = {
    "declared": ("Personal data, declared", "info"),
    "personal": ("Personal data, found", "warning"),
    "types": ("Types", "error"),
    "missing": ("Missing values", "error"),
    "values": ("Known values", "error"),
    "range": ("Ranges", "error"),
    "finite": ("Finite numbers", "error"),
    "target": ("Target", "error"),
    "classes": ("Both classes", "error"),
    "repeats": ("Repeated rows", "error"),
    "ids": ("Shared ids", "warning"),
    "duplicates": ("Duplicates but for the id", "warning"),
    "outlier_rows": ("Outliers to quarantine", "error"),
    "outliers": ("Outliers to keep or clip", "warning"),
    "window": ("Plausible moments", "error"),
    "order": ("Order in time", "warning"),
    "gaps": ("Gaps in time", "warning"),
    "zones": ("Time zones", "warning"),
    "drift": ("Drift from the reference", "warning"),
    "categories": ("New and vanished levels", "warning"),
    "association": ("Features that say the same", "warning"),
    "leakage": ("Target leakage", "warning"),
}
# What is said of rows that break a rule, and where none does.
ROW_RULES = {
    "types": ("with a cell that cannot be read as its column's type", "Every cell reads as its column's type"),
    "missing": ("without a value that must be there", "No value is missing that must be there"),
    "values": ("with a value that is not listed", "Every value is a listed one"),
    "range": ("with a number out of range", "Every number is in its range"),
    "finite": ("with an infinite number", "Every number is finite"),
    "target": ("without one of the two classes", "Every row has one of the two classes"),
    "repeats": ("equal to an earlier one in all columns", "No row is there twice"),
    "outlier_rows": ("beyond the outer fences of a column that allows no outliers", "No number is beyond its fences"),
    "window": ("with a moment that cannot be", "Every moment is plausible"),
}
DONE = {"drop": "column dropped", "pseudonymise": "column pseudonymised", "blot out": "cells blotted out"}
EXAMPLES = 3


def make_check(
    name: str, count: int, failed: str, passed: str, examples: Iterable[str] = (), *, severity: Severity | None = None
) -> Check:
    """A check that failed when it counted anything; one message for either case."""
    title, usual = CHECKS[name]
    few = tuple(examples)[:EXAMPLES] if count else ()
    message = failed if count else passed
    return Check(name, title, severity or usual, "failed" if count else "passed", count, message, few)


def skip_check(name: str, why: str) -> Check:
    """A check that does not apply to this table."""
    return Check(name, *CHECKS[name], "not applicable", 0, why)


def count_things(count: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def format_share(share: float) -> str:
    """A share in per cent, with enough digits to be told from none."""
    return f"{share:.1%}" if share >= 0.001 or share <= 0 else f"{100 * share:.1g}%"


def number_rows(places: Places) -> list[str]:
    """The first of some rows, counted from 1."""
    return [f"row {position + 1}" for position in places.first]


def check_rows(reasons: pd.DataFrame, broken: Mapping[str, int], columns: Mapping[str, Column]) -> list[Check]:
    """The checks of single rows, by rule, from the reasons and from the rows by check; the target's are one of their own."""
    rest = [column for column in columns.values() if column.role is not Role.TARGET]
    reach = {
        "types": len(rest),
        "missing": sum(not column.nullable for column in rest),
        "values": sum(column.values is not None for column in rest),
        "range": sum(column.min is not None or column.max is not None for column in rest),
        "finite": sum(column.dtype == "float64" for column in rest),
        "target": 1,
        "repeats": sum(column.role is Role.ID for column in rest),
        "outlier_rows": sum(column.outliers == "quarantine" and column.role is Role.NUMERIC for column in rest),
        "window": sum(column.role is Role.TIME for column in rest),
    }
    return [check_rule(name, reasons[reasons["check"] == name], broken.get(name, 0), reach[name]) for name in ROW_RULES]


def check_rule(name: str, reasons: pd.DataFrame, rows: int, reach: int) -> Check:
    """One rule's check, which applies to `reach` columns; examples come in the order of the columns."""
    if not reach:
        return skip_check(name, "No column has this rule.")
    wrong, right = ROW_RULES[name]
    failed = f"{count_things(rows, 'row')} {wrong} ({'; '.join(reasons['reason'].head(2))})."
    passed = f"{right} ({reach:,} columns checked)." if reach > 1 else f"{right}."
    return make_check(name, rows, failed, passed, reasons.sort_index()["example"])


def check_classes(classes: Mapping[Any, int], contract: Contract) -> Check:
    """Whether valid rows of both classes are there to learn from, by the rows of each class."""
    absent = [value for value in contract.columns[contract.target].values or () if not classes.get(value)]
    rate = classes.get(contract.positive, 0) / max(sum(classes.values()), 1)
    failed = f"No valid row has {contract.target} = {' or '.join(map(repr, absent))}: there is nothing to learn."
    passed = f"{contract.target} is {contract.positive!r} in {format_share(rate)} of the valid rows."
    return make_check("classes", len(absent), failed, passed)


def check_ids(varied: Places, columns: Mapping[str, Column]) -> Check:
    """Whether rows share an id and differ elsewhere: expected of grouped data, a slip in other tables."""
    keys = ", ".join(name_keys(columns))
    if not keys:
        return skip_check("ids", "No column has role id.")
    failed = (
        f"{count_things(varied.count, 'row')} with the {keys} of an earlier one and other values: right when several rows "
        "belong to one thing, and then no split may part them."
    )
    return make_check("ids", varied.count, failed, f"No two rows share {keys}.", number_rows(varied))


def check_duplicates(duplicated: Places, rows: int) -> Check:
    """Whether some of so many rows are alike in all but the ids."""
    count = duplicated.count
    share = f"{count_things(count, 'row')} ({format_share(count / max(rows, 1))})"
    failed = f"{share} equal to an earlier one in all but the id: two of a kind, or one counted twice."
    passed = "No two rows are equal in all but the id."
    return make_check("duplicates", count, failed, passed, number_rows(duplicated))


def check_outliers(fences: pd.DataFrame) -> Check:
    """Whether numbers that stay in the table lie beyond Tukey's outer fences."""
    kept = fences[fences["policy"] != "quarantine"]
    if kept.empty:
        return skip_check("outliers", "No numeric column keeps or clips its outliers.")
    counts = (kept["below"] + kept["above"]).set_axis(kept["column"])
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    count, columns = int(counts.sum()), list_names([*map(str, counts.index)], 3)
    failed = f"{count_things(count, 'number')} beyond 3 interquartile ranges from the quartiles: in {columns}."
    passed = (
        f"No number lies 3 interquartile ranges beyond the quartiles ({count_things(len(kept), 'column')} checked)."
    )
    return make_check("outliers", count, failed, passed, [f"{name}: {rows:,}" for name, rows in counts.items()])


def check_time(course: Course | None) -> list[Check]:
    """The checks of the time column as a whole: order, gaps and zones."""
    if course is None:
        return [skip_check(name, "The table has no time.") for name in ("order", "gaps", "zones")]
    count, span = (course.backwards.count, f"from {course.first:%Y-%m-%d} to {course.last:%Y-%m-%d}")
    back = f"{count_things(count, 'row')} older than the one before: the table is not in the order of time."
    gaps = [f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" for start, end in course.gaps]
    absent = f"{count_things(len(gaps), 'unusual gap')} {span}, counted by {course.period}."
    mixed = f"Mixed: {course.aware:,} with an offset from UTC and {course.naive:,} without, which are taken as UTC."
    same = "All moments name their offset from UTC." if course.aware else "No moment names an offset from UTC."
    return [
        make_check("order", count, back, "Rows stand in the order of time.", number_rows(course.backwards)),
        make_check("gaps", len(gaps), absent, f"No unusual gap {span}, counted by {course.period}.", gaps),
        make_check("zones", min(course.aware, course.naive), mixed, same),
    ]


def list_shifted(drift: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The columns whose index is above the limit and above what chance would give, the furthest first."""
    shifted = drift[(drift["psi"] > limit) & (drift["psi"] > drift["chance"])]
    return shifted.sort_values("psi", ascending=False, kind="stable")


def check_drift(drift: pd.DataFrame, reference: dict[str, Any] | None, limit: float) -> list[Check]:
    """The distributions and the levels against the reference profile."""
    if reference is None or not drift["known"].any():
        absent = f"{PROFILE} is not there" if reference is None else f"{PROFILE} knows none of the columns"
        why = f"{absent}: `lifecycle profile` writes it from the raw table."
        return [skip_check("drift", why), skip_check("categories", why)]
    unknown = drift.loc[~drift["known"].astype(bool), "column"].tolist()
    silent = f" The reference has no {list_names(unknown)}." if unknown else ""
    shifted = list_shifted(drift, limit)
    failed = f"Further than {limit:g} from the reference (PSI): {list_names(shifted['column'].tolist())}.{silent}"
    passed = (
        f"No column is further than {limit:g} from the reference (PSI); the furthest: {drift['psi'].max():.3f}.{silent}"
    )
    examples = [f"{name}: {psi:.3f}" for name, psi in zip(shifted["column"], shifted["psi"], strict=True)]
    changed = drift[(drift["new"].str.len() > 0) | (drift["vanished"].str.len() > 0)]
    names = changed["column"].tolist()
    lines = [describe_levels(*row) for row in zip(names, changed["new"], changed["vanished"], strict=True)]
    moved = f"Levels came or went since the reference: {list_names(names)}."
    return [
        make_check("drift", len(shifted), failed, passed, examples),
        make_check("categories", len(changed), moved, "No level came or went since the reference.", lines),
    ]


def describe_levels(column: str, new: tuple[str, ...], vanished: tuple[str, ...]) -> str:
    """One column's new and vanished levels in words."""
    parts = [f"{word} {list_names(list(levels), 3)}" for word, levels in (("new", new), ("gone", vanished)) if levels]
    return f"{column}: {'; '.join(parts)}"


def list_pairs(associations: pd.DataFrame, target: str) -> pd.DataFrame:
    """The pairs of features, the strongest first: columns one, other, association."""
    square = associations.drop(index=target, columns=target)
    first, second = np.triu_indices(len(square), 1)
    names, values = square.index.to_numpy(), square.to_numpy()[first, second]
    pairs = pd.DataFrame({"one": names[first], "other": names[second], "association": values})
    return pairs.sort_values("association", ascending=False, kind="stable", ignore_index=True)


def check_association(associations: pd.DataFrame, target: str, limit: float) -> Check:
    """Whether two features are all but the same."""
    pairs = list_pairs(associations, target)
    if pairs.empty:
        return skip_check("association", "The table has fewer than two features.")
    strong = pairs[pairs["association"] > limit]
    named = [f"{one} with {other}" for one, other in zip(pairs["one"].head(EXAMPLES), pairs["other"], strict=False)]
    examples = [f"{name}: {value:.3f}" for name, value in zip(named, strong["association"], strict=False)]
    compared = f"{len(associations) - 1:,} columns compared"
    failed = f"{count_things(len(strong), 'pair')} associated above {limit:g}, {named[0]} first ({compared})."
    value = pairs["association"].iloc[0]
    passed = f"No pair is associated above {limit:g}; the strongest is {named[0]}, at {value:.2f} ({compared})."
    return make_check("association", len(strong), failed, passed, examples)


def check_leakage(separation: pd.DataFrame, limit: float) -> Check:
    """Whether a single feature all but knows the answer."""
    if separation.empty:
        return skip_check("leakage", "There is no feature, or only one class, to tell apart.")
    strong = separation[separation["roc_auc"] > limit]
    failed = f"Alone above an AUC of {limit:g}, as if it knew the answer: {list_names(strong['column'].tolist())}."
    best, area = separation["column"].iloc[0], separation["roc_auc"].iloc[0]
    passed = f"No column alone is above an AUC of {limit:g}; the best, {best}, has {area:.2f}."
    rows = zip(strong["column"], strong["roc_auc"], strong["by"], strict=True)
    examples = [f"{name}: {value:.3f} by its {by}" for name, value, by in rows]
    return make_check("leakage", len(strong), failed, passed, examples)


def check_personal(contract: Contract, findings: list[Finding], policy: str) -> list[Check]:
    """What personal data the contract declares, and what else looks like some; examples are masked."""
    declared = [f"{name}: {contract.columns[name].pii}" for name in contract.names(Role.PII)]
    told = f"The contract declares {count_things(len(declared), 'column')}."
    names = list_names(list(dict.fromkeys(finding.column for finding in findings)))
    failed = f"Cells look personal, though the contract does not say so: {names}."
    passed = "No cell looks like an e-mail address, telephone number, card, IBAN or social security number."
    return [
        Check("declared", *CHECKS["declared"], "passed", len(declared), told, tuple(declared))
        if declared
        else skip_check("declared", "The contract declares none."),
        make_check(
            "personal",
            len(findings),
            failed,
            passed,
            [describe_finding(finding) for finding in findings],
            severity="error" if policy == "stop" else None,
        ),
    ]


def describe_finding(finding: Finding) -> str:
    """One finding in words; its example shows the shape alone."""
    where = f"{finding.column}: {finding.kind} in {count_things(finding.cells, 'row')} ({format_share(finding.share)})"
    return f"{where}, like {finding.example}; {DONE[finding.decision]}"


Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Check:
    """One named check of the list: how bad its failing is, whether it failed, how often, and a few examples."""

    name: str
    title: str
    severity: Severity
    status: Literal["passed", "failed", "not applicable"]
    count: int
    message: str
    examples: tuple[str, ...] = ()
