"""A stage's code cells as a script: what a benchmark runs in the notebook's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lifecycle.pipeline.runner import name_notebook


def export_cells(root: Path, stage: str, values: dict[str, Any]) -> str:
    """The code of a stage's notebook in `root`, its parameters set to `values`."""
    notebook = json.loads((root / f"notebooks/{name_notebook(stage)}.ipynb").read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            parts.append("".join(cell["source"]))
            if "parameters" in cell["metadata"].get("tags", []):
                parts.extend(f"{name} = {value!r}" for name, value in values.items())
    return "\n".join(parts)
