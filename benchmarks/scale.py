"""How the time and memory of collect, validate and features grow with the rows, and what CSV costs.

    python -m benchmarks.scale [--rows 100000 1000000 10000000]

The table of the worked example is repeated, with new identifiers, to so many rows of Parquet. For each size and stage the code cells of
the notebook run in a process of their own; figures are not drawn and imports are not counted.

The most rows are also written as CSV, plainly (`1234.5`) and with the marks of a locale (`;` and `1.234,50`). Each file is adopted
from its first rows, without options. The peer is Arrow's reader, which guesses the types of a plain file in a first pass and reads
it in a second one; the rest of the stage is the same.

Limits: the seconds of a stage grow no faster than the rows to the power 1.1, from the fewest rows to the most; its memory stays below
1 GB; and collecting CSV takes at most 1.1 times the seconds of Arrow's guesses, with the marks of a locale at most 2 times.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from benchmarks.adoption import run_program
from benchmarks.cells import Times, run_scripts, write_scripts
from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, at_most
from benchmarks.isolated import Cost, measure_apart
from benchmarks.project import LIFECYCLE, SOURCE, TARGET, copy_example
from lifecycle.core.tables import write_batches
from lifecycle.sources.dispatch import read_source
from lifecycle.stages.collect import describe_columns

SIZES = (100_000, 1_000_000, 10_000_000)
STAGES = ("collect", "validate", "features")
MOST_POWER = 1.1
MOST_MEGABYTES = 1000
BLOCK = 1 << 20  # bytes that Arrow parses at once
CSV, LOCALE = "CSV", "CSV with the marks of a locale"
DELIMITERS = {CSV: ",", LOCALE: ";"}
MOST_TIMES = {CSV: 1.1, LOCALE: 2.0}  # the seconds of Arrow's guesses


def list_parts(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """Yield a table over and over, up to so many rows, with identifiers that go on."""
    place = table.schema.get_field_index("rownames")
    field = pa.field("rownames", pa.int64())
    for start in range(0, rows, len(table)):
        part = table.slice(0, rows - start)
        yield part.set_column(place, field, pa.array(np.arange(start + 1, start + 1 + len(part))))


def write_parquet(table: pa.Table, rows: int, path: Path) -> None:
    """Write so many rows of Parquet."""
    write_batches(list_parts(table, rows), next(list_parts(table, 1)).schema, path)


def write_csv(table: pa.Table, rows: int, form: str, path: Path) -> None:
    """Write so many rows of CSV, whose numbers have the marks of a locale or not."""
    if form == LOCALE:
        for place, field in enumerate(table.schema):
            if pa.types.is_floating(field.type):
                table = table.set_column(place, field.name, pa.array(map(_write_number, table[place].to_pylist())))
    options = pa_csv.WriteOptions(delimiter=DELIMITERS[form], quoting_style="none", quoting_header="none")
    with pa_csv.CSVWriter(path, next(list_parts(table, 1)).schema, write_options=options) as writer:
        for part in list_parts(table, rows):
            writer.write_table(part)


def _write_number(value: float | None) -> str | None:
    """Write a number as `1.234,50`."""
    return None if value is None else f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def guess_types(source: str, target: str) -> None:
    """Write a plain CSV as Parquet with the types that Arrow guesses in a first pass, and describe its columns as the stage does."""
    parse = {
        "read_options": pa_csv.ReadOptions(block_size=BLOCK),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
    }
    with pa_csv.open_csv(source, **parse) as reader:
        schema = reader.schema
        for _ in reader:  # raises ArrowInvalid when a later block does not fit the types of the first one
            pass
    with pa_csv.open_csv(source, **parse, convert_options=pa_csv.ConvertOptions(column_types=schema)) as reader:
        write_batches(reader, schema, Path(target))
    describe_columns(Path(target))


def run_stages(rows: int, form: str = "", *, apart: bool) -> tuple[dict[str, Times], Cost | None]:
    """Return what each stage takes with so many rows of a form of CSV (or of Parquet), and what Arrow takes to guess its types.

    Without `apart` all run in one process.
    """
    with copy_example() as (root, environment):
        table = read_source(SOURCE, root)[0]
        guessed = None
        if form:
            write_csv(table, len(table), form, root / "table.csv")
            run_program(root, environment, *LIFECYCLE, "adopt", "table.csv", "--target", TARGET, "--force")
            write_csv(table, rows, form, root / "table.csv")
            scripts = write_scripts(root, STAGES)
            if form == CSV:
                words = (str(root / "table.csv"), str(root / "guessed.parquet"))
                guessed = measure_apart("benchmarks.scale:guess_types", *words, apart=apart)
        else:
            write_parquet(table, rows, root / "table.parquet")
            source = {"source": "table.parquet", "watch": "table.parquet"}
            scripts = write_scripts(root, STAGES, collect=source)
        preload = ["matplotlib.pyplot", *(f"lifecycle.stages.{stage}" for stage in STAGES)]
        if not apart:
            return dict.fromkeys(STAGES, run_scripts(root, environment, scripts, draw=False)), guessed
        times = {
            stage: run_scripts(root, environment, [script], draw=False, preload=preload)
            for stage, script in zip(STAGES, scripts, strict=True)
        }
        return times, guessed


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run the stages at each size, and at the most rows as CSV."""
    found = {}
    for rows in sorted(options.rows):
        announce(f"{rows:,} rows")
        found[rows], _ = run_stages(rows, apart=not options.small)
    return [*list_growth(found), *compare_csv(max(found), apart=not options.small)]


def list_growth(found: Mapping[int, Mapping[str, Times]]) -> Iterator[Figure]:
    """Return what each stage takes by the number of rows, and how fast that grows."""
    fewest, most = min(found), max(found)
    for stage in STAGES:
        for rows, times in found.items():
            yield from describe_stage(stage, f"{rows:,} rows", times[stage])
        if fewest < most:
            seconds = [found[rows][stage].seconds[stage] for rows in (fewest, most)]
            power = float(np.log(seconds[1] / seconds[0]) / np.log(most / fewest))
            limit = at_most(power, MOST_POWER, "ours")
            yield Figure.of(f"{stage}: seconds grow as the rows to the power", power, limit=limit)


def compare_csv(rows: int, *, apart: bool) -> Iterator[Figure]:
    """Return what each stage takes with rows of CSV, and collect against Arrow's guesses."""
    guessed = None
    for form in DELIMITERS:
        size = f"{rows:,} rows of {form}"
        announce(size)
        times, cost = run_stages(rows, form, apart=apart)
        guessed = guessed or cost
        assert guessed is not None, "the first form is the plain one"
        for stage in STAGES:
            if stage != "collect":
                yield from describe_stage(stage, size, times[stage])
        seconds = times["collect"].seconds["collect"]
        limit = at_most(seconds / guessed.seconds, MOST_TIMES[form])
        yield Figure.of(f"collect: seconds for {size}", seconds, guessed.seconds, "Arrow's guesses", limit)
        yield limit_memory(f"collect: megabytes at the peak for {size}", times["collect"].megabytes)


def describe_stage(stage: str, size: str, times: Times) -> Iterator[Figure]:
    """Return the seconds and the memory of a stage."""
    yield Figure.of(f"{stage}: seconds for {size}", times.seconds[stage])
    yield limit_memory(f"{stage}: megabytes at the peak for {size}", times.megabytes)


def limit_memory(name: str, megabytes: float) -> Figure:
    """Return the memory as a figure with its limit."""
    return Figure.of(name, megabytes, limit=at_most(megabytes, MOST_MEGABYTES, "ours"))


BENCHMARK = Benchmark(
    "scale",
    measure,
    lambda parser: parser.add_argument("--rows", type=int, nargs="+", default=SIZES),
    small={"rows": [1000]},
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
