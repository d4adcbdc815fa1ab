"""How soon drift is found, beside what textbooks have: monitoring as `params.yaml` sets it, against three plain rules.

    python -m benchmarks.drift [--runs 200] [--quiet-runs 800] [--processes 2] [--picture docs/drift.png]

A run draws a reference of 1,409 rows and twelve windows of 500, with replacement, from the whole validated table: while
nothing happens both are of one population. At the sixth window something happens (`stages.simulate.draw_month`), in several
sizes, each in as many runs; in 800 more nothing does. A rule rings in a window when it does for any column. It has named
a change when it rings for a column that truly changed, or for all columns together; so a rule that always rings is not
praised for it. Delays are in windows, 1 for the first; a run in which it never does counts as 8. Turning a relation round
leaves each column as it was: only what looks at all of them together can find it.

The rules: ours; a mean more than two standard deviations away; PSI above 0.2; Kolmogorov-Smirnov (chi-squared for
categories) at 0.05, each window and column for itself. They are compared as they are usually used, and at equal false
alarms: a rule's limit is moved until it rings in no more of the quiet windows than the other does as it is.

Limits: ours rings in no more quiet windows than `monitor.false_alarms`; and at equal false alarms it is quicker than each of the
others in the mean of all scenarios, by more than chance explains (95 %, paired by run). Where another is quicker is told
line by line. (A moved limit is one that nobody has in practice: it takes thousands of windows known to be quiet.)

Run `make repro` first. It takes some twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.drift.results import Found, Match, Results
from benchmarks.drift.rules import OURS, list_rules
from benchmarks.drift.trials import Setting, run_trials
from benchmarks.limits import describe_limits_text
from benchmarks.project import CHECKOUT
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.params import Scenario, load_params
from lifecycle.stages.deploy import choose_kinds

Record = dict[str, Any]
REFERENCE_ROWS, ROWS = 1409, 500
WINDOWS, BEGIN = 12, 6
SHIFTS: dict[str, tuple[str, str, tuple[float, ...], Record]] = {  # what happens in words, what is varied, how much
    "scale": ("monthly_charges ×", "factor", (1.02, 1.05, 1.1, 1.2), {"column": "monthly_charges"}),
    "mix": ("month-to-month ×", "factor", (1.25, 1.5, 2, 3), {"column": "contract", "category": "Month-to-month"}),
    "prior": ("leavers ×", "factor", (1.25, 1.5, 2), {}),
    "category": ("new payment method", "share", (0.01, 0.02, 0.05), {"column": "payment_method", "category": "Wallet"}),
    "missing": ("tenure gone", "share", (0.02, 0.05, 0.2), {"column": "tenure"}),
    "reverse": ("total_charges turned", "share", (0.25, 0.5, 1), {"column": "total_charges"}),
}


def read_arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="of everything that may happen, and of nothing")
    parser.add_argument("--quiet-runs", type=int, default=800, help="more of nothing: false alarms are rare")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=CHECKOUT / "docs/drift.png", help="where it is drawn")
    return parser.parse_args()


def list_scenarios() -> dict[str, Record]:
    """What may happen, by its name in the table."""
    return {
        f"{title} {f'{size:g}' if key == 'factor' else f'{size:.0%}'}": Scenario.model_validate(
            {"kind": kind, "begin": BEGIN, key: size, **rest}
        ).model_dump()
        for kind, (title, key, sizes, rest) in SHIFTS.items()
        for size in sizes
    }


def describe_share(share: float) -> str:
    """A share in percent, with what makes small ones differ."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def show_usual(results: Results) -> None:
    """Print every rule as it is usually used."""
    rules = results.rules
    print("As usually used: runs that name it, windows until then on average, windows in which it rings for anything")
    print(f"{'':26s}" + "".join(f"{rule.title:>24s}" for rule in rules.values()))
    quiet = [results.count_alarms(name, rule.limit).rate for name, rule in rules.items()]
    print(f"{'nothing':26s}" + "".join(f"{'':14s}{describe_share(rate):>10s}" for rate in quiet))
    for scenario in results.named:
        cells = []
        for name, rule in rules.items():
            found = results.find(scenario, name, rule.limit)
            cells.append(f"{found.named:>9.0%}{found.delays.mean():>6.2f}{describe_share(found.rings):>9s}")
        print(f"{scenario:26s}" + "".join(cells))


def show_matched(results: Results, rival: str) -> None:
    """Print ours beside a rule at equal false alarms, in both ways."""
    rule, matches = results.rules[rival], results.list_matches(rival)
    print(
        f"\n{rule.title}: its limit moved from {abs(rule.limit):g} to {abs(matches[0].other):.3g}, that of ours (q) from "
        f"{abs(matches[0].ours):g} to {abs(matches[1].ours):.3g}"
    )
    print(f"{'':26s}" + "".join(f"{f'ours, {match.where}':>28s}{'it':>14s}{'ours later by':>16s}" for match in matches))
    line = ""
    for match in matches:
        rates = results.count_alarms(OURS, match.ours).rate, results.count_alarms(rival, match.other).rate
        line += f"{describe_share(rates[0]):>28s}{describe_share(rates[1]):>14s}{'':16s}"
    print(f"{'nothing':26s}{line}")
    for scenario in results.named:
        line = ""
        for match in matches:
            ours, its = results.find(scenario, OURS, match.ours), results.find(scenario, rival, match.other)
            line += f"{describe_found(ours):>28s}{describe_found(its):>14s}{describe_later(results, rival, match, [scenario]):>16s}"
        print(f"{scenario:26s}{line}")
    print(f"{'all':26s}" + "".join(f"{describe_later(results, rival, match, results.named):>58s}" for match in matches))


def describe_later(results: Results, rival: str, match: Match, scenarios: Iterable[str]) -> str:
    """By how many windows ours is later, and what chance explains of that."""
    later, chance = results.compare(rival, match, scenarios)
    return f"{later:+.2f} ± {chance:.2f}"


def list_lost(results: Results, rival: str) -> Iterator[str]:
    """Where a rule is quicker than ours at equal false alarms, by more than chance explains."""
    for match in results.list_matches(rival):
        for scenario in results.named:
            later, chance = results.compare(rival, match, [scenario])
            if later > chance:
                yield f"{results.rules[rival].title} is quicker, {match.where}: {scenario}, by {later:.2f} ± {chance:.2f} windows"


def describe_found(found: Found) -> str:
    """The share of runs that name it, and the windows until then."""
    return f"{found.named:.0%} {found.delays.mean():.2f}"


def describe_alarms(results: Results, false_alarms: float) -> Iterator[str]:
    """Our false alarms, with what is known about them."""
    found = results.count_alarms(OURS, results.rules[OURS].limit)
    yield (
        f"ours rang in {found.count} of {found.windows:,} quiet windows: {found.rate:.2%} ({found.bounds[0]:.2%} to "
        f"{found.bounds[1]:.2%}, whole runs drawn), {false_alarms:.0%} allowed"
    )
    yield (
        f"ours rang at all in {found.runs:.1%} of the runs ({found.run_bounds[0]:.1%} to {found.run_bounds[1]:.1%}); "
        f"{1 - (1 - false_alarms) ** WINDOWS:.1%} are allowed of independent windows"
    )


def draw_delays(results: Results, path: Path) -> None:
    """Draw the windows until each rule names a change by its size: at our false alarms, and (dotted) as usually used."""
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
        title=f"Solid: at equal false alarms. Dotted: as usually used; {worst} rings in {describe_share(rates[worst])} of the quiet windows then",
    )  # fmt: skip
    with replace_file(path) as aside:
        figure.savefig(aside, dpi=110)
    plt.close(figure)


def describe_setting() -> tuple[Setting, float]:
    """The setting, and the false alarms that are allowed; raises ProjectError where the table is not made yet."""
    project = paths.open_project()
    contract = load_contract(project.read(paths.CONTRACT))
    params = load_params(project.read(paths.PARAMS)).monitor
    table = pd.read_parquet(project.read(paths.VALIDATED_TABLE))
    kinds = choose_kinds(contract, [{"name": name} for name in contract.columns])
    setting = Setting(
        table, contract, kinds, list_scenarios(), REFERENCE_ROWS, ROWS, WINDOWS, BEGIN, params.min_rows, params.min_psi
    )
    return setting, params.false_alarms


def measure(options: argparse.Namespace) -> bool:
    """Measure, print and draw; whether the limits hold."""
    setting, false_alarms = describe_setting()
    rules = list_rules(false_alarms)
    results = Results.collect(rules, run_trials(setting, rules, options.runs, options.quiet_runs, options.processes))
    show_usual(results)
    rivals = [name for name in rules if name != OURS]
    for rival in rivals:
        show_matched(results, rival)
    print()
    for line in [
        *describe_alarms(results, false_alarms),
        *(line for rival in rivals for line in list_lost(results, rival)),
    ]:
        print(line)
    draw_delays(results, options.picture)
    limits = [
        (results.count_alarms(OURS, rules[OURS].limit).rate <= false_alarms, f"false alarms at most {false_alarms:.0%}")
    ]
    for rival in rivals:
        for match in results.list_matches(rival):
            later, chance = results.compare(rival, match, results.named)
            limits.append(
                (
                    later < -chance,
                    f"quicker than {rules[rival].title}, {match.where}, by {-later:.2f} ± {chance:.2f} windows",
                )
            )
    return not describe_limits_text(limits)


def main() -> int:
    """Measure and print; the exit status says whether the limits hold."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the other processes are ended
    try:
        return int(not measure(read_arguments()))
    except ProjectError as error:
        print(f"drift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
