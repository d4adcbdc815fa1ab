"""What all benchmarks do around measuring: read options, record the machine, write the figures, print them as a table."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.catalog import BENCHMARKS, Entry, read_title
from benchmarks.figures import Figure, format_figures
from benchmarks.machine import RESULTS, describe_machine, measure_use, read_commit
from benchmarks.project import CHECKOUT, open_small_project
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.core.progress import report_slowly

SMALL_RESULTS = ".lifecycle/benchmarks/small"  # figures of small sizes are not kept with the code
Measure = Callable[[argparse.Namespace], Sequence[Figure]]
KEPT, FAILED, MISSED = 0, 2, 3  # exit statuses; a traceback ends with 1


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: `measure` takes the options and returns figures.

    add_options: adds its own options, whose defaults are the full size. small: other defaults, by option, for a few seconds.
    """

    name: str
    measure: Measure
    add_options: Callable[[argparse.ArgumentParser], object] = field(default=lambda parser: None)
    small: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> Entry:
        """The entry of the catalog."""
        return BENCHMARKS[self.name]


def run_benchmark(benchmark: Benchmark, words: Sequence[str] | None = None) -> int:
    """Run a benchmark for a command line; returns 0, 3 where a limit was missed, or 2 where it could not be measured."""
    options = read_options(benchmark, words)
    if words is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are stopped and folders removed
    interval = 0.1 if options.small else 1.0
    try:
        with ExitStack() as stack:
            if benchmark.entry.small_project and options.small:
                stack.enter_context(open_small_project())
            use = measure_use(interval)
            machine = describe_machine(use)
            figures = list(benchmark.measure(options))
            machine = {**machine, **_describe_use(max(use, measure_use(interval)), machine)}
    except (ProjectError, OSError) as error:
        print(f"{benchmark.name}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    if options.small:
        figures = [figure.without_limit() for figure in figures]
    path = write_results(benchmark, options, machine, figures, sys.argv[1:] if words is None else words)
    print(format_figures(figures))
    if machine["busy"]:
        print(
            f"other programs used {machine['used_by_others_percent']:.0f} % of the processors: the seconds are not a quiet machine's"
        )
    print(f"written to {path}")
    return MISSED if any(figure.kept is False for figure in figures) else KEPT


def _describe_use(use: float, machine: Mapping[str, Any]) -> dict[str, Any]:
    later = describe_machine(use)
    return {key: later[key] for key in ("used_by_others_percent", "busy")}


def read_options(benchmark: Benchmark, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line, with the small defaults if it has `--small`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark.name}", description=read_title(benchmark.name)
    )
    parser.add_argument(
        "--small", action="store_true", help="a size that takes seconds; limits on time and memory do not apply"
    )
    parser.add_argument(
        "--output", type=Path, help=f"the folder for the figures ({RESULTS}; with --small {SMALL_RESULTS})"
    )
    entry = benchmark.entry
    if entry.peers:
        parser.add_argument(
            "--peers",
            type=_split_names,
            default=list(entry.peers),
            help=f"some of {','.join(entry.peers)}; '' for none",
        )
    if entry.environments:
        parser.add_argument(
            "--no-environments", action="store_true", help="leave out peers that need an environment of their own"
        )
    benchmark.add_options(parser)
    if parser.parse_known_args(words)[0].small:
        parser.set_defaults(**benchmark.small)
    options = parser.parse_args(words)
    if entry.peers:
        if unknown := set(options.peers) - set(entry.peers):
            parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(entry.peers)}")
        if getattr(options, "no_environments", False):
            options.peers = [name for name in options.peers if name not in entry.environments]
        options.left_out = [name for name in entry.peers if name not in options.peers]
        for name in options.left_out:
            print(f"{benchmark.name}: without {name}, which was left out", flush=True)
    return options


def _split_names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def write_results(
    benchmark: Benchmark,
    options: argparse.Namespace,
    machine: Mapping[str, Any],
    figures: Sequence[Figure],
    words: Sequence[str],
) -> Path:
    """Write the figures as JSON and return the file's path."""
    folder = options.output or CHECKOUT / (SMALL_RESULTS if options.small else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path: Path = folder / f"{benchmark.name}.json"
    record = {
        "benchmark": benchmark.name,
        "title": read_title(benchmark.name),
        "commit": read_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(machine),
        "command": shlex.join(["python", "-m", f"benchmarks.{benchmark.name}", *words]),
        "left_out": getattr(options, "left_out", []),
        "figures": [figure.to_record() for figure in figures],
    }
    write_json(record, path)
    return path


class Progress:
    """Counts finished parts, and reports them on stderr every few seconds."""

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._done, self._report = total, 0, report_slowly(unit)

    def advance(self) -> None:
        """Count one more part."""
        self._done += 1
        self._report(f"{self._done:,} of {self._total:,}")


def announce(text: str) -> None:
    """Print on stderr what is measured next."""
    print(text, file=sys.stderr, flush=True)
