"""Write the source files that each stage imports into its `deps` in dvc.yaml: `python -m tests.support.deps`.

The layout test compares the two; this command saves the writing.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from lifecycle.pipeline.runner import STAGES, name_notebook

SOURCE = "src/lifecycle"


def list_imports(code: str, root: Path) -> set[str]:
    """The modules of lifecycle that some code imports, anywhere in it, as paths from the project's root."""
    named = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lifecycle":
            named |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lifecycle"}
    files = {f"src/{name.replace('.', '/')}.py" for name in named}
    return {file for file in files if (root / file).is_file()}


def follow_imports(code: str, root: Path) -> set[str]:
    """The modules that the code imports, and those that they import in turn."""
    seen: set[str] = set()
    waiting = list_imports(code, root)
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= list_imports((root / file).read_text(), root) - seen
    return seen


def read_code(root: Path, stage: str) -> str:
    """The code cells of a stage's notebook."""
    notebook = json.loads((root / f"notebooks/{name_notebook(stage)}.ipynb").read_text())
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def find_deps(root: Path, stage: str) -> set[str]:
    """The source files that a stage of dvc.yaml runs."""
    if stage == "report":
        return follow_imports("import lifecycle.stages.report", root)
    imported = follow_imports(read_code(root, stage), root) | follow_imports("import lifecycle.pipeline.runner", root)
    if stage == "deploy":  # it starts the server in a process of its own
        imported |= follow_imports("import lifecycle.serving.server", root)
    return imported


def write_deps(root: Path) -> None:
    """Replace the source files among the deps of each stage of dvc.yaml, the rest of the file as it was."""
    path = root / "dvc.yaml"
    lines = path.read_text().splitlines(keepends=True)
    stage, first, written = "", True, []
    for line in lines:
        if found := re.fullmatch(r"  (\w+):.*\n", line):
            stage, first = found[1], True
        if stage in {*STAGES, "report"} and re.fullmatch(rf"      - {SOURCE}/.*\.py\n", line):
            if first:
                written += [f"      - {name}\n" for name in sorted(find_deps(root, stage))]
            first = False
        else:
            written.append(line)
    path.write_text("".join(written))


if __name__ == "__main__":
    write_deps(Path(__file__).parents[2])
