"""Run a stage: its notebook through papermill, then as a page; the same inputs leave the same bytes."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.params import load_params
from lifecycle.core.paths import PARAMS, Project, open_project

if TYPE_CHECKING:
    from nbformat import NotebookNode

STAGES = (
    "collect",
    "validate",
    "explore",
    "features",
    "tune",
    "train",
    "evaluate",
    "explain",
    "deploy",
    "simulate",
    "monitor",
    "retrain",
)
RUNNING = ".lifecycle/running"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# Another processor picks other kernels, whose last bits differ: the floor that every x86-64 of the last ten years has.
ENVIRONMENT = {
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "",
    "COLUMNS": "120",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class StageError(Exception):
    """A stage's notebook failed; the text says which cell, its source and why, in one screen."""


def name_notebook(stage: str) -> str:
    """The file name of a stage's notebook without its ending: `06_train`."""
    return f"{STAGES.index(stage) + 1:02d}_{stage}"


def list_reports() -> list[tuple[str, str]]:
    """Label and file name of every stage's page, in order."""
    return [(stage.capitalize(), f"{name_notebook(stage)}.html") for stage in STAGES]


def list_links() -> list[tuple[str, str]]:
    """What every page links: the stages' pages and the model card."""
    return [*list_reports(), ("Model card", "model_card.html")]


def run_stage(
    stage: str, links: list[tuple[str, str]] | None = None, provision: Callable[[Any], Any] | None = None
) -> Path:
    """Run one stage and return its page's path; `links` are those of the page, by default to all of its sisters.

    `provision` makes the provisioner of a kernel manager, by default the one that starts a new process.

    Raises ProjectError (a parameter, a file) or StageError (the notebook failed; the half-run one is kept).
    """
    project = open_project(write=True)
    name = name_notebook(stage)
    values = {**load_params(project.read(PARAMS)).for_notebook(stage), "write": True}
    begun = time.monotonic()
    kernel = start_kernel(stage, project, provision)
    try:
        notebook = execute(project, name, values, kernel)
    finally:
        stop_kernel(kernel)
    normalise(notebook)
    page = publish(project, name, notebook, list_links() if links is None else links)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{stage}: {cells} cells in {time.monotonic() - begun:.1f} s -> {page.relative_to(project.output)}")
    return page


def start_kernel(stage: str, project: Project, provision: Callable[[Any], Any] | None = None) -> Any:
    """Start the stage's kernel, which imports the stage's module while this process imports papermill."""
    from jupyter_client.manager import KernelManager

    environment = {**os.environ, **ENVIRONMENT, "LIFECYCLE_ROOT": str(project.root)}
    environment["MPLCONFIGDIR"] = os.environ.get("MPLCONFIGDIR") or str(
        project.write(".lifecycle/matplotlib/cache").parent
    )
    kernel = KernelManager(kernel_name="python3", transport="ipc")
    if provision:
        kernel.provisioner = provision(kernel)
    kernel.start_kernel(
        env=environment,
        cwd=str(project.root),
        extra_arguments=[
            "--HistoryManager.enabled=False",
            f"--IPKernelApp.exec_lines=import lifecycle.stages.{stage}",
        ],
    )
    return kernel


def stop_kernel(kernel: Any) -> None:
    """End the kernel and what it started, at once: after Ctrl-C the manager's own shutdown would wait on a stuck loop."""
    with suppress(ProcessLookupError):
        os.killpg(kernel.provisioner.pid, signal.SIGKILL)
    kernel.provisioner.process.wait()
    kernel.cleanup_connection_file()
    kernel.cleanup_ipc_files()


def execute(project: Project, name: str, values: dict[str, Any], kernel: Any) -> NotebookNode:
    """Run the notebook with the values in a kernel that runs already, and give the run notebook back."""
    # Installed by JupyterLab, optional to jsonschema, and a second and a half to import.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = project.read(f"notebooks/{name}.ipynb")
    check_parameters(source, nbformat.read(source, as_version=4), values)
    half_run = project.write(f"{RUNNING}/{name}.ipynb")
    try:
        notebook: NotebookNode = papermill.execute_notebook(
            str(source),
            str(half_run),
            parameters=values,
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            request_save_on_cell_execute=False,  # writing all cells twice a cell takes as long as some stages' cells do
            stderr_file=sys.stderr,
            km=kernel,
            cwd=str(project.root),
        )
    except PapermillExecutionError as error:
        raise StageError(describe_failure(error, half_run)) from None
    half_run.unlink()
    return notebook


def check_parameters(path: Path, notebook: NotebookNode, values: dict[str, Any]) -> None:
    """Refuse a notebook whose parameters cell and the injected values do not have the same names (ProjectError)."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ProjectError(f"{path} needs exactly one cell tagged `parameters`, it has {len(cells)}.")
    declared = {
        target.id
        for statement in ast.parse(cells[0].source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if unknown := sorted(values.keys() - declared):
        raise ProjectError(f"{path} does not declare {', '.join(unknown)} of {PARAMS} in its parameters cell.")
    if missing := sorted(declared - values.keys()):
        raise ProjectError(f"{path} declares {', '.join(missing)}, which {PARAMS} does not give it.")


def describe_failure(error: Any, half_run: Path) -> str:
    """A failed cell in one screen: a ProjectError's own sentence, else the source and the traceback's end."""
    where = f"{half_run.name}, cell {error.cell_index}: the half-run notebook is {half_run}"
    if error.ename == ProjectError.__name__:
        return f"{error.evalue}\n  ({where})"
    source = "\n".join(f"    {line}" for line in error.source.strip().splitlines()[:20])
    trace = "\n".join(COLOURS.sub("", "\n".join(error.traceback)).splitlines()[-12:])
    return f"{error.ename}: {error.evalue}\n  in {where}\n\n{source}\n\n{trace}"


def normalise(notebook: NotebookNode) -> None:
    """Take out of a run notebook, in place, all that is not a function of its inputs.

    That is papermill's and nbclient's times and paths, random cell ids, the interpreter's patch version, warnings (they
    name files of this machine; the terminal has shown them), and where one print ended and the next began.
    """
    for key in set(notebook.metadata) - {"kernelspec", "language_info"}:
        del notebook.metadata[key]
    notebook.metadata.get("language_info", {}).pop("version", None)
    for index, cell in enumerate(notebook.cells):
        cell.id = hashlib.sha256(f"{index}\n{cell.source}".encode()).hexdigest()[:8]
        for key in set(cell.metadata) - {"tags"}:
            del cell.metadata[key]
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)


def merge_streams(outputs: list[Any]) -> list[Any]:
    """The outputs without stderr, and with neighbouring pieces of stdout as one."""
    merged: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if merged and merged[-1].output_type == "stream":
                merged[-1].text += output.text
                continue
        merged.append(output)
    return merged


def publish(project: Project, name: str, notebook: NotebookNode, links: list[tuple[str, str]]) -> Path:
    """Write the run notebook and its page under reports/, each whole or not at all; the page's path comes back."""
    import nbformat

    from lifecycle.core.contract import load_contract
    from lifecycle.core.paths import CONTRACT
    from lifecycle.reporting.pages import render_notebook

    title = load_contract(project.read(CONTRACT)).name
    page = project.write(f"reports/{name}.html")
    with replace_file(project.write(f"reports/notebooks/{name}.ipynb")) as aside:
        nbformat.write(notebook, aside)
    with replace_file(page) as aside:
        text = render_notebook(notebook, project=title, links=links, current=page.name)
        aside.write_text(text, encoding="utf-8")
    return page
