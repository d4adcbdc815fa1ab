# ruff: noqa: S608 (every name in the SQL is this file's own)
"""Validation beside what the same counts cost elsewhere: pandera on a frame in memory, DuckDB on the same file.

    python -m benchmarks.validation [--rows 10000000] [--pandera 1000000]

A made table of twenty columns (an id, a moment, numbers, categories, booleans, text) in which every rule is broken now and
then. Each contender has a process of its own, DuckDB two threads; printed are seconds, those of the processor, the peak of
resident memory, and ratios. Ours also writes both tables and measures associations and separations; the others only count.
Pandera holds the whole table, checks the rows alone, and gets at most `--pandera` of them.

Limits: ours takes three times DuckDB's seconds or less, and twice the memory of a tenth of the rows or less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.environments import FOLDER
from benchmarks.limits import describe_limits_text
from benchmarks.project import CHECKOUT
from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.tables import GROUP, write_batches
from lifecycle.stages import validate
from lifecycle.validation.conversion import convert_columns, read_raw
from lifecycle.validation.outliers import OUTER
from lifecycle.validation.pii import BARE_FORMS, narrow_columns, plan_protection
from lifecycle.validation.rules import WINDOW, build_schema

ODD = 0.0005  # of the rows break one rule, for each rule
LEVELS = 6
YEAR = 365 * 24 * 3_600_000_000  # microseconds
BEGIN = 1_600_000_000_000_000
NEVER = 253_000_000_000_000_000
MOST_TIMES = 3.0
MOST_GROWTH = 2.0


def make_contract() -> Contract:
    """What the made table should keep."""
    columns: dict[str, dict[str, Any]] = {
        "id": {"role": "id", "dtype": "int64"},
        "moment": {"role": "time", "dtype": "datetime"},
        **{f"amount_{i}": {"role": "numeric", "dtype": "float64", "min": 0, "nullable": True} for i in range(6)},
        **{f"count_{i}": {"role": "numeric", "dtype": "int64", "min": 0, "max": 10_000} for i in range(2)},
        **{f"kind_{i}": {"role": "categorical", "dtype": "string", "values": name_levels(i)} for i in range(6)},
        **{f"flag_{i}": {"role": "boolean", "dtype": "int64", "values": [0, 1]} for i in range(2)},
        "note": {"role": "text", "dtype": "string", "nullable": True},
        "gone": {"role": "target", "dtype": "string", "values": ["no", "yes"], "positive": "yes"},
    }
    described = {name: {"description": f"{name}.", **column} for name, column in columns.items()}
    return Contract.model_validate({"name": "made", "description": "Made.", "columns": described})


def name_levels(place: int) -> list[str]:
    """The levels of a category."""
    return [f"level {level}" for level in range(LEVELS + place)]


def make_part(start: int, rows: int, whole: int) -> pa.RecordBatch:
    """So many rows of the made table, from the row `start` of `whole`."""
    rng = np.random.default_rng([7, start])

    def break_some(values: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
        return np.where(rng.random(rows) < ODD, value, values)

    ids = np.arange(start, start + rows)
    moments = BEGIN + ids * (YEAR // whole) + rng.integers(0, 1000, rows)
    amounts = [np.round(rng.gamma(2, 30 + 10 * i, rows), 2) for i in range(6)]
    amounts[0], amounts[1] = break_some(amounts[0], -1.0), break_some(amounts[1], np.inf)
    texts = break_some(rng.poisson(200, rows).astype("U8"), "many")
    kinds = [np.array(name_levels(i))[rng.integers(0, LEVELS + i, rows)] for i in range(6)]
    notes = np.char.add("order ", (ids // 2).astype("U10"))
    columns: dict[str, pa.Array] = {
        "id": pa.array(ids),
        "moment": pa.array(break_some(moments, NEVER), pa.timestamp("us")),
        **{f"amount_{i}": pa.array(values, mask=rng.random(rows) < 0.02) for i, values in enumerate(amounts)},
        "count_0": pa.array(rng.poisson(20, rows)),
        "count_1": pa.array(texts, pa.string()),
        "kind_0": pa.array(kinds[0], pa.string(), mask=rng.random(rows) < ODD),
        "kind_1": pa.array(break_some(kinds[1].astype("U8"), "odd"), pa.string()),
        **{f"kind_{i}": pa.array(kinds[i], pa.string()) for i in range(2, 6)},
        **{f"flag_{i}": pa.array(rng.integers(0, 2, rows)) for i in range(2)},
        "note": pa.array(np.where(rng.random(rows) < 2e-6, "ask ann@example.org", notes), pa.string()),
        "gone": pa.array(np.where(rng.random(rows) < 0.2, "yes", "no"), pa.string()),
    }
    taken = np.where(rng.random(rows) < ODD, np.maximum(np.arange(rows) - 1, 0), np.arange(rows))  # repeats
    return pa.record_batch(columns).take(pa.array(taken))


def write_made(rows: int, path: Path) -> None:
    """Write the made table."""
    parts = (make_part(start, min(GROUP, rows - start), rows) for start in range(0, rows, GROUP))
    write_batches(parts, make_part(0, 1, rows).schema, path)


def run_ours(path: Path, folder: Path) -> dict[str, int]:
    """What the notebook calls, without the pictures."""
    contract = make_contract()
    findings = validate.search_personal(path, contract, "drop")
    protection = plan_protection(contract.columns, findings)
    columns = narrow_columns(contract.columns, protection)
    survey = validate.survey_rows(path, contract, protection, folder)
    tables = folder / "valid.parquet", folder / "quarantine.parquet"
    split = validate.split_rows(path, contract, protection, survey, None, *tables)
    separation = validate.separate_classes(split.sample, columns, contract, 0)
    validate.associate_columns(split.sample, columns, separation, 0)
    found = dict(zip(split.reasons["column"] + ": " + split.reasons["rule"], split.reasons["rows"], strict=True))
    cells = sum(finding.cells for finding in findings)
    found |= {"duplicates": survey.repeats.duplicated.count, "personal": cells}
    return {key: count for key, count in found.items() if count}


def run_pandera(path: Path, folder: Path) -> dict[str, int]:
    """Pandera over the whole table, in the contract's types."""
    import pandera.pandas

    contract = make_contract()
    raw = pd.concat(list(read_raw(path, contract)))
    typed, broken = convert_columns(
        raw.astype({name: "str" for name in raw if raw[name].dtype == "category"}), contract.columns
    )
    found = {f"{name}: types": int(mask.sum()) for name, mask in broken.items()}
    typed = typed.drop(index=sorted({row for mask in broken.values() for row in np.flatnonzero(mask)}))
    try:
        build_schema(contract.columns).validate(typed, lazy=True)
    except pandera.pandas.errors.SchemaErrors as errors:
        counts = errors.failure_cases.groupby(["column", "check"]).size()
        rows = counts.rename(lambda check: check.split(":")[0].replace("not_nullable", "missing"), level=1)
        found |= {f"{column}: {rule}": int(count) for (column, rule), count in rows.items()}
    return found


def run_duckdb(path: Path, folder: Path) -> dict[str, int]:
    """The same counts as SQL on the same file, on two threads."""
    import duckdb

    contract = make_contract()
    base = duckdb.connect(config={"threads": 2, "temp_directory": str(folder)})
    base.execute(f"CREATE VIEW made AS SELECT *, try_cast(count_1 AS DOUBLE) AS number_1 FROM read_parquet('{path}')")

    def ask(query: str) -> tuple[Any, ...]:
        answer: tuple[Any, ...] = base.execute(query).fetchone() or ()
        return answer

    counts = {key: part for name, column in contract.columns.items() for key, part in list_counts(name, column).items()}
    found = dict(zip(counts, ask(f"SELECT {', '.join(counts.values())} FROM made"), strict=True))
    numbers = [name.replace("count_1", "number_1") for name in contract.names(Role.NUMERIC)]
    quartiles = ask(f"SELECT {', '.join(f'quantile_cont({name}, [0.25, 0.75])' for name in numbers)} FROM made")
    bins = []
    for name, (first, third) in zip(numbers, quartiles, strict=True):
        lower, upper = first - OUTER * (third - first), third + OUTER * (third - first)
        edges = ["'-inf'::DOUBLE", *np.linspace(lower, upper, 10), "'inf'::DOUBLE"]
        bins += [f"count(*) FILTER (WHERE {name} >= {low} AND {name} < {high})" for low, high in pairwise(edges)]
    ask(f"SELECT {', '.join(bins)} FROM made")
    for name in contract.names(Role.CATEGORICAL, Role.BOOLEAN, Role.TARGET):
        base.execute(f"SELECT {name}, count(*) FROM made GROUP BY 1").fetchall()
    forms = " OR ".join(f"regexp_matches(text, '{form}')" for form in BARE_FORMS.values())
    texts = [name for name, column in contract.columns.items() if column.dtype == "string" or name == "count_1"]
    found["personal"] = 0
    for name in texts:  # each distinct text is looked at once
        grouped = f"SELECT {name} AS text, count(*) AS rows FROM made GROUP BY 1"
        found["personal"] += int(ask(f"SELECT coalesce(sum(rows), 0) FROM ({grouped}) WHERE {forms}")[0])
    rest = ", ".join(name for name in contract.columns if name != "id")
    ask("SELECT count(*) - count(DISTINCT id) FROM made")
    ask("SELECT min(moment), max(moment), count(DISTINCT date_trunc('hour', moment)) FROM made")
    for key, names in (("duplicates", rest), ("id: repeats", f"id, {rest}")):
        found[key] = ask(f"SELECT (SELECT count(*) FROM made) - count(*) FROM (SELECT DISTINCT {names} FROM made)")[0]
    return {key: int(count) for key, count in found.items() if count}


def list_counts(name: str, column: Column) -> dict[str, str]:
    """The rules of a column as SQL counts, by column and rule."""
    number = name.replace("count_1", "number_1")
    tests = {"missing": "" if column.nullable else f"{name} IS NULL"}
    if number != name:
        tests["types"] = f"{name} IS NOT NULL AND {number} IS NULL"
    if column.values is not None:
        tests["values"] = f"{name} NOT IN ({', '.join(map(repr, column.values))})"
    if column.min is not None:
        tests["range"] = f"{number} < {column.min}" + (f" OR {number} > {column.max}" if column.max else "")
    if column.dtype == "float64":
        tests["finite"] = f"NOT isfinite({name})"
    if column.role is Role.TIME:
        tests["window"] = f"{name} < TIMESTAMP '{WINDOW[0]}' OR {name} >= TIMESTAMP '{WINDOW[1]}'"
    return {f"{name}: {rule}": f"count(*) FILTER (WHERE {test})" for rule, test in tests.items() if test}


CONTENDERS: dict[str, Callable[[Path, Path], dict[str, int]]] = {
    "ours": run_ours, "DuckDB": run_duckdb, "pandera": run_pandera,
}  # fmt: skip


def run_contender(name: str, path: Path, folder: Path) -> None:
    """Run one in this process, and print what it found and took as JSON."""
    begun = time.perf_counter()
    found = CONTENDERS[name](path, folder)
    seconds = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = used.ru_utime + used.ru_stime
    print(
        json.dumps(
            {"seconds": seconds, "processor": processor, "megabytes": used.ru_maxrss / 1024, "found": found},
            default=int,
        )
    )


def measure(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """Run one in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.validation",
        "--run",
        name,
        "--table",
        str(path),
        "--folder",
        str(folder),
    ]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True)
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return cost


def describe_cost(name: str, rows: int, cost: dict[str, Any]) -> str:
    """A contender's cost in a line."""
    taken = f"{cost['seconds']:7.1f} s ({cost['processor']:.1f} s of the processor), peak {cost['megabytes']:,.0f} MB"
    return f"{name:8s}{rows:>11,} rows {taken}"


def compare(rows: int, most: int, folder: Path) -> list[tuple[bool, str]]:
    """Print what each takes; the limits, and whether they are kept."""
    peaks = {}
    for size in (rows // 10, rows):
        path = folder / "made.parquet"
        write_made(size, path)
        costs = {name: measure(name, path, folder) for name in CONTENDERS if name != "pandera" or size <= most}
        for name, cost in costs.items():
            print(describe_cost(name, size, cost), flush=True)
        ours, peer = costs["ours"], costs["DuckDB"]
        if ours["found"] != peer["found"]:
            print(f"they differ: ours {ours['found']}, DuckDB {peer['found']}")
        peaks[size] = ours["megabytes"]
    times, growth = ours["seconds"] / peer["seconds"], peaks[rows] / peaks[rows // 10]
    return [
        (ours["found"] == peer["found"], "ours and DuckDB count the same"),
        (times <= MOST_TIMES, f"{times:.2f} times DuckDB's seconds (at most {MOST_TIMES:g})"),
        (growth <= MOST_GROWTH, f"{growth:.2f} times the memory for ten times the rows (at most {MOST_GROWTH:g})"),
    ]


def main() -> int:
    """Measure and print; the exit status says whether the limits hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pandera", type=int, default=1_000_000, help="the most rows that pandera is given")
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        run_contender(chosen.run, chosen.table, chosen.folder)
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        limits = compare(chosen.rows, chosen.pandera, Path(folder))
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    return describe_limits_text(limits)


if __name__ == "__main__":
    sys.exit(main())
