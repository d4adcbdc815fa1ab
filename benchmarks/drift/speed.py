"""What detecting drift costs, against other detectors, and how it grows with rows and columns.

    python -m benchmarks.drift.speed [--peers scipy,evidently,nannyml] [--no-environments] [--rows 1000000]
                                     [--most-rows 10000000] [--most-columns 1000] [--rounds 3]

A reference and a window of a million rows and 20 columns each (generated; ten numbers, ten categories) are Parquet files that
all detectors read. Each runs in a process of its own with one thread; Evidently and NannyML, with default settings, in environments of
their own. The seconds run from the tables in memory to the result; the peak of resident memory includes the tables. Ours measures more
than the others: three tests and three distances for each column, and all columns together. It runs three times, and the slowest run
counts.

Then ours runs with more rows (in files of at most a million, whose counts are added up; the reference has at most a million)
and with more columns (100,000 rows).

Limits: ours takes at most a 25th of Evidently's seconds, and its seconds grow no faster than rows or columns to the power 1.1.

Needs Linux, 4 GB of disk, and for the environments of peers a package index, once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.environments import FOLDER, make_environment
from benchmarks.figures import Figure, at_most
from benchmarks.isolated import measure_apart
from benchmarks.parallel import THREADS
from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError

HERE = Path(__file__).parent
COLUMNS = 20
PART = 1_000_000  # rows of a file
ROWS = 100_000  # of the tables with many columns, and of the smallest with many rows
TITLES = {"ours": "ours", "scipy": "scipy by hand", "evidently": "Evidently", "nannyml": "NannyML"}
OURS = "ours"
MOST_OF_EVIDENTLY = 1 / 25  # of its seconds
MOST_POWER = 1.1


@dataclass(frozen=True)
class Cost:
    """What a detector took: seconds for the reference and for the window, and megabytes at the peak."""

    reference: float
    window: float
    megabytes: float

    @property
    def seconds(self) -> float:
        """The seconds of both."""
        return self.reference + self.window


def write_tables(folder: Path, rows: int, columns: int) -> None:
    """Write a reference and a window, the latter in files of at most PART rows."""
    from benchmarks.drift.tables import write_table

    for path in folder.glob("*.parquet"):
        path.unlink()
    write_table(folder / "reference.parquet", min(rows, PART), columns, seed=0)
    for place, start in enumerate(range(0, rows, PART)):
        write_table(folder / f"window-{place}.parquet", min(PART, rows - start), columns, seed=1 + place)


def run_detector(name: str, folder: Path, columns: int, *, apart: bool = True) -> Cost:
    """Run a detector; raises ProjectError when it leaves out a column, OSError when it fails."""
    own = name in ("ours", "scipy")
    python = sys.executable if own else str(make_environment(name, HERE / f"{name}.txt") / "python")
    environment = {**dict.fromkeys(THREADS, "1"), "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    environment["PYTHONPATH"] = str(CHECKOUT / "src") if own else ""
    found = measure_apart(
        "benchmarks.drift.detectors:run_detector",
        name,
        str(folder),
        apart=apart,
        python=python,
        environment=environment,
    )
    if found.result["columns"] != columns:
        raise ProjectError(f"{name} compared {found.result['columns']} columns, expected {columns}.")
    seconds = found.result["seconds"]
    return Cost(seconds.get("reference", 0.0), seconds["window"], found.megabytes)


def run_ours(folder: Path, columns: int, options: argparse.Namespace) -> Cost:
    """Run ours several times and return the cost of the slowest run."""
    costs = (run_detector(OURS, folder, columns, apart=not options.small) for _ in range(options.rounds))
    return max(costs, key=lambda cost: cost.seconds)


def compare_peers(options: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Return what ours takes against each peer for the same tables."""
    size = f"{options.rows:,} rows × {COLUMNS} columns"
    announce(f"{size}: ours")
    write_tables(folder, options.rows, COLUMNS)
    ours = run_ours(folder, COLUMNS, options)
    for name in options.peers:
        announce(f"{size}: {TITLES[name]}")
        peer = run_detector(name, folder, COLUMNS, apart=not options.small)
        limit = at_most(ours.seconds / peer.seconds, MOST_OF_EVIDENTLY) if name == "evidently" else None
        yield Figure.of(f"{size}: seconds", ours.seconds, peer.seconds, TITLES[name], limit)
        yield Figure.of(f"{size}: megabytes at the peak", ours.megabytes, peer.megabytes, TITLES[name])


def measure_growth(
    title: str, sizes: Sequence[tuple[int, int]], by: int, options: argparse.Namespace, folder: Path
) -> Iterator[Figure]:
    """Return what ours takes for tables of so many (rows, columns), and how fast that grows.

    by: 0, it grows with the rows, and the seconds of the window count; 1, with the columns, and all seconds do.
    """
    seconds = []
    for rows, columns in sizes:
        size = f"{rows:,} rows × {columns:,} columns"
        announce(f"{size}: ours")
        write_tables(folder, rows, columns)
        cost = run_ours(folder, columns, options)
        seconds.append(cost.seconds if by else cost.window)
        yield Figure.of(f"{size}: {'seconds' if by else 'seconds of the window'}", seconds[-1])
        yield Figure.of(f"{size}: megabytes at the peak", cost.megabytes)
    power = float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1][by] / sizes[0][by]))
    yield Figure.of(f"seconds grow as the {title} to the power", power, limit=at_most(power, MOST_POWER, "ours"))


def measure(options: argparse.Namespace) -> list[Figure]:
    """Compare ours with the peers, then measure how it grows."""
    least = min(ROWS, options.most_rows // 10)
    rows = [(size, COLUMNS) for size in (least, 10 * least, 100 * least) if size <= options.most_rows]
    columns = [(least, size) for size in (COLUMNS, 100, 1000) if size <= options.most_columns]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        figures = list(compare_peers(options, folder))
        for title, sizes, by in (("rows", rows, 0), ("columns", columns, 1)):
            if len(sizes) > 1:
                figures += measure_growth(title, sizes, by, options, folder)
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, default=PART, help="of the reference and of the window, against the peers")
    parser.add_argument("--most-rows", type=int, default=10 * PART)
    parser.add_argument("--most-columns", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="runs of ours, of which the slowest counts")


SMALL = {"rows": 2000, "most_rows": 5000, "most_columns": 100, "rounds": 1, "peers": ["scipy"]}
BENCHMARK = Benchmark("drift.speed", measure, add_options, small=SMALL)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
