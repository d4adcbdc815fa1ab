"""The code cells of the stages' notebooks as scripts, which run in one process without a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle.core.params import load_params
from lifecycle.pipeline.runner import name_notebook

RUN_SCRIPTS = Path(__file__).with_name("run_scripts.py")
PRELUDE = "from IPython.display import display"  # a kernel has it without an import; here it prints


@dataclass(frozen=True)
class Times:
    """What scripts took: seconds of each, seconds of all drawing, and the peak of memory in megabytes."""

    seconds: dict[str, float]
    drawing: float
    megabytes: float


def export_cells(root: Path, stage: str, values: Mapping[str, Any]) -> str:
    """Return the code of a stage's notebook in `root` with its parameters set to `values`."""
    parts = [PRELUDE]
    for cell in _read_cells(root, stage):
        parts.append("".join(cell["source"]))
        if _is_parameters(cell):
            parts.extend(f"{name} = {value!r}" for name, value in values.items())
    return "\n".join(parts)


def read_quick_values(root: Path, stage: str) -> dict[str, Any]:
    """Return the values that a stage's notebook names for a quick run (those that nbmake puts in)."""
    found: dict[str, Any] = {}
    for cell in _read_cells(root, stage):
        if _is_parameters(cell):
            found |= cell["metadata"].get("nbmake", {}).get("mock", {})
    return found


def _read_cells(root: Path, stage: str) -> list[Any]:
    notebook = json.loads((root / f"notebooks/{name_notebook(stage)}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _is_parameters(cell: Mapping[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def write_scripts(root: Path, stages: Sequence[str], **changes: Any) -> list[Path]:
    """Write a script for each stage into `root` and return their paths.

    Parameters come from the project's params.yaml; `changes` are keyword arguments by stage: `collect={"source": "table.csv"}`.
    """
    params = load_params(root / "params.yaml")
    scripts = []
    for stage in stages:
        values = {**params.for_notebook(stage), **changes.get(stage, {}), "write": True}
        scripts.append(root / f"{stage}.py")
        scripts[-1].write_text(export_cells(root, stage, values), encoding="utf-8")
    return scripts


def run_scripts(
    root: Path,
    environment: Mapping[str, str],
    scripts: Sequence[Path],
    *,
    draw: bool = True,
    preload: Sequence[str] = (),
) -> Times:
    """Run scripts one after another in one new process whose working directory is `root`.

    draw: every figure that is left open is drawn, as a notebook would. preload: modules that are imported before the clock
    starts. Raises OSError with the end of what the process wrote when a script fails.
    """
    words = [
        sys.executable,
        "-P",
        str(RUN_SCRIPTS),
        *(["--draw"] if draw else []),
        *(f"--preload={name}" for name in preload),
    ]
    done = subprocess.run(
        [*words, *map(str, scripts)],
        cwd=root,
        env={**environment, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"The code cells failed: {done.stderr[-2000:].strip()}")
    return Times(**json.loads(done.stdout.splitlines()[-1]))
