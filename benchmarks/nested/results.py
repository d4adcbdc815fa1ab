"""Results of the folds: kept one by one, compared with each peer, and reported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Limit
from benchmarks.fold_tests import compare_folds
from benchmarks.own_tables.__main__ import PEERS
from lifecycle.exploration.significance import adjust_holm

OURS, AUTOML = "lifecycle", "flaml"
SIGNIFICANCE = 0.05
MARGIN = 0.005  # of ROC AUC, by which the AutoML may be better in the mean
_METRICS = {"roc_auc": "ROC AUC", "log_loss": "log loss", "brier": "Brier score"}


@dataclass(frozen=True)
class FoldResult:
    """What one of the competitors reached on an outer fold.

    split: the hash of the table's folds. budget: seconds that the AutoML was given; 0 for the others. train_rows, rows,
    columns, rate: of the training part and of the fold, the columns that peers learn from, the share of positives.
    seconds, processor: what it took, of the clock and of the processors. chosen: the model that we chose. commit: of the code.
    """

    table: str
    fold: int
    peer: str
    split: str
    budget: float
    train_rows: int
    rows: int
    columns: int
    rate: float
    roc_auc: float
    log_loss: float
    brier: float
    seconds: float
    processor: float
    commit: str
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, str, str, float]:
        """What makes it the same measurement as another one."""
        return self.table, self.fold, self.peer, self.split, self.budget


@dataclass(frozen=True)
class Comparison:
    """Our ROC AUC on a table against a peer's: means of the folds, their difference with its corrected 95 % interval, p by Holm."""

    table: str
    peer: str
    ours: float
    theirs: float
    difference: dict[str, float]
    p: float

    @property
    def significantly_worse(self) -> bool:
        """Whether ours is lower by more than chance."""
        return self.difference["value"] < 0 and self.p < SIGNIFICANCE


class Results:
    """The results of the folds of some tables, each measured with the same folds."""

    def __init__(self, found: Sequence[FoldResult], folds: int) -> None:
        self._by = {(result.table, result.peer, result.fold): result for result in found}
        self.folds = folds
        self.tables = list(dict.fromkeys(result.table for result in found))
        self.peers = [name for name in PEERS if any(result.peer == name for result in found)]

    def find(self, table: str, peer: str) -> list[FoldResult]:
        """Return the results of a table's folds; none while one of them is missing."""
        found = [self._by[key] for fold in range(self.folds) if (key := (table, peer, fold)) in self._by]
        return found if len(found) == self.folds else []

    def count(self, table: str, peer: str) -> int:
        """Return how many folds of a table were measured."""
        return sum((table, peer, fold) in self._by for fold in range(self.folds))

    def average(self, table: str, peer: str, name: str = "roc_auc") -> float | None:
        """Return the mean of a metric or cost over a table's folds; None while one of them is missing."""
        found = self.find(table, peer)
        return float(np.mean([getattr(result, name) for result in found])) if found else None

    def compare(self, peer: str) -> list[Comparison]:
        """Compare with a peer on every table of which all folds were measured; p is corrected for the number of tables."""
        compared: list[Comparison] = []
        for table in self.tables:
            ours, theirs = self.find(table, OURS), self.find(table, peer)
            if ours and theirs:
                areas = [np.array([result.roc_auc for result in side]) for side in (ours, theirs)]
                folds = [(np.arange(result.train_rows), np.arange(result.rows)) for result in ours]
                difference = compare_folds(areas[0] - areas[1], folds)
                ours_mean, theirs_mean = (float(side.mean()) for side in areas)
                compared.append(Comparison(table, peer, ours_mean, theirs_mean, difference, difference["p"]))
        adjusted = adjust_holm(np.array([each.p for each in compared]))
        return [replace(each, p=float(p)) for each, p in zip(compared, adjusted, strict=True)]


def list_figures(results: Results) -> Iterator[Figure]:
    """Return our area on each table against each peer's, and the means over the tables, with their limits."""
    for peer in results.peers:
        compared = results.compare(peer)
        for each in compared:
            interval = f"{each.difference['low']:+.4f} to {each.difference['high']:+.4f}"
            text = f"not significantly worse (difference {interval}, p = {each.p:.2g} by Holm)"
            limit = None if peer == AUTOML else Limit(text, not each.significantly_worse)
            yield Figure.of(f"{each.table}: ROC AUC", each.ours, each.theirs, PEERS[peer], limit)
        if compared:
            ours, theirs = (float(np.mean([getattr(each, side) for each in compared])) for side in ("ours", "theirs"))
            limit = Limit("better in the mean", ours > theirs)
            if peer == AUTOML:
                limit = Limit(f"at most {MARGIN:g} below in the mean", ours >= theirs - MARGIN)
            yield Figure.of(f"ROC AUC, mean of the tables (n = {len(compared)})", ours, theirs, PEERS[peer], limit)


def write_report(results: Results, path: Path) -> None:
    """Write the comparisons as Markdown: a table of areas, one of the mean scores, one of what the folds took."""
    compared = {(each.table, peer): each for peer in results.peers for each in results.compare(peer)}
    how = (
        "Written by `python -m benchmarks.nested`, whose docstring says what was measured. Each figure is the mean of "
        f"{results.folds} outer folds. Differences are ours minus the peer's; their 95 % intervals are corrected for folds that "
        "share training rows (Nadeau & Bengio 2003), and their p-values for the number of tables (Holm 1979), for each peer by itself."
    )
    lines = [
        "# Nested cross-validation",
        "",
        how,
        "",
        *_format_table(
            ["table", "rows × columns", "positive", "ours", *(f"{PEERS[peer]}: difference (95 %), p" for peer in results.peers)],
            [_describe_table(results, table, compared) for table in results.tables],
        ),
        "",
        "## Limits",
        "",
        *_format_table(
            ["figure", "ours", "peer", "limit", "kept"],
            [
                [figure.name, f"{figure.ours:.4f}", f"{figure.peer or 0:.4f} ({figure.peer_name})", figure.limit.text, "yes" if figure.kept else "**no**"]
                for figure in list_figures(results) if figure.limit is not None
            ],
        ),
    ]  # fmt: skip
    sides = [OURS, *results.peers]
    titles = ["table", "ours", *(PEERS[peer] for peer in results.peers)]
    for name, title in {**_METRICS, "seconds": "seconds of a fold", "processor": "processor seconds of a fold"}.items():
        digits = 0 if name in ("seconds", "processor") else 4
        rows = [
            [table, *(_show(results.average(table, side, name), digits) for side in sides)] for table in results.tables
        ]
        whole = [table for table in results.tables if all(results.find(table, side) for side in sides)]
        if whole:
            means = [float(np.mean([results.average(table, side, name) for table in whole])) for side in sides]
            rows.append([f"mean of {len(whole)}", *(_show(mean, digits) for mean in means)])
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_format_table(titles, rows)]
    lines += ["", "## What we chose", "", *_describe_choices(results)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _describe_table(results: Results, table: str, compared: dict[tuple[str, str], Comparison]) -> list[str]:
    """Return the cells of a table in the report; of one that is not complete, how many folds were measured."""
    ours = results.find(table, OURS)
    cells = [table, "", "", f"{results.count(table, OURS)} of {results.folds} folds"]
    if ours:
        rows = sum(result.rows for result in ours)
        rate = sum(result.rate * result.rows for result in ours) / rows
        cells = [table, f"{rows:,} × {ours[0].columns}", f"{rate:.1%}", f"{results.average(table, OURS):.4f}"]
    for peer in results.peers:
        if (table, peer) in compared:
            each = compared[table, peer]
            low, high = (f"{each.difference[end]:+.4f}" for end in ("low", "high"))
            cells.append(f"{each.theirs:.4f}: {each.difference['value']:+.4f} ({low} to {high}), p = {each.p:.2g}")
        else:
            cells.append(f"{results.count(table, peer)} of {results.folds} folds")
    return cells


def _describe_choices(results: Results) -> list[str]:
    """Return a line for each table with the family and the calibration of each fold."""
    lines = []
    for table in results.tables:
        if ours := results.find(table, OURS):
            chosen = [f"{result.chosen['family']} ({result.chosen['calibration']})" for result in ours]
            commits = ", ".join(sorted({f"`{result.commit[:12]}`" for result in ours}))
            lines.append(f"- {table}, commit {commits}: {', '.join(chosen)}")
    return lines


def _format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]


def _show(value: float | None, digits: int) -> str:
    """Return a number, or nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def read_results(path: Path) -> dict[tuple[Any, ...], FoldResult]:
    """Return the results that were kept, by key; a later one replaces an earlier one, and a line that was cut off does not count."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            result = FoldResult(**json.loads(line))
        except json.JSONDecodeError:
            continue
        found[result.key] = result
    return found


def keep_result(result: FoldResult, path: Path) -> None:
    """Add a result to those that were kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
