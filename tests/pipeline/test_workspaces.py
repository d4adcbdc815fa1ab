from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import load_params, read_yaml
from lifecycle.core.paths import Project, find_root, open_project
from lifecycle.pipeline.runner import STAGES, name_notebook
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace, link_path, write_yaml

NAME = ".lifecycle/elsewhere"
WORDS = ["Yes", "no", "on", "Off", "null", "~", "", "2026-01", "2026-01-31", "1e3", "1_000", "012", "0x1f", "1:30", ".5",
         "a: b", "- a", "# x", "a # b", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "'", '"', " a ", "a\nb", "☃ ü", "x y " * 60]  # fmt: skip


@pytest.fixture
def place(project: Path) -> Project:
    return Project(project, project)


def test_a_block_works_in_its_root_and_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, "/somewhere")
    monkeypatch.setenv("LIFECYCLE_A", "before")
    monkeypatch.delenv("LIFECYCLE_B", raising=False)
    before = dict(os.environ)
    with enter_workspace(tmp_path, {"LIFECYCLE_A": "within", "LIFECYCLE_B": "new"}):
        assert find_root() == tmp_path and open_project(write=True).output == tmp_path
        assert (os.environ["LIFECYCLE_A"], os.environ["LIFECYCLE_B"]) == ("within", "new")
    assert dict(os.environ) == before


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_also_after_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool, failure: type[BaseException]
) -> None:
    if named:
        monkeypatch.setenv(paths.ROOT_VARIABLE, "/somewhere")
    else:
        monkeypatch.delenv(paths.ROOT_VARIABLE, raising=False)
    before = dict(os.environ)

    def fail() -> None:
        with enter_workspace(tmp_path, {"LIFECYCLE_B": "new"}):
            raise failure

    with pytest.raises(failure):
        fail()
    assert dict(os.environ) == before


def test_roots_may_be_used_within_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.ROOT_VARIABLE, raising=False)
    before = Path.cwd()
    for name in "ab":
        (tmp_path / name).mkdir()
    with enter_workspace(tmp_path / "a"):
        with enter_workspace(tmp_path / "b"):
            assert os.environ[paths.ROOT_VARIABLE].endswith("b") and Path.cwd() == tmp_path / "b"
        assert os.environ[paths.ROOT_VARIABLE].endswith("a") and Path.cwd() == tmp_path / "a"
    assert paths.ROOT_VARIABLE not in os.environ and Path.cwd() == before


def test_a_root_has_what_a_stage_needs_and_nothing_that_was_built(place: Project) -> None:
    built = place.write(paths.RAW_TABLE)
    built.write_text("built")
    (place.root / "notebooks/.hidden").write_text("scratch")
    root = create_workspace(place, NAME, {})
    assert root == place.root / NAME
    assert load_params(root / paths.PARAMS) == load_params(place.root / paths.PARAMS)
    assert (root / paths.CONTRACT).read_bytes() == (place.root / paths.CONTRACT).read_bytes()
    assert (root / paths.LOCK).read_bytes() == (place.root / paths.LOCK).read_bytes()
    assert {path.name for path in (root / "notebooks").iterdir()} == {
        f"{name_notebook(stage)}.ipynb" for stage in STAGES
    }
    assert not (root / paths.RAW_TABLE).exists() and not (root / "models").exists()
    assert built.read_text() == "built"


def test_changed_keys_are_changed_and_no_others(place: Project) -> None:
    first = {"logistic": {"C": 0.5, "knots": 4}}
    changes: dict[str, dict[str, Any]] = {
        "features": {"split": "order", "test_share": 0.123456789012345},
        "tune": {"trials": 3, "first": first},
        "simulate": {"first": "2026-11"},
        "collect": {"source": "Yes", "watch": "no"},
        "monitor": {"backtests": "", "log": "/a b/ü: #1"},
    }
    before = (place.root / paths.PARAMS).read_bytes()
    found = load_params(create_workspace(place, NAME, changes) / paths.PARAMS).model_dump(by_alias=True)
    expected = load_params(place.root / paths.PARAMS).model_dump(by_alias=True)
    for section, values in changes.items():
        expected[section] |= values
    assert found == expected
    assert (place.root / paths.PARAMS).read_bytes() == before, "the project's own stay"


def test_params_keep_their_meaning_on_the_way(place: Project) -> None:
    """`Yes` stays a word and "2026-01" no date, in whatever version of YAML one is used to."""
    root = create_workspace(place, NAME, {"explain": {"intended_use": "Yes"}})
    params = read_yaml(root / paths.PARAMS)
    assert params["simulate"]["first"] == "2026-01" and params["explain"]["intended_use"] == "Yes"
    assert params == read_yaml(place.root / paths.PARAMS) | {
        "explain": read_yaml(place.root / paths.PARAMS)["explain"] | {"intended_use": "Yes"}
    }


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False), st.sampled_from(WORDS),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).filter(lambda text: "?" not in text),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(WORDS[:12]), children, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_plain_values_come_back_from_yaml_as_they_were(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "value.yaml"
    write_yaml({"value": value}, path)
    assert read_yaml(path) == {"value": value}


def test_a_root_is_begun_anew_and_what_it_links_to_stays(place: Project) -> None:
    kept = place.write("models/releases/a/bundle/plan.json")
    kept.write_text("{}")
    root = create_workspace(place, NAME, {})
    link_path(place.root / "models/releases/a", root / "models/candidate")
    link_path(kept, root / "deep/down/plan.json")
    assert (
        (root / "models/candidate/bundle/plan.json").read_text() == "{}" == (root / "deep/down/plan.json").read_text()
    )
    (root / "left over").touch()
    again = create_workspace(place, NAME, {})
    assert again == root and not (root / "left over").exists() and not (root / "models").exists()
    assert kept.read_text() == "{}"


def test_a_project_without_a_lock_has_roots_too(place: Project) -> None:
    (place.root / paths.LOCK).unlink()
    assert not (create_workspace(place, NAME, {}) / paths.LOCK).exists()


def test_a_project_without_params_is_told_so(place: Project) -> None:
    (place.root / paths.PARAMS).unlink()
    with pytest.raises(ProjectError, match=r"params\.yaml"):
        create_workspace(place, NAME, {})


def test_a_root_of_a_session_by_hand_is_in_its_scratch_folder(place: Project) -> None:
    by_hand = Project(place.root, place.root / paths.SCRATCH)
    assert create_workspace(by_hand, NAME, {}) == place.root / paths.SCRATCH / NAME
    assert not (place.root / NAME).exists()
