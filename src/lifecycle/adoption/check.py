"""Compare another file of the same kind with the contract: what adopting it would change, and which rows would be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lifecycle.adoption.adopt import place_source
from lifecycle.adoption.guess import Guess, format_values
from lifecycle.adoption.inference import infer_columns
from lifecycle.adoption.table import SourceTable, read_table
from lifecycle.core import paths
from lifecycle.core.contract import Column, Contract, Role, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import load_params
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.sources.addresses import read_scheme
from lifecycle.sources.detect import detect_options
from lifecycle.validation.conversion import convert_columns, is_dropped, read_plain
from lifecycle.validation.rules import BreachCounter, find_breaches

_COMPARED = ("dtype", "format", "null_values", "nullable")  # keys of a column that follow from its values
_DIALECT = ("delimiter", "encoding", "quote", "escape", "skip", "header", "skip_space", "quotes_all", "sheet", "range")


def check_table(project: Project, source: str, options: Mapping[str, Any] | None = None) -> list[str]:
    """Return what a new table of the adopted kind would change, a line each; nothing is written.

    How the file is written is detected anew and compared with the options of params.yaml; its columns are compared with the
    contract, and its rows are checked against it. Raises ProjectError when it cannot be read.
    """
    source = source if read_scheme(source) else place_source(project.root, source)
    contract, collect = load_contract(project.read(paths.CONTRACT)), load_params(project.read(paths.PARAMS)).collect
    given = {**collect.options, **(options or {})}
    detected = detect_options(source, project.root, options or {})
    lines = _compare_options(given, detected.options) if detected.delimited else []
    kept = {key: value for key, value in given.items() if key not in _DIALECT}
    read = {**kept, **detected.options, **(options or {})}
    found = read_table(source, project.root, read, delimited=detected.delimited)
    table = found.shown
    lines += found.notes
    if found.rejected:
        lines.append(
            f"{found.rejected:,} of {found.rows + found.rejected:,} rows cannot be read; the first is {found.first_reject}"
        )
    lines += _compare_names(table.column_names, contract)
    shared = [name for name in contract.columns if name in table.column_names]
    if contract.target in shared:
        lines += _compare_guesses(found, contract)
    lines += _check_rows(table.select(shared), {name: contract.columns[name] for name in shared})
    return lines or [f"{found.rows:,} rows agree with {paths.CONTRACT} and with collect.options: nothing would change"]


def _compare_options(given: Mapping[str, Any], detected: Mapping[str, Any]) -> list[str]:
    """Compare how the file is written with the options that are set."""
    return [
        f"collect.options.{key} in {paths.PARAMS} is {given.get(key, 'not set')!r}, but this file is written with {detected.get(key, 'the default')!r}"
        for key in _DIALECT
        if given.get(key) != detected.get(key)
    ]


def _compare_names(names: list[str], contract: Contract) -> list[str]:
    """Name the columns that are missing, and those that the contract does not describe."""
    missing = [name for name in contract.columns if name not in names]
    more = [name for name in names if name not in contract.columns]
    lines = [f"the column {name!r} is missing, which {paths.CONTRACT} describes" for name in missing]
    return lines + [f"the column {name!r} is new: {paths.CONTRACT} does not describe it" for name in more]


def _compare_guesses(found: SourceTable, contract: Contract) -> list[str]:
    """Compare what would be inferred of each column with the contract."""
    table = found.shown
    identity = next((name for name in contract.names(Role.ID) if name in table.column_names), None)
    time = contract.time if contract.time in table.column_names else None
    try:
        guesses = infer_columns(
            table, target=contract.target, time=time, identity=identity, positive=str(contract.positive),
            quoted=found.quotes.words,
        )  # fmt: skip
    except ProjectError as error:
        return [f"the table would not be adopted: {error}"]
    return [
        f"{name}: {key} would be {_get(guess, key)!r}, and is {known!r} in {paths.CONTRACT} ({guess.why})"
        for name, guess in guesses.items()
        if name in contract.columns and not is_dropped(contract.columns[name])
        for key, known in _list_rules(contract.columns[name]).items()
        if _get(guess, key) != known
    ]


def _list_rules(column: Column) -> Record:
    """Return the keys of a contract's column that follow from its values."""
    return {key: list(value) if isinstance(value := getattr(column, key), tuple) else value for key in _COMPARED}


def _get(guess: Guess, key: str) -> Any:
    """Return a key of the guess, or its default."""
    return guess.column.get(key, {"nullable": False, "null_values": [], "format": ""}.get(key, ""))


def _check_rows(table: pa.Table, columns: Mapping[str, Column]) -> list[str]:
    """Check the rows against the contract's columns; count the rows by reason, and name unseen categories."""
    read = {name: column for name, column in columns.items() if not is_dropped(column)}
    raw = pd.DataFrame({name: read_plain(table[name], name) for name in read})
    typed, broken = convert_columns(raw, read)
    counter = BreachCounter(read)
    counter.add(raw, find_breaches(typed, broken, read))
    reasons = counter.list_reasons()
    lines = [f"{row.rows:,} rows would be quarantined: {row.reason} ({row.example})" for row in reasons.itertuples()]
    for name, column in read.items():
        if column.open and column.values is not None:
            unseen = typed[name].dropna()
            unseen = unseen[~unseen.isin(column.values)]
            if len(unseen):
                lines.append(f"{name}: {format_values(list(np.unique(unseen)))} in {len(unseen):,} rows is new")
    return lines
