"""What notebooks cost: the time of `dvc repro -f` over that of the same code cells in one Python process.

    python -m benchmarks.notebook_tax [--until STAGE]

Both start from an empty copy of the project. The cells run first, one stage after another in one process, then the pipeline.
Every figure is drawn in both, because a figure that is never drawn is not the same work; the time of drawing is printed, so that it can
be subtracted.

Limit: the pipeline takes at most 2.0 times the seconds of the cells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.cells import run_scripts, write_scripts
from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, at_most
from benchmarks.project import copy_example
from lifecycle.pipeline.runner import STAGES

MOST_TIMES = 2.0
PEER = "code cells in one process"


def time_cells(stages: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds of the code cells of stages in one process, its start included, and of those the seconds of drawing."""
    with copy_example() as (root, environment):
        scripts = write_scripts(root, stages)
        begun = time.perf_counter()
        times = run_scripts(root, environment, scripts)
        whole = time.perf_counter() - begun
    print(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in times.seconds.items()))
    return whole, times.drawing


def time_pipeline(last: str) -> float:
    """Return the seconds of `dvc repro -f` up to a stage."""
    with copy_example() as (root, environment):
        begun = time.perf_counter()
        words = ["dvc", "repro", "-f", *([] if last == STAGES[-1] else [last])]
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"dvc repro failed: {(done.stdout + done.stderr)[-2000:].strip()}")
        return time.perf_counter() - begun


def measure(options: argparse.Namespace) -> list[Figure]:
    """Time both."""
    stages = STAGES[: STAGES.index(options.until) + 1]
    announce(f"the code cells of {len(stages)} stages in one process")
    cells, drawing = time_cells(stages)
    announce("dvc repro -f")
    pipeline = time_pipeline(options.until)
    return [
        Figure.of("seconds of dvc repro -f", pipeline, cells, PEER, at_most(pipeline / cells, MOST_TIMES)),
        Figure.of("seconds of drawing in the code cells", drawing),
    ]


BENCHMARK = Benchmark(
    "notebook_tax",
    measure,
    lambda parser: parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage"),
    small={"until": STAGES[0]},
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
