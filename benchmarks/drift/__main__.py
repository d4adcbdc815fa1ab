"""How soon drift is detected: monitoring as `params.yaml` sets it, against three rules of textbooks.

    python -m benchmarks.drift [--runs 200] [--quiet-runs 800] [--processes 2] [--picture FILE]

A run draws a reference of 1,409 rows and twelve windows of 500, with replacement, from the whole validated table, so that both come
from one population until something changes. It does at the sixth window (`lifecycle.monitoring.scenarios`), in several kinds and sizes,
each in as many runs; in 800 further runs nothing changes. A rule fires in a window when it does so for any column. It names a change when
it fires for a column that changed, or for all columns together, so that a rule that always fires gains nothing. Delays are
counted in windows, 1 for the first; a run in which the rule never names the change counts as 8. Concept drift that leaves the
distribution of each column as it was can be found only by looking at all columns together.

The rules: ours; a mean more than two standard deviations away; PSI above 0.2; Kolmogorov-Smirnov (chi-squared for categories) at
0.05, without correction for the number of columns. They are compared with their usual limits and at equal false alarms, where the limit
of one rule is moved until it fires in no more quiet windows than the other does.

Limits: ours fires in no more quiet windows than the part of `monitor.false_alarms` that is for drift; and at equal false alarms it names a change sooner than each
other rule in the mean of all scenarios, by more than chance explains (95 %, paired by run). Every scenario in which another rule is
sooner is printed. Equal false alarms make the comparison fair; in practice nothing can be tuned like this, because
it takes thousands of windows that are known to be quiet.

Run `make repro` first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import Benchmark, run_benchmark
from benchmarks.drift.results import Found, Match, Results
from benchmarks.drift.rules import OURS, list_rules
from benchmarks.drift.runs import Setting, run_all
from benchmarks.figures import Figure, Limit, at_most
from benchmarks.machine import RESULTS
from benchmarks.project import CHECKOUT
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.files import replace_file
from lifecycle.core.params import Scenario, load_params
from lifecycle.monitoring.budget import share_budget
from lifecycle.stages.deploy import choose_kinds

Record = dict[str, Any]
REFERENCE_ROWS, ROWS = 1409, 500
WINDOWS, BEGIN = 12, 6
SHIFTS: dict[str, tuple[str, str, tuple[float, ...], Record]] = {  # the change in words, what is varied, its sizes
    "scale": ("monthly_charges ×", "factor", (1.02, 1.05, 1.1, 1.2), {"column": "monthly_charges"}),
    "mix": ("month-to-month ×", "factor", (1.25, 1.5, 2, 3), {"column": "contract", "category": "Month-to-month"}),
    "prior": ("churn rate ×", "factor", (1.25, 1.5, 2), {}),
    "category": ("new payment method", "share", (0.01, 0.02, 0.05), {"column": "payment_method", "category": "Wallet"}),
    "missing": ("tenure missing", "share", (0.02, 0.05, 0.2), {"column": "tenure"}),
    "reverse": ("total_charges reversed", "share", (0.25, 0.5, 1), {"column": "total_charges"}),
}


def list_scenarios() -> dict[str, Record]:
    """Return the changes that may happen, by their names in the tables."""
    return {
        f"{title} {f'{size:g}' if key == 'factor' else f'{size:.0%}'}": Scenario.model_validate(
            {"kind": kind, "begin": BEGIN, key: size, **rest}
        ).model_dump()
        for kind, (title, key, sizes, rest) in SHIFTS.items()
        for size in sizes
    }


def format_share(share: float) -> str:
    """Return a share in percent, with a decimal where it is small."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def show_usual(results: Results) -> None:
    """Print how every rule does with its usual limit."""
    rules = results.rules
    print(
        "Usual limits: runs that name the change, mean windows until then, windows in which the rule fires for any column"
    )
    print(f"{'':26s}" + "".join(f"{rule.title:>24s}" for rule in rules.values()))
    quiet = [results.count_alarms(name, rule.limit).rate for name, rule in rules.items()]
    print(f"{'nothing':26s}" + "".join(f"{'':14s}{format_share(rate):>10s}" for rate in quiet))
    for scenario in results.named:
        cells = []
        for name, rule in rules.items():
            found = results.find(scenario, name, rule.limit)
            cells.append(f"{found.named:>9.0%}{found.delays.mean():>6.2f}{format_share(found.fired):>9s}")
        print(f"{scenario:26s}" + "".join(cells))


def show_matched(results: Results, rival: str) -> None:
    """Print ours and another rule at equal false alarms, with either limit moved."""
    rule, matches = results.rules[rival], results.list_matches(rival)
    print(
        f"\n{rule.title}: its limit moved from {abs(rule.limit):g} to {abs(matches[0].other):.3g}, that of ours (q) from "
        f"{abs(matches[0].ours):g} to {abs(matches[1].ours):.3g}"
    )
    print(f"{'':26s}" + "".join(f"{f'ours, {match.where}':>38s}{'it':>14s}{'ours later by':>16s}" for match in matches))
    line = ""
    for match in matches:
        rates = results.count_alarms(OURS, match.ours).rate, results.count_alarms(rival, match.other).rate
        line += f"{format_share(rates[0]):>38s}{format_share(rates[1]):>14s}{'':16s}"
    print(f"{'nothing':26s}{line}")
    for scenario in results.named:
        line = ""
        for match in matches:
            ours, its = results.find(scenario, OURS, match.ours), results.find(scenario, rival, match.other)
            line += f"{format_found(ours):>38s}{format_found(its):>14s}{format_later(results, rival, match, [scenario]):>16s}"
        print(f"{scenario:26s}{line}")
    print(f"{'all':26s}" + "".join(f"{format_later(results, rival, match, results.named):>68s}" for match in matches))


def format_later(results: Results, rival: str, match: Match, scenarios: Iterable[str]) -> str:
    """Return by how many windows ours is later, with its interval, as text."""
    later, chance = results.compare(rival, match, scenarios)
    return f"{later:+.2f} ± {chance:.2f}"


def list_slower(results: Results, rival: str) -> Iterator[str]:
    """Return a sentence for each scenario in which a rule is sooner than ours at equal false alarms, beyond chance."""
    for match in results.list_matches(rival):
        for scenario in results.named:
            later, chance = results.compare(rival, match, [scenario])
            if later > chance:
                yield f"{results.rules[rival].title} is sooner, {match.where}: {scenario}, by {later:.2f} ± {chance:.2f} windows"


def format_found(found: Found) -> str:
    """Return the share of runs that name the change and the mean windows until then, as text."""
    return f"{found.named:.0%} {found.delays.mean():.2f}"


def describe_alarms(results: Results, false_alarms: float) -> Iterator[str]:
    """Return sentences about our false alarms and how sure they are."""
    found = results.count_alarms(OURS, results.rules[OURS].limit)
    yield (
        f"ours fired in {found.count} of {found.windows:,} quiet windows: {found.rate:.2%} ({found.bounds[0]:.2%} to "
        f"{found.bounds[1]:.2%} by bootstrap over runs), {false_alarms:.1%} allowed"
    )
    yield (
        f"ours fired at least once in {found.runs:.1%} of the runs ({found.run_bounds[0]:.1%} to {found.run_bounds[1]:.1%}); "
        f"{1 - (1 - false_alarms) ** WINDOWS:.1%} are allowed if windows were independent"
    )


def draw_delays(results: Results, path: Path) -> None:
    """Draw the windows until each rule names a change, by its size: at our rate of false alarms and (dotted) with usual limits."""
    import matplotlib.pyplot as plt

    from lifecycle.reporting.plots import new_grid, use_style

    use_style()
    figure, axes = new_grid(len(SHIFTS), columns=3, height=2.3)
    never = WINDOWS - BEGIN + 2
    scenarios = iter(results.named)
    for panel, (title, key, sizes, _) in zip(axes, SHIFTS.values(), strict=True):
        names = [next(scenarios) for _ in sizes]
        for rule in results.rules:
            line = [results.find(name, rule, results.match_limit(rule, OURS)).delays.mean() for name in names]
            (drawn,) = panel.plot(
                line, marker="o", markersize=4, label=results.rules[rule].title, zorder=3 if rule == OURS else 2
            )
            if rule != OURS:
                usual = [results.find(name, rule, results.rules[rule].limit).delays.mean() for name in names]
                panel.plot(usual, linestyle=":", linewidth=1, color=drawn.get_color())
        panel.set_xticks(range(len(sizes)), [f"{size:g}" if key == "factor" else f"{size:.0%}" for size in sizes])
        panel.set(title=title, ylim=(0.7, never + 0.3), yticks=[1, 3, 5, never])
        panel.set_yticklabels(["1", "3", "5", "never"])
    axes[0].set_ylabel("windows until named")
    axes[3].set_ylabel("windows until named")
    handles, labels = axes[0].get_legend_handles_labels()
    rates = {rule.title: results.count_alarms(name, rule.limit).rate for name, rule in results.rules.items()}
    worst = max(rates, key=lambda title: rates[title])
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, title_fontsize=8,
        title=f"Solid: at equal false alarms. Dotted: usual limits, with which {worst} fires in {format_share(rates[worst])} of the quiet windows",
    )  # fmt: skip
    with replace_file(path) as aside:
        figure.savefig(aside, dpi=110)
    plt.close(figure)


def describe_setting() -> tuple[Setting, float]:
    """Return the setting and the budget of false alarms, of all kinds of alerts; raises ProjectError where the table is not built."""
    project = paths.open_project()
    contract = load_contract(project.read(paths.CONTRACT))
    params = load_params(project.read(paths.PARAMS)).monitor
    table = pd.read_parquet(project.read(paths.VALIDATED_TABLE))
    kinds = choose_kinds(contract, [{"name": name} for name in contract.columns])
    setting = Setting(
        table, contract, kinds, list_scenarios(), REFERENCE_ROWS, ROWS, WINDOWS, BEGIN, params.min_rows, params.min_psi
    )
    return setting, params.false_alarms


def measure(options: argparse.Namespace) -> list[Figure]:
    """Make the runs, print the tables, draw the picture, and return the figures."""
    setting, budget = describe_setting()
    false_alarms = share_budget(budget).drift
    rules = list_rules(false_alarms)
    runs = run_all(setting, rules, options.runs, options.quiet_runs, options.processes)
    results = Results.collect(rules, runs)
    rivals = [name for name in rules if name != OURS]
    show_usual(results)
    for rival in rivals:
        show_matched(results, rival)
    for line in (
        *describe_alarms(results, false_alarms),
        *(line for rival in rivals for line in list_slower(results, rival)),
    ):
        print(line)
    picture = options.picture or (options.output or CHECKOUT / RESULTS) / "drift.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw_delays(results, picture)
    return list(list_figures(results, false_alarms))


def list_figures(results: Results, false_alarms: float) -> Iterator[Figure]:
    """Return the rate of false alarms of every rule, and the delays at equal false alarms, with the limits."""
    rates = {name: results.count_alarms(name, rule.limit).rate for name, rule in results.rules.items()}
    rivals = {name: rule.title for name, rule in results.rules.items() if name != OURS}
    limit = at_most(rates[OURS], false_alarms, "ours")
    for rival, title in rivals.items():
        yield Figure.of("share of quiet windows with an alert, usual limits", rates[OURS], rates[rival], title, limit)
    for rival, title in rivals.items():
        for match in results.list_matches(rival):
            later, chance = results.compare(rival, match, results.named)
            delays = [
                float(np.mean([results.find(name, rule, at).delays.mean() for name in results.named]))
                for rule, at in ((OURS, match.ours), (rival, match.other))
            ]
            kept = Limit(f"sooner by more than chance ({-later:+.2f} ± {chance:.2f})", later < -chance)
            yield Figure.of(f"windows until a change is named, {match.where}", *delays, title, kept)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=200, help="with every scenario")
    parser.add_argument(
        "--quiet-runs", type=int, default=800, help="further runs without a change: false alarms are rare"
    )
    parser.add_argument("--processes", type=int, default=2, help="0: none but this one")
    parser.add_argument(
        "--picture", type=Path, help="where the delays are drawn (default: drift.png next to the figures)"
    )


BENCHMARK = Benchmark("drift", measure, add_options, small={"runs": 2, "quiet_runs": 1, "processes": 0})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
