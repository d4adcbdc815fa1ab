"""Adopt a table: infer its contract, fit the parameters to it, begin without a champion; and bring the former project back."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from lifecycle.adoption.inference import Guess, infer_columns, suspect_leaks, to_columns
from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.params import FORMAT, Collect, Params, parse_strictly
from lifecycle.core.paths import Project
from lifecycle.exploration.association import Kind
from lifecycle.exploration.univariate import measure_univariate_auc
from lifecycle.promotion.releases import hold_lock
from lifecycle.sources.addresses import find_local, hide_secrets, read_scheme
from lifecycle.sources.dispatch import is_growing, open_source
from lifecycle.sources.ingest import ingest
from lifecycle.validation.conversion import convert_columns, is_dropped, read_plain

Record = dict[str, Any]
Guesses = Mapping[str, Guess]
BACKUP = ".lifecycle/adopted"  # the project as it was before
UNDONE = ".lifecycle/undone"  # what had been adopted, after it was undone
ASIDE = ".lifecycle/adopting"
STATE = "state.json"  # of the backup: what there was, and the hashes of what was written over it
READ = 1_000_000  # rows of a longer table that are looked at
MEASURED = 200_000  # rows by which columns are held against the target
LONG = 20_000  # rows on which a study's trials are judged
# scikit-learn's defaults, as near as the search spaces come to them
PLAIN = {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 31, "l2_regularization": 0.1, "max_features": 1.0}
WIDE = 100  # columns, from which an explanation is of fewer rows
CELLS = 10**8  # encoded numbers at most that a study holds
# All that says what the project is about. What stages write comes back from DVC's cache; these are in git, or are a log.
WRITTEN = (paths.CONTRACT, paths.PARAMS, paths.CHAMPION, paths.PROFILE)
MOVED = (
    paths.HISTORY, paths.SHADOW, paths.RETRAININGS, paths.RELEASES, paths.PREDICTIONS, "dvc.lock", paths.TRAIN_METRICS,
    paths.EVALUATION, paths.VERDICT, paths.BLESSING, paths.METRICS, paths.ONLINE_ROWS,
)  # fmt: skip
VARIABLE = re.compile(r"\$\{\w+\}")  # of the environment, in place of what is secret
TRUTHS = {"yes", "no", "y", "n", "on", "off"}  # words that YAML 1.1 takes for truth: quoted, for those who read it so
COSTS = {"false_positive": "a false alarm", "false_negative": "a missed positive: say what each costs you"}
KINDS: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categorical", Role.BOOLEAN: "categorical"}


def adopt_table(
    project: Project, source: str, *, target: str, time: str | None = None, identity: str | None = None,
    positive: str | None = None, name: str | None = None, options: Mapping[str, Any] | None = None, force: bool = False,
) -> list[str]:  # fmt: skip
    """Make the project one about another table; gives what was guessed and what to look at, a line each.

    A source that grows is landed first. Contract, parameters, champion and reference are written anew; the former project
    goes to .lifecycle/adopted, whole and once, however often a table is adopted. Raises ProjectError, with nothing changed, for a table that cannot be read or
    is not supported, or where the adopted contract or parameters were edited since and `force` is not set.
    """
    check_edits(project.root, force)
    address = place_source(project.root, source)
    collect = collect_from(address, options or {})
    landed = list(ingest(project, Collect.model_validate(collect))) if collect["watch"] == paths.LANDED else []
    shown, rows = read_rows(address, project.root, options or {})
    guesses = infer_columns(shown, target=target, time=time, identity=identity, positive=positive)
    raw = pd.DataFrame(
        {name: read_plain(shown[name], name) for name, column in to_columns(guesses).items() if not is_dropped(column)}
    )
    areas = separate_columns(raw, guesses, target)
    guesses = suspect_leaks(guesses, areas, target)
    told = name or name_source(source)
    typed, unread = read_typed(raw, guesses)
    tolerance = max(0.01, math.ceil(1.5 * unread * 1000) / 1000)
    contract_text = write_contract(told, describe_source(hide_secrets(address), rows, len(shown)), tolerance, guesses)
    contract = parse_strictly(Contract, YAML(typ="safe", pure=True).load(contract_text), Path(paths.CONTRACT))
    facts = measure_facts(typed, contract, areas, round(rows * (1 - unread)))
    before = next(path for path in (project.root / BACKUP / paths.PARAMS, project.read(paths.PARAMS)) if path.exists())
    changes = {"collect": collect, **fit_params(facts, contract, typed)}
    params_text = change_params(before.read_text(encoding="utf-8"), changes)
    parse_strictly(Params, YAML(typ="safe", pure=True).load(params_text), Path(paths.PARAMS))
    with hold_lock(project.output):
        back_up(project.output)
        swap_in(project.output, {
            paths.CONTRACT: contract_text, paths.PARAMS: params_text, paths.CHAMPION: '{\n  "model": null\n}\n', paths.PROFILE: "{}\n"
        })  # fmt: skip
    return [*landed[-1:], *describe_guesses(told, guesses, rows, len(shown), unread, facts)]


# Reading.


def place_source(root: Path, source: str) -> str:
    """The source as params.yaml names it: a path below the project from there, another whole; an address as it is."""
    if read_scheme(source):
        password = urlsplit(source).password
        if password and not VARIABLE.fullmatch(password):
            raise ProjectError(
                "The address holds a password, which would go into a file: name a variable, as in ${PGPASSWORD}."
            )
        return source
    path = Path(os.path.normpath(Path.cwd() / source))  # a link stays the link: DVC watches what it points to
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def read_rows(source: str, root: Path, options: Mapping[str, Any]) -> tuple[pa.Table, int]:
    """The source's first million rows, and how many it has."""
    kept, rows = [], 0
    with open_source(source, root, options) as stream:
        for batch in stream:
            if rows < READ:
                kept.append(batch)
            rows += batch.num_rows
        return pa.Table.from_batches(kept, stream.schema).slice(0, READ), rows


def name_source(source: str) -> str:
    """A name for the project, from a file's or an address's last part."""
    last = re.split(r"[/:]", source.partition("?")[0].rstrip("/"))[-1]
    stem = last.partition(".")[0]
    return " ".join(re.sub(r"[\W_]+", " ", stem).split()) or "table"


def describe_source(source: str, rows: int, shown: int) -> str:
    """The contract's description."""
    seen = "" if shown == rows else f", the first {shown:,} of which were looked at"
    return f"{rows:,} rows of {source}{seen}; every guess below is there to be corrected."


def collect_from(address: str, options: Mapping[str, Any]) -> Record:
    """The section `collect`."""
    watch = paths.LANDED if is_growing(address, options) else find_local(address) or paths.LOCK
    return {"source": address, "options": dict(options), "watch": watch}


def read_typed(raw: pd.DataFrame, guesses: Guesses) -> tuple[pd.DataFrame, float]:
    """The columns in the contract's types, of the rows that keep it, and the share of rows that do not."""
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


def separate_columns(raw: pd.DataFrame, guesses: Guesses, target: str) -> dict[str, float]:
    """How well each column alone separates the classes: ROC AUC, of a sample of a long table's rows."""
    columns = {name: column for name, column in to_columns(guesses).items() if column.role in KINDS or name == target}
    sample = raw if len(raw) <= MEASURED else raw.sample(MEASURED, random_state=0)
    typed, _ = convert_columns(sample, columns)
    typed = typed[typed[target].notna()]
    positive = (typed[target] == columns[target].positive).to_numpy(dtype=bool)
    kinds = {name: KINDS[column.role] for name, column in columns.items() if column.role in KINDS}
    found = measure_univariate_auc(typed, kinds, positive, seed=0)
    return dict(zip(found["column"], found["roc_auc"].astype(float), strict=True))


# The contract.


def write_contract(name: str, description: str, tolerance: float, guesses: Guesses) -> str:
    """data/contract.yaml: a line a column, above it why it is taken for what it is."""
    document = CommentedMap({
        "format": FORMAT, "name": name, "description": description, "tolerance": CommentedMap({"quarantined": tolerance}), "fairness": to_flow([]),
        "columns": CommentedMap({to_flow(column): to_flow(guess.column) for column, guess in guesses.items()}),
    })  # fmt: skip
    document.yaml_set_start_comment(
        "What every column of the table means, as `lifecycle adopt` guessed it: why stands above each. Correct what is wrong."
    )
    document["tolerance"].yaml_add_eol_comment("more rows than this in quarantine stop the pipeline", "quarantined")
    document.yaml_add_eol_comment(
        "groups whose error rates are compared: name the columns that tell people apart", "fairness"
    )
    for column, guess in guesses.items():
        told = f"{guess.why}{f' -- LOOK: {guess.look}' if guess.look else ''}"
        document["columns"].yaml_set_comment_before_after_key(column, before=clean(told), indent=2)
    return dump(document)


def clean(text: str) -> str:
    """A comment on one line: whatever a table holds, nothing in it ends the comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def to_flow(value: Any) -> Any:
    """A value whose lists and mappings stand on one line."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({to_flow(key): to_flow(inner) for key, inner in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        listed = CommentedSeq([to_flow(inner) for inner in value])
        listed.fa.set_flow_style()
        return listed
    if isinstance(value, str) and (value.lower() in TRUTHS or not value.isprintable()):
        return DoubleQuotedScalarString(value)
    return value


def make_yaml() -> YAML:
    """What reads and writes YAML 1.2 with its comments."""
    yaml = YAML()
    yaml.width = 1 << 16
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def dump(document: Any) -> str:
    """A document as text."""
    buffer = io.StringIO()
    make_yaml().dump(document, buffer)
    return buffer.getvalue()


# The parameters.


def measure_facts(typed: pd.DataFrame, contract: Contract, areas: Mapping[str, float], rows: int) -> Record:
    """What the parameters depend on: valid `rows` of the whole table, the rarer class, encoded columns, and how features rank."""
    positive = (typed[contract.target] == contract.positive).to_numpy()
    rate = float(positive.mean())
    width = 0
    for name in contract.names(Role.NUMERIC, Role.BOOLEAN, Role.CATEGORICAL):
        category = contract.columns[name].role is Role.CATEGORICAL
        width += int((typed[name].value_counts() >= 20).sum()) + 1 if category else 2
    return {
        "rows": rows,
        "rate": rate,
        "rare": int(min(positive.sum(), len(positive) - positive.sum())),
        "width": max(width, 1),
        "features": len(areas),
        "ranked": sorted((name for name in areas if name in typed), key=lambda name: -areas[name]),
    }


def fit_params(facts: Record, contract: Contract, typed: pd.DataFrame) -> dict[str, Record]:
    """The sections of params.yaml that depend on the table."""
    rows, rate, rare = facts["rows"], facts["rate"], facts["rare"]
    share = 0.3 if rows < 500 else 0.2
    held_out = round(rows * share)
    folds = int(np.clip(rare * (1 - share) // 2, 2, 5))
    most = int(np.clip(CELLS // (facts["width"] * folds), 2000, LONG))
    month = int(np.clip(held_out, 50, 800))
    learned = int(np.clip(0.6 * held_out, 50, 2400))  # simulated months have no more different rows than are held out
    truths = round(month * 0.9 * min(rate, 1 - rate))
    scenarios = list_scenarios(facts["ranked"], contract, typed, share)
    log = f"{paths.SIMULATED}/{'concept_drift' if 'concept_drift' in scenarios else 'more_positives'}"
    families = fit_families(rows)
    trials = 12 if rows < 500 or rows > 10 * LONG else 30
    return {
        "features": {"derived": {}, "split": choose_split(typed, contract, share, folds), "test_share": share},
        "tune": {
            "trials": trials, "folds": folds, "startup_trials": min(8, trials // 2), "max_rows": most,
            "families": families, "first": choose_first(families),
        },
        "train": {
            "folds": folds,
            "cost": {"false_positive": 1.0, "false_negative": weigh_miss(rate)},
        },
        "evaluate": {
            "bootstrap": 2000 if held_out <= 20_000 else 500,
            "tutorial_columns": [],
            "gate": {"min_roc_auc": 0.5, "max_ece": 0.05, "max_cv_gap": 0.15, "min_slice_roc_auc": 0.5},
        },
        "explain": {
            **({"repeats": 2, "rows": 200, "background": 20, "sample": 20} if facts["features"] > WIDE else {}),
            "intended_use": f"Rank rows by the probability that {contract.target} is {contract.positive}.",
            "out_of_scope": "Nobody has said yet what it must not be used for: do so here before it decides about people.",
        },
        "simulate": {"rows": month, "scenarios": scenarios},
        "monitor": {
            "log": log, "min_rows": int(np.clip(month // 4, 20, 200)), "min_class": int(np.clip(truths // 2, 2, 20))
        },
        "retrain": {
            "log": log, "min_rows": learned, "holdout_rows": int(np.clip(learned // 3, 20, 1000)),
            "trials": min(10, trials), "startup_trials": 4,
        },
    }  # fmt: skip


def weigh_miss(rate: float) -> float:
    """What a missed positive costs in false alarms while nobody has said: as much as makes both classes weigh the same."""
    return float(f"{np.clip((1 - rate) / rate, 0.01, 1000):.2g}")


def fit_families(rows: int) -> Record:
    """Search spaces by how many rows there are to fill trees with; what takes too long on a long table: None."""
    leaf = {"low": int(np.clip(rows // 200, 3, 10)), "high": int(np.clip(rows // 15, 10, 80)), "log": True}
    boosting = {
        "max_iter": {"low": 60, "high": 300 if rows > 5000 else 200},
        "max_leaf_nodes": {"low": 3, "high": PLAIN["max_leaf_nodes"], "log": True},
        "min_samples_leaf": leaf,
        "max_features": {"low": 0.2, "high": 1.0},
    }
    forest = {"min_samples_leaf": {**leaf, "high": min(leaf["high"], 40)}}
    return {"forest": None if rows > 5 * LONG else forest, "hist_boosting": boosting}


def choose_first(families: Record) -> Record:
    """What a study tries before anything else: boosting as it comes, as far as the search space goes."""
    leaf = families["hist_boosting"]["min_samples_leaf"]
    return {"hist_boosting": {**PLAIN, "min_samples_leaf": int(np.clip(20, leaf["low"], leaf["high"]))}}


def choose_split(typed: pd.DataFrame, contract: Contract, share: float, folds: int) -> str:
    """By time where there is one and every stretch of it has both classes; as the table suggests otherwise."""
    if contract.time is None:
        return "auto"
    known = typed[typed[contract.time].notna()]
    moments = known[contract.time]
    held_out = (moments > moments.quantile(1 - share, interpolation="lower")).to_numpy()
    positive = (known[contract.target] == contract.positive).to_numpy()
    ordered = positive[~held_out][np.argsort(moments[~held_out].to_numpy(), kind="stable")]
    parts = [positive[held_out], *np.array_split(ordered, folds + 1)]
    return "auto" if all(2 <= part.sum() <= len(part) - 2 for part in parts) else "stratified"


def list_scenarios(ranked: list[str], contract: Contract, typed: pd.DataFrame, share: float) -> Record:
    """What happens in the simulated months, told of the columns that tell most of the target."""
    numbers = [name for name in ranked if contract.columns[name].role is Role.NUMERIC and typed[name].nunique() > 2]
    words = [name for name in ranked if contract.columns[name].role is Role.CATEGORICAL]
    lost = next((name for name in ranked if contract.columns[name].nullable), ranked[0] if ranked else None)
    scenarios: Record = {"none": {"kind": "none"}}
    if numbers:
        scenarios["numbers_rise"] = {"kind": "scale", "column": numbers[0], "factor": 1.15, "begin": 6}
    if words:
        level = str(typed[words[0]].value_counts().index[0])
        scenarios["level_spreads"] = {"kind": "mix", "column": words[0], "category": level, "factor": 2.5, "begin": 6}
    scenarios["more_positives"] = {"kind": "prior", "factor": 1.8, "begin": 6}
    if numbers:
        scenarios["concept_drift"] = {"kind": "reverse", "column": numbers[0], "begin": 4}
    if words:
        scenarios["new_level"] = {
            "kind": "category",
            "column": words[0],
            "category": "(new)",
            "share": 0.15,
            "begin": 6,
        }
    if lost is not None:
        scenarios["missing_values"] = {"kind": "missing", "column": lost, "share": 0.6, "begin": 6}
    if numbers:
        scenarios["changed_unit"] = {"kind": "scale", "column": numbers[-1], "factor": 100, "begin": 6}
    scenarios["fewer_requests"] = {"kind": "volume", "factor": 0.4, "begin": 6}
    return scenarios


def change_params(text: str, changes: Mapping[str, Record]) -> str:
    """params.yaml with other values; its comments and its order stay."""
    document = make_yaml().load(text)
    for section, values in changes.items():
        change_section(document[section], values)
    for key, comment in COSTS.items():
        change_comment(document["train"]["cost"], key, comment)
    return dump(document)


def change_comment(section: CommentedMap, key: str, comment: str) -> None:
    """Put another comment beside a key that may have one; blank lines after it stay."""
    token = section.ca.items.get(key, [None] * 3)[2]
    if token is None:
        section.yaml_add_eol_comment(comment, key)
    else:
        token.value = f"# {comment}{token.value[token.value.index(chr(10)) :]}"


def change_section(section: CommentedMap, values: Mapping[str, Any]) -> None:
    """Put values into a section in place; None takes a key out, and a mapping of settings is changed key by key."""
    for key, value in values.items():
        if value is None:
            section.pop(key, None)
        elif key in ("families", "gate", "cost") or (isinstance(value, Mapping) and key in ("forest", "hist_boosting")):
            change_section(section.setdefault(key, CommentedMap()), value)
        elif key in ("scenarios", "derived"):
            replace_children(section, key, value)
        else:
            section[key] = to_flow(value)


def replace_children(section: CommentedMap, key: str, value: Record) -> None:
    """Replace a mapping, one line an entry, and keep the comment beside its key."""
    section[key] = CommentedMap({name: to_flow(inner) for name, inner in value.items()}) if value else to_flow({})


# The former project.


def check_edits(root: Path, force: bool) -> None:
    """Refuse (ProjectError) to write over a contract or parameters that were adopted and edited since."""
    state = root / BACKUP / STATE
    if force or not state.exists():
        return
    for name, sha256 in read_json(state).get("written", {}).items():
        if (root / name).is_file() and hash_file(root / name) != sha256:
            raise ProjectError(
                f"{name} was edited since a table was adopted, and would be written anew: `--force` does so, and "
                "`lifecycle adopt --undo` brings back what was before."
            )


def back_up(root: Path) -> None:
    """Copy what will be written over into the backup, whole or not at all; the first backup stays."""
    folder = root / BACKUP
    if folder.exists():
        return
    aside = folder.with_name(".adopted.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    present = [name for name in (*WRITTEN, *MOVED) if (root / name).exists()]
    for name in WRITTEN:
        if name in present:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, aside / name)
    write_json({"present": present}, aside / STATE)
    aside.rename(folder)


def swap_in(root: Path, texts: Mapping[str, str]) -> None:
    """Move what is of the former project alone into the backup, and write the new files, each whole."""
    folder = root / BACKUP
    state = read_json(folder / STATE)
    for name in MOVED:
        if not (root / name).exists():
            continue
        if name in state["present"] and not (folder / name).exists():
            move(root / name, folder / name)
        else:  # of a table that was adopted before this one
            remove(root / name)
    asides = {name: root / ASIDE / name for name in texts}
    for name, text in texts.items():
        asides[name].parent.mkdir(parents=True, exist_ok=True)
        asides[name].write_text(text, encoding="utf-8")
    write_json(
        {**state, "written": {name: hash_file(asides[name]) for name in (paths.CONTRACT, paths.PARAMS)}}, folder / STATE
    )
    for name, aside in asides.items():
        aside.replace(root / name)


def undo_adoption(project: Project) -> list[str]:
    """Bring the former project back, byte for byte; what was adopted goes to .lifecycle/undone.

    Raises ProjectError where nothing was adopted. Killed at any moment, the next call goes on.
    """
    root, folder = project.output, project.output / BACKUP
    if not folder.exists():
        raise ProjectError("Nothing was adopted here: there is no former project to bring back.")
    with hold_lock(root):
        present = read_json(folder / STATE)["present"]
        for name in (*WRITTEN, *MOVED):
            if (name not in present or (folder / name).exists()) and (root / name).exists():
                move(root / name, root / UNDONE / name)
            if (folder / name).exists():
                move(folder / name, root / name)
        shutil.rmtree(folder)
    return [
        "The former project is back: contract, parameters, champion, releases, history and lock are as they were.",
        f"What had been adopted is in {UNDONE}. `dvc repro` brings back what the stages wrote, from DVC's cache.",
    ]


def move(path: Path, to: Path) -> None:
    """Rename a file or folder, over what may be there."""
    to.parent.mkdir(parents=True, exist_ok=True)
    remove(to)
    path.rename(to)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Telling.


def describe_guesses(name: str, guesses: Guesses, rows: int, shown: int, unread: float, facts: Record) -> list[str]:
    """What was guessed and what to look at, in few lines."""
    seen = f" (the first {shown:,} were looked at)" if shown < rows else ""
    lines = [f"{name!r}: {rows:,} rows{seen}, {len(guesses)} columns; {facts['rate']:.2%} of the rows are positive."]
    for role in Role:
        names = [column for column, guess in guesses.items() if guess.column["role"] == role]
        if names:
            lines.append(f"{role.value}: {join_few(names)}")
    lines += [f"look: {column}: {guess.look}" for column, guess in guesses.items() if guess.look][:12]
    more = sum(bool(guess.look) for guess in guesses.values()) - 12
    if more > 0:
        lines.append(f"look: {more} more are marked LOOK in {paths.CONTRACT}")
    if unread:
        lines.append(f"look: {unread:.2%} of the rows do not keep the guessed contract and will go to quarantine")
    dear = weigh_miss(facts["rate"])
    lines.append(
        f"look: train.cost in {paths.PARAMS}: a missed positive is held to cost {dear:g} false alarms, as it is that much rarer"
    )
    return [
        *lines,
        f"{paths.CONTRACT} says why by each column. `dvc repro` runs every stage; `lifecycle adopt --undo` goes back.",
    ]


def join_few(names: list[str], most: int = 8) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
