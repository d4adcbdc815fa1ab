"""Every notebook, run by hand in a small project of its own: by nbmake, as in Jupyter, and on an adopted table."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cells import export_cells
from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.files import read_json
from lifecycle.core.params import load_params, read_yaml
from lifecycle.pipeline.runner import ENVIRONMENT, STAGES, name_notebook
from lifecycle.pipeline.workspaces import write_yaml
from tests.adoption.test_odd_tables import QUICK
from tests.conftest import Measure
from tests.support.odd_tables import make_table
from tests.support.sizes import PROVE
from tests.support.small import SAMPLE, copy_project

RUN = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path)"


def set_mocks(root: Path, **values: object) -> None:
    """Add what nbmake is to put into every notebook's parameters, beside the notebook's own quick values."""
    for stage in STAGES:
        path = root / f"notebooks/{name_notebook(stage)}.ipynb"
        notebook = json.loads(path.read_text())
        cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
        cell["metadata"].setdefault("nbmake", {}).setdefault("mock", {}).update(values)
        path.write_text(json.dumps(notebook))


def run_python(root: Path, *words: str, **variables: str) -> str:
    """Run Python in a project; returns what it printed."""
    environment = {**os.environ, **ENVIRONMENT, "MPLCONFIGDIR": str(root / ".lifecycle"), "LIFECYCLE_ROOT": str(root)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=root, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def run_notebooks(root: Path) -> str:
    """Run nbmake over all notebooks, in order; returns what it printed."""
    return run_python(
        root, "-m", "pytest", "--nbmake", "--nbmake-timeout=300", "-q", "-p", "no:cacheprovider", "notebooks"
    )


def run_code(root: Path, folder: Path, **values: object) -> str:
    """Run the code of all notebooks, one after the other in one process, with values for their parameters; what it printed."""
    scripts = [folder / f"{name_notebook(stage)}.py" for stage in STAGES]
    for stage, script in zip(STAGES, scripts, strict=True):
        script.write_text(export_cells(root, stage, values))
    return run_python(root, "-c", RUN, *map(str, scripts), MPLBACKEND="agg")


def shorten_study(root: Path) -> None:
    """Leave two trials and two scenarios in the parameters of a project."""
    values = read_yaml(root / paths.PARAMS)
    values["tune"] |= {"trials": 2, "startup_trials": 1}
    values["simulate"]["scenarios"] = {
        name: values["simulate"]["scenarios"][name] for name in ("none", "concept_drift")
    }
    write_yaml(values, root / paths.PARAMS)


def hash_outputs(root: Path) -> dict[str, str]:
    folders = [root / name for name in ("data", "models", "reports")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("small") / "project")


@pytest.fixture(scope="module")
def written(small: Path, measure: Measure) -> dict[str, str]:
    """The hashes of what the notebooks wrote, run in order as the pipeline does."""
    set_mocks(small, write=True)
    with measure():
        assert f"{len(STAGES)} passed" in run_notebooks(small)
    return hash_outputs(small)


def test_the_code_of_all_notebooks_runs_in_order(project: Path, tmp_path: Path) -> None:
    """On the values of params.yaml, in one process; nbmake starts a kernel for each, which takes three times as long."""
    shorten_study(project)
    assert run_code(project, tmp_path, write=True).count("From params.yaml: seed = 42") == len(STAGES)
    assert {"model.joblib", "model.json"} <= {path.name for path in (project / paths.CANDIDATE).iterdir()}
    assert (project / paths.VERDICT).exists() and (project / "reports/evaluate.json").exists()
    check_values(project, SAMPLE)


@pytest.mark.integration  # the whole pipeline, in kernels
def test_notebooks_run_in_order(small: Path, written: dict[str, str]) -> None:
    """On the values of params.yaml, of which the notebooks hold none, but for the few that nbmake makes smaller."""
    assert {"models/candidate/model.joblib", "models/verdict.json", "reports/evaluate.json"} <= set(written)
    check_values(small, SAMPLE)


def check_values(root: Path, source: str) -> None:
    """Some of what the stages wrote follows from the values that the notebooks once had as defaults of their own."""
    params = load_params(root / paths.PARAMS)
    assert read_json(root / paths.RAW_MANIFEST)["source"] == source == params.collect.source
    assert params.features.derived.keys() <= {each["name"] for each in read_json(root / paths.FEATURES)["features"]}
    assert read_json(root / f"{paths.CANDIDATE}/model.json")["cost"] == params.train.cost.model_dump()
    assert {path.name for path in (root / paths.SIMULATED).iterdir()} == set(params.simulate.scenarios)


@pytest.mark.integration
def test_run_by_hand_they_touch_no_outputs(small: Path, written: dict[str, str], tmp_path: Path) -> None:
    """In `make prove` they run in kernels, as those of `test_notebooks_run_in_order` always do."""
    if PROVE:
        set_mocks(small, write=False)
        assert f"{len(STAGES)} passed" in run_notebooks(small)
    else:
        assert run_code(small, tmp_path).count("From params.yaml: seed = 42") == len(STAGES)
    assert hash_outputs(small) == written
    assert (small / ".lifecycle/scratch/models/candidate/model.joblib").exists()


@pytest.mark.integration
def test_run_by_hand_they_are_about_the_adopted_table(project: Path, tmp_path: Path) -> None:
    """Their code, one notebook after the other: nothing but params.yaml says which table it is."""
    frame, words = make_table("motley")
    frame.to_csv(project / "data/mine.csv", index=False)
    assert main(["adopt", str(project / "data/mine.csv"), *words]) == 0
    params = read_yaml(project / paths.PARAMS)
    for section, values in QUICK.items():
        params[section] |= values
    write_yaml(params, project / paths.PARAMS)
    said = run_code(project, tmp_path, write=True)
    assert said.count("From params.yaml: seed = 42") == len(STAGES)
    check_values(project, "data/mine.csv")
