"""How the time and memory of collect, validate and features grow with the rows.

    python -m benchmarks.scale [--rows 100000 1000000 10000000]

The table of the worked example is repeated, with new identifiers, to so many rows. For each size and stage the code cells of the
notebook run in a process of their own; figures are not drawn and imports are not counted.

Limit: the seconds of a stage grow no faster than the rows to the power 1.1, from the fewest rows to the most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.cells import Times, run_scripts, write_scripts
from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, at_most
from benchmarks.project import SOURCE, copy_example
from lifecycle.core.tables import write_batches
from lifecycle.sources.dispatch import read_source

SIZES = (100_000, 1_000_000, 10_000_000)
STAGES = ("collect", "validate", "features")
MOST_POWER = 1.1


def repeat_table(rows: int, path: Path) -> None:
    """Write the table of the worked example over and over, up to so many rows, with identifiers that go on."""
    table = read_source(SOURCE, path.parent)[0]
    place = table.schema.get_field_index("rownames")
    field = pa.field("rownames", pa.int64())

    def list_parts() -> Iterator[pa.Table]:
        for start in range(0, rows, len(table)):
            part = table.slice(0, rows - start)
            yield part.set_column(place, field, pa.array(np.arange(start + 1, start + 1 + len(part))))

    write_batches(list_parts(), table.schema.set(place, field), path)


def run_stages(rows: int, *, apart: bool) -> dict[str, Times]:
    """Return what each stage takes with a table of so many rows; without `apart` all run in one process."""
    with copy_example() as (root, environment):
        repeat_table(rows, root / "table.parquet")
        source = {"source": "table.parquet", "watch": "table.parquet"}
        scripts = write_scripts(root, STAGES, collect=source)
        preload = ["matplotlib.pyplot", *(f"lifecycle.stages.{stage}" for stage in STAGES)]
        if not apart:
            return dict.fromkeys(STAGES, run_scripts(root, environment, scripts, draw=False))
        return {
            stage: run_scripts(root, environment, [script], draw=False, preload=preload)
            for stage, script in zip(STAGES, scripts, strict=True)
        }


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run the stages at each size."""
    found = {}
    for rows in sorted(options.rows):
        announce(f"{rows:,} rows")
        found[rows] = run_stages(rows, apart=not options.small)
    fewest, most = min(found), max(found)
    figures = []
    for stage in STAGES:
        for rows, times in found.items():
            figures.append(Figure.of(f"{stage}: seconds for {rows:,} rows", times[stage].seconds[stage]))
            figures.append(Figure.of(f"{stage}: megabytes at the peak for {rows:,} rows", times[stage].megabytes))
        if fewest < most:
            seconds = [found[rows][stage].seconds[stage] for rows in (fewest, most)]
            power = float(np.log(seconds[1] / seconds[0]) / np.log(most / fewest))
            figures.append(
                Figure.of(
                    f"{stage}: seconds grow as the rows to the power", power, limit=at_most(power, MOST_POWER, "ours")
                )
            )
    return figures


BENCHMARK = Benchmark(
    "scale",
    measure,
    lambda parser: parser.add_argument("--rows", type=int, nargs="+", default=SIZES),
    small={"rows": [1000]},
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
