"""The rules of the house: one word in six places, floors that import downwards, notebooks that only compose."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lifecycle.params import Params, read_yaml
from lifecycle.run import STAGES, name_notebook

SOURCE = "src/lifecycle"
GROUND = {"paths", "params", "contract", "expressions"}
WINGS = {"data", "modeling", "reporting", "serving", "monitoring"}
ARROWS = {("monitoring", "data"), ("monitoring", "modeling"), ("serving", "data")}  # which wing may import which other
DOORS = {
    "run",
    "ingest",
    "report",
    "roots",
    "live",
    "retraining",
    "play",
    "score",
    "materialize",
    "adopt",
    "cli",
    "forkserver",
    "__main__",
}
BANNED_NAMES = {"utils", "helpers", "common", "misc", "tools"}


def read_notebook(checkout: Path, stage: str) -> Any:
    return json.loads((checkout / f"notebooks/{name_notebook(stage)}.ipynb").read_text())


def read_code(notebook: Any) -> str:
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def list_imports(code: str, checkout: Path) -> set[str]:
    """The modules of lifecycle that some code imports, anywhere in it, as paths below src/."""
    named = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lifecycle":
            named |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lifecycle"}
    files = {f"src/{name.replace('.', '/')}.py" for name in named}
    return {file for file in files if (checkout / file).is_file()}


def follow_imports(code: str, checkout: Path) -> set[str]:
    """All that the code imports, and what that imports in turn."""
    seen: set[str] = set()
    waiting = list_imports(code, checkout)
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= list_imports((checkout / file).read_text(), checkout) - seen
    return seen


def list_modules(checkout: Path) -> list[Path]:
    return sorted(path for path in (checkout / SOURCE).rglob("*.py") if path.name != "__init__.py")


def place(path: Path, checkout: Path) -> str:
    """Where a module stands: `ground`, the name of a wing, `stages` or `doors`."""
    parts = path.relative_to(checkout / SOURCE).with_suffix("").parts
    if len(parts) == 2:
        return parts[0]
    return "ground" if parts[0] in GROUND else "doors"


@pytest.mark.parametrize("stage", STAGES)
def test_one_word_in_six_places(checkout: Path, stage: str) -> None:
    name = name_notebook(stage)
    pipeline = read_yaml(checkout / "dvc.yaml")["stages"]
    assert (checkout / f"notebooks/{name}.ipynb").is_file()
    assert (checkout / f"{SOURCE}/stages/{stage}.py").is_file()
    assert pipeline[stage]["cmd"] == f"lifecycle run {stage}"
    assert {field.alias or key for key, field in Params.model_fields.items()} >= {stage}
    assert (checkout / f"tests/stages/test_{stage}.py").is_file()
    assert f"reports/{name}.html" in [next(iter(out)) for out in pipeline[stage]["outs"]]


def test_there_is_nothing_else_of_the_kind(checkout: Path) -> None:
    assert {path.stem for path in (checkout / "notebooks").glob("*.ipynb")} == set(map(name_notebook, STAGES))
    assert {path.stem for path in (checkout / SOURCE / "stages").glob("*.py")} - {"__init__"} == set(STAGES)
    assert set(read_yaml(checkout / "dvc.yaml")["stages"]) == {*STAGES, "report"}
    assert {field.alias or key for key, field in Params.model_fields.items()} == {"base", *STAGES}


@pytest.mark.parametrize("stage", [*STAGES, "report"])
def test_deps_cover_what_a_stage_imports(checkout: Path, stage: str) -> None:
    """A changed module makes stale every stage that imports it, and the stage is not run again for any other."""
    deps = set(read_yaml(checkout / "dvc.yaml")["stages"][stage]["deps"])
    ours = {dep for dep in deps if dep.startswith(SOURCE) and dep.endswith(".py")}
    if stage == "report":
        imported = follow_imports("import lifecycle.report", checkout)
    else:
        imported = follow_imports(read_code(read_notebook(checkout, stage)), checkout)
        imported |= follow_imports("import lifecycle.run", checkout)
        assert f"notebooks/{name_notebook(stage)}.ipynb" in deps
    if stage == "deploy":  # it starts the server in a process of its own
        imported |= follow_imports("import lifecycle.serving.server", checkout)
    assert ours == imported
    assert f"{SOURCE}/reporting/templates" in deps


def test_every_output_has_one_writer_and_every_input_exists_or_is_written(checkout: Path) -> None:
    stages = read_yaml(checkout / "dvc.yaml")["stages"]
    written = [
        next(iter(out)) for stage in stages.values() for key in ("outs", "metrics") for out in stage.get(key, [])
    ]
    assert len(written) == len(set(written))
    for name, stage in stages.items():
        for dep in stage["deps"]:
            assert dep in written or "${" in dep or (checkout / dep).exists(), f"{name} depends on {dep}"


def test_floors_import_downwards(checkout: Path) -> None:
    for path in list_modules(checkout):
        here = place(path, checkout)
        for target in list_imports(path.read_text(), checkout):
            there = place(checkout / target, checkout)
            allowed = {
                "ground": {"ground"},
                "stages": {"ground", *WINGS},
                "doors": {"ground", *WINGS, "stages", "doors"},
            }.get(here, {"ground", here} | {to for start, to in ARROWS if start == here})
            assert there in allowed, f"{path.name} ({here}) imports {target} ({there})"


def test_names(checkout: Path) -> None:
    wings: dict[str, int] = {}
    for path in list_modules(checkout):
        assert path.stem not in BANNED_NAMES
        assert place(path, checkout) in {"ground", "stages", "doors", *WINGS}
        wings[place(path, checkout)] = wings.get(place(path, checkout), 0) + 1
    assert all(wings[wing] >= 2 for wing in WINGS), "a wing needs two rooms"
    assert {path.stem for path in (checkout / SOURCE).glob("*.py")} == {*GROUND, *DOORS, "__init__"}


def test_the_package_knows_nothing_of_the_example(checkout: Path) -> None:
    columns = set(read_yaml(checkout / "data/contract.yaml")["columns"]) - {"female", "partner", "contract"}
    words = re.compile(
        r"\b(" + "|".join(map(re.escape, [*columns, "churn", "telco", "customer", "customers"])) + r")\b", re.IGNORECASE
    )
    pages = [
        *(checkout / SOURCE / "reporting/templates").rglob("*.j2"),
        *(checkout / SOURCE / "serving/pages").iterdir(),
    ]
    for path in [*list_modules(checkout), *pages]:
        found = words.findall(path.read_text())
        assert not found, f"{path.name} speaks of {found}"
    for stage in STAGES:
        for cell in read_notebook(checkout, stage)["cells"]:
            if "parameters" not in cell["metadata"].get("tags", []):
                assert not words.findall("".join(cell["source"])), f"{stage}: {''.join(cell['source'])[:80]}"


def test_importing_does_no_work(checkout: Path, tmp_path: Path) -> None:
    """Importing every module leaves the working folder, the loggers' handlers and MLflow's address alone."""
    names = [".".join(path.relative_to(checkout / "src").with_suffix("").parts) for path in list_modules(checkout)]
    code = (
        "import importlib, logging, os, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "assert 'mlflow' not in sys.modules and not logging.getLogger('lifecycle').handlers\n"
        "assert 'MLFLOW_TRACKING_URI' not in os.environ and not os.listdir('.')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_notebooks_compose_and_nothing_more(checkout: Path, stage: str) -> None:
    notebook = read_notebook(checkout, stage)
    cells = notebook["cells"]
    headings = [line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()
                if line.startswith("#")]  # fmt: skip
    assert headings[0].startswith(f"# {stage.capitalize()}")
    assert sum(heading.startswith("# ") for heading in headings) == 1
    numbers = [heading.split()[1] for heading in headings if heading.startswith("## ")]
    assert numbers == [f"{number}." for number in range(1, len(numbers) + 1)]
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(ast.parse(source)))
            if "parameters" not in cell["metadata"].get("tags", []):
                assert len(source.splitlines()) <= 20, source
        else:
            assert not re.search(r"\d+\.\d+|\d{3,}", source.replace("95", "")), f"a number in prose: {source}"
    ids = [cell["id"] for cell in cells]
    assert len(ids) == len(set(ids))
