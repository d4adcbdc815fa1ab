"""The layout: one word in six places, packages that import only those above them, notebooks that only compose."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.params import Params, load_params, read_yaml
from lifecycle.pipeline.runner import STAGES, name_notebook
from tests.support.deps import find_deps, list_imports
from tests.support.small import SMALL

SOURCE = "src/lifecycle"
PACKAGES = (  # each imports only those above it
    "core", "reporting", "pipeline", "sources", "validation", "exploration", "features", "modeling", "promotion",
    "prediction_log", "serving", "monitoring", "retraining", "adoption", "stages", "cli",
)  # fmt: skip
FILL = 'from lifecycle.pipeline.by_hand import fill_parameters\n\nfill_parameters("{stage}", globals())'
BANNED_NAMES = {"utils", "helpers", "common", "misc", "tools"}
HEAVY = ("pandas", "scipy", "joblib", "sklearn", "lightgbm", "xgboost")  # a server must not load them


def read_notebook(checkout: Path, stage: str) -> Any:
    return json.loads((checkout / f"notebooks/{name_notebook(stage)}.ipynb").read_text())


def list_modules(checkout: Path) -> list[Path]:
    return sorted(path for path in (checkout / SOURCE).rglob("*.py") if path.name != "__init__.py")


def _is_imports(code: str) -> bool:
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(code).body)


def read_package(path: Path, checkout: Path) -> str:
    """The package of a module below src/lifecycle."""
    return path.relative_to(checkout / SOURCE).parts[0]


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
    assert {path.stem for path in (checkout / SOURCE / "stages").glob("*.py")} - {"__init__"} == {*STAGES, "report"}
    assert set(read_yaml(checkout / "dvc.yaml")["stages"]) == {*STAGES, "report"}
    assert {field.alias or key for key, field in Params.model_fields.items()} == {"format", "base", *STAGES}


@pytest.mark.parametrize("stage", [*STAGES, "report"])
def test_deps_cover_what_a_stage_imports(checkout: Path, stage: str) -> None:
    """A changed module makes stale every stage that imports it, and the stage is not run again for any other."""
    deps = set(read_yaml(checkout / "dvc.yaml")["stages"][stage]["deps"])
    ours = {dep for dep in deps if dep.startswith(SOURCE) and dep.endswith(".py")}
    assert ours == find_deps(checkout, stage), "`python -m tests.support.deps` writes them"
    assert stage == "report" or f"notebooks/{name_notebook(stage)}.ipynb" in deps
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


def test_packages_import_only_those_above_them(checkout: Path) -> None:
    for path in list_modules(checkout):
        here = read_package(path, checkout)
        for target in list_imports(path.read_text(), checkout):
            there = read_package(checkout / target, checkout)
            assert PACKAGES.index(there) <= PACKAGES.index(here), f"{path.name} ({here}) imports {target}"
            assert (here, there) != ("stages", "stages"), f"{path.name} imports another stage: stages pass files"


def test_modules_import_each_other_in_one_direction(checkout: Path) -> None:
    imports = {
        str(path.relative_to(checkout)): list_imports(path.read_text(), checkout) for path in list_modules(checkout)
    }
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_packages_and_modules_are_named_by_subject(checkout: Path) -> None:
    root = checkout / SOURCE
    folders = {path.parent.name for path in root.glob("*/__init__.py")}
    assert folders == set(PACKAGES)
    assert {path.name for path in root.glob("*.py")} == {"__init__.py"}
    for path in list_modules(checkout):
        assert path.stem not in BANNED_NAMES
    counts = Counter(read_package(path, checkout) for path in list_modules(checkout))
    assert min(counts.values()) >= 2, "a package has at least two modules"


@pytest.mark.parametrize("asked", read_yaml(Path(__file__).parents[1] / "questions.yaml"), ids=lambda row: row["opens"])
def test_a_question_opens_the_right_file_first(checkout: Path, asked: dict[str, str]) -> None:
    assert re.search(asked["finds"], (checkout / SOURCE / asked["opens"]).read_text()), asked["question"]


def test_tests_mirror_the_packages(checkout: Path) -> None:
    folders = {path.name for path in (checkout / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {*PACKAGES, "support", "project", "kafka"}
    assert not list((checkout / "tests").glob("test_*.py"))


def test_a_server_loads_no_heavy_library(tmp_path: Path) -> None:
    code = f"import sys, lifecycle.serving.compiler, lifecycle.serving.server\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_knows_nothing_of_the_example(checkout: Path) -> None:
    columns = set(read_yaml(SMALL / "data/contract.yaml")["columns"]) - {"female", "partner", "contract"}
    words = re.compile(
        r"\b(" + "|".join(map(re.escape, [*columns, "churn", "telco", "customer", "customers"])) + r")\b", re.IGNORECASE
    )
    pages = [
        *(checkout / SOURCE / "reporting/templates").rglob("*.j2"),
        *(checkout / SOURCE / "serving/pages").iterdir(),
    ]
    vocabulary = checkout / SOURCE / "validation/names.py"  # the words in the names of any table's columns
    for path in {*list_modules(checkout), *pages} - {vocabulary}:
        found = words.findall(path.read_text())
        assert not found, f"{path.name} speaks of {found}"
    for stage in STAGES:
        for cell in read_notebook(checkout, stage)["cells"]:
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
                assert len(source.splitlines()) <= 20 or _is_imports(source), source
        else:
            assert not re.search(r"\d+\.\d+|\d{3,}", source.replace("95", "")), f"a number in prose: {source}"
    ids = [cell["id"] for cell in cells]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("stage", STAGES)
def test_notebooks_hold_no_values_of_their_own(checkout: Path, stage: str) -> None:
    """Each parameter is None, which stands for the value in params.yaml, until somebody tries another one."""
    _, declared, filled, *_ = read_notebook(checkout, stage)["cells"]
    assert (declared["metadata"]["tags"], filled["metadata"]["tags"]) == (["parameters"], ["by-hand"])
    values = {
        ast.unparse(node.targets[0]): ast.unparse(node.value)
        for node in ast.parse("".join(declared["source"])).body
        if isinstance(node, ast.Assign)
    }
    assert values == {"write": "False", **dict.fromkeys(load_params(SMALL / "params.yaml").for_notebook(stage), "None")}
    assert "".join(filled["source"]) == FILL.format(stage=stage)
