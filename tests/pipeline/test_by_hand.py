"""The values that a notebook takes from params.yaml when it is run by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from lifecycle.cli.main import main
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import load_params
from lifecycle.core.paths import PARAMS
from lifecycle.pipeline.by_hand import fill_parameters
from lifecycle.reporting.pages import render_notebook
from tests.pipeline.test_runner import PARAMETERS, write_notebook

FILL = 'from lifecycle.pipeline.by_hand import fill_parameters\n\nfill_parameters("collect", globals())'


def declare(root: Path, stage: str) -> dict[str, Any]:
    """The globals of a stage's notebook whose parameters cell has run."""
    return {"__spec__": None, "write": False, **dict.fromkeys(load_params(root / PARAMS).for_notebook(stage))}


@pytest.mark.parametrize("stage", ["collect", "tune", "evaluate", "explain"])
def test_none_stands_for_the_value_in_params(project: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = declare(project, stage)
    fill_parameters(stage, names)
    assert names == {"__spec__": None, "write": False, **load_params(project / PARAMS).for_notebook(stage)}
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("From params.yaml: seed = 42, threads = 2, ") and len(line) < 700


def test_a_value_that_somebody_typed_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {**declare(project, "train"), "folds": 3, "cost": {}}
    fill_parameters("train", names)
    assert (names["folds"], names["cost"], names["calibration"]) == (3, {}, "auto")
    assert capsys.readouterr().out == (
        "From params.yaml: seed = 42, threads = 2, calibration = 'auto', onset = '', weak_slices = 5, learning_curve = [0.5], "
        "backtest = {'periods': 6, 'recent_days': 365}\n"
    )


def test_where_the_runner_gave_all_values_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIFECYCLE_ROOT", str(tmp_path))  # not a project
    fill_parameters("train", {"__spec__": None, "write": True, "seed": 1, "folds": 0})
    assert capsys.readouterr().out == ""
    with pytest.raises(ProjectError, match=r"params\.yaml"):
        fill_parameters("train", {"write": False, "folds": None})


def test_what_other_cells_left_is_not_a_parameter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cell is run again, after others that have set something to None."""
    names: dict[str, Any] = {**load_params(project / PARAMS).for_notebook("train"), "champion": None}
    fill_parameters("train", names)
    assert names["champion"] is None and capsys.readouterr().out == ""


def test_the_page_shows_the_values_of_the_run(project: Path) -> None:
    """Once, without the cells that declare them and fill them by hand."""
    path = write_notebook(project, FILL, "seed", parameters=PARAMETERS.replace("seed = 1", "seed = None"))
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["metadata"]["tags"] = ["by-hand"]
    path.write_text(json.dumps(notebook))
    assert main(["run", "collect"]) == 0
    run = nbformat.read(project / "reports/notebooks/01_collect.ipynb", as_version=4)
    assert [len(cell.outputs) for cell in run.cells if cell.cell_type == "code"] == [0, 0, 0, 1]
    page = render_notebook(run, project="x", links=[], current="")
    assert page.count("<summary>Parameters</summary>") == 1 and "data/sample.parquet" in page
    assert "fill_parameters" not in page and "None" not in page
