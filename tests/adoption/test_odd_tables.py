"""Odd tables through every stage: adopted, run to the front page, and answered by the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.files import read_json
from lifecycle.core.params import load_params, read_yaml
from lifecycle.core.paths import Project
from lifecycle.pipeline.runner import STAGES
from lifecycle.pipeline.workspaces import write_yaml
from lifecycle.serving.acceptance import prepare_workspace, start_server
from lifecycle.serving.bundle import load_bundle
from lifecycle.stages.deploy import describe_champion
from lifecycle.stages.report import write_report
from tests.support.mlflow_stores import copy_store
from tests.support.odd_tables import TABLES, make_table
from tests.support.sizes import size
from tests.support.stages import run_cells, run_stages

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("warm")]  # minutes: every stage, in a kernel each

QUICK: dict[str, dict[str, Any]] = {
    "tune": {"trials": 3, "startup_trials": 3},
    "evaluate": {"bootstrap": 100},
    "explain": {"repeats": 1, "rows": 50, "background": 10, "sample": 10, "max_effects": 2},
    "deploy": {
        "compared": 100, "odd_requests": 100, "timed_requests": 100, "start_seconds": 120.0, "p99_milliseconds": 1e5,
        "memory_megabytes": 2000.0,
    },
    "simulate": {"months": 7},
    "retrain": {"trials": 2, "startup_trials": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_an_odd_table_runs_through_every_stage(
    name: str, project: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No stage ends in an exception, whatever the gate says of the model; the server answers rows of it."""
    frame, words = make_table(name)
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert main(["adopt", str(tmp_path / "table.csv"), *words]) == 0
    contract = read_yaml(project / paths.CONTRACT)
    texts = [
        column for column in contract["columns"].values() if (column["role"], column["dtype"]) == ("text", "string")
    ]
    for column in texts:
        column["terms"] = 50
    write_yaml(contract, project / paths.CONTRACT)
    params = read_yaml(project / paths.PARAMS)
    for section, values in QUICK.items():
        params[section] |= values
    write_yaml(params, project / paths.PARAMS)
    copy_store(store, project)
    size(run_cells, run_stages)(project, STAGES)
    write_report(Project(project, project))
    verdict, blessing = read_json(project / paths.VERDICT), read_json(project / paths.BLESSING)
    assert blessing["blessed"], blessing["because"]
    assert verdict["conditions"] and (project / paths.INDEX).stat().st_size > 10_000
    assert read_json(project / paths.MONITORING)["backtests"]
    assert read_json(project / paths.DECISION)["because"]
    rows = read_json(project / paths.EVALUATION)["rows"]
    if name == "notes":
        assert texts and read_json(project / paths.EVALUATION)["metrics"]["roc_auc"]["value"] > 0.75
        assert read_json(project / paths.EXPLANATION)["importance"][0]["column"] == "note"
        assert "box" in (project / paths.BUNDLE / "golden.json").read_text()
        assert "@" not in (project / paths.BUNDLE / "background.json").read_text()
    assert rows <= 0.31 * len(frame)
    bundle = load_bundle(project / paths.BUNDLE)
    prepare_workspace(tmp_path / "served", project / paths.BUNDLE, describe_champion(bundle))
    with start_server(tmp_path / "served") as server:
        import json

        for record in bundle.golden[:3]:
            status, _, body = server.ask("/predict?explain=true", json.dumps(record["request"]).encode())
            assert status == 200, body
            assert json.loads(body)["probability"] == pytest.approx(record["probability"])
    assert load_params(project / paths.PARAMS).tune.max_rows >= 2000
    assert np.isfinite(read_json(project / paths.EVALUATION)["metrics"]["roc_auc"]["value"])
