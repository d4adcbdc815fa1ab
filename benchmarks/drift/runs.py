"""Seeded runs: a reference and windows from one population, in which something changes halfway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.drift.rules import Rule
from benchmarks.parallel import map_items
from lifecycle.core.contract import Contract
from lifecycle.monitoring.drift import MULTIVARIATE, POOLED_WINDOWS, judge_windows
from lifecycle.monitoring.reference import Kind, build_reference, count_window
from lifecycle.monitoring.scenarios import check_scenario, draw_month, weigh_rows

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
QUIET: Record = {"kind": "none", "column": "", "factor": 1.0, "share": 1.0, "category": "", "begin": 1}
CHANGED = 0.01  # of the probability: an alert should not name a column that changes by less


@dataclass(frozen=True)
class Setting:
    """What all runs share: the population, the scenarios from window `begin` on, the sizes, and the least rows and effect."""

    table: pd.DataFrame
    contract: Contract
    kinds: Mapping[str, Kind]
    scenarios: Mapping[str, Record]
    reference_rows: int
    rows: int
    windows: int
    begin: int
    min_rows: int
    min_psi: float


@dataclass(frozen=True)
class Run:
    """The highest score of each window by rule, arrays of shape (rules, windows).

    quiet: windows in which nothing changes. highest: by scenario, the windows since the change. named: the same, of
    the columns alone that the scenario changes.
    """

    quiet: Array
    highest: dict[str, Array]
    named: dict[str, Array]


def find_changed(setting: Setting, scenario: Record) -> set[str]:
    """Return the columns that a scenario changes: an alert that names another column is a false one.

    All columns together always count. Where some rows are drawn more often, a column counts when the probability of a set
    of its categories, or of the values up to a number, differs by CHANGED.
    """
    if scenario["kind"] == "reverse":  # the distribution of the column itself stays the same
        return {MULTIVARIATE}
    if scenario["kind"] in ("scale", "category", "missing"):
        return {MULTIVARIATE, scenario["column"]}
    weights = weigh_rows(setting.table, scenario, setting.contract)
    gained = pd.Series(weights - 1 / len(weights), index=setting.table.index)
    changed = {MULTIVARIATE}
    for name, kind in setting.kinds.items():
        shares = gained.groupby(setting.table[name], dropna=False).sum()
        most = shares.abs().sum() / 2 if kind == "categories" else shares.cumsum().abs().max()
        if most >= CHANGED:
            changed.add(name)
    return changed


def run_one(rules: Mapping[str, Rule], changed: Mapping[str, set[str]], setting: Setting, seed: int) -> Run:
    """Make one run: reference and windows are drawn with replacement from the whole table, which is one population."""

    def draw(scenario: Record, month: int, rows: int) -> pd.DataFrame:
        return draw_month(setting.table, scenario, setting.contract, month=month, rows=rows, seed=seed)

    reference = build_reference(draw(QUIET, 0, setting.reference_rows), setting.kinds)

    def compare(counts: Sequence[Any]) -> list[pd.DataFrame]:
        tables = judge_windows(reference, counts, false_alarms=1.0, min_rows=setting.min_rows, min_psi=setting.min_psi)
        return [table for table in tables if table is not None]

    def score(tables: list[pd.DataFrame], columns: set[str]) -> tuple[Array, Array]:
        highest, named = np.full((2, len(rules), len(tables)), -np.inf)
        for place, table in enumerate(tables):
            scores = np.array([rule.score(table, reference) for rule in rules.values()])
            scores[np.isnan(scores)] = -np.inf
            highest[:, place] = scores.max(axis=1)
            named[:, place] = scores[:, table["column"].isin(columns)].max(axis=1)
        return highest, named

    quiet = [count_window(draw(QUIET, month, setting.rows), reference) for month in range(1, setting.windows + 1)]
    before = quiet[
        setting.begin - POOLED_WINDOWS : setting.begin - 1
    ]  # the same in every scenario, for rules that look at several windows
    highest, named = {}, {}
    for name, scenario in setting.scenarios.items():
        months = range(setting.begin, setting.windows + 1)
        since = [count_window(draw(scenario, month, setting.rows), reference) for month in months]
        highest[name], named[name] = score(compare([*before, *since])[len(before) :], changed[name])
    return Run(score(compare(quiet), set(setting.kinds))[0], highest, named)


def run_all(setting: Setting, rules: Mapping[str, Rule], runs: int, quiet: int, processes: int) -> Iterator[Run]:
    """Make `runs` runs with every scenario, then `quiet` more in which nothing changes, each with a seed of its own.

    They run in so many processes of one thread each, or in this process where `processes` is 0; progress goes to stderr.
    """
    for name, scenario in setting.scenarios.items():
        check_scenario(name, scenario, setting.table, setting.contract)
    changed = {name: find_changed(setting, scenario) for name, scenario in setting.scenarios.items()}
    settings = [setting] * runs + [replace(setting, scenarios={})] * quiet
    items = list(zip(settings, range(runs + quiet), strict=True))
    return map_items(partial(_run_item, rules, changed), items, processes, "runs")


def _run_item(rules: Mapping[str, Rule], changed: Mapping[str, set[str]], item: tuple[Setting, int]) -> Run:
    return run_one(rules, changed, *item)
