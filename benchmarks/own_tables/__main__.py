"""Public tables as the files that people have, through their whole life: adopted, built, promoted and served, against plain CatBoost.

    python -m benchmarks.own_tables [--tables bank credit ...] [--data FOLDER] [--again] [--peers catboost]

Each table is written as the file that a person of its world would have (see `tables.py`: a bank's CSV with decimal commas, Excel,
Parquet, JSON lines, ...), adopted in a copy of the project by `lifecycle adopt FILE --target COLUMN`, and then: `dvc repro` runs every
stage, `lifecycle promote --if-blessed` promotes the candidate, `lifecycle serve` answers the file's own rows, with all of their
columns, and, where the contract has an id, entities by their ids from the feature store.

The candidate is compared with CatBoost (default hyperparameters, categorical columns named) on the same split, which learns from
the same rows as they were before they were written: numbers as numbers, times as times. The difference of the areas comes with its
paired 95 % interval (DeLong). With `--peers ''` or `--no-environments` the peer is scikit-learn's boosting.

A table takes minutes, so each result is added to `.lifecycle/benchmarks/own_tables.jsonl` at once, and a table that is in it is not
run again, unless `--again` is given. A report of all results is written to `results/own_tables.md`. Tables that are not in packages
of the environment are read from `--data`: `adult.csv`, `bank-full.csv`, `mushrooms.csv` and `online_shoppers_intention.csv` of the
UCI repository, as they lie in public repositories on GitHub; those that are not there are left out.

Limits: every stage runs, every row and entity is answered with 200, and no candidate is worse than CatBoost by more than the interval.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.adoption import run_program
from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.environments import FOLDER, make_environment
from benchmarks.figures import Figure, Limit, none_of
from benchmarks.isolated import Cost, measure_apart
from benchmarks.machine import RESULTS, read_commit
from benchmarks.own_tables.tables import TABLES, OwnTable
from benchmarks.project import CHECKOUT, LIFECYCLE, copy_project
from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.modeling.comparisons import compare_auc
from lifecycle.modeling.model import load_model
from lifecycle.serving.acceptance import ServerProcess, ask, prepare_workspace, start_server
from lifecycle.serving.bundle import load_bundle, to_requests
from lifecycle.stages.deploy import describe_champion
from lifecycle.validation.conversion import read_plain, read_raw

HERE = Path(__file__).parent
KEPT_RESULTS = FOLDER / "own_tables.jsonl"
MOST_ENTITIES = 1000  # that are asked for by their ids
PEERS = {
    "catboost": "CatBoost", "lightgbm": "LightGBM", "flaml": "FLAML", "scikit-learn": "scikit-learn's boosting"
}  # fmt: skip
ENVIRONMENTS = {"catboost": HERE / "catboost.txt", "flaml": HERE.parent / "nested/flaml.txt"}


@dataclass(frozen=True)
class Result:
    """What became of a table.

    about, rows, columns: the file. commit: of the code. said: the lines of adopt that ask to check something. adopting, building: seconds.
    verdict: why the candidate was promoted or not. area, low, high: the candidate's ROC AUC on the hold-out with its 95 % interval.
    peer, peer_area: plain boosting's. difference, difference_low, difference_high: the paired difference. served, refused: the file's
    own rows that were answered with 200, and not. refusal: the first answer of another status. entities, unknown: those that were
    answered by their ids, and those not. failure: the error, when a step failed; then the rest is empty.
    """

    name: str
    about: str
    rows: int
    columns: int
    commit: str
    said: tuple[str, ...] = ()
    adopting: float = 0.0
    building: float = 0.0
    promoted: bool = False
    verdict: str = ""
    area: float = 0.0
    low: float = 0.0
    high: float = 0.0
    peer: str = ""
    peer_area: float = 0.0
    difference: float = 0.0
    difference_low: float = 0.0
    difference_high: float = 0.0
    served: int = 0
    refused: int = 0
    refusal: str = ""
    entities: int = 0
    unknown: int = 0
    failure: str = ""


def run_table(name: str, own: OwnTable, data: Path, peer: str) -> Result:
    """Take a table through its whole life in a copy of the project."""
    table = own.read(data)
    facts: dict[str, Any] = {
        "name": name, "about": own.about, "rows": len(table), "columns": table.shape[1], "commit": read_commit()
    }  # fmt: skip
    with copy_project() as (root, environment), tempfile.TemporaryDirectory() as folder:
        file = own.write_file(table, Path(folder), data)
        try:
            facts |= build(root, environment, file, own)
            facts |= compare(root, table, own, peer)
            facts |= serve(root, environment, table)
        except (ProjectError, OSError) as error:
            return Result(**facts, failure=str(error)[-3000:])
    return Result(**facts)


def build(root: Path, environment: Mapping[str, str], file: Path, own: OwnTable) -> dict[str, Any]:
    """Adopt a file, run every stage, and promote the candidate if it is blessed."""
    begun = time.perf_counter()
    words = ["adopt", str(file), "--target", own.target, *own.words, "--force"]
    output = run_program(root, dict(environment), *LIFECYCLE, *words)
    adopting = time.perf_counter() - begun
    begun = time.perf_counter()
    run_program(root, dict(environment), "dvc", "repro")
    building = time.perf_counter() - begun
    run_program(root, dict(environment), *LIFECYCLE, "promote", "--if-blessed")
    blessed, champion = read_json(root / paths.BLESSING), read_json(root / paths.CHAMPION)
    verdict = read_json(root / paths.VERDICT)
    return {
        "said": tuple(line for line in output.replace(f"{file.parent}/", "").splitlines() if line.startswith("adopt: check: ")),
        "adopting": adopting, "building": building, "promoted": champion["model"] is not None,
        "verdict": str((blessed if verdict["blessed"] else verdict)["because"]),
    }  # fmt: skip


# The peer.


def find_rows(root: Path, contract: Contract) -> np.ndarray[Any, Any]:
    """Return the places in the source of the validated rows, in their order.

    Every raw row is validated or in quarantine, in the source's order; rows of equal content are interchangeable.
    """
    raw = pd.concat(read_raw(root / paths.RAW_TABLE, contract), ignore_index=True)
    quarantine = pq.read_table(root / paths.QUARANTINE_TABLE)
    hidden = contract.names(Role.TEXT, Role.PII)  # of which cells may be redacted
    names = [name for name in quarantine.column_names[:-1] if name in raw and name not in hidden]
    aside = pd.DataFrame({name: read_plain(quarantine[name], name) for name in names})
    texts, broken = (table[names].astype("str").fillna("").agg("\x1f".join, axis=1) for table in (raw, aside))
    waiting = iter([*broken, None])
    next_broken, valid = next(waiting), []
    for place, text in enumerate(texts):
        if text == next_broken:
            next_broken = next(waiting)
        else:
            valid.append(place)
    return np.array(valid)


def compare(root: Path, table: pd.DataFrame, own: OwnTable, peer: str) -> dict[str, Any]:
    """Compare the candidate of a built project with plain boosting on the same split of the properly read table."""
    contract = load_contract(root / paths.CONTRACT)
    held_out = pd.read_parquet(root / paths.SPLIT)["held_out"].to_numpy()
    train, test = (pd.read_parquet(root / path) for path in (paths.TRAIN_TABLE, paths.TEST_TABLE))
    proper = table.iloc[find_rows(root, contract)].reset_index(drop=True)
    if len(proper) != len(held_out):
        raise ProjectError(f"{len(proper):,} rows of the source are valid, but the split has {len(held_out):,}.")
    labels = (proper[own.target].astype(str) == str(contract.positive)).to_numpy(dtype=int)
    if not np.array_equal(labels[held_out], test[contract.target]) or not np.array_equal(
        labels[~held_out], train[contract.target]
    ):
        raise ProjectError("The rows of the split are not those of the source.")
    unused = [own.target, *own.unused, *contract.names(Role.ID)]
    learned = proper.drop(columns=[name for name in unused if name in proper]).assign(**{own.target: labels})
    theirs = np.array(measure_peer(peer, learned[~held_out], learned[held_out], own.target).result)
    ours = load_model(root / paths.CANDIDATE).predict(test)
    target = labels[held_out]
    difference = compare_auc(target, ours, theirs)
    area = read_json(root / paths.EVALUATION)["metrics"]["roc_auc"]
    return {
        "area": area["value"], "low": area["low"], "high": area["high"], "peer": PEERS[peer],
        "peer_area": compare_auc(target, theirs, np.full(len(theirs), 0.5))["value"] + 0.5,
        "difference": difference["value"], "difference_low": difference["low"], "difference_high": difference["high"],
    }  # fmt: skip


def measure_peer(
    peer: str, train: pd.DataFrame, test: pd.DataFrame, target: str, seconds: float = 0.0, *, apart: bool = False
) -> Cost:
    """Let a peer learn from some rows; the result is its probabilities of the rows of `test`.

    seconds: FLAML's budget. apart: in a process of its own; CatBoost and FLAML always are, in environments of their own.
    """
    program, environment = sys.executable, {"OMP_WAIT_POLICY": "PASSIVE"}
    if peer in ENVIRONMENTS:
        program = str(make_environment(PEERS[peer], ENVIRONMENTS[peer]) / "python")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{part}.parquet") for part in ("train", "test")]
        for rows, file in zip((train, test), files, strict=True):
            rows.to_parquet(file, index=False)
        words, alone = (peer, *map(str, files), target, seconds), apart or peer in ENVIRONMENTS
        function = "benchmarks.own_tables.boosting:predict"
        return measure_apart(function, *words, apart=alone, python=program, environment=environment)


# The server.


def serve(root: Path, environment: Mapping[str, str], table: pd.DataFrame) -> dict[str, Any]:
    """Serve the champion: ask for each of the file's own rows, and for entities by their ids where the contract has one."""
    if read_json(root / paths.CHAMPION)["model"] is None:
        return {}
    contract = load_contract(root / paths.CONTRACT)
    ids = contract.names(Role.ID)[:1]
    if ids:
        stored = {**environment, paths.FEATURE_STORE_VARIABLE: paths.FEATURE_STORE}
        run_program(root, stored, *LIFECYCLE, "materialize")
    settings = {"feature_store": paths.FEATURE_STORE} if ids else {}
    with start_server(root, **settings) as server:
        found = ask_rows(server, to_requests(name_days(table), list(table)))
        if ids:
            keys = pq.read_table(root / paths.VALIDATED_TABLE, columns=ids).column(0).unique().drop_null()
            requests = [{"entity_id": key} for key in keys.to_pylist()[:MOST_ENTITIES]]
            entities = ask_rows(server, requests)
            found |= {"entities": entities["served"], "unknown": entities["refused"]}
            found["refusal"] = found["refusal"] or entities["refusal"]
    return found


def name_days(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with days without a time as a person writes them to JSON: 2016-07-02."""
    days = [
        name for name, column in table.items()
        if pd.api.types.is_datetime64_any_dtype(column) and (column.dropna() == column.dropna().dt.normalize()).all()
    ]  # fmt: skip
    return table.assign(**{str(name): table[name].dt.strftime("%Y-%m-%d") for name in days})


def ask_rows(server: ServerProcess, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Send each row alone; count the answers with status 200, and keep the first other one."""
    served, refusal = 0, ""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for row in rows:
        status, headers, body = ask(connection, "/predict", json.dumps(row).encode())
        served += status == 200
        if status != 200 and not refusal:
            refusal = f"{status}: {body.decode(errors='replace')[:500]}"
        if headers.get("connection") == "close":
            connection.close()
    connection.close()
    return {"served": served, "refused": len(rows) - served, "refusal": refusal}


# Results.


def read_results() -> dict[str, Result]:
    """Return the results that were kept, by table; a later one replaces an earlier one."""
    if not KEPT_RESULTS.exists():
        return {}
    records = map(json.loads, KEPT_RESULTS.read_text(encoding="utf-8").splitlines())
    return {record["name"]: Result(**{**record, "said": tuple(record["said"])}) for record in records}


def keep_result(result: Result) -> None:
    """Add a result to those that were kept."""
    KEPT_RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with KEPT_RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def list_figures(result: Result) -> Iterator[Figure]:
    """Return the figures of a table."""
    name = result.name
    if result.failure:
        return
    if result.building:
        yield Figure.of(f"{name}: seconds to adopt it", result.adopting)
        yield Figure.of(f"{name}: seconds of dvc repro", result.building)
    yield describe_areas(result)
    yield Figure.of(f"{name}: own rows not answered with 200", result.refused, limit=none_of(result.refused))
    if result.entities or result.unknown:
        yield Figure.of(f"{name}: entities not answered with 200", result.unknown, limit=none_of(result.unknown))


def describe_areas(result: Result) -> Figure:
    """Return the areas as a figure, whose limit is that the interval of the difference reaches zero."""
    interval = f"{result.difference_low:+.4f} to {result.difference_high:+.4f}"
    limit = Limit(f"not worse by more than chance ({interval})", result.difference_high >= 0)
    return Figure.of(f"{result.name}: ROC AUC", result.area, result.peer_area, result.peer, limit)


def write_report(results: Sequence[Result], path: Path) -> None:
    """Write a table of the results as Markdown, and under it what failed and what adopt asked to check."""
    header = ("table", "file", "rows × columns", "adopt", "dvc repro", "gate", "ROC AUC (95 %)", "plain boosting", "difference (95 %, paired)", "own rows: 200", "by id: 200")  # fmt: skip
    lines = [
        "# Own tables",
        "",
        "Written by `python -m benchmarks.own_tables`, whose docstring says what was done and measured.",
        "",
        f"| {' | '.join(header)} |",
        f"|{' --- |' * len(header)}",
        *(f"| {' | '.join(describe_row(result))} |" for result in results),
    ]
    for result in results:
        notes = [f"failed: {result.failure.splitlines()[-1]}"] if result.failure else []
        notes += [f"not promoted: {result.verdict}"] if not result.failure and not result.promoted else []
        notes += [f"first refusal: {result.refusal}"] if result.refusal else []
        lines += [
            "",
            f"**{result.name}**, commit `{result.commit[:12]}`",
            "",
            *(f"- {note}" for note in [*notes, *result.said]),
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def describe_row(result: Result) -> tuple[str, ...]:
    """Return the cells of a result in the report."""
    known = (result.name, result.about, f"{result.rows:,} × {result.columns}")
    if result.failure:
        return (*known, *[""] * 2, "failed", *[""] * 5)
    asked, entities = result.served + result.refused, result.entities + result.unknown
    return (
        *known, f"{result.adopting:.1f} s", f"{result.building:.0f} s", "promoted" if result.promoted else "not promoted",
        f"{result.area:.4f} ({result.low:.4f} to {result.high:.4f})", f"{result.peer_area:.4f} ({result.peer})",
        f"{result.difference:+.4f} ({result.difference_low:+.4f} to {result.difference_high:+.4f})",
        f"{result.served:,} of {asked:,}", f"{result.entities:,} of {entities:,}" if entities else "no id",
    )  # fmt: skip


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run each table that has no result yet; the small size takes the small project's own rows through comparison and serving."""
    peer = next(iter(options.peers), "scikit-learn")
    if options.small:
        return measure_small(peer)
    results = {} if options.again else read_results()
    for name in options.tables:
        own = TABLES[name]
        if name in results:
            announce(f"{name}: measured before, at commit {results[name].commit[:12]}")
        elif own.fetched and not (options.data / own.fetched).is_file():
            announce(f"{name}: left out, for there is no {options.data / own.fetched}")
        else:
            announce(f"{name}: {own.about}")
            results[name] = run_table(name, own, options.data, peer)
            keep_result(results[name])
            announce(f"{name}: {results[name].failure or results[name].verdict}")
    found = [results[name] for name in options.tables if name in results]
    write_report(found, (options.output or CHECKOUT / RESULTS) / "own_tables.md")
    failed = [result for result in found if result.failure]
    figures = [figure for result in found for figure in list_figures(result)]
    return [*figures, Figure.of("tables of which a step failed", len(failed), limit=none_of(len(failed)))]


def measure_small(peer: str) -> list[Figure]:
    """Compare and serve the small project, whose table is Parquet, from a workspace of its own."""
    root = paths.open_project().root
    table = pd.read_parquet(root / "data/customers.parquet")
    own = OwnTable("Parquet", "churn", lambda data: table)
    facts = compare(root, table, own, peer)
    with tempfile.TemporaryDirectory() as folder:
        bundle = root / paths.BUNDLE
        served = prepare_workspace(Path(folder, "served"), bundle, describe_champion(load_bundle(bundle)))
        with start_server(served) as server:
            facts |= ask_rows(server, to_requests(table, list(table)))
    return list(list_figures(Result("customers", own.about, *table.shape, read_commit(), **facts)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's own options."""
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--data", type=Path, default=FOLDER / "tables", help="the folder of fetched files")
    parser.add_argument("--again", action="store_true", help="also run tables that have a result")


BENCHMARK = Benchmark("own_tables", measure, add_options, small={"peers": []})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
