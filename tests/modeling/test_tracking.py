from __future__ import annotations

import os
from pathlib import Path

import pytest

from lifecycle.modeling.tracking import log_run, open_tracking
from tests.support.mlflow_stores import copy_store

VARIABLE = "MLFLOW_TRACKING_URI"


def test_each_project_of_a_process_has_a_store_of_its_own(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    counts = []
    for name in ("first", "second"):
        copy_store(store, tmp_path / name)
        client, experiment = open_tracking(tmp_path / name, "shop")
        assert VARIABLE not in os.environ
        log_run(client, experiment, "run", params={}, metrics={}, tags={})
        counts.append(len(client.search_runs([experiment])))
    assert counts == [1, 1]


def test_a_store_that_the_environment_names_is_used_and_the_variable_stays(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_store(store, tmp_path / "team")
    address = f"sqlite:///{tmp_path / 'team/mlflow.db'}"
    monkeypatch.setenv(VARIABLE, address)
    open_tracking(tmp_path / "project", "shop")
    assert os.environ[VARIABLE] == address
    assert not (tmp_path / "project/mlflow.db").exists()
