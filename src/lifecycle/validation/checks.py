"""The checks of a table: each has a name, a severity and a message, and is built from measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.paths import CONTRACT, PROFILE
from lifecycle.validation.chronology import Course
from lifecycle.validation.conversion import list_names
from lifecycle.validation.duplicates import Places
from lifecycle.validation.open_lists import Unlisted
from lifecycle.validation.pii import Finding
from lifecycle.validation.rules import name_keys

# Every check: its title, and its severity when it fails.
CHECKS: dict[str, tuple[str, _Severity]] = {
    "declared": ("Personal data, declared", "info"),
    "personal": ("Personal data, found", "warning"),
    "readable": ("Readable rows", "error"),
    "types": ("Types", "error"),
    "missing": ("Missing values", "error"),
    "values": ("Known values", "error"),
    "unlisted": ("Values beyond open lists", "warning"),
    "range": ("Ranges", "error"),
    "finite": ("Finite numbers", "error"),
    "target": ("Target", "error"),
    "classes": ("Both classes", "error"),
    "repeats": ("Repeated rows", "error"),
    "ids": ("Shared ids", "warning"),
    "duplicates": ("Duplicates except for the id", "warning"),
    "outlier_rows": ("Outliers to quarantine", "error"),
    "outliers": ("Outliers to keep or clip", "warning"),
    "window": ("Plausible dates and times", "error"),
    "order": ("Order in time", "warning"),
    "gaps": ("Gaps in time", "warning"),
    "zones": ("Time zones", "warning"),
    "drift": ("Drift from the profile", "warning"),
    "categories": ("New and vanished categories", "warning"),
    "association": ("Redundant features", "warning"),
    "leakage": ("Target leakage", "warning"),
}
# The message for rows that break a rule, and the message when there are none.
_ROW_RULES = {
    "types": ("with a cell that cannot be converted to its column's type", "Every cell converts to its column's type"),
    "missing": ("without a required value", "No required value is missing"),
    "values": ("with a value that the contract does not list", "The contract lists every value"),
    "range": ("with a number outside its range", "Every number is within its range"),
    "finite": ("with an infinite number", "Every number is finite"),
    "target": ("whose target is not one of the two classes", "The target of every row is one of the two classes"),
    "repeats": ("equal to an earlier one in all columns", "No row occurs twice"),
    "outlier_rows": ("with an outlier in a column that does not allow them", "No number is an outlier"),
    "window": ("with an implausible date or time", "Every date and time is plausible"),
}
_DONE = {"drop": "column dropped", "pseudonymise": "column pseudonymised", "redact": "cells redacted"}
UNREADABLE = "cannot be read: "  # before the reason of a row that could not be read
_EXAMPLES = 3
_SHOWN = 40  # characters of a value


def _make_check(
    name: str, count: int, failed: str, passed: str, examples: Iterable[str] = (), *, severity: _Severity | None = None
) -> Check:
    """Build a check that failed when `count` is above zero, with a message for each case."""
    title, usual = CHECKS[name]
    few = tuple(examples)[:_EXAMPLES] if count else ()
    message = failed if count else passed
    return Check(name, title, severity or usual, "failed" if count else "passed", count, message, few)


def _skip_check(name: str, why: str) -> Check:
    """Build a check that does not apply to this table."""
    return Check(name, *CHECKS[name], "not applicable", 0, why)


def count_things(count: int, thing: str) -> str:
    """Format a count with its noun: `1 row`, `2 rows`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def format_share(share: float) -> str:
    """Format a share in per cent, with enough digits to differ from zero."""
    return f"{share:.1%}" if share >= 0.001 or share <= 0 else f"{100 * share:.1g}%"


def _number_rows(places: Places) -> list[str]:
    """Name the first rows, counted from 1."""
    return [f"row {position + 1}" for position in places.first]


def check_readable(rejected: pd.DataFrame, rows: int) -> Check:
    """Check that every row of the source could be read; `rejected` counts those that could not, by reason, in addition to `rows`."""
    count = int(rejected["rows"].sum())
    failed = (
        f"{count_things(count, 'row')} of {rows + count:,} could not be read ({'; '.join(rejected['reason'].head(2))})."
    )
    return _make_check("readable", count, failed, "Every row could be read.", rejected["example"])


def check_rows(reasons: pd.DataFrame, broken: Mapping[str, int], columns: Mapping[str, Column]) -> list[Check]:
    """Build the checks of single rows, one for each rule, and one for the target's rules."""
    rest = [column for column in columns.values() if column.role is not Role.TARGET]
    reach = {
        "types": len(rest),
        "missing": sum(not column.nullable for column in rest),
        "values": sum(column.closed is not None for column in rest),
        "range": sum(column.min is not None or column.max is not None for column in rest),
        "finite": sum(column.dtype == "float64" for column in rest),
        "target": 1,
        "repeats": sum(column.role is Role.ID for column in rest),
        "outlier_rows": sum(column.outliers == "quarantine" and column.role is Role.NUMERIC for column in rest),
        "window": sum(column.role is Role.TIME for column in rest),
    }
    return [
        _check_rule(name, reasons[reasons["check"] == name], broken.get(name, 0), reach[name]) for name in _ROW_RULES
    ]


def _check_rule(name: str, reasons: pd.DataFrame, rows: int, reach: int) -> Check:
    """Build the check of one rule, which applies to `reach` columns; examples are in the order of the columns."""
    if not reach:
        return _skip_check(name, "No column has this rule.")
    wrong, right = _ROW_RULES[name]
    failed = f"{count_things(rows, 'row')} {wrong} ({'; '.join(reasons['reason'].head(2))})."
    passed = f"{right} ({reach:,} columns checked)." if reach > 1 else f"{right}."
    return _make_check(name, rows, failed, passed, reasons.sort_index()["example"])


def check_unlisted(unlisted: Mapping[str, Unlisted]) -> Check:
    """Check whether columns have values that their open lists in the contract do not have."""
    if not unlisted:
        return _skip_check("unlisted", "No column has an open list.")
    beyond = {name: found for name, found in unlisted.items() if found.rows}
    count = sum(found.rows for found in beyond.values())
    failed = (
        f"{count_things(count, 'value')} that an open list does not have, in {list_names([*beyond], 3)}: a model that has not "
        f"learned from it takes it as unknown. Add it to `values` in {CONTRACT} once it is known."
    )
    passed = f"The open lists have every value ({count_things(len(unlisted), 'column')} checked)."
    lines = [f"{name}: {_name_values(found)}" for name, found in beyond.items()]
    return _make_check("unlisted", count, failed, passed, lines)


def _name_values(found: Unlisted) -> str:
    """Name the most frequent values beyond an open list, with their rows."""
    named = sorted(found.counts, key=lambda value: (-found.counts[value], str(value)))[:_EXAMPLES]
    rest = found.rows - sum(found.counts[value] for value in named)
    shown = [f"{str(value)[:_SHOWN]!r} in {count_things(found.counts[value], 'row')}" for value in named]
    return ", ".join(shown + ([f"others in {count_things(rest, 'row')}"] if rest else []))


def check_classes(classes: Mapping[Any, int], contract: Contract) -> Check:
    """Check that there are valid rows of both classes."""
    absent = [value for value in contract.columns[contract.target].values or () if not classes.get(value)]
    rate = classes.get(contract.positive, 0) / max(sum(classes.values()), 1)
    failed = f"No valid row has {contract.target} = {' or '.join(map(repr, absent))}: a model needs both classes."
    passed = f"{contract.target} is {contract.positive!r} in {format_share(rate)} of the valid rows."
    return _make_check("classes", len(absent), failed, passed)


def check_ids(varied: Places, columns: Mapping[str, Column]) -> Check:
    """Check whether rows share an id and differ elsewhere: expected in grouped data, an error in other tables."""
    keys = ", ".join(name_keys(columns))
    if not keys:
        return _skip_check("ids", "No column has role id.")
    failed = (
        f"{count_things(varied.count, 'row')} with the {keys} of an earlier one and other values: right when several rows "
        "belong to one thing, and then no split may part them."
    )
    return _make_check("ids", varied.count, failed, f"No two rows share {keys}.", _number_rows(varied))


def check_duplicates(duplicated: Places, rows: int) -> Check:
    """Check whether rows are equal in all columns except the ids."""
    count = duplicated.count
    share = f"{count_things(count, 'row')} ({format_share(count / max(rows, 1))})"
    failed = f"{share} equal to an earlier one except for the id: two similar cases, or one recorded twice."
    passed = "No two rows are equal except for the id."
    return _make_check("duplicates", count, failed, passed, _number_rows(duplicated))


def check_outliers(fences: pd.DataFrame) -> Check:
    """Check whether numbers that stay in the table lie beyond Tukey's outer fences."""
    kept = fences[fences["policy"] != "quarantine"]
    if kept.empty:
        return _skip_check("outliers", "No numeric column keeps or clips its outliers.")
    counts = (kept["below"] + kept["above"]).set_axis(kept["column"])
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    count, columns = int(counts.sum()), list_names([*map(str, counts.index)], 3)
    failed = f"{count_things(count, 'number')} more than 3 interquartile ranges beyond the quartiles, in {columns}."
    passed = f"No number lies more than 3 interquartile ranges beyond the quartiles ({count_things(len(kept), 'column')} checked)."
    return _make_check("outliers", count, failed, passed, [f"{name}: {rows:,}" for name, rows in counts.items()])


def check_time(course: Course | None) -> list[Check]:
    """Build the checks of the time column as a whole: order, gaps and zones."""
    if course is None:
        return [_skip_check(name, "The table has no time column.") for name in ("order", "gaps", "zones")]
    count, span = (course.backwards.count, f"from {course.first:%Y-%m-%d} to {course.last:%Y-%m-%d}")
    back = f"{count_things(count, 'row')} older than the row before: the table is not sorted by time."
    gaps = [f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" for start, end in course.gaps]
    absent = f"{count_things(len(gaps), 'unusual gap')} {span}, counted by {course.period}."
    mixed = f"Mixed: {course.aware:,} with an offset from UTC and {course.naive:,} without, which are taken as UTC."
    same = (
        "All times name their offset from UTC."
        if course.aware
        else "No time names an offset from UTC; they are taken as UTC."
    )
    return [
        _make_check("order", count, back, "The rows are sorted by time.", _number_rows(course.backwards)),
        _make_check("gaps", len(gaps), absent, f"No unusual gap {span}, counted by {course.period}.", gaps),
        _make_check("zones", min(course.aware, course.naive), mixed, same),
    ]


def _list_shifted(drift: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Select the columns whose PSI exceeds the limit and the value expected by chance, the largest first."""
    shifted = drift[(drift["psi"] > limit) & (drift["psi"] > drift["chance"])]
    return shifted.sort_values("psi", ascending=False, kind="stable")


def check_drift(drift: pd.DataFrame, reference: dict[str, Any] | None, limit: float) -> list[Check]:
    """Build the checks that compare distributions and categories with the profile."""
    if reference is None or not drift["known"].any():
        absent = f"{PROFILE} is missing" if reference is None else f"{PROFILE} has none of the columns"
        why = f"{absent}; `lifecycle profile` writes it from the raw table."
        return [_skip_check("drift", why), _skip_check("categories", why)]
    unknown = drift.loc[~drift["known"].astype(bool), "column"].tolist()
    silent = f" The profile lacks {list_names(unknown)}." if unknown else ""
    shifted = _list_shifted(drift, limit)
    failed = f"The PSI to the profile exceeds {limit:g}: {list_names(shifted['column'].tolist())}.{silent}"
    passed = f"No column's PSI to the profile exceeds {limit:g}; the largest is {drift['psi'].max():.3f}.{silent}"
    examples = [f"{name}: {psi:.3f}" for name, psi in zip(shifted["column"], shifted["psi"], strict=True)]
    changed = drift[(drift["new"].str.len() > 0) | (drift["vanished"].str.len() > 0)]
    names = changed["column"].tolist()
    lines = [_describe_levels(*row) for row in zip(names, changed["new"], changed["vanished"], strict=True)]
    moved = f"Categories appeared or vanished since the profile: {list_names(names)}."
    return [
        _make_check("drift", len(shifted), failed, passed, examples),
        _make_check("categories", len(changed), moved, "No category appeared or vanished since the profile.", lines),
    ]


def _describe_levels(column: str, new: tuple[str, ...], vanished: tuple[str, ...]) -> str:
    """Describe one column's new and vanished categories."""
    parts = [f"{word} {list_names(list(levels), 3)}" for word, levels in (("new", new), ("gone", vanished)) if levels]
    return f"{column}: {'; '.join(parts)}"


def _list_pairs(associations: pd.DataFrame, target: str) -> pd.DataFrame:
    """List the pairs of features, the strongest association first: columns one, other, association."""
    square = associations.drop(index=target, columns=target)
    first, second = np.triu_indices(len(square), 1)
    names, values = square.index.to_numpy(), square.to_numpy()[first, second]
    pairs = pd.DataFrame({"one": names[first], "other": names[second], "association": values})
    return pairs.sort_values("association", ascending=False, kind="stable", ignore_index=True)


def check_association(associations: pd.DataFrame, target: str, limit: float) -> Check:
    """Check whether two features are nearly the same."""
    pairs = _list_pairs(associations, target)
    if pairs.empty:
        return _skip_check("association", "The table has fewer than two features.")
    strong = pairs[pairs["association"] > limit]
    named = [f"{one} with {other}" for one, other in zip(pairs["one"].head(_EXAMPLES), pairs["other"], strict=False)]
    examples = [f"{name}: {value:.3f}" for name, value in zip(named, strong["association"], strict=False)]
    compared = f"{len(associations) - 1:,} columns compared"
    failed = f"{count_things(len(strong), 'pair')} associated above {limit:g}, {named[0]} first ({compared})."
    value = pairs["association"].iloc[0]
    passed = f"No pair is associated above {limit:g}; the strongest is {named[0]}, at {value:.2f} ({compared})."
    return _make_check("association", len(strong), failed, passed, examples)


def check_leakage(separation: pd.DataFrame, limit: float) -> Check:
    """Check whether a single feature nearly determines the target."""
    if separation.empty:
        return _skip_check("leakage", "There is no feature, or only one class.")
    strong = separation[separation["roc_auc"] > limit]
    failed = f"Suspected leakage, as the column alone has a ROC AUC above {limit:g}: {list_names(strong['column'].tolist())}."
    best, area = separation["column"].iloc[0], separation["roc_auc"].iloc[0]
    passed = f"No column alone has a ROC AUC above {limit:g}; the highest is that of {best}, {area:.2f}."
    rows = zip(strong["column"], strong["roc_auc"], strong["by"], strict=True)
    examples = [f"{name}: {value:.3f} by its {by}" for name, value, by in rows]
    return _make_check("leakage", len(strong), failed, passed, examples)


def check_personal(contract: Contract, findings: list[Finding], policy: str) -> list[Check]:
    """Build the checks of declared and of suspected personal data; examples are masked."""
    declared = [f"{name}: {contract.columns[name].pii}" for name in contract.names(Role.PII)]
    message = f"The contract declares {count_things(len(declared), 'column')}."
    names = list_names(list(dict.fromkeys(finding.column for finding in findings)))
    failed = f"Cells look personal, but the contract says neither `role: pii` nor `pii: keep`: {names}."
    passed = (
        "No column looks like e-mail addresses, telephone numbers, cards, accounts, national ids or network addresses."
    )
    return [
        Check("declared", *CHECKS["declared"], "passed", len(declared), message, tuple(declared))
        if declared
        else _skip_check("declared", "The contract declares no personal data."),
        _make_check(
            "personal",
            len(findings),
            failed,
            passed,
            [_describe_finding(finding) for finding in findings],
            severity="error" if policy == "stop" else None,
        ),
    ]


def _describe_finding(finding: Finding) -> str:
    """Describe one finding; its example shows the shape only."""
    where = f"{finding.column}: {finding.kind} in {count_things(finding.cells, 'row')} ({format_share(finding.share)})"
    return f"{where}, like {finding.example}; {_DONE[finding.decision]}"


_Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Check:
    """One check: its name, severity and status, how many rows or columns failed, and a few examples."""

    name: str
    title: str
    severity: _Severity
    status: Literal["passed", "failed", "not applicable"]
    count: int
    message: str
    examples: tuple[str, ...] = ()
