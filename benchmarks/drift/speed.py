"""What measuring drift costs, beside what else one would measure it with, and how it grows with rows and columns.

    python -m benchmarks.drift.speed [--peers scipy,evidently,nannyml] [--rows 1000000] [--most-rows 10000000]
                                     [--most-columns 1000]

A reference and a window of a million rows and 20 columns each (seeded; ten numbers, ten categories in words), in Parquet
files that all read. Each detector runs in a process of its own with one thread; Evidently and NannyML, as they come, in
environments of their own. Counted are the seconds from the tables in memory to the result, and the peak of resident memory
with the tables. Ours measures more than the others: per column three tests and three distances, and all columns together.
It is run three times, and the slowest counts.

Then ours with more rows (in parts of at most a million, whose counts are added up; the reference has no more than a
million) and with more columns (100,000 rows).

Limits: ours takes a 25th of Evidently's time or less, and time grows no faster than rows or columns (to the power 1.1).

Needs Linux, 4 GB of disk, and for the peers' environments a package index, once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.drift.trials import THREADS
from benchmarks.environments import FOLDER, make_environment
from benchmarks.limits import describe_limits_text
from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError

HERE = Path(__file__).parent
COLUMNS = 20
PART = 1_000_000  # rows of a file
ROWS = 100_000  # of the tables with many columns, and of the smallest with many rows
PEERS = {"scipy": "scipy by hand", "evidently": "Evidently", "nannyml": "NannyML"}
OURS = "ours"
ROUNDS = 3  # of ours
LEAST_TIMES = 25.0  # Evidently's seconds, of ours
MOST_POWER = 1.1


@dataclass(frozen=True)
class Cost:
    """What a detector took: seconds for the reference, seconds for the window, and megabytes at the peak."""

    reference: float
    window: float
    megabytes: float

    @property
    def seconds(self) -> float:
        """All seconds."""
        return self.reference + self.window


def read_arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=",".join(PEERS), help="of scipy, evidently, nannyml; '' for none")
    parser.add_argument("--rows", type=int, default=PART, help="of the reference and of the window beside the peers")
    parser.add_argument("--most-rows", type=int, default=10 * PART)
    parser.add_argument("--most-columns", type=int, default=1000)
    chosen = parser.parse_args()
    chosen.peers = [name for name in chosen.peers.split(",") if name]
    if unknown := set(chosen.peers) - PEERS.keys():
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return chosen


def write_tables(folder: Path, rows: int, columns: int) -> None:
    """Write a reference and a window, which is in files of at most PART rows."""
    from benchmarks.drift.tables import write_table

    for path in folder.glob("*.parquet"):
        path.unlink()
    write_table(folder / "reference.parquet", min(rows, PART), columns, seed=0)
    for place, start in enumerate(range(0, rows, PART)):
        write_table(folder / f"window-{place}.parquet", min(PART, rows - start), columns, seed=1 + place)


def run_detector(name: str, folder: Path, columns: int) -> Cost:
    """Run a detector; raises ProjectError when it fails, or leaves out a column."""
    own = name in ("ours", "scipy")
    python = sys.executable if own else str(make_environment(name, HERE / f"{name}.txt") / "python")
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    environment["PYTHONPATH"] = str(CHECKOUT / "src") if own else ""
    done = subprocess.run(
        [python, str(HERE / "detectors.py"), name, str(folder)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ProjectError(f"{name} failed: {done.stderr[-1000:].strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["columns"] != columns:
        raise ProjectError(f"{name} compared {found['columns']} columns, expected {columns}.")
    return Cost(found["seconds"].get("reference", 0.0), found["seconds"]["window"], found["megabytes"])


def run_ours(folder: Path, columns: int) -> Cost:
    """Ours, the slowest of ROUNDS."""
    return max((run_detector(OURS, folder, columns) for _ in range(ROUNDS)), key=lambda cost: cost.seconds)


def describe_cost(cost: Cost) -> str:
    """Seconds and megabytes in a line."""
    return f"{cost.seconds:8.2f} s (reference {cost.reference:.2f}, window {cost.window:.2f}), peak {cost.megabytes:,.0f} MB"


def compare_peers(options: argparse.Namespace, folder: Path) -> list[tuple[bool, str]]:
    """Print what each detector takes for the same tables; the limit, and whether it is kept."""
    write_tables(folder, options.rows, COLUMNS)
    print(f"{options.rows:,} rows × {COLUMNS} columns")
    ours = run_ours(folder, COLUMNS)
    print(f"  {'ours':16s}{describe_cost(ours)}", flush=True)
    limits = []
    for name in options.peers:
        cost = run_detector(name, folder, COLUMNS)
        times = cost.seconds / ours.seconds
        print(f"  {PEERS[name]:16s}{describe_cost(cost)}: {times:.1f} times ours", flush=True)
        if name == "evidently":
            limits.append((times >= LEAST_TIMES, f"{times:.1f} times as quick as Evidently (at least {LEAST_TIMES:g})"))
    return limits


def measure_growth(title: str, sizes: Sequence[tuple[int, int]], by: int, folder: Path) -> tuple[bool, str]:
    """Print what ours takes for tables of so many (rows, columns); the limit on how it grows, and whether it is kept.

    `by`: 0, it grows with the rows, and the window's seconds count; 1, with the columns, and all seconds do.
    """
    seconds = []
    for rows, columns in sizes:
        write_tables(folder, rows, columns)
        cost = run_ours(folder, columns)
        print(f"{rows:>10,} rows × {columns:>5,} columns {describe_cost(cost)}", flush=True)
        seconds.append(cost.seconds if by else cost.window)
    power = float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1][by] / sizes[0][by]))
    return power <= MOST_POWER, f"time grows as {title} to the power {power:.2f} (at most {MOST_POWER:g})"


def measure(options: argparse.Namespace, folder: Path) -> list[tuple[bool, str]]:
    """Measure and print; the limits, and whether they are kept."""
    limits = compare_peers(options, folder)
    rows = [(size, COLUMNS) for size in (ROWS, PART, 10 * PART) if size <= options.most_rows]
    columns = [(ROWS, size) for size in (COLUMNS, 100, 1000) if size <= options.most_columns]
    if len(rows) > 1:
        limits.append(measure_growth("rows", rows, 0, folder))
    if len(columns) > 1:
        limits.append(measure_growth("columns", columns, 1, folder))
    return limits


def main() -> int:
    """Measure and print; the exit status says whether the limits hold."""
    options = read_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the tables are removed
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            limits = measure(options, Path(folder))
    except ProjectError as error:
        print(f"speed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    return describe_limits_text(limits)


if __name__ == "__main__":
    sys.exit(main())
