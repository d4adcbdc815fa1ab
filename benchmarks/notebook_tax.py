"""What notebooks cost: the wall time of `dvc repro -f` over that of the same code cells in one Python process.

    python -m benchmarks.notebook_tax

Both start from an empty project, in this order: the cells, then the pipeline. Every figure is drawn in both, for a figure
that nobody draws is not the same work; what the drawing takes is printed, so that it can be left out. Limit: 2.0.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.cells import export_cells
from benchmarks.project import copy_project
from lifecycle.core.params import load_params
from lifecycle.pipeline.runner import STAGES

LIMIT = 2.0
RUN_ALL = """
import io, sys, time
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
drawing = 0.0
for path in sys.argv[1:]:
    begun = time.perf_counter()
    exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__"})
    computed = time.perf_counter()
    for number in plt.get_fignums():
        plt.figure(number).savefig(io.BytesIO(), format="png", bbox_inches="tight")  # as the inline backend does
    plt.close("all")
    drawing += time.perf_counter() - computed
    print(f"  {path.rsplit('/', 1)[-1]}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
print(f"  of which drawing: {drawing:.1f} s", file=sys.stderr)
"""


def time_cells() -> float:
    """Seconds of all stages' code cells, one after another in one process."""
    with copy_project() as (root, environment):
        scripts = []
        for stage in STAGES:
            values = {**load_params(root / "params.yaml").for_notebook(stage), "write": True}
            scripts.append(root / f"{stage}.py")
            scripts[-1].write_text(export_cells(root, stage, values), encoding="utf-8")
        environment.pop("MPLBACKEND")
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", RUN_ALL, *map(str, scripts)],
            cwd=root,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begun


def time_pipeline() -> float:
    """Seconds of `dvc repro -f`."""
    with copy_project() as (root, environment):
        begun = time.perf_counter()
        subprocess.run(["dvc", "repro", "-f"], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun


def main() -> int:
    """Measure and print; the exit status says whether the limit holds."""
    cells, pipeline = time_cells(), time_pipeline()
    print(
        f"code cells in one process {cells:.1f} s, dvc repro -f {pipeline:.1f} s, ratio {pipeline / cells:.2f} (limit {LIMIT})"
    )
    return int(pipeline / cells > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
