"""Seeded trials: a reference and windows of one population, of which something changes halfway."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.drift.rules import Rule
from lifecycle.core.contract import Contract
from lifecycle.monitoring.drift import LOOKS, MULTIVARIATE, judge_windows
from lifecycle.monitoring.reference import Kind, count_window, sketch_reference
from lifecycle.monitoring.scenarios import check_scenario, draw_month, weigh_rows

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
QUIET: Record = {"kind": "none", "column": "", "factor": 1.0, "share": 1.0, "category": "", "begin": 1}
CHANGED = 0.01  # of the probability: a column of which less has changed is not one that an alarm should name
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """What all trials share: the population, what may happen from window `begin` on, sizes, and what is judged too little."""

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
class Trial:
    """Each window's highest score by rule, arrays of shape (rules, windows).

    quiet: windows in which nothing happens. loudest: by scenario, the windows since it began. named: the same, of the
    columns alone that it truly changes.
    """

    quiet: Array
    loudest: dict[str, Array]
    named: dict[str, Array]


def find_changed(setting: Setting, scenario: Record) -> set[str]:
    """The columns that a scenario truly changes: an alarm that names another is a false one.

    All columns together always count. Where rows are drawn more often, a column counts when the probability of some set
    of its levels, or of the values up to some number, differs by CHANGED.
    """
    if scenario["kind"] == "reverse":  # in all rows or in some of them: the column itself is distributed as it was
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


def run_trial(rules: Mapping[str, Rule], changed: Mapping[str, set[str]], setting: Setting, seed: int) -> Trial:
    """One trial. The reference and the windows are drawn, with replacement, from the whole table: from one population."""

    def draw(scenario: Record, month: int, rows: int) -> pd.DataFrame:
        return draw_month(setting.table, scenario, setting.contract, month=month, rows=rows, seed=seed)

    reference = sketch_reference(draw(QUIET, 0, setting.reference_rows), setting.kinds)

    def judge(counts: Sequence[Any]) -> list[pd.DataFrame]:
        tables = judge_windows(reference, counts, false_alarms=1.0, min_rows=setting.min_rows, min_psi=setting.min_psi)
        return [table for table in tables if table is not None]

    def score(tables: list[pd.DataFrame], columns: set[str]) -> tuple[Array, Array]:
        loudest, named = np.full((2, len(rules), len(tables)), -np.inf)
        for place, table in enumerate(tables):
            scores = np.array([rule.score(table, reference) for rule in rules.values()])
            scores[np.isnan(scores)] = -np.inf
            loudest[:, place] = scores.max(axis=1)
            named[:, place] = scores[:, table["column"].isin(columns)].max(axis=1)
        return loudest, named

    quiet = [count_window(draw(QUIET, month, setting.rows), reference) for month in range(1, setting.windows + 1)]
    before = quiet[setting.begin - LOOKS : setting.begin - 1]  # the same in every scenario, and what a longer look sees
    loudest, named = {}, {}
    for name, scenario in setting.scenarios.items():
        months = range(setting.begin, setting.windows + 1)
        since = [count_window(draw(scenario, month, setting.rows), reference) for month in months]
        loudest[name], named[name] = score(judge([*before, *since])[len(before) :], changed[name])
    return Trial(score(judge(quiet), set(setting.kinds))[0], loudest, named)


def run_trials(setting: Setting, rules: Mapping[str, Rule], runs: int, quiet: int, processes: int) -> Iterator[Trial]:
    """As many trials as `runs`, then as many more as `quiet` in which nothing happens, all of different seeds.

    In so many processes of one thread each; progress goes to stderr.
    """
    for name, scenario in setting.scenarios.items():
        check_scenario(name, scenario, setting.table, setting.contract)
    changed = {name: find_changed(setting, scenario) for name, scenario in setting.scenarios.items()}
    settings = [setting] * runs + [replace(setting, scenarios={})] * quiet
    os.environ.update(dict.fromkeys(THREADS, "1"))  # processes of more threads than cores wait for one another
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        trials = pool.map(partial(run_trial, rules, changed), settings, range(runs + quiet))
        for done, trial in enumerate(trials, start=1):
            end = "\n" if done == runs + quiet else ""
            print(f"\r{done:,} of {runs + quiet:,} trials", end=end, file=sys.stderr, flush=True)
            yield trial
