import json
from pathlib import Path

import pytest

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, replace_file, write_json
from lifecycle.core.paths import Project, find_root, open_project


def test_root_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    assert find_root() == tmp_path


def test_root_is_found_upwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(paths.ROOT_VARIABLE, raising=False)
    (tmp_path / "notebooks").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert find_root() == tmp_path


def test_no_project_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(paths.ROOT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"There is no project.*params\.yaml"):
        find_root()


def test_by_hand_nothing_is_written_into_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    by_hand, by_runner = open_project(), open_project(write=True)
    assert by_hand.write("reports/x.json").is_relative_to(tmp_path / ".lifecycle")
    assert by_runner.write("reports/x.json") == tmp_path / "reports/x.json"


def test_a_missing_artefact_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"data/x\.parquet.*dvc repro"):
        Project(tmp_path, tmp_path).read("data/x.parquet")


def write_half(path: Path) -> None:
    with replace_file(path) as aside:
        aside.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("good")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "good"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.txt"]


def test_json_is_the_same_bytes_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json({"a": 0.1, "ü": [1]}, path)
    first = path.read_bytes()
    write_json({"a": 0.1, "ü": [1]}, path)
    assert path.read_bytes() == first
    assert json.loads(first) == read_json(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, path)
    assert path.read_bytes() == first


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ProjectError, match=r"broken\.json is not JSON"):
        read_json(path)
