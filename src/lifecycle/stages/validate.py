"""Validate: every row held against the contract, the table against its reference; personal data goes no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.contract import Column, Contract, Role
from lifecycle.data.checklist import (
    CHECKS,
    check_association,
    check_classes,
    check_drift,
    check_duplicates,
    check_ids,
    check_leakage,
    check_outliers,
    check_personal,
    check_rows,
    check_time,
    count_things,
    say_share,
)
from lifecycle.data.checks import (
    Check,
    collect_breaches,
    count_reasons,
    find_duplicates,
    find_repeats,
    measure_fences,
    share_missing,
    split_rows,
    trace_time,
)
from lifecycle.data.conversion import convert_columns, read_raw
from lifecycle.data.privacy import Protection, find_personal, narrow_columns, plan_protection, protect_table
from lifecycle.data.profile import compare_profiles, load_profile, profile_table
from lifecycle.data.tables import write_table
from lifecycle.modeling.association import Kind, associate
from lifecycle.modeling.separation import measure_separation
from lifecycle.paths import QUARANTINE_TABLE, VALIDATED_TABLE, VALIDATION, ProjectError
from lifecycle.reporting.wording import format_percent, join_words, quote

__all__ = [
    "check_association",
    "check_classes",
    "check_drift",
    "check_duplicates",
    "check_ids",
    "check_leakage",
    "check_outliers",
    "check_personal",
    "check_rows",
    "check_time",
    "collect_breaches",
    "convert_columns",
    "count_reasons",
    "find_duplicates",
    "find_personal",
    "find_repeats",
    "load_profile",
    "measure_fences",
    "narrow_columns",
    "plan_protection",
    "protect_table",
    "read_raw",
    "share_missing",
    "split_rows",
    "trace_time",
    "write_table",
]

KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}
TABLE_ERRORS = ("personal", "classes")  # of these no row is guilty: failing, they stop the pipeline by themselves
SAMPLE = 200_000  # rows at most from which associations and separations are estimated (standard error about 0.002)
LEAST_SAMPLE = 20_000
WORK = 5 * 10**8  # rows times pairs of columns at most
MOST = 150  # columns whose pairs are compared where some are categories, for which each pair costs a count


def compare_reference(
    reference: dict[str, Any] | None, valid: pd.DataFrame, columns: Mapping[str, Column]
) -> pd.DataFrame:
    """How far each column has moved from the reference profile (see `profile.compare_profiles`); empty without one."""
    if reference is None:
        return compare_profiles({"rows": 0, "columns": {}}, {"rows": 0, "columns": {}})
    return compare_profiles(reference, profile_table(valid, columns, like=reference))


def list_kinds(columns: Mapping[str, Column]) -> dict[str, Kind]:
    """The feature columns, as association sees them."""
    return {name: KINDS[column.role] for name, column in columns.items() if column.role in KINDS}


def sample_rows(valid: pd.DataFrame, pairs: int, seed: int) -> pd.DataFrame:
    """So many rows, at random and in the table's order, that all pairs of columns are measured in seconds."""
    size = int(np.clip(WORK // max(pairs, 1), LEAST_SAMPLE, SAMPLE))
    if len(valid) <= size:
        return valid
    chosen = np.random.default_rng(seed).choice(len(valid), size, replace=False)
    return valid.iloc[np.sort(chosen)]


def associate_columns(
    valid: pd.DataFrame, columns: Mapping[str, Column], separation: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """The association of each pair of features, the target as the last: a square frame from 0 to 1.

    Of more than 150 features, not all numeric, those that separate the classes best are taken.
    """
    kinds = list_kinds(columns)
    if len(kinds) > MOST and "categorical" in kinds.values():
        kept = set(separation["column"].head(MOST))
        kinds = {name: kind for name, kind in kinds.items() if name in kept}
    kinds |= {name: "categorical" for name, column in columns.items() if column.role is Role.TARGET}
    return associate(sample_rows(valid, len(kinds) ** 2 // 2, seed), kinds)


def separate_classes(valid: pd.DataFrame, columns: Mapping[str, Column], contract: Contract, seed: int) -> pd.DataFrame:
    """How well each feature alone separates the classes (see `separation.measure_separation`)."""
    kinds = list_kinds(columns)
    sample = sample_rows(valid, len(kinds), seed)
    target = (sample[contract.target] == contract.positive).to_numpy(dtype=bool)
    return measure_separation(sample, kinds, target, seed)


def judge_table(
    checks: list[Check], contract: Contract, protection: Protection, reasons: pd.DataFrame, valid: int, quarantined: int
) -> dict[str, Any]:
    """The verdict, with all checks in the order of `CHECKS`: what checks.json holds.

    The table passes when no more rows broke the contract than it tolerates and nothing is wrong with the whole.
    `reasons` are those of `count_reasons`; `valid` and `quarantined` are rows.
    """
    rows, limit = valid + quarantined, contract.tolerance.quarantined
    share = quarantined / max(rows, 1)
    broke = f"{quarantined:,} ({say_share(share)})" if quarantined else "None"
    told = f"{broke} of {count_things(rows, 'row')} broke the contract, which tolerates {say_share(limit)}"
    failed = [check for check in checks if check.status == "failed" and check.severity == "error"]
    wrong = [check.message for check in failed if check.name in TABLE_ERRORS]
    if share > limit:
        worst = zip(reasons["reason"].head(3), reasons["rows"].head(3), strict=True)
        named = "; ".join(f"{reason} ({count_things(count, 'row')})" for reason, count in worst)
        wrong.insert(0, f"{told}: {named}.")
    order = list(CHECKS)
    return {
        "passed": not wrong,
        "because": " ".join(wrong) or (f"{told}: they stay behind." if quarantined else f"{told}."),
        "rows": rows,
        "valid": valid,
        "quarantined": quarantined,
        "tolerance": limit,
        "dropped": list(protection.dropped),
        "pseudonymised": list(protection.pseudonymised),
        "blotted": {name: list(kinds) for name, kinds in protection.blotted},
        "checks": [asdict(check) for check in sorted(checks, key=lambda check: order.index(check.name))],
    }


def say_quarantine(verdict: dict[str, Any]) -> str:
    """Which rows stay behind, in a sentence of Markdown."""
    if not verdict["quarantined"]:
        return "Every row keeps the contract: the quarantine is empty."
    share = format_percent(verdict["quarantined"] / verdict["rows"])
    rows = count_things(verdict["quarantined"], "row")
    return f"**{rows} ({share})** stay behind in `{QUARANTINE_TABLE}`, as they came and with every reason."


def say_outcome(verdict: dict[str, Any]) -> str:
    """What goes on to the next stage, in a paragraph of Markdown."""
    left = [*map(quote, verdict["dropped"])]
    without = f" without {join_words(left)}" if left else ""
    kept = f"**{count_things(verdict['valid'], 'valid row')}**{without}"
    told = f"every check is in `{VALIDATION}`."
    if verdict["passed"]:
        return f"{kept} went to `{VALIDATED_TABLE}`, {verdict['quarantined']:,} to `{QUARANTINE_TABLE}`; {told}"
    return f"The pipeline stops here: nothing went on to the next stage. {say_quarantine(verdict)} And {told}"


def require_passed(verdict: dict[str, Any]) -> None:
    """Stop the pipeline (ProjectError, naming the biggest reasons) when the table did not pass."""
    if not verdict["passed"]:
        raise ProjectError(
            f"The table did not pass: {verdict['because']} See {VALIDATION} and the quarantine beside it."
        )


def describe_reference(raw: pd.DataFrame, contract: Contract) -> dict[str, Any]:
    """The reference profile of a raw table's valid rows, against which later tables are held.

    Nothing personal is in it: what would be pseudonymised is left out.
    """
    plan = plan_protection(contract.columns, find_personal(raw, contract.columns))
    protection = Protection((*plan.dropped, *plan.pseudonymised), (), plan.blotted)
    safe, columns = (protect_table(raw, protection), narrow_columns(contract.columns, protection))
    typed, broken = convert_columns(safe, columns)
    repeated, _ = find_repeats(safe, columns)
    breaches = collect_breaches(typed, broken, repeated, measure_fences(typed, columns), columns)
    valid, _ = split_rows(safe, typed, breaches, columns)
    return {"table": contract.name, **profile_table(valid, columns)}
