"""Adopt another table: write its contract and parameters, start without a champion, and restore the former project on request."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from ruamel.yaml.comments import CommentedMap

from lifecycle.adoption.backup import BACKUP, back_up, check_edits, swap_in
from lifecycle.adoption.guess import MAX_CATEGORIES, Guess, format_values
from lifecycle.adoption.inference import infer_columns, to_columns
from lifecycle.adoption.page import render_adoption
from lifecycle.adoption.parameters import describe_split, fit_params, measure_facts
from lifecycle.adoption.table import SourceTable, read_table
from lifecycle.adoption.target import suspect_leaks
from lifecycle.adoption.yaml_text import change_params, clean, dump, to_flow
from lifecycle.core import paths
from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import FORMAT, Collect, Params, parse_strictly, parse_yaml
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.exploration.association import Kind
from lifecycle.exploration.univariate import measure_univariate_auc
from lifecycle.promotion.releases import hold_lock
from lifecycle.sources.addresses import find_local, hide_secrets, read_scheme
from lifecycle.sources.detect import detect_options
from lifecycle.sources.dispatch import is_growing
from lifecycle.sources.ingest import ingest
from lifecycle.validation.conversion import convert_columns, is_dropped, read_plain
from lifecycle.validation.names import NameKind, classify_name

Ask = Callable[[str, str], str]  # a question and the default answer: the answer
_Guesses = Mapping[str, Guess]
_Mask = np.ndarray[Any, np.dtype[np.bool_]]
_AUC_ROWS = 200_000  # rows for the univariate ROC AUC
_EXPLAINED = 8  # columns that an error names
_ADDED = 3  # sentences about the file that are added to an error
_VARIABLE = re.compile(r"\$\{\w+\}")  # an environment variable in place of a secret
_KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}


@dataclass(frozen=True)
class Request:
    """What a person says about a table besides where it is: the columns and the class that are named, and the project's name."""

    target: str
    time: str | None = None
    identity: str | None = None
    positive: str | None = None
    name: str | None = None


def adopt_table(
    project: Project, source: str, request: Request, *, options: Mapping[str, Any] | None = None, force: bool = False,
    ask: Ask | None = None,
) -> list[str]:  # fmt: skip
    """Replace the project's table by another one; return what was inferred and what to check, a line each.

    A growing source is landed first. Contract, parameters, champion and profile are written anew, and reports/adopted.html
    shows every column. The former project goes to .lifecycle/adopted at the first adoption. `ask` puts a question with a
    default to a person; without it, the defaults are said. Raises ProjectError, without changing anything, if the table
    cannot be read or is not supported, or if the adopted contract or parameters were edited since and `force` is not set.
    """
    check_edits(project.root, force)
    address = place_source(project.root, source)
    given = dict(options or {})
    detected = detect_options(address, project.root, given)
    collect = _collect_from(address, {**detected.options, **given})
    landed = list(ingest(project, Collect.model_validate(collect))) if collect["watch"] == paths.LANDED else []
    with _add_notes(detected.notes):
        table = read_table(address, project.root, collect["options"], delimited=detected.delimited)
        if table.quotes.missing:
            collect["options"]["null_values"] = list(table.quotes.missing)
        guesses = _infer(table, request, ask)
    columns = _select_columns(guesses)
    raw = pd.DataFrame({name: read_plain(table.shown[name], name) for name in columns})
    typed, unread_cells = convert_columns(raw, columns)
    aucs = _measure_aucs(typed, columns, request.target)
    guesses = suspect_leaks(guesses, aucs, request.target)
    _require_features(guesses)
    title = request.name or _name_source(source)
    typed, unread = _select_rows(typed, unread_cells, _select_columns(guesses))
    broken = unread + table.rejected / max(table.rows + table.rejected, 1)
    tolerance = max(0.01, math.ceil(1.5 * broken * 1000) / 1000)
    contract_text = _write_contract(title, _describe_source(address, table.rows, len(table.shown)), tolerance, guesses)
    contract = parse_strictly(Contract, parse_yaml(contract_text), Path(paths.CONTRACT))
    facts = measure_facts(typed, contract, aucs, round(table.rows * (1 - unread)))
    before = next(path for path in (project.root / BACKUP / paths.PARAMS, project.read(paths.PARAMS)) if path.exists())
    sections = fit_params(facts, contract, typed)
    asked = _ask_about_use(sections, ask)
    params_text = change_params(before.read_text(encoding="utf-8"), {"collect": collect, **sections})
    parse_strictly(Params, parse_yaml(params_text), Path(paths.PARAMS))
    split = list(filter(None, [describe_split(sections, typed, contract)]))
    notes = [*detected.notes, *table.notes, *_describe_rows(table, unread), *_describe_checks(guesses), *split, *asked]
    summary = _describe_table(title, guesses, table, facts)
    page = render_adoption(title, table.shown, guesses, _make_cards(table, guesses, facts, len(notes)), notes)
    with hold_lock(project.output):
        back_up(project.output)
        swap_in(project.output, {
            paths.CONTRACT: contract_text, paths.PARAMS: params_text, paths.CHAMPION: '{\n  "model": null\n}\n', paths.PROFILE: "{}\n",
            paths.ADOPTED_PAGE: page,
        })  # fmt: skip
    last = (
        f"{paths.ADOPTED_PAGE} shows every column with its values, and the line to write where a guess is wrong. "
        "`dvc repro` runs every stage; `lifecycle adopt --undo` restores the former project."
    )
    return [*landed[-1:], *summary, *(f"check: {note}" for note in notes), last]


@contextmanager
def _add_notes(notes: Sequence[str]) -> Iterator[None]:
    """Add to an error what was seen of the file first, such as the sheet that is read, as it may be the reason."""
    try:
        yield
    except ProjectError as error:
        raise ProjectError(" ".join([str(error), *notes[:_ADDED]])) from error


def _infer(table: SourceTable, request: Request, ask: Ask | None) -> dict[str, Guess]:
    """Infer the columns; ask for the class to predict where it is not named."""

    def infer(positive: str | None) -> dict[str, Guess]:
        return infer_columns(
            table.shown, target=request.target, time=request.time, identity=request.identity, positive=positive,
            quoted=table.quotes.words,
        )  # fmt: skip

    guesses = infer(request.positive)
    if request.positive is None and ask is not None:
        values = [str(value) for value in guesses[request.target].column["values"]]
        answer = ask(
            f"The class to predict, {' or '.join(map(repr, values))}", str(guesses[request.target].column["positive"])
        )
        guesses = infer(answer)
    return guesses


def _require_features(guesses: _Guesses) -> None:
    """Raise ProjectError, with the reason for each column, when there is nothing to learn from."""
    roles = {Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN, Role.TIME}
    if any(column.role in roles for column in to_columns(guesses).values()):
        return
    others = [f"{name!r} {guess.why}" for name, guess in guesses.items() if guess.column["role"] != "target"]
    raise ProjectError(
        f"There is nothing to learn from: {'; '.join(others[:_EXPLAINED]) or 'the table has no other column'}. Expected a column "
        f"besides the target with numbers, categories that repeat or of which there are at most {MAX_CATEGORIES}, or times."
    )


def _ask_about_use(sections: dict[str, Record], ask: Ask | None) -> list[str]:
    """Ask what errors cost and what the model is for, into the sections; without `ask`, return what is assumed."""
    use = str(sections["explain"]["intended_use"])
    cost = sections["train"]["cost"]
    if ask is not None:
        answer = ask("How many false alarms a missed positive costs", f"{cost['false_negative']:g}")
        cost["false_negative"] = _read_cost(answer)
        sections["explain"]["intended_use"] = ask("What the model is for", use)
        return []
    assumed = (
        f"a missed positive counts as much as {cost['false_negative']:g} false alarms, from the classes' frequencies"
    )
    return [
        f"train.cost in {paths.PARAMS}: {assumed}; set your own costs",
        f"explain.intended_use in {paths.PARAMS}: {use!r} is assumed; say what the model is for, and what it is not for",
    ]


def _read_cost(answer: str) -> float:
    """Return the cost of a missed positive as it was typed; raise ProjectError if it is not a positive number."""
    try:
        cost = float(answer.strip())
    except ValueError:
        cost = math.nan
    if not 0 < cost < math.inf:
        raise ProjectError(f"The cost of a missed positive is {answer!r}: expected a number above 0.")
    return cost


def place_source(root: Path, source: str) -> str:
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


def _select_columns(guesses: _Guesses) -> dict[str, Column]:
    """Return the columns that later stages read."""
    return {name: column for name, column in to_columns(guesses).items() if not is_dropped(column)}


def _select_rows(
    typed: pd.DataFrame, broken: Mapping[str, _Mask], columns: Mapping[str, Column]
) -> tuple[pd.DataFrame, float]:
    """Return the rows that satisfy the contract, and the share of rows that do not; `broken` marks cells that are not read."""
    typed, bad = typed[[*columns]], np.zeros(len(typed), dtype=bool)
    for name, column in columns.items():
        if name in broken:
            bad |= broken[name]
        if not column.nullable:
            bad |= typed[name].isna().to_numpy()
        if column.dtype == "float64":
            bad |= np.isinf(typed[name].to_numpy())
    return typed[~bad].reset_index(drop=True), float(bad.mean())


def _measure_aucs(typed: pd.DataFrame, columns: Mapping[str, Column], target: str) -> dict[str, float]:
    """Return the univariate ROC AUC of each column, from a sample of a long table."""
    typed = typed if len(typed) <= _AUC_ROWS else typed.sample(_AUC_ROWS, random_state=0)
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
        comment = " -- CHECK: ".join([guess.why, *guess.checks])
        document["columns"].yaml_set_comment_before_after_key(column, before=clean(comment), indent=2)
    return dump(document)


# The report.


def _describe_table(title: str, guesses: _Guesses, table: SourceTable, facts: Record) -> list[str]:
    """Describe what was inferred, in a few lines."""
    seen = f" (the first {len(table.shown):,} were examined)" if len(table.shown) < table.rows else ""
    lines = [
        f"{title!r}: {table.rows:,} rows{seen}, {len(guesses)} columns; {facts['rate']:.2%} of the rows are positive."
    ]
    for role in Role:
        names = [column for column, guess in guesses.items() if guess.column["role"] == role]
        if names:
            lines.append(f"{role.value}: {_join_few(names)}")
    return lines


def _describe_rows(table: SourceTable, unread: float) -> list[str]:
    """Describe the rows that cannot be read, and those that do not satisfy the inferred contract."""
    lines = []
    if table.quotes.missing:
        lines.append(
            f"collect.options in {paths.PARAMS}: {format_values(table.quotes.missing)} without quotes means missing, as the file has other "
            "text in quotes; remove it from null_values if it is a word"
        )
    if table.rejected:
        lines.append(f"{table.rejected:,} rows cannot be read, and are quarantined; the first is {table.first_reject}")
    if unread:
        lines.append(f"{unread:.2%} of the rows do not satisfy the inferred contract, and will be quarantined")
    return lines


def _describe_checks(guesses: _Guesses) -> list[str]:
    """Describe what to check of the columns; columns with the same sentence share a line."""
    groups: dict[str, list[str]] = {}
    for name, guess in guesses.items():
        for check in guess.checks:
            groups.setdefault(check, []).append(name)
    lines = [f"{_join_few(names)}: {check}" for check, names in groups.items()]
    protected = [name for name, guess in guesses.items() if _is_protected(name, guess)]
    if protected:
        lines.append(
            f"fairness in {paths.CONTRACT}: {_join_few(protected)} may describe groups that must be treated alike; "
            f"write fairness: [{', '.join(protected[:_EXPLAINED])}] to compare them"
        )
    return lines


def _is_protected(name: str, guess: Guess) -> bool:
    """Return whether a feature's name is that of a protected characteristic, such as gender or age."""
    return guess.column["role"] in ("numeric", "categorical", "boolean") and NameKind.PROTECTED in classify_name(name)


def _make_cards(table: SourceTable, guesses: _Guesses, facts: Record, checks: int) -> list[Record]:
    """Return the figures at the top of the page."""
    used = sum(guess.column["role"] in ("numeric", "categorical", "boolean", "time") for guess in guesses.values())
    return [
        {"label": "Rows", "value": f"{table.rows:,}", "note": f"{table.rejected:,} cannot be read"},
        {"label": "Columns", "value": len(guesses), "note": f"{used} of them to learn from"},
        {"label": "Positive", "value": f"{facts['rate']:.1%}", "note": "of the rows"},
        {"label": "To check", "value": checks, "note": "guesses that are not certain"},
    ]


def _join_few(names: list[str], most: int = 8) -> str:
    """Join the first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
