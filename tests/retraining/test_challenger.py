"""Retraining a live project: step by step, and by Airflow."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.params import Scenario
from lifecycle.monitoring.scenarios import begin_month, draw_month, score_month
from lifecycle.serving.bundle import load_bundle
from lifecycle.stages import simulate
from tests.support.built import run
from tests.support.dags import Airflow
from tests.support.live import read_champion, turn

# minutes: the stages of a challenger, twice
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("warm", "measured")]


def test_retraining_promotes_what_is_better_and_only_that(live: Path, tmp_path: Path) -> None:
    """Step by step as the scheduler does; a step that fails, or is killed, leaves the champion; at last it moves."""
    root = tmp_path / "clone"
    shutil.copytree(live, root, symlinks=True)
    first = read_champion(root)
    idle = run(root, "lifecycle", "retrain", "decide", "--log", str(root / "data/simulated/logs/none"))
    assert idle.returncode == 99 and "No rule triggers" in idle.stdout, idle.stdout + idle.stderr
    early = run(root, "lifecycle", "retrain", "train", "--log", turn(root))
    assert early.returncode == 1 and "There is no challenger" in early.stderr
    for step in ("decide", "validate"):
        done = run(root, "lifecycle", "retrain", step, "--log", turn(root))
        assert done.returncode == 0, done.stdout + done.stderr
    source = root / ".lifecycle/challenger/data/validated/table.parquet"
    kept = source.read_bytes()
    source.write_bytes(b"damaged")
    failed = run(root, "lifecycle", "retrain", "train", "--log", turn(root))
    assert failed.returncode == 1 and read_champion(root) == first
    source.write_bytes(kept)
    for step in ("train", "evaluate"):
        chosen = json.loads((root / ".lifecycle/challenger/decision.json").read_text())["rows"]
        done = run(root, "lifecycle", "retrain", step, "--log", turn(root))
        assert done.returncode == 0, done.stdout + done.stderr
        assert read_champion(root) == first
    split = json.loads((root / ".lifecycle/challenger/data/features/features.json").read_text())["split"]
    assert split["test_rows"] == chosen["held_out"] and split["train_rows"] == chosen["old"] + chosen["new"]
    done = run(root, "lifecycle", "retrain", "deploy", "--log", turn(root))
    assert done.returncode == 0 and "is now the champion" in done.stdout, done.stdout + done.stderr
    second = read_champion(root)
    assert second != first
    record = [json.loads(line) for line in (root / "models/retraining.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in record] == ["promoted"] and record[0]["challenger"] == second[:12]
    verdict = json.loads((root / "models/champion.json").read_text())["verdict"]
    assert verdict["better"] and {"not_worse_for_protected", "not_worse_than_champion"} <= {
        condition["name"] for condition in verdict["conditions"] if condition["passed"]
    }
    again = run(root, "lifecycle", "retrain", "--log", turn(root))  # the log has no predictions of the new one yet
    assert again.returncode == 1 and "no prediction of this model" in again.stderr
    write_quiet_log(root, second)
    back = run(root, "lifecycle", "retrain", "decide")  # the relation is what it was: the model before was better
    assert back.returncode == 99 and "is the champion again" in back.stdout, back.stdout + back.stderr
    assert read_champion(root) == first


def write_quiet_log(root: Path, model: str) -> None:
    """A server's log of five months in which nothing changes, answered by a model."""
    contract = load_contract(root / "data/contract.yaml")
    bundle = load_bundle(root / f"models/releases/{model[:12]}/bundle")
    valid, split = (pd.read_parquet(root / name) for name in (paths.VALIDATED_TABLE, paths.SPLIT))
    pool, nothing = simulate.find_pool(valid, split), Scenario(kind="none").model_dump()
    records = [
        record
        for month in range(1, 6)
        for record in score_month(
            bundle, draw_month(pool, nothing, contract, month=month, rows=300, seed=1), contract,
            first="2027-01", month=month, label_days={"positive": [1, 20], "negative": [1, 20]}, label_share=1.0, seed=1,
        )
    ]  # fmt: skip
    simulate.write_log(root / paths.PREDICTIONS, records, begin_month("2027-01", 7))


def test_the_airflow_dag_retrains_a_real_project(
    live: Path, tmp_path: Path, airflow: Airflow, warm_parent: dict[str, str]
) -> None:
    """All tasks in turn, each the project's own command; then nothing is to be done, and the later tasks are skipped."""
    root = tmp_path / "a project"
    shutil.copytree(live, root, symlinks=True)
    shutil.copytree(turn(root), root / "data/predictions")
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/lifecycle").symlink_to(Path(sys.executable).parent / "lifecycle")
    first = read_champion(root)
    done = airflow.run_dag(root, tmp_path / "home", **warm_parent)
    assert done.state == "success" and set(done.tasks.values()) == {"success"}, done.log[-3000:]
    assert read_champion(root) != first
    assert "reports/06_train.html" in done.log
