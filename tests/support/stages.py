"""The stages of a project without Jupyter: the code of their notebooks, run in one process."""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import export_cells
from lifecycle.core import paths
from lifecycle.core.params import load_params
from lifecycle.pipeline.forkserver import run_stage
from lifecycle.pipeline.workspaces import enter_workspace
from tests.support.forks import FORKS


def run_cells(root: Path, stages: Sequence[str]) -> None:
    """Run the code cells of the stages of a project, in a process that imports nothing anew, and draw their figures."""
    failure, answer = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run_cells, args=(root, stages, answer))
    process.start()
    answer.close()
    try:
        message = failure.recv()
    except EOFError:
        message = "the process died"
    process.join()
    assert not message, message


def run_stages(root: Path, stages: Sequence[str]) -> None:
    """Run the stages of a project as `lifecycle run` does: each in a kernel, and with its page."""
    with enter_workspace(root, {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}):
        for stage in stages:
            run_stage(stage)


def _run_cells(root: Path, stages: Sequence[str], answer: Any) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    params = load_params(root / paths.PARAMS)
    message = ""
    with enter_workspace(root, {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}):
        for stage in stages:
            code = export_cells(root, stage, {**params.for_notebook(stage), "write": True})
            try:
                exec(compile(code, f"{stage}.py", "exec"), {"__name__": "__main__", "display": print})  # noqa: S102 - our own notebooks
                _draw_figures()
            except BaseException:  # noqa: BLE001 - whatever it was, the test must show it
                message = f"{stage}: {traceback.format_exc()}"
                break
    answer.send(message)
    answer.close()
    os._exit(0)


def _draw_figures() -> None:
    """Draw what a notebook would show, and close it."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        plt.figure(number).savefig(io.BytesIO(), format="png", bbox_inches="tight")
    plt.close("all")
