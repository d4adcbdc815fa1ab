"""Readers of delimited text, each as its documentation or the benchmark Pollock shows it, and Pollock's score.

Only the standard library is imported at the top, for CleverCSV and the score run in an environment of their own.
"""

from __future__ import annotations

import csv
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAILED = "Application Error\n"  # what Pollock expects of a reader that refuses a file
Parameters = dict[str, Any]


def _convert_ours(source: Path, target: Path, parameters: Parameters) -> None:
    from lifecycle.core.tables import Rejects
    from lifecycle.sources.delimited import open_delimited
    from lifecycle.sources.dialect import detect_dialect

    dialect = detect_dialect(source.read_bytes(), name=source.name).dialect
    table = open_delimited(lambda: source.open("rb"), source.name, dialect, Rejects())
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if dialect.header and table.names:
            writer.writerow(table.names)
        for batch in table.read():
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _convert_duckdb(source: Path, target: Path, parameters: Parameters) -> None:
    import duckdb

    # text where cells are compared as they were written; Pollock compares values
    how = {"strict_mode": False, "ignore_errors": True, "null_padding": True, "all_varchar": not parameters}
    read = duckdb.connect().read_csv(str(source), **how)
    read.df().to_csv(target, index=False)


def _convert_clevercsv(source: Path, target: Path, parameters: Parameters) -> None:
    import clevercsv

    with source.open(newline="", encoding=parameters.get("encoding", "utf-8")) as file:
        dialect = clevercsv.Sniffer().sniff(file.read())
        file.seek(0)
        rows = list(clevercsv.reader(file, dialect))
    with target.open("w", newline="", encoding="utf-8") as written:
        clevercsv.write.writer(written).writerows(rows)


def _convert_pandas(source: Path, target: Path, parameters: Parameters) -> None:
    """Convert with the quote, escape, line end and lines before the table that Pollock gives; the delimiter is a comma."""
    import pandas as pd

    quote, escape = parameters.get("quotechar") or '"', parameters.get("escapechar") or '"'
    end = parameters.get("row_delimiter", "\r\n")
    how: dict[str, Any] = {"quotechar": quote[0]}
    if escape != quote:
        how |= {"escapechar": escape[0], "doublequote": False}
    if end and end != "\r\n":
        how["lineterminator"] = end[0]
    skip = int(parameters.get("preamble_lines", 0))
    frame = pd.read_csv(
        source,
        dtype=object,
        on_bad_lines="skip",
        engine="c",
        encoding=parameters.get("encoding", "utf-8"),
        skiprows=skip or None,
        **how,
    )
    frame.to_csv(target, index=False)


READERS: dict[str, Callable[[Path, Path, Parameters], None]] = {
    "ours": _convert_ours,
    "duckdb": _convert_duckdb,
    "clevercsv": _convert_clevercsv,
    "pandas": _convert_pandas,
}


def convert_files(reader: str, sources: str, targets: str, parameters: str = "") -> int:
    """Read every file of a folder and write it as plain CSV into another; return how many the reader refused.

    parameters: a folder with Pollock's description of each file.
    """
    refused = 0
    Path(targets).mkdir(parents=True, exist_ok=True)
    for source in sorted(Path(sources).iterdir()):
        described = Path(parameters) / f"{source.name}_parameters.json"
        known = json.loads(described.read_text(encoding="utf-8")) if parameters and described.exists() else {}
        target = Path(targets) / source.name
        try:
            READERS[reader](source, target, known)
        except Exception:  # noqa: BLE001 a reader may refuse a file with any error
            refused += 1
            target.write_text(FAILED, encoding="utf-8")
    return refused


def score_files(pollock: str, folders: list[str]) -> list[tuple[float, float]]:
    """Return Pollock's simple and weighted score, of ten at most, of the files in each folder, as its evaluate.py does."""
    sys.path.insert(0, pollock)
    metrics = __import__("pollock.metrics", fromlist=["metrics"])
    metrics.normalize_cell = functools.lru_cache(None)(metrics.normalize_cell)  # the files repeat their cells
    weights = json.loads((Path(pollock) / "pollock_weights.json").read_text(encoding="utf-8"))
    clean = sorted((Path(pollock) / "polluted_files/clean").iterdir())
    scores = []
    for folder in folders:
        points = [_score_file(metrics, path, Path(folder) / path.name) for path in clean]
        shares = [weights.get(path.name, -1) for path in clean]
        weighted = sum(point * share for point, share in zip(points, shares, strict=True)) / sum(shares)
        scores.append((sum(points) / len(points), weighted))
    return scores


def _score_file(metrics: Any, clean: Path, loaded: Path) -> float:
    try:
        if not loaded.exists() or not metrics.successful_csv(str(loaded)):
            return 0.0
        return 1.0 + float(sum(metrics.header_record_cell_measures_csv(str(clean), str(loaded))))
    except Exception:  # noqa: BLE001 evaluate.py gives a file that it cannot compare no further points
        return 1.0
