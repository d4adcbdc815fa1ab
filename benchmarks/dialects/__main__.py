"""Whether files of delimited text are read as they were meant, against readers that guess, too.

    python -m benchmarks.dialects [--peers duckdb,clevercsv,pandas] [--no-environments] [--files 200]

A generated table is written in so many dialects (delimiter, quotes, line ends, encoding, lines before the header) and with a broken row, and
each reader gets the files without any option; a file counts when all rows but the broken one come back equal.

Public collections are measured when environment variables name their folders, which are not kept with the code:
LIFECYCLE_POLLOCK is a checkout of HPI-Information-Systems/Pollock, whose metrics score all readers; pandas gets the quotes, line ends
and preamble that Pollock describes. LIFECYCLE_CSVSNIFFER is a checkout of ws-garcia/CSVsniffer: the F1 of delimiter and quote,
weighted by true positives over its five sets, as its README defines it; files that the checkout lacks do not count, and of the
messy set only the messy files. LIFECYCLE_CSV_SPECTRUM is the unpacked npm package csv-spectrum: cells equal to its JSON.

Limits: at least as many generated files as each peer; Pollock at least 9.2 simple and 9.46 weighted, F1 at least 0.93, and
all of csv-spectrum. Needs a package index once for CleverCSV and Pollock's metrics.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.dialects.worker import convert_files
from benchmarks.environments import make_environment
from benchmarks.figures import Figure, at_least
from benchmarks.isolated import measure_apart
from lifecycle.core.tables import Rejects
from lifecycle.sources.delimited import open_delimited
from lifecycle.sources.dialect import Dialect, detect_dialect

HERE = Path(__file__).parent
TITLES = {"duckdb": "DuckDB", "clevercsv": "CleverCSV", "pandas": "pandas"}
LEAST_SIMPLE, LEAST_WEIGHTED, LEAST_F1 = 9.2, 9.46, 0.93
NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "vslash": "|", "nsign": "#", "colon": ":"}
SETS = (  # of CSVsniffer: annotations, folder, whether only messy files count
    ("POLLOCK-dialect_annotations.txt", "CSV", False),
    ("W3C-CSVW-dialect_annotations.txt", "W3C-CSVW", False),
    ("CCSV-manual_Dialect_Annotation.txt", "CSV_Wrangling", False),
    ("CCSV-manual_Dialect_Annotation_CODEC.txt", "CSV_Wrangling", False),
    ("CCSV-manual_Dialect_Annotation_CODEC.txt", "CSV_Wrangling", True),
)
# the JSON of this file has another telephone number than its CSV
_MISPRINTS = {"location_coordinates": ("Contact Phone Number",)}


def write_files(folder: Path, count: int) -> dict[str, list[list[str]]]:
    """Write a table in `count` dialects, each with one broken row; return the header and rows to be read, by file."""
    generator = np.random.default_rng(0)
    words = ["Bonn", "São Paulo", "Smith, John", "a; b", 'the "big" one', "it's", "two words"]
    expected = {}
    for at in range(count):
        rows = [["name", "day", "amount", "left"]]
        for _ in range(40):
            amount = f"{generator.uniform(0, 99):.2f}"
            day = f"2020-0{generator.integers(1, 10)}-{generator.integers(10, 29)}"
            rows.append([words[generator.integers(len(words))], day, amount, ["yes", "no"][generator.integers(2)]])
        how: dict[str, Any] = {
            "delimiter": ",;\t|"[generator.integers(4)],
            "quotechar": "\"'"[generator.integers(2)],
            "lineterminator": ["\n", "\r\n", "\r"][generator.integers(3)],
        }
        text = io.StringIO(newline="")
        if at % 4 == 1:
            text.write(f"Report of May{how['lineterminator']}")
        csv.writer(text, **how).writerows(rows)
        if at % 2:
            text.write(f"broken{how['delimiter']}row{how['lineterminator']}")
        encoding = ["utf-8", "utf-8-sig", "utf-16", "cp1252"][generator.integers(4)]
        name = f"{at:03}.csv"
        (folder / name).write_bytes(text.getvalue().encode(encoding))
        expected[name] = rows
    return expected


def count_equal(folder: Path, expected: dict[str, list[list[str]]]) -> int:
    """Return how many converted files equal what was written."""
    equal = 0
    for name, rows in expected.items():
        with (folder / name).open(newline="", encoding="utf-8") as file:
            equal += list(csv.reader(file)) == rows
    return equal


def run_reader(reader: str, sources: Path, targets: Path, parameters: Path | None = None) -> None:
    """Convert all files of a folder by a reader, CleverCSV in its own environment."""
    announce(f"{sources.parent.name}: {TITLES.get(reader, reader)}")
    values = (reader, str(sources), str(targets), str(parameters or ""))
    if reader != "clevercsv":
        convert_files(*values)
        return
    measure_apart("benchmarks.dialects.worker:convert_files", *values, python=_find_python())


def _find_python() -> str:
    return str(make_environment("clevercsv", HERE / "clevercsv.txt") / "python")


def measure_generated(options: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Return how many generated files come back equal from each reader."""
    sources = folder / "generated"
    sources.mkdir()
    expected = write_files(sources, options.files)
    found = {}
    for reader in ("ours", *options.peers):
        run_reader(reader, sources, folder / reader)
        found[reader] = count_equal(folder / reader, expected)
    for peer in options.peers:
        limit = at_least(found["ours"] / max(found[peer], 1), 1.0)
        yield Figure.of(
            f"of {options.files} generated files read equal", found["ours"], found[peer], TITLES[peer], limit
        )
    if not options.peers:
        yield Figure.of(f"of {options.files} generated files read equal", found["ours"])


def measure_pollock(options: argparse.Namespace, home: Path, folder: Path) -> Iterator[Figure]:
    """Return Pollock's simple and weighted scores of all readers."""
    files, readers = home / "polluted_files", ["ours", *options.peers]
    targets = [str(folder / f"pollock-{reader}") for reader in readers]
    for reader, target in zip(readers, targets, strict=True):
        run_reader(reader, files / "csv", Path(target), files / "parameters")
    call = "benchmarks.dialects.worker:score_files"
    scores = measure_apart(call, str(home), targets, python=_find_python()).result
    for kind, place, least in (("simple", 0, LEAST_SIMPLE), ("weighted", 1, LEAST_WEIGHTED)):
        ours = scores[0][place]
        yield Figure.of(f"Pollock, {kind}", ours, limit=at_least(ours, least, "ours"))
        for peer, score in zip(options.peers, scores[1:], strict=True):
            yield Figure.of(f"Pollock, {kind}", ours, score[place], TITLES[peer])


def measure_sniffer(home: Path) -> Iterator[Figure]:
    """Return the F1 of delimiter and quote of each set of CSVsniffer, and their mean weighted by true positives."""
    dialects: dict[Path, Dialect] = {}
    total = weighted = 0.0
    for truth, name, messy in SETS:
        with (home / "python/ground truth" / truth).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file, delimiter="|") if len(row) > 1][1:]
        right = count = 0
        for row in rows:
            path = home / "python" / name / row[0]
            if not path.is_file() or (messy and row[6] == "yes"):
                continue
            if path not in dialects:
                dialects[path] = detect_dialect(path.read_bytes(), name=path.name).dialect
            found = dialects[path]
            quote = "'" if row[3] == "singlequote" else '"'
            right += (found.delimiter, found.quote or '"') == (NAMES[row[2]], quote)
            count += 1
        f1 = 2 * right / (right + count)  # a dialect is always detected, so no file counts as a false negative
        total, weighted = total + right, weighted + right * f1
        yield Figure.of(f"CSVsniffer: F1 of {count} files of {truth}{', messy' if messy else ''}", f1)
    mean = weighted / total
    yield Figure.of("CSVsniffer: weighted F1", mean, limit=at_least(mean, LEAST_F1, "ours"))


def measure_spectrum(home: Path) -> Iterator[Figure]:
    """Return how many files of csv-spectrum have the cells of their JSON."""
    files = sorted((home / "csvs").iterdir())
    equal = sum(_equals_json(path, home / "json" / f"{path.stem}.json") for path in files)
    yield Figure.of(f"csv-spectrum: of {len(files)} files equal", equal, limit=at_least(equal, len(files), "ours"))


def _equals_json(path: Path, expected: Path) -> bool:
    dialect = detect_dialect(path.read_bytes(), name=path.name).dialect
    table = open_delimited(lambda: path.open("rb"), path.name, dialect, Rejects())
    rows = [row for batch in table.read() for row in batch.to_pylist()]
    wanted = json.loads(expected.read_text(encoding="utf-8"))
    wanted = wanted if isinstance(wanted, list) else [wanted]
    left_out = _MISPRINTS.get(path.stem, ())
    plain = [{key: value or "" for key, value in row.items() if key not in left_out} for row in rows]
    return plain == [{key: value for key, value in row.items() if key not in left_out} for row in wanted]


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure generated files, and each public collection whose folder is named."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = list(measure_generated(options, folder))
        if not options.small:
            if home := os.environ.get("LIFECYCLE_POLLOCK"):
                figures += measure_pollock(options, Path(home), folder)
            if home := os.environ.get("LIFECYCLE_CSVSNIFFER"):
                figures += measure_sniffer(Path(home))
            if home := os.environ.get("LIFECYCLE_CSV_SPECTRUM"):
                figures += measure_spectrum(Path(home))
    return figures


BENCHMARK = Benchmark(
    "dialects",
    measure,
    add_options=lambda parser: parser.add_argument("--files", type=int, default=200, help="generated files"),
    small={"files": 12, "peers": ["duckdb", "pandas"]},
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
