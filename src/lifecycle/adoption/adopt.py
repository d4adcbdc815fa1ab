"""Adopt another table: write its contract and parameters, start without a champion, and restore the former project on request."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from lifecycle.adoption.backup import BACKUP, back_up, check_edits, swap_in
from lifecycle.adoption.guess import Guess
from lifecycle.adoption.inference import infer_columns, to_columns
from lifecycle.adoption.parameters import default_miss_cost, fit_params, measure_facts
from lifecycle.adoption.target import suspect_leaks
from lifecycle.adoption.yaml_text import change_params, clean, dump, to_flow
from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import FORMAT, Collect, Params, parse_strictly
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.exploration.association import Kind
from lifecycle.exploration.univariate import measure_univariate_auc
from lifecycle.promotion.releases import hold_lock
from lifecycle.sources.addresses import find_local, hide_secrets, read_scheme
from lifecycle.sources.dispatch import is_growing, open_source
from lifecycle.sources.ingest import ingest
from lifecycle.validation.conversion import convert_columns, is_dropped, read_plain

_Guesses = Mapping[str, Guess]
_MAX_ROWS = 1_000_000  # rows of a longer table that are examined
_AUC_ROWS = 200_000  # rows for the univariate ROC AUC
_VARIABLE = re.compile(r"\$\{\w+\}")  # an environment variable in place of a secret
_KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}


def adopt_table(
    project: Project, source: str, *, target: str, time: str | None = None, identity: str | None = None,
    positive: str | None = None, name: str | None = None, options: Mapping[str, Any] | None = None, force: bool = False,
) -> list[str]:  # fmt: skip
    """Replace the project's table by another one; return what was inferred and what to check, a line each.

    A growing source is landed first. Contract, parameters, champion and profile are written anew. The former project goes
    to .lifecycle/adopted at the first adoption. Raises ProjectError, without changing anything, if the table cannot be
    read or is not supported, or if the adopted contract or parameters were edited since and `force` is not set.
    """
    check_edits(project.root, force)
    address = _place_source(project.root, source)
    collect = _collect_from(address, options or {})
    landed = list(ingest(project, Collect.model_validate(collect))) if collect["watch"] == paths.LANDED else []
    shown, rows = _read_rows(address, project.root, options or {})
    guesses = infer_columns(shown, target=target, time=time, identity=identity, positive=positive)
    raw = pd.DataFrame(
        {name: read_plain(shown[name], name) for name, column in to_columns(guesses).items() if not is_dropped(column)}
    )
    aucs = _measure_aucs(raw, guesses, target)
    guesses = suspect_leaks(guesses, aucs, target)
    title = name or _name_source(source)
    typed, unread = _read_typed(raw, guesses)
    tolerance = max(0.01, math.ceil(1.5 * unread * 1000) / 1000)
    contract_text = _write_contract(title, _describe_source(address, rows, len(shown)), tolerance, guesses)
    contract = parse_strictly(Contract, YAML(typ="safe", pure=True).load(contract_text), Path(paths.CONTRACT))
    facts = measure_facts(typed, contract, aucs, round(rows * (1 - unread)))
    before = next(path for path in (project.root / BACKUP / paths.PARAMS, project.read(paths.PARAMS)) if path.exists())
    changes = {"collect": collect, **fit_params(facts, contract, typed)}
    params_text = change_params(before.read_text(encoding="utf-8"), changes)
    parse_strictly(Params, YAML(typ="safe", pure=True).load(params_text), Path(paths.PARAMS))
    with hold_lock(project.output):
        back_up(project.output)
        swap_in(project.output, {
            paths.CONTRACT: contract_text, paths.PARAMS: params_text, paths.CHAMPION: '{\n  "model": null\n}\n', paths.PROFILE: "{}\n"
        })  # fmt: skip
    return [*landed[-1:], *_describe_guesses(title, guesses, rows, len(shown), unread, facts)]


# Reading.


def _place_source(root: Path, source: str) -> str:
    """Return the source as written to params.yaml: a path in the project relative to it, another path absolute, an address unchanged."""
    if read_scheme(source):
        password = urlsplit(source).password
        if password and not _VARIABLE.fullmatch(password):
            raise ProjectError(
                "The address contains a password, which would be written to a file: use an environment variable, as in ${PGPASSWORD}."
            )
        return source
    path = Path(os.path.normpath(Path.cwd() / source))  # symbolic links are kept: DVC watches their targets
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _read_rows(source: str, root: Path, options: Mapping[str, Any]) -> tuple[pa.Table, int]:
    """Read the source's first MAX_ROWS rows, and count all of its rows."""
    kept, rows = [], 0
    with open_source(source, root, options) as stream:
        for batch in stream:
            if rows < _MAX_ROWS:
                kept.append(batch)
            rows += batch.num_rows
        return pa.Table.from_batches(kept, stream.schema).slice(0, _MAX_ROWS), rows


def _name_source(source: str) -> str:
    """Return a name for the project, from the last part of a path or an address."""
    last = re.split(r"[/:]", source.partition("?")[0].rstrip("/"))[-1]
    stem = last.partition(".")[0]
    return " ".join(re.sub(r"[\W_]+", " ", stem).split()) or "table"


def _describe_source(source: str, rows: int, shown: int) -> str:
    """Return the contract's description; of an absolute path, which differs between machines, only the name."""
    shown_source = Path(source).name if Path(source).is_absolute() else hide_secrets(source)
    seen = "" if shown == rows else f", of which the first {shown:,} were examined"
    return f"{rows:,} rows of {shown_source}{seen}. The meaning of each column is inferred and may need correction."


def _collect_from(address: str, options: Mapping[str, Any]) -> Record:
    """Return the section `collect` of params.yaml."""
    watch = paths.LANDED if is_growing(address, options) else find_local(address) or paths.LOCK
    return {"source": address, "options": dict(options), "watch": watch}


def _read_typed(raw: pd.DataFrame, guesses: _Guesses) -> tuple[pd.DataFrame, float]:
    """Convert the columns to the contract's types; return the rows that satisfy it, and the share of rows that do not."""
    columns = {name: column for name, column in to_columns(guesses).items() if name in raw and not is_dropped(column)}
    typed, broken = convert_columns(raw, columns)
    bad = np.zeros(len(raw), dtype=bool)
    for mask in broken.values():
        bad |= mask
    for name, column in columns.items():
        if not column.nullable:
            bad |= typed[name].isna().to_numpy()
        if column.dtype == "float64":
            bad |= np.isinf(typed[name].to_numpy())
    return typed[~bad].reset_index(drop=True), float(bad.mean())


def _measure_aucs(raw: pd.DataFrame, guesses: _Guesses, target: str) -> dict[str, float]:
    """Return the univariate ROC AUC of each column, from a sample of a long table."""
    columns = {name: column for name, column in to_columns(guesses).items() if column.role in _KINDS or name == target}
    sample = raw if len(raw) <= _AUC_ROWS else raw.sample(_AUC_ROWS, random_state=0)
    typed, _ = convert_columns(sample, columns)
    typed = typed[typed[target].notna()]
    positive = (typed[target] == columns[target].positive).to_numpy(dtype=bool)
    kinds = {name: _KINDS[column.role] for name, column in columns.items() if column.role in _KINDS}
    found = measure_univariate_auc(typed, kinds, positive, seed=0)
    return dict(zip(found["column"], found["roc_auc"].astype(float), strict=True))


# The contract.


def _write_contract(name: str, description: str, tolerance: float, guesses: _Guesses) -> str:
    """Return data/contract.yaml: a line for each column, with the reason for its role in a comment above."""
    document = CommentedMap({
        "format": FORMAT, "name": name, "description": description, "tolerance": CommentedMap({"quarantined": tolerance}), "fairness": to_flow([]),
        "columns": CommentedMap({to_flow(column): to_flow(guess.column) for column, guess in guesses.items()}),
    })  # fmt: skip
    document.yaml_set_start_comment(
        "The meaning of every column, as inferred by `lifecycle adopt`. The comment above each column gives the reason; correct what is wrong."
    )
    document["tolerance"].yaml_add_eol_comment(
        "the pipeline stops if a larger share of rows is in quarantine", "quarantined"
    )
    document.yaml_add_eol_comment("columns whose groups are compared for fairness, if rows describe people", "fairness")
    for column, guess in guesses.items():
        comment = f"{guess.why}{f' -- CHECK: {guess.check}' if guess.check else ''}"
        document["columns"].yaml_set_comment_before_after_key(column, before=clean(comment), indent=2)
    return dump(document)


# The report.


def _describe_guesses(name: str, guesses: _Guesses, rows: int, shown: int, unread: float, facts: Record) -> list[str]:
    """Describe what was inferred and what to check, in a few lines."""
    seen = f" (the first {shown:,} were examined)" if shown < rows else ""
    lines = [f"{name!r}: {rows:,} rows{seen}, {len(guesses)} columns; {facts['rate']:.2%} of the rows are positive."]
    for role in Role:
        names = [column for column, guess in guesses.items() if guess.column["role"] == role]
        if names:
            lines.append(f"{role.value}: {_join_few(names)}")
    lines += [f"check: {column}: {guess.check}" for column, guess in guesses.items() if guess.check][:12]
    more = sum(bool(guess.check) for guess in guesses.values()) - 12
    if more > 0:
        lines.append(f"check: {more} more columns are marked CHECK in {paths.CONTRACT}")
    if unread:
        lines.append(f"check: {unread:.2%} of the rows do not satisfy the inferred contract and will be quarantined")
    cost = default_miss_cost(facts["rate"])
    lines.append(
        f"check: train.cost in {paths.PARAMS}: a missed positive counts as much as {cost:g} false alarms, from the classes' frequencies; set your own costs"
    )
    return [
        *lines,
        f"{paths.CONTRACT} gives the reason for each column. `dvc repro` runs every stage; `lifecycle adopt --undo` restores the former project.",
    ]


def _join_few(names: list[str], most: int = 8) -> str:
    """Join the first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
