"""Validate: every row held against the contract, the table against its reference; personal data goes no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import QUARANTINE_TABLE, VALIDATED_TABLE, VALIDATION
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import count_rows
from lifecycle.exploration.association import Kind, associate
from lifecycle.exploration.univariate import measure_univariate_auc
from lifecycle.reporting.wording import format_percent, join_words, quote
from lifecycle.validation.checks import (
    CHECKS,
    Check,
    count_things,
    format_share,
)
from lifecycle.validation.conversion import list_wordless, read_frames, read_raw
from lifecycle.validation.passes import Split, Survey, read_safe, survey_table
from lifecycle.validation.passes import split_table as split_parts
from lifecycle.validation.pii import Finding, Policy, Protection, find_personal, narrow_columns, plan_protection
from lifecycle.validation.profile import Profiler, compare_profiles, cut_edges
from lifecycle.validation.sampling import choose_rows, find_span, limit_rows

Array = np.ndarray[Any, Any]

KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}
TABLE_ERRORS = ("personal", "classes")  # of these no row is guilty: failing, they stop the pipeline by themselves
SAMPLE = 200_000  # rows at most from which associations and separations are estimated (standard error about 0.002)
LEAST_SAMPLE = 20_000
WORK = 5 * 10**8  # rows times pairs of columns at most
MOST = 150  # columns whose pairs are compared where some are categories, for which each pair costs a count


def search_personal(path: Path, contract: Contract, policy: Policy) -> list[Finding]:
    """The first pass over the raw table: what looks personal in it (see `privacy.find_personal`)."""
    parts = read_raw(path, contract, list_wordless(path))
    return find_personal(show_progress(parts, "personal data", count_rows(path)), contract.columns, policy)


def survey_rows(path: Path, contract: Contract, protection: Protection, folder: Path) -> Survey:
    """The second pass: the table as a whole, personal data left out; files in `folder` hold what memory need not."""
    columns = narrow_columns(contract.columns, protection)
    return survey_table(read_safe(path, contract, protection), columns, folder, count_rows(path))


def split_rows(
    path: Path,
    contract: Contract,
    protection: Protection,
    survey: Survey,
    reference: dict[str, Any] | None,
    valid: Path,
    quarantine: Path,
) -> Split:
    """The third pass: valid rows and quarantine, which wait beside their places until `release_tables`."""
    columns = narrow_columns(contract.columns, protection)
    aside = (hide_file(valid), hide_file(quarantine))
    return split_parts(read_safe(path, contract, protection), survey, columns, reference, aside, SAMPLE)


def hide_file(path: Path) -> Path:
    """Where a table waits for the verdict."""
    return path.with_name(f".{path.name}")


def release_tables(verdict: dict[str, Any], valid: Path, quarantine: Path) -> None:
    """Put the quarantine in its place, and the valid rows where the table passed; else the former ones stay there."""
    hide_file(quarantine).replace(quarantine)
    if verdict["passed"]:
        hide_file(valid).replace(valid)
    else:
        hide_file(valid).unlink()


def compare_reference(reference: dict[str, Any] | None, profile: dict[str, Any]) -> pd.DataFrame:
    """How far each column has moved from the reference profile (see `profile.compare_profiles`); empty without one."""
    if reference is None:
        return compare_profiles({"rows": 0, "columns": {}}, {"rows": 0, "columns": {}})
    return compare_profiles(reference, profile)


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
    """How well each feature alone separates the classes (see `separation.measure_univariate_auc`)."""
    kinds = list_kinds(columns)
    sample = sample_rows(valid, len(kinds), seed)
    target = (sample[contract.target] == contract.positive).to_numpy(dtype=bool)
    return measure_univariate_auc(sample, kinds, target, seed)


def judge_table(checks: list[Check], contract: Contract, protection: Protection, split: Split) -> dict[str, Any]:
    """The verdict, with all checks in the order of `CHECKS`: what checks.json holds.

    The table passes when no more rows broke the contract than it tolerates and nothing is wrong with the whole.
    """
    valid, quarantined, reasons = split.valid, split.quarantined, split.reasons
    rows, limit = valid + quarantined, contract.tolerance.quarantined
    share = quarantined / max(rows, 1)
    broke = f"{quarantined:,} ({format_share(share)})" if quarantined else "None"
    told = f"{broke} of {count_things(rows, 'row')} broke the contract, which tolerates {format_share(limit)}"
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


def describe_quarantine(verdict: dict[str, Any]) -> str:
    """Which rows stay behind, in a sentence of Markdown."""
    if not verdict["quarantined"]:
        return "Every row keeps the contract: the quarantine is empty."
    share = format_percent(verdict["quarantined"] / verdict["rows"])
    rows = count_things(verdict["quarantined"], "row")
    return f"**{rows} ({share})** stay behind in `{QUARANTINE_TABLE}`, as they came and with every reason."


def describe_outcome_text(verdict: dict[str, Any]) -> str:
    """What goes on to the next stage, in a paragraph of Markdown."""
    left = [*map(quote, verdict["dropped"])]
    without = f" without {join_words(left)}" if left else ""
    kept = f"**{count_things(verdict['valid'], 'valid row')}**{without}"
    told = f"every check is in `{VALIDATION}`."
    if verdict["passed"]:
        return f"{kept} went to `{VALIDATED_TABLE}`, {verdict['quarantined']:,} to `{QUARANTINE_TABLE}`; {told}"
    return f"The pipeline stops here: nothing went on to the next stage. {describe_quarantine(verdict)} And {told}"


def require_passed(verdict: dict[str, Any]) -> None:
    """Stop the pipeline (ProjectError, naming the biggest reasons) when the table did not pass."""
    if not verdict["passed"]:
        raise ProjectError(
            f"The table did not pass: {verdict['because']} See {VALIDATION} and the quarantine beside it."
        )


def describe_reference(path: Path, contract: Contract, folder: Path) -> dict[str, Any]:
    """The reference profile of a raw table's valid rows, against which later tables are held.

    Nothing personal is in it: what would be pseudonymised is left out. Tables are written to `folder` on the way.
    """
    plan = plan_protection(contract.columns, search_personal(path, contract, "drop"))
    protection = Protection((*plan.dropped, *plan.pseudonymised), (), plan.blotted)
    survey = survey_rows(path, contract, protection, folder)
    valid, quarantine = folder / "valid.parquet", folder / "quarantine.parquet"
    split_rows(path, contract, protection, survey, None, valid, quarantine)
    return {"table": contract.name, **profile_file(hide_file(valid), narrow_columns(contract.columns, protection))}


def profile_file(path: Path, columns: Mapping[str, Column]) -> dict[str, Any]:
    """The profile of a table of valid rows; the bins are cut from a sample where rows are many."""
    numeric = [name for name, column in columns.items() if column.role is Role.NUMERIC]
    chosen: dict[str, list[Array]] = {name: [] for name in numeric}
    ends = dict.fromkeys(numeric, (np.inf, -np.inf))
    for part in read_frames(path, numeric):
        some = choose_rows(find_span(part), limit_rows(len(numeric)), count_rows(path))
        for name in numeric:
            values = part[name].to_numpy(dtype="float64", na_value=np.nan)
            finite = values[np.isfinite(values)]
            ends[name] = (finite.min(initial=ends[name][0]), finite.max(initial=ends[name][1]))
            chosen[name].append(values[some])
    edges = {name: cut_edges(np.concatenate(parts), *ends[name]) for name, parts in chosen.items() if parts}
    profiler = Profiler(columns, None, edges)
    for part in read_frames(path):
        profiler.add(part)
    return profiler.make_profile()
