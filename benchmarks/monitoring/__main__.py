"""How often monitoring is wrong: alerts in quiet windows, later detection for it, and intervals that miss the true value.

    python -m benchmarks.monitoring [--references 200] [--cases 2000] [--runs 200] [--populations example,groups] [--processes 2]

Quiet windows: for each of many references a hold-out of 1,409 rows and twelve windows of about 500 (Poisson) are drawn from one
population, so that every alert of `lifecycle.stages.monitor.judge_traffic` is a false one. The populations: the worked example; the worked
example as read from a log in which negatives are labelled later than positives, with the maturity of `params.yaml`; categories with long tails; amounts
that are mostly zero; entities with 20 rows each. Windows of one reference are not independent, so that the intervals come from a
bootstrap over references, and the spread over references is printed too.

Delays: the windows until one of the 20 changes of `benchmarks.drift` is named, with the drift tests' share of the budget
`monitor.false_alarms`, against the whole budget for drift alone, and against a third of it.

Coverage: each case draws a hold-out of 1,409 rows and a window of 500 and compares every 95 % interval that evaluation and
monitoring print (metrics, slices, gaps, what decisions are worth, the differences from another model) with the true value, that of the
whole population; what is expected of a window without labels is compared with what its labels say. Slices with fewer rows than
`evaluate.min_support` or `min_class`, whose intervals are not shown, are counted apart.

Limits: no more alerts in quiet windows than `monitor.false_alarms` allows (the lower end of the interval is not above it); each kind of
interval holds in at least 93 %.

Run `make repro` first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.drift.__main__ import describe_setting
from benchmarks.drift.results import Results
from benchmarks.drift.rules import OURS, Rule, score_ours
from benchmarks.drift.runs import run_all
from benchmarks.figures import Figure, Limit, at_least
from benchmarks.monitoring.coverage import SMALL_SLICES, Case, count_intervals, run_case
from benchmarks.monitoring.populations import POPULATIONS
from benchmarks.monitoring.quiet import KINDS, Fired, Job, load_population, measure_rate, run_quiet
from benchmarks.parallel import map_items
from lifecycle.core import paths
from lifecycle.core.params import Monitor, load_params
from lifecycle.monitoring.budget import share_budget

LEAST_COVERAGE = 0.93
WHOLE, THIRD = "the whole budget for drift", "a third of the budget for drift"


def measure_quiet(population: str, settings: Monitor, options: argparse.Namespace) -> Iterator[Figure]:
    """Yield how often quiet windows of a population fire, of every kind together and by kind."""
    announce(f"quiet windows: {population}")
    jobs = [Job(population, settings, seed) for seed in range(options.references)]
    yield from list_alarms(
        population, settings.false_alarms, list(map_items(run_quiet, jobs, options.processes, "references"))
    )


def list_alarms(population: str, budget: float, fired: Sequence[Fired]) -> Iterator[Figure]:
    """Yield the shares of quiet windows that fired."""
    together = measure_rate([each.any for each in fired])
    limit = Limit(f"at most {budget:g} ({together.low:.4f} to {together.high:.4f})", together.low <= budget)
    name = f"{population}: quiet windows with"
    yield Figure.of(f"{name} any alert", together.value, limit=limit)
    yield Figure.of(f"{name} any alert, standard deviation over references", together.spread)
    yield Figure.of(f"{name} any alert, worst reference", together.worst)
    yield Figure.of(f"{name} a warning or worse", measure_rate([each.warning for each in fired]).value)
    for kind in KINDS:
        rate = measure_rate([each.kinds[kind] for each in fired])
        yield Figure.of(f"{name} an alert of {kind} ({rate.low:.4f} to {rate.high:.4f})", rate.value)
    again = np.concatenate([each.any[1:][each.any[:-1]] for each in fired])
    if len(again):  # pooled windows share rows, so that a false alarm tends to stay
        yield Figure.of(f"{population}: of quiet windows after one with an alert, those with one", float(again.mean()))


def measure_delays(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield the windows until a change is named, in the mean of the changes of `benchmarks.drift`."""
    announce("delays")
    setting, budget = describe_setting()
    limits = {OURS: share_budget(budget).drift, WHOLE: budget, THIRD: budget / 3}
    rules = {name: Rule(name, -limit, score_ours) for name, limit in limits.items()}
    results = Results.collect(rules, run_all(setting, rules, options.runs, 0, options.processes))
    found = {
        name: [results.find(scenario, name, rule.limit) for scenario in results.named] for name, rule in rules.items()
    }
    delays = {name: float(np.mean([each.delays.mean() for each in every])) for name, every in found.items()}
    named = {name: float(np.mean([each.named for each in every])) for name, every in found.items()}
    for peer in (WHOLE, THIRD):
        kept = Limit("no later", delays[OURS] <= delays[peer]) if peer == THIRD else None
        yield Figure.of("windows until a change is named", delays[OURS], delays[peer], peer, kept)
        yield Figure.of("share of changes that are named", named[OURS], named[peer], peer)


def measure_coverage(population: str, options: argparse.Namespace) -> Iterator[Figure]:
    """Yield how many of the intervals of each kind hold."""
    announce(f"coverage: {population}")
    cases = [Case(population, options.replicates, seed) for seed in range(options.cases)]
    found = (interval for part in map_items(run_case, cases, options.processes, "cases") for interval in part)
    for (_, where, metric), (holds, total) in count_intervals(found).items():
        covered = holds / total
        name = f"{population}: coverage of {total:,} intervals, {where}: {metric}"
        limit = None if where == SMALL_SLICES else at_least(covered, LEAST_COVERAGE, "ours")
        yield Figure.of(name, covered, limit=limit)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure all three for the populations of the options."""
    settings = load_params(paths.open_project().read(paths.PARAMS)).monitor
    figures: list[Figure] = []
    for name in options.populations:
        figures += measure_quiet(name, settings, options)
        if not load_population(name).late and options.cases:  # their columns are those of the example
            figures += measure_coverage(name, options)
    if options.runs:
        figures += measure_delays(options)
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--references", type=int, default=200, help="each with twelve quiet windows")
    parser.add_argument("--cases", type=int, default=2000, help="samples whose intervals are checked; 0: none")
    parser.add_argument(
        "--replicates", type=int, default=1000, help="of the bootstrap behind an interval of the hold-out"
    )
    parser.add_argument("--runs", type=int, default=200, help="with every change; 0: no delays")
    parser.add_argument(
        "--populations",
        type=lambda text: text.split(","),
        default=list(POPULATIONS),
        help=f"some of {','.join(POPULATIONS)}",
    )
    parser.add_argument("--processes", type=int, default=2, help="0: none but this one")


SMALL = {
    "references": 2,
    "cases": 2,
    "replicates": 50,
    "runs": 1,
    "processes": 0,
    "populations": ["late labels", "groups"],
}
BENCHMARK = Benchmark("monitoring", measure, add_options, small=SMALL)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
