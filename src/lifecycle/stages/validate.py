"""The stage `validate`: check every row against the contract and the table against its profile; remove personal data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import QUARANTINE_TABLE, REJECTED_TABLE, VALIDATED_TABLE, VALIDATION
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import count_rows
from lifecycle.exploration.association import Kind, associate
from lifecycle.exploration.univariate import measure_univariate_auc
from lifecycle.reporting.wording import format_percent, join_words, quote
from lifecycle.validation.checks import (
    CHECKS,
    UNREADABLE,
    Check,
    count_things,
    format_share,
)
from lifecycle.validation.conversion import list_wordless, read_frames, read_raw
from lifecycle.validation.outcome import Validation
from lifecycle.validation.passes import Split, Survey, read_safe, survey_table
from lifecycle.validation.passes import split_table as split_parts
from lifecycle.validation.pii import (
    LEAST_NUMBER,
    Finding,
    Policy,
    Protection,
    find_personal,
    narrow_columns,
    plan_protection,
)
from lifecycle.validation.profile import Profiler, compare_profiles, cut_edges
from lifecycle.validation.sampling import choose_rows, find_span, limit_rows

Array = np.ndarray[Any, Any]

KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}
TABLE_ERRORS = ("personal", "classes")  # checks of the table as a whole: when one fails, the pipeline stops
SAMPLE = (
    200_000  # rows at most from which associations and univariate ROC AUC are estimated (standard error about 0.002)
)
LEAST_SAMPLE = 20_000
WORK = 5 * 10**8  # the maximum of rows times pairs of columns
MOST = 150  # columns whose pairs are compared when some are categorical, where each pair needs a table of counts


def search_personal(path: Path, contract: Contract, policy: Policy) -> list[Finding]:
    """Search the raw table for personal data, in a first pass (see `pii.find_personal`)."""
    parts = read_raw(path, contract, list_wordless(path, LEAST_NUMBER))
    return find_personal(show_progress(parts, "personal data", count_rows(path)), contract.columns, policy)


def survey_rows(path: Path, contract: Contract, protection: Protection, folder: Path) -> Survey:
    """Survey the table as a whole, without personal data, in a second pass; `folder` holds temporary files."""
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
    """Split the table into valid rows and quarantine, in a third pass; both stay hidden until `release_tables`."""
    columns = narrow_columns(contract.columns, protection)
    aside = (hide_file(valid), hide_file(quarantine))
    return split_parts(read_safe(path, contract, protection), survey, columns, reference, aside, SAMPLE)


def hide_file(path: Path) -> Path:
    """Return the path at which a table is hidden until the verdict."""
    return path.with_name(f".{path.name}")


def release_tables(verdict: Validation, valid: Path, quarantine: Path) -> None:
    """Publish the quarantine, and the valid rows when the table passed; otherwise the former valid rows stay."""
    hide_file(quarantine).replace(quarantine)
    if verdict.passed:
        hide_file(valid).replace(valid)
    else:
        hide_file(valid).unlink()


def compare_reference(reference: dict[str, Any] | None, profile: dict[str, Any]) -> pd.DataFrame:
    """Measure how far each column has moved from the reference profile (see `profile.compare_profiles`); empty without one."""
    if reference is None:
        return compare_profiles({"rows": 0, "columns": {}}, {"rows": 0, "columns": {}})
    return compare_profiles(reference, profile)


def list_kinds(columns: Mapping[str, Column]) -> dict[str, Kind]:
    """Return the kinds of the feature columns for `association`."""
    return {name: KINDS[column.role] for name, column in columns.items() if column.role in KINDS}


def sample_rows(valid: pd.DataFrame, pairs: int, seed: int) -> pd.DataFrame:
    """Sample rows at random, in the table's order: as many as keep all pairs of columns within seconds."""
    size = int(np.clip(WORK // max(pairs, 1), LEAST_SAMPLE, SAMPLE))
    if len(valid) <= size:
        return valid
    chosen = np.random.default_rng(seed).choice(len(valid), size, replace=False)
    return valid.iloc[np.sort(chosen)]


def associate_columns(
    valid: pd.DataFrame, columns: Mapping[str, Column], aucs: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Measure the association of each pair of features, the target last: a square frame from 0 to 1.

    Of more than 150 features, not all numeric, those with the highest univariate ROC AUC are used.
    """
    kinds = list_kinds(columns)
    if len(kinds) > MOST and "categorical" in kinds.values():
        kept = set(aucs["column"].head(MOST))
        kinds = {name: kind for name, kind in kinds.items() if name in kept}
    kinds |= {name: "categorical" for name, column in columns.items() if column.role is Role.TARGET}
    return associate(sample_rows(valid, len(kinds) ** 2 // 2, seed), kinds)


def measure_univariate_aucs(
    valid: pd.DataFrame, columns: Mapping[str, Column], contract: Contract, seed: int
) -> pd.DataFrame:
    """Measure the univariate ROC AUC of each feature (see `univariate.measure_univariate_auc`)."""
    kinds = list_kinds(columns)
    sample = sample_rows(valid, len(kinds), seed)
    target = (sample[contract.target] == contract.positive).to_numpy(dtype=bool)
    return measure_univariate_auc(sample, kinds, target, seed)


def count_rejected(path: Path) -> pd.DataFrame:
    """Count the rows that could not be read by reason, the most common first, in the columns of `BreachCounter.list_reasons`.

    The text of these rows, which may be personal, is not looked at.
    """
    table = pq.read_table(path, columns=["where", "reason"]).to_pandas()
    counts = table.groupby("reason", sort=False)["where"].agg(["size", "first"])
    reasons = [f"{UNREADABLE}{reason}" for reason in counts.index]
    examples = [f"{where}: {reason}" for reason, where in counts["first"].items()]
    found = pd.DataFrame(
        {"column": "", "rule": "readable", "reason": reasons, "rows": counts["size"].to_numpy(), "example": examples}
    )
    return found.assign(check="readable").sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def join_reasons(reasons: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """Join the reasons of quarantined and of rejected rows, the most common first."""
    return pd.concat([reasons, rejected]).sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def judge_table(
    checks: list[Check], contract: Contract, protection: Protection, split: Split, rejected: pd.DataFrame
) -> Validation:
    """Return the verdict with all checks in the order of `CHECKS`, as in checks.json.

    The table passes when the contract tolerates the share of quarantined rows and of rows that could not be read (`rejected`,
    see `count_rejected`), and no check of the whole table failed.
    """
    unread, limit = int(rejected["rows"].sum()), contract.tolerance.quarantined
    rows = split.valid + split.quarantined + unread
    share = (split.quarantined + unread) / max(rows, 1)
    broke = f"{split.quarantined:,} ({format_share(split.quarantined / rows)})" if split.quarantined else "None"
    summary = f"{broke} of {count_things(rows, 'row')} broke the contract, which tolerates {format_share(limit)}"
    if unread:
        summary = f"{summary}, and {unread:,} ({format_share(unread / rows)}) could not be read"
    failed = [check for check in checks if check.status == "failed" and check.severity == "error"]
    wrong = [check.message for check in failed if check.name in TABLE_ERRORS]
    if share > limit:
        reasons = join_reasons(split.reasons, rejected)
        worst = zip(reasons["reason"].head(3), reasons["rows"].head(3), strict=True)
        named = "; ".join(f"{reason} ({count_things(count, 'row')})" for reason, count in worst)
        wrong.insert(0, f"{summary}: {named}.")
    order = list(CHECKS)
    return Validation(
        passed=not wrong,
        because=" ".join(wrong)
        or f"{summary}{': they are not used' if unread else ': they are quarantined' if share else ''}.",
        rows=rows,
        valid=split.valid,
        quarantined=split.quarantined,
        rejected=unread,
        tolerance=limit,
        dropped=protection.dropped,
        pseudonymised=protection.pseudonymised,
        redacted=dict(protection.redacted),
        checks=tuple(sorted(checks, key=lambda check: order.index(check.name))),
    )


def describe_quarantine(verdict: Validation) -> str:
    """Describe which rows are quarantined, and which could not be read, in sentences of Markdown."""
    sentences = []
    if verdict.rejected:
        rows, share = count_things(verdict.rejected, "row"), format_percent(verdict.rejected / verdict.rows)
        sentences.append(
            f"**{rows} ({share})** could not be read and are in `{REJECTED_TABLE}`, with their text and the reason."
        )
    if verdict.quarantined:
        rows, share = count_things(verdict.quarantined, "row"), format_percent(verdict.quarantined / verdict.rows)
        sentences.insert(0, f"**{rows} ({share})** are in `{QUARANTINE_TABLE}`, unchanged and with every reason.")
    return " ".join(sentences) or "Every row satisfies the contract: the quarantine is empty."


def describe_outcome_text(verdict: Validation) -> str:
    """Describe what the next stage gets, in a paragraph of Markdown."""
    left = [*map(quote, verdict.dropped)]
    without = f" without {join_words(left)}" if left else ""
    kept = f"**{count_things(verdict.valid, 'valid row')}**{without}"
    record = f"every check is in `{VALIDATION}`."
    if verdict.passed:
        unread = f", {verdict.rejected:,} could not be read" if verdict.rejected else ""
        return f"{kept} went to `{VALIDATED_TABLE}`, {verdict.quarantined:,} to `{QUARANTINE_TABLE}`{unread}; {record}"
    return f"The pipeline stops here, and the next stage does not run. {describe_quarantine(verdict)} And {record}"


def require_passed(verdict: Validation) -> None:
    """Raise ProjectError, naming the main reasons, when the table did not pass."""
    if not verdict.passed:
        raise ProjectError(
            f"The table did not pass: {verdict.because} See {VALIDATION} and the quarantine in the same folder."
        )


def describe_reference(path: Path, contract: Contract, folder: Path) -> dict[str, Any]:
    """Profile a raw table's valid rows, as the reference that later tables are compared with.

    It holds no personal data: pseudonymised columns are left out. `folder` holds temporary tables.
    """
    plan = plan_protection(contract.columns, search_personal(path, contract, "drop"))
    protection = Protection((*plan.dropped, *plan.pseudonymised), (), plan.redacted)
    survey = survey_rows(path, contract, protection, folder)
    valid, quarantine = folder / "valid.parquet", folder / "quarantine.parquet"
    split_rows(path, contract, protection, survey, None, valid, quarantine)
    return {"table": contract.name, **profile_file(hide_file(valid), narrow_columns(contract.columns, protection))}


def profile_file(path: Path, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Profile a table of valid rows; the bins of a long table are computed from a sample."""
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
