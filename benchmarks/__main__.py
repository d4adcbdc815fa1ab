"""List and run the benchmarks.

    python -m benchmarks --list
    python -m benchmarks [--small] [--no-environments] [--output FOLDER] [NAME ...]

Each benchmark runs in a process of its own, one after another, and writes its figures to `benchmarks/results/NAME.json`; with
`--small`, whose sizes take seconds, to a folder that git ignores. A summary follows. The exit status is 1 where a limit was missed
or a benchmark could not be measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalog import BENCHMARKS, read_title
from benchmarks.command import FAILED, KEPT, MISSED, SMALL_RESULTS, announce
from benchmarks.figures import format_table
from benchmarks.machine import RESULTS
from benchmarks.project import CHECKOUT, SMALL_VARIABLE, build_small_project
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json

OUTCOMES = {KEPT: "done", MISSED: "a limit was missed", FAILED: "could not be measured"}


@dataclass(frozen=True)
class Outcome:
    """How a benchmark ended: its exit status, its seconds, and its figures as it wrote them."""

    name: str
    status: int
    seconds: float
    figures: list[dict[str, object]]

    @property
    def limits(self) -> tuple[int, int]:
        """How many limits were kept, and how many there were."""
        verdicts = [figure["kept"] for figure in self.figures if figure["kept"] is not None]
        return sum(map(bool, verdicts)), len(verdicts)


def list_benchmarks() -> str:
    """Return a table of all benchmarks."""
    rows = []
    for name, entry in BENCHMARKS.items():
        needs = [*entry.needs, *(f"an environment for {peer}" for peer in entry.environments)]
        rows.append((name, f"{entry.minutes:g} min", read_title(name), ", ".join(needs)))
    return format_table(("name", "takes", "measures", "needs"), rows)


def run_all(names: Sequence[str], options: argparse.Namespace) -> Iterator[Outcome]:
    """Run benchmarks one after another; what they print goes through."""
    folder = (options.output or CHECKOUT / (SMALL_RESULTS if options.small else RESULTS)).resolve()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with ExitStack() as stack:
        if options.small:
            environment |= {
                "OMP_NUM_THREADS": "1",
                "OMP_WAIT_POLICY": "PASSIVE",
            }  # small tables are no work for threads
            if SMALL_VARIABLE not in environment and any(BENCHMARKS[name].small_project for name in names):
                announce("a small project is built, which several benchmarks measure")
                environment[SMALL_VARIABLE] = str(stack.enter_context(build_small_project()))
        for number, name in enumerate(names, start=1):
            announce(f"\n[{number} of {len(names)}] {name}: {read_title(name)}")
            words = [sys.executable, "-m", f"benchmarks.{name}", "--output", str(folder)]
            words += ["--small"] if options.small else []
            words += ["--no-environments"] if options.no_environments and BENCHMARKS[name].environments else []
            begun = time.monotonic()
            status = subprocess.run(words, cwd=CHECKOUT, env=environment, check=False).returncode
            figures = read_json(folder / f"{name}.json")["figures"] if status in (KEPT, MISSED) else []
            yield Outcome(name, status, time.monotonic() - begun, figures)


def format_summary(outcomes: Sequence[Outcome]) -> str:
    """Return a table of the outcomes, and under it each limit that was missed."""
    rows = [
        (
            outcome.name, OUTCOMES.get(outcome.status, f"ended with status {outcome.status}"),
            f"{outcome.limits[0]} of {outcome.limits[1]}" if outcome.limits[1] else "none", f"{outcome.seconds:.0f} s",
        )
        for outcome in outcomes
    ]  # fmt: skip
    missed = [
        f"missed: {outcome.name}: {figure['name']}: {figure['limit']}; ours {figure['ours']:g}"
        + (
            f", {figure['peer_name']} {figure['peer']:g}, ratio {figure['ratio']:g}"
            if figure["peer"] is not None
            else ""
        )
        for outcome in outcomes
        for figure in outcome.figures
        if figure["kept"] is False
    ]
    return "\n".join([format_table(("benchmark", "outcome", "limits kept", "time"), rows), *missed])


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line names; returns 1 where a limit was missed or a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="List and run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="those to run (all)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and run none")
    parser.add_argument(
        "--small", action="store_true", help="sizes that take seconds; limits on time and memory do not apply"
    )
    parser.add_argument(
        "--no-environments", action="store_true", help="leave out peers that need an environment of their own"
    )
    parser.add_argument(
        "--output", type=Path, help=f"the folder for the figures ({RESULTS}; with --small {SMALL_RESULTS})"
    )
    options = parser.parse_args(words)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.list:
        print(list_benchmarks())
        return 0
    outcomes = []
    try:
        outcomes.extend(run_all(options.names or list(BENCHMARKS), options))
    except (ProjectError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(f"\n{format_summary(outcomes)}")
    return int(any(outcome.status for outcome in outcomes))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started ends with it
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
