# ruff: noqa: S608 (every name in the SQL is this file's own)
"""What validation costs, against DuckDB queries on the same file and pandera on a frame in memory.

    python -m benchmarks.validation [--rows 10000000] [--pandera-rows 1000000]

A generated table has twenty columns (an identifier, a time, numbers, categories, booleans, text), and a few rows break each
rule. Each contender runs in a process of its own, DuckDB with two threads. Ours also writes the valid and the quarantined
rows and measures associations and the univariate ROC AUC of each column; the others only count. Pandera holds the whole table in
memory and checks no duplicates and no personal data; it gets at most `--pandera-rows` rows.

Limits: ours counts exactly what DuckDB counts; it takes at most 3 times the seconds of DuckDB; and ten times the rows take at most
2 times the memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.environments import FOLDER
from benchmarks.figures import Figure, at_most, none_of
from benchmarks.isolated import Cost, measure_apart
from lifecycle.core.contract import Column, Contract, Role
from lifecycle.core.tables import GROUP, write_batches
from lifecycle.stages import validate
from lifecycle.validation.conversion import convert_columns, read_raw
from lifecycle.validation.outliers import OUTER
from lifecycle.validation.pii import BARE_FORMS, narrow_columns, plan_protection
from lifecycle.validation.rules import WINDOW, build_schema

BROKEN = 0.0005  # the share of the rows that break a rule, for each rule
CATEGORIES = 6  # of the first categorical column; each further one has one more
YEAR = 365 * 24 * 3_600_000_000  # microseconds
BEGIN = 1_600_000_000_000_000  # microseconds since 1970: the first row's time
FAR_FUTURE = 253_000_000_000_000_000  # a time that no row can have
MOST_TIMES = 3.0  # the seconds of DuckDB
MOST_GROWTH = 2.0  # the memory of a tenth of the rows


def make_contract() -> Contract:
    """Return the contract of the generated table."""
    columns: dict[str, dict[str, Any]] = {
        "id": {"role": "id", "dtype": "int64"},
        "moment": {"role": "time", "dtype": "datetime"},
        **{f"amount_{i}": {"role": "numeric", "dtype": "float64", "min": 0, "nullable": True} for i in range(6)},
        **{f"count_{i}": {"role": "numeric", "dtype": "int64", "min": 0, "max": 10_000} for i in range(2)},
        **{f"kind_{i}": {"role": "categorical", "dtype": "string", "values": name_categories(i)} for i in range(6)},
        **{f"flag_{i}": {"role": "boolean", "dtype": "int64", "values": [0, 1]} for i in range(2)},
        "note": {"role": "text", "dtype": "string", "nullable": True},
        "gone": {"role": "target", "dtype": "string", "values": ["no", "yes"], "positive": "yes"},
    }
    described = {name: {"description": f"{name}.", **column} for name, column in columns.items()}
    return Contract.model_validate({"name": "made", "description": "Made.", "columns": described})


def name_categories(place: int) -> list[str]:
    """Return the categories of a column."""
    return [f"kind {number}" for number in range(CATEGORIES + place)]


def make_part(start: int, rows: int, whole: int) -> pa.RecordBatch:
    """Return so many rows of the generated table, from row `start` of `whole`."""
    rng = np.random.default_rng([7, start])

    def break_some(values: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
        return np.where(rng.random(rows) < BROKEN, value, values)

    ids = np.arange(start, start + rows)
    moments = BEGIN + ids * (YEAR // whole) + rng.integers(0, 1000, rows)
    amounts = [np.round(rng.gamma(2, 30 + 10 * i, rows), 2) for i in range(6)]
    amounts[0], amounts[1] = break_some(amounts[0], -1.0), break_some(amounts[1], np.inf)
    texts = break_some(rng.poisson(200, rows).astype("U8"), "many")
    kinds = [np.array(name_categories(i))[rng.integers(0, CATEGORIES + i, rows)] for i in range(6)]
    notes = np.char.add("order ", (ids // 2).astype("U10"))
    columns: dict[str, pa.Array] = {
        "id": pa.array(ids),
        "moment": pa.array(break_some(moments, FAR_FUTURE), pa.timestamp("us")),
        **{f"amount_{i}": pa.array(values, mask=rng.random(rows) < 0.02) for i, values in enumerate(amounts)},
        "count_0": pa.array(rng.poisson(20, rows)),
        "count_1": pa.array(texts, pa.string()),
        "kind_0": pa.array(kinds[0], pa.string(), mask=rng.random(rows) < BROKEN),
        "kind_1": pa.array(break_some(kinds[1].astype("U8"), "odd"), pa.string()),
        **{f"kind_{i}": pa.array(kinds[i], pa.string()) for i in range(2, 6)},
        **{f"flag_{i}": pa.array(rng.integers(0, 2, rows)) for i in range(2)},
        "note": pa.array(np.where(rng.random(rows) < 2e-6, "ask ann@example.org", notes), pa.string()),
        "gone": pa.array(np.where(rng.random(rows) < 0.2, "yes", "no"), pa.string()),
    }
    taken = np.where(rng.random(rows) < BROKEN, np.maximum(np.arange(rows) - 1, 0), np.arange(rows))  # duplicates
    return pa.record_batch(columns).take(pa.array(taken))


def write_made(rows: int, path: Path) -> None:
    """Write the generated table as Parquet."""
    parts = (make_part(start, min(GROUP, rows - start), rows) for start in range(0, rows, GROUP))
    write_batches(parts, make_part(0, 1, rows).schema, path)


def run_ours(source: str, scratch: str) -> dict[str, int]:
    """Call what the notebook calls, without the figures, and return the counts by rule."""
    path, folder, contract = Path(source), Path(scratch), make_contract()
    findings = validate.search_personal(path, contract, "drop")
    protection = plan_protection(contract.columns, findings)
    columns = narrow_columns(contract.columns, protection)
    survey = validate.survey_rows(path, contract, protection, folder)
    tables = folder / "valid.parquet", folder / "quarantine.parquet"
    split = validate.split_rows(path, contract, protection, survey, None, *tables)
    aucs = validate.measure_univariate_aucs(split.sample, columns, contract, 0)
    validate.associate_columns(split.sample, columns, aucs, 0)
    found = dict(zip(split.reasons["column"] + ": " + split.reasons["rule"], split.reasons["rows"], strict=True))
    cells = sum(finding.cells for finding in findings)
    found |= {"duplicates": survey.repeats.duplicated.count, "personal": cells}
    return {key: count for key, count in found.items() if count}


def run_pandera(source: str, scratch: str) -> dict[str, int]:
    """Check the whole table with pandera, in the contract's types, and return the counts by rule."""
    import pandera.pandas

    contract = make_contract()
    raw = pd.concat(list(read_raw(Path(source), contract)))
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


def run_duckdb(source: str, scratch: str) -> dict[str, int]:
    """Make the same counts with SQL on the same file, with two threads, and return them by rule."""
    import duckdb

    contract = make_contract()
    base = duckdb.connect(config={"threads": 2, "temp_directory": scratch})
    base.execute(f"CREATE VIEW made AS SELECT *, try_cast(count_1 AS DOUBLE) AS number_1 FROM read_parquet('{source}')")

    def query(statement: str) -> tuple[Any, ...]:
        answer: tuple[Any, ...] = base.execute(statement).fetchone() or ()
        return answer

    counts = {key: part for name, column in contract.columns.items() for key, part in list_counts(name, column).items()}
    found = dict(zip(counts, query(f"SELECT {', '.join(counts.values())} FROM made"), strict=True))
    numbers = [name.replace("count_1", "number_1") for name in contract.names(Role.NUMERIC)]
    quartiles = query(f"SELECT {', '.join(f'quantile_cont({name}, [0.25, 0.75])' for name in numbers)} FROM made")
    bins = []
    for name, (first, third) in zip(numbers, quartiles, strict=True):
        lower, upper = first - OUTER * (third - first), third + OUTER * (third - first)
        edges = ["'-inf'::DOUBLE", *np.linspace(lower, upper, 10), "'inf'::DOUBLE"]
        bins += [f"count(*) FILTER (WHERE {name} >= {low} AND {name} < {high})" for low, high in pairwise(edges)]
    query(f"SELECT {', '.join(bins)} FROM made")
    for name in contract.names(Role.CATEGORICAL, Role.BOOLEAN, Role.TARGET):
        base.execute(f"SELECT {name}, count(*) FROM made GROUP BY 1").fetchall()
    forms = " OR ".join(f"regexp_matches(text, '{form}')" for form in BARE_FORMS.values())
    texts = [name for name, column in contract.columns.items() if column.dtype == "string" or name == "count_1"]
    found["personal"] = 0
    for name in texts:  # each distinct text is looked at once
        grouped = f"SELECT {name} AS text, count(*) AS rows FROM made GROUP BY 1"
        found["personal"] += int(query(f"SELECT coalesce(sum(rows), 0) FROM ({grouped}) WHERE {forms}")[0])
    rest = ", ".join(name for name in contract.columns if name != "id")
    query("SELECT count(*) - count(DISTINCT id) FROM made")
    query("SELECT min(moment), max(moment), count(DISTINCT date_trunc('hour', moment)) FROM made")
    for key, names in (("duplicates", rest), ("id: repeats", f"id, {rest}")):
        found[key] = query(f"SELECT (SELECT count(*) FROM made) - count(*) FROM (SELECT DISTINCT {names} FROM made)")[0]
    return {key: int(count) for key, count in found.items() if count}


def list_counts(name: str, column: Column) -> dict[str, str]:
    """Return the rules of a column as SQL counts, by column and rule."""
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


RUNNERS = {"ours": "run_ours", "DuckDB": "run_duckdb", "pandera": "run_pandera"}


def run_contenders(rows: int, options: argparse.Namespace, folder: Path) -> dict[str, Cost]:
    """Write a table of so many rows and return what each contender takes for it."""
    path = folder / "made.parquet"
    write_made(rows, path)
    costs = {}
    for name, function in RUNNERS.items():
        if name == "pandera" and rows > options.pandera_rows:
            print(f"{rows:,} rows: without pandera, which gets at most {options.pandera_rows:,}", flush=True)
            continue
        announce(f"{rows:,} rows: {name}")
        costs[name] = measure_apart(
            f"benchmarks.validation:{function}", str(path), str(folder), apart=not options.small
        )
    return costs


def list_differences(ours: dict[str, int], other: dict[str, int]) -> list[str]:
    """Return the rules that two contenders count differently."""
    return sorted(key for key in {*ours, *other} if ours.get(key) != other.get(key))


def compare(rows: int, costs: dict[str, Cost]) -> list[Figure]:
    """Return the figures of one size."""
    ours, peer = costs["ours"], costs["DuckDB"]
    differences = list_differences(ours.result, peer.result)
    if differences:
        print(f"they differ in {', '.join(differences)}: ours {ours.result}, DuckDB {peer.result}")
    size, times = f"{rows:,} rows", ours.seconds / peer.seconds
    figures = [
        Figure.of(f"{size}: counts that differ from DuckDB's", len(differences), limit=none_of(len(differences))),
        Figure.of(f"{size}: seconds", ours.seconds, peer.seconds, "DuckDB", at_most(times, MOST_TIMES)),
        Figure.of(f"{size}: processor seconds", ours.processor, peer.processor, "DuckDB"),
        Figure.of(f"{size}: megabytes at the peak", ours.megabytes, peer.megabytes, "DuckDB"),
    ]
    if other := costs.get("pandera"):
        figures.append(Figure.of(f"{size}: seconds", ours.seconds, other.seconds, "pandera"))
        figures.append(Figure.of(f"{size}: megabytes at the peak", ours.megabytes, other.megabytes, "pandera"))
    return figures


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run the contenders with a tenth of the rows and with all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures, peaks = [], []
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for rows in (options.rows // 10, options.rows):
            costs = run_contenders(rows, options, Path(folder))
            figures += compare(rows, costs)
            peaks.append(costs["ours"].megabytes)
    growth = at_most(peaks[1] / peaks[0], MOST_GROWTH)
    figures.append(Figure.of("megabytes at the peak", peaks[1], peaks[0], "ours with a tenth of the rows", growth))
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pandera-rows", type=int, default=1_000_000, help="pandera runs with at most so many rows")


BENCHMARK = Benchmark("validation", measure, add_options, small={"rows": 20_000, "pandera_rows": 20_000})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
