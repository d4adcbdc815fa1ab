import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.paths import Project
from lifecycle.modeling.model import hash_model, load_model
from lifecycle.modeling.tracking import log_serving, open_tracking
from lifecycle.promotion import registry
from lifecycle.promotion.registry import promote_candidate, promote_version, put_in_shadow, rollback
from lifecycle.promotion.releases import find_release_folder, hold_lock, read_champion, read_history
from tests.conftest import copy_project
from tests.support.forks import FORKS
from tests.support.mlflow_stores import copy_store
from tests.support.releases import build, bundle_model, fit


def begin(root: Path) -> Project:
    """A project without a champion."""
    copy_project(root)
    write_json({"model": None}, root / paths.CHAMPION)
    shutil.rmtree(root / paths.RELEASES, ignore_errors=True)
    return Project(root, root)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def empty(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("LIFECYCLE_ROOT", str(tmp_path / "project"))
    return begin(copy_store(store, tmp_path / "project"))


@pytest.fixture(scope="module")
def _past(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Two champions in a row, then a blessed candidate, registered as version 3, that was not better."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = begin(copy_store(store, tmp_path_factory.mktemp("past") / "project"))
        models = []
        for strength in (1.0, 2.0, 3.0):
            models.append(build(project, strength, better=strength < 3))
            promote_candidate(project, "shop")
        yield project.root, models


@pytest.fixture
def past(_past: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, list[str]]:
    root, models = _past
    shutil.copytree(root, tmp_path / "project")
    monkeypatch.setenv("LIFECYCLE_ROOT", str(tmp_path / "project"))
    return Project(tmp_path / "project", tmp_path / "project"), models


def find_aliases(project: Project) -> dict[str, str]:
    """Alias and model, as the registry of this project has them."""
    client, _ = open_tracking(project.root, "shop")
    aliases = client.get_registered_model("shop").aliases
    return {
        alias: client.get_model_version("shop", version).tags["lifecycle.model"] for alias, version in aliases.items()
    }


def take_snapshot(project: Project) -> dict[str, bytes]:
    """Every file below models/."""
    files = (path for path in (project.root / "models").rglob("*") if path.is_file())
    return {str(path.relative_to(project.root)): path.read_bytes() for path in files}


def check_agreement(project: Project, model: str) -> None:
    """File, alias, history and release all say that this model is live, and nothing lies about."""
    assert read_champion(project.root).model == model
    assert find_aliases(project)["champion"] == model
    assert read_history(project.root)[-1].model == model
    assert hash_model(find_release_folder(project.root, model)) == model
    assert not list((project.root / paths.RELEASES).glob(".*"))
    assert not (project.root / ".lifecycle/registry.lock").read_bytes()


# The candidate.


def test_the_first_blessed_model_is_champion_and_registers_once(empty: Project) -> None:
    model = build(empty, 1.0)
    done = promote_candidate(empty, "shop")
    assert (done.moved, done.because, done.model) == (True, "it is the first", model)
    check_agreement(empty, model)
    assert find_aliases(empty)["challenger"] == model
    before = take_snapshot(empty)
    again = promote_candidate(empty, "shop")
    assert (again.moved, again.version, again.because) == (False, done.version, "it is the champion already")
    assert take_snapshot(empty) == before
    line = read_history(empty.root)[0]
    assert (line.action, line.before, line.because) == ("promote", None, "C is 1.0")


def test_a_release_is_all_that_a_server_needs_and_the_champion_names_it(empty: Project) -> None:
    model = build(empty, 1.0)
    promote_candidate(empty, "shop")
    folder = find_release_folder(empty.root, model)
    assert folder == empty.root / "models/releases" / model[:12]
    release = read_json(folder / "release.json")
    assert list(release) == [
        "format",
        "model",
        "bundle",
        "family",
        "prior",
        "positive",
        "metrics",
        "verdict",
        "blessing",
    ]
    assert release["bundle"] == hash_file(folder / "bundle/manifest.json")
    assert (release["prior"], release["positive"], release["metrics"]) == (0.25, "yes", {"roc_auc": 0.8})
    assert release["blessing"] == read_json(empty.root / paths.BLESSING)
    assert read_json(empty.root / paths.CHAMPION) == {**release, "previous": None}
    assert load_model(folder).sha256 == model


def test_a_bundles_manifest_has_what_a_release_takes_from_it() -> None:
    from lifecycle.serving.bundle import MANIFEST, Manifest

    assert MANIFEST == registry.MANIFEST_FILE
    assert {"model", "family", "prior", "positive", "files"} <= Manifest.model_fields.keys()


def test_better_moves_worse_does_not(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    check_agreement(project, second)
    assert find_aliases(project)["challenger"] == third
    assert [(line.before, line.model) for line in read_history(project.root)] == [(None, first), (first, second)]
    assert read_champion(project.root).previous == first
    assert not find_release_folder(project.root, third).exists()
    build(project, 3.0)
    assert promote_candidate(project, "shop").moved
    check_agreement(project, third)


@pytest.mark.parametrize(
    ("blessed", "because"),
    [(False, "did not pass the quality gate: C is"), (True, "did not pass the checks of the running server: it is")],
)
def test_not_blessed_moves_nothing(empty: Project, blessed: bool, because: str) -> None:
    build(empty, 1.0, blessed=blessed, serving=not blessed)
    (empty.root / "mlflow.db").unlink()
    before = take_snapshot(empty)
    done = promote_candidate(empty, "shop")
    assert (done.moved, done.version) == (False, None)
    assert done.because.startswith(because)
    with pytest.raises(ProjectError, match=f"Model .* {because}"):
        put_in_shadow(empty, "shop", "candidate")
    assert take_snapshot(empty) == before
    assert not (empty.root / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("name", "key", "sentence"),
    [
        (paths.VERDICT, "model", r"verdict\.json is about model 000000000000, but models/candidate is"),
        (paths.BLESSING, "model", r"blessing\.json is about model 000000000000, but models/candidate is"),
        (paths.BLESSING, "bundle", r"blessing\.json is about bundle 000000000000, but models/candidate/bundle is"),
        (f"{paths.BUNDLE}/manifest.json", "model", "is about"),
        (paths.BLESSING, None, r"blessing\.json is not in"),
        (f"{paths.BUNDLE}/manifest.json", None, r"manifest\.json is not in"),
        (f"{paths.CANDIDATE}/model.joblib", None, r"model\.joblib is not in"),
        (f"{paths.BUNDLE}/plan.json", None, "is incomplete, or changed while"),
    ],
)
def test_what_does_not_belong_together_is_refused(empty: Project, name: str, key: str | None, sentence: str) -> None:
    build(empty, 1.0)
    if key is None:
        (empty.root / name).unlink()
    else:
        write_json({**read_json(empty.root / name), key: "0" * 64}, empty.root / name)
    with pytest.raises(ProjectError, match=f"{sentence}.*run `dvc repro`"):
        promote_candidate(empty, "shop")
    assert read_champion(empty.root).model is None
    assert not list((empty.root / "models").glob("releases/*"))


def test_losing_mlflow_loses_nothing(past: tuple[Project, list[str]]) -> None:
    project, (_, second, _) = past
    build(project, 2.0)
    (project.root / "mlflow.db").unlink()
    client, experiment = open_tracking(project.root, "shop")
    log_serving(client, experiment, second, metrics={}, seconds=[])  # its run holds no model
    promote_candidate(project, "shop")
    check_agreement(project, second)
    inputs = pd.DataFrame({"x": [0.5, 2.5]})
    from_registry = mlflow.sklearn.load_model("models:/shop@champion")
    assert (from_registry.predict_proba(inputs) == fit(2.0).predict_proba(inputs)).all()
    rollback(project, "shop")
    check_agreement(project, past[1][0])


def test_the_same_model_in_a_new_bundle_moves_and_leaves_the_way_back(past: tuple[Project, list[str]]) -> None:
    project, (first, second, _) = past
    build(project, 2.0, better=False, plan="compiled anew")
    done = promote_candidate(project, "shop")
    assert (done.moved, done.because) == (True, "it is the champion already, in a new serving bundle")
    check_agreement(project, second)
    champion = read_champion(project.root)
    assert champion.bundle == hash_file(find_release_folder(project.root, second) / "bundle/manifest.json")
    assert champion.previous == first
    assert rollback(project, "shop").model == first


def test_a_damaged_release_of_the_champion_is_made_whole(past: tuple[Project, list[str]]) -> None:
    project, (_, second, _) = past
    build(project, 2.0)
    before = take_snapshot(project)
    (find_release_folder(project.root, second) / "bundle/plan.json").write_text("{}")
    assert promote_candidate(project, "shop").because == "it is the champion already"
    assert take_snapshot(project) == before


# By hand, and back.


def test_rolling_back_walks_back_until_there_is_nothing(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    promote_version(project, "shop", "3")
    check_agreement(project, third)
    assert read_champion(project.root).previous == second
    for model, previous in ((second, first), (first, None)):
        assert rollback(project, "shop").model == model
        check_agreement(project, model)
        assert read_champion(project.root).previous == previous
    with pytest.raises(ProjectError, match=r"no model to go back to: models/champion\.json names no previous model"):
        rollback(project, "shop")
    moves = [(line.action, line.before, line.model) for line in read_history(project.root)[2:]]
    assert moves == [("promote", second, third), ("rollback", third, second), ("rollback", second, first)]
    assert read_history(project.root)[-1].because == f"rolled back from {second[:12]}"


def test_a_model_promoted_again_is_walked_back_from_once(past: tuple[Project, list[str]]) -> None:
    project, (first, second, _) = past
    promote_version(project, "shop", first[:6])
    assert read_champion(project.root).previous == second
    assert rollback(project, "shop").model == second
    assert rollback(project, "shop").model == first
    assert read_champion(project.root).previous is None


def test_a_version_is_named_by_number_or_hash(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    assert promote_version(project, "shop", third[:8].upper()).model == third  # the candidate, better or not
    assert promote_version(project, "shop", "1").model == first
    assert promote_version(project, "shop", second).model == second
    assert not promote_version(project, "shop", "2").moved
    line = read_history(project.root)[-1]
    assert line.because == "promoted by hand: C is 2.0"


def test_a_version_that_is_not_known_is_refused_with_what_there_is(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    there = f"models/releases has {', '.join(sorted(model[:12] for model in (first, second)))}"
    before = take_snapshot(project)
    with pytest.raises(ProjectError, match=f"There is no version 9 of 'shop'; {there}"):
        promote_version(project, "shop", "9")
    for unknown in ("0" * 11 + "x", first[:5] + "-", "", "-1", "x' OR 1"):
        with pytest.raises(
            ProjectError, match=f"is neither a version of 'shop' nor the first six or more digits.*{there}"
        ):
            promote_version(project, "shop", unknown)
    assert take_snapshot(project) == before
    build(project, 4.0)
    with pytest.raises(ProjectError, match=f"Model {third[:12]} has no release; {there}"):
        promote_version(project, "shop", "3")
    twin = find_release_folder(project.root, first).with_name("twin")
    twin.mkdir()
    release = read_json(twin.with_name(first[:12]) / "release.json")
    write_json({**release, "model": first[:12] + "0" * 52}, twin / "release.json")
    with pytest.raises(ProjectError, match=f"'{first[:8]}' is ambiguous: {first[:12]}.* start with it"):
        promote_version(project, "shop", first[:8])


def test_by_hand_too_only_what_is_blessed(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    build(project, 3.0, serving=False)
    with pytest.raises(
        ProjectError, match=f"Model {third[:12]} did not pass the checks of the running server: it is slow"
    ):
        promote_version(project, "shop", "3")
    check_agreement(project, second)
    assert not find_release_folder(project.root, third).exists()
    path = find_release_folder(project.root, first) / "release.json"
    release = read_json(path)
    write_json({**release, "verdict": {**release["verdict"], "blessed": False}}, path)
    for move in (promote_version, put_in_shadow):
        with pytest.raises(ProjectError, match=f"Model {first[:12]} did not pass the quality gate: C is 1.0"):
            move(project, "shop", "1")


@pytest.mark.parametrize("file", ["bundle/manifest.json", "bundle/plan.json", "model.joblib", "model.json"])
def test_a_release_that_is_not_what_it_was_is_refused(past: tuple[Project, list[str]], file: str) -> None:
    project, (first, second, _) = past
    path = find_release_folder(project.root, first) / file
    path.write_bytes(path.read_bytes() + b"\n")
    for move in (lambda: rollback(project, "shop"), lambda: promote_version(project, "shop", "1")):
        with pytest.raises(ProjectError, match=f"{first[:12]}: .* has the hash .*, not .* as recorded"):
            move()
    path.unlink()
    with pytest.raises(ProjectError, match=f"{first[:12]} is incomplete: .*{Path(file).name} is missing"):
        rollback(project, "shop")
    check_agreement(project, second)


# Together or not at all.

STEPS = ("write_release", "write_intent", "set_alias", "Champion.write", "append_line")


def fail_once(monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> None:
    done: list[Any] = []
    *owner, name = step.split(".")
    target = getattr(registry, owner[0]) if owner else registry
    original: Callable[..., Any] = getattr(target, name)

    def fail(*arguments: Any) -> Any:
        if done:
            return original(*arguments)
        done.append(step)
        if when == "after":
            original(*arguments)
        raise OSError("the disk is full")

    monkeypatch.setattr(target, name, fail)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_undoes_those_before_it(
    past: tuple[Project, list[str]], monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    project, (*_, third) = past
    before, aliases = take_snapshot(project), find_aliases(project)
    fail_once(monkeypatch, step, when)
    with pytest.raises(OSError, match="the disk is full"):
        promote_version(project, "shop", "3")
    assert take_snapshot(project) == before
    assert find_aliases(project) == aliases
    promote_version(project, "shop", "3")
    check_agreement(project, third)
    assert len(read_history(project.root)) == 3


@pytest.mark.parametrize("step", STEPS)
def test_a_new_bundle_of_the_champion_is_undone_too(
    past: tuple[Project, list[str]], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    project, (_, second, _) = past
    build(project, 2.0, plan="compiled anew")
    before = take_snapshot(project)
    fail_once(monkeypatch, step, "after")
    with pytest.raises(OSError, match="the disk is full"):
        promote_candidate(project, "shop")
    assert take_snapshot(project) == before
    check_champions_bundle(project, second)


def check_champions_bundle(project: Project, model: str) -> None:
    manifest = find_release_folder(project.root, model) / "bundle/manifest.json"
    assert read_champion(project.root).bundle == hash_file(manifest)


def test_an_undo_that_fails_is_made_up_for(past: tuple[Project, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    project, (first, second, _) = past
    calls: list[str | None] = []

    def work_once(client: Any, name: str, version: str | None) -> None:
        calls.append(version)
        if len(calls) > 1:
            raise mlflow.exceptions.MlflowException("gone")
        client.set_registered_model_alias(name, "champion", version)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", work_once)
        patch.setattr(registry, "append_line", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(ProjectError, match="MLflow's registry failed, and the champion did not move: gone"):
            rollback(project, "shop")
    assert read_champion(project.root).model == second and find_aliases(project)["champion"] == first
    put_in_shadow(project, "shop", None)
    check_agreement(project, second)


def die_after(root: Path, step: str, command: str, *arguments: str) -> None:
    """Run a command, and be killed after a step."""
    *owner, name = step.split(".")
    target = getattr(registry, owner[0]) if owner else registry
    original = getattr(target, name)

    def die(*given: Any) -> None:
        original(*given)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(target, name, die)
    getattr(registry, command)(Project(root, root), "shop", *arguments)


def kill(project: Project, step: str, *command: str) -> None:
    """Run a command in a process of its own that is killed after a step."""
    process = FORKS.Process(target=die_after, args=(project.root, step, *command))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.integration
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_between_two_steps_is_healed_by_the_next_command(past: tuple[Project, list[str]], step: str) -> None:
    project, (_, second, third) = past
    kill(project, step, "promote_version", "3")
    moved = step in {"Champion.write", "append_line"}
    assert read_champion(project.root).model == (third if moved else second)
    put_in_shadow(project, "shop", None)
    check_agreement(project, third if moved else second)
    lines = [(line.action, line.model) for line in read_history(project.root)[2:]]
    assert lines == ([("promote", third)] if moved else [])
    if moved:
        recovered = read_history(project.root)[-1].because.endswith("(recovered: the command was killed)")
        assert recovered == (step == "Champion.write")
    healed = take_snapshot(project)
    put_in_shadow(project, "shop", None)
    assert take_snapshot(project) == healed


@pytest.mark.integration
@pytest.mark.parametrize("step", ["write_release", "Champion.write"])
def test_a_kill_while_the_champion_gets_a_new_bundle_leaves_it_whole(
    past: tuple[Project, list[str]], step: str
) -> None:
    project, (_, second, _) = past
    old = read_champion(project.root).bundle
    build(project, 2.0, plan="compiled anew")
    kill(project, step, "promote_candidate")
    put_in_shadow(project, "shop", None)
    check_agreement(project, second)
    check_champions_bundle(project, second)
    assert (read_champion(project.root).bundle == old) == (step == "write_release")


def test_one_mover_waits_for_another(past: tuple[Project, list[str]]) -> None:
    project, _ = past
    mover = threading.Thread(target=put_in_shadow, args=(project, "shop", None))
    with hold_lock(project.root):
        mover.start()
        mover.join(0.3)
        assert mover.is_alive() and not (project.root / paths.SHADOW).exists()
    mover.join(10)
    assert (project.root / paths.SHADOW).exists()


# The shadow, and the command line.


def test_a_challenger_in_the_shadow(past: tuple[Project, list[str]]) -> None:
    project, (first, second, third) = past
    before = (project.root / paths.CHAMPION).read_bytes()
    for word, model in (("candidate", third), ("1", first), (third[:12], third)):
        assert put_in_shadow(project, "shop", word) == model
        assert read_json(project.root / paths.SHADOW) == {"model": model}
    assert load_model(find_release_folder(project.root, third)).sha256 == third
    with pytest.raises(ProjectError, match=f"Model {second[:12]} is the champion"):
        put_in_shadow(project, "shop", "2")
    assert put_in_shadow(project, "shop", None) is None
    assert read_json(project.root / paths.SHADOW) == {"model": None}
    assert (project.root / paths.CHAMPION).read_bytes() == before
    bundle = bundle_model(project, third, "compiled anew")
    write_json({**read_json(project.root / paths.BLESSING), "bundle": bundle}, project.root / paths.BLESSING)
    put_in_shadow(project, "shop", "candidate")
    assert read_json(find_release_folder(project.root, third) / "release.json")["bundle"] == bundle
    assert not list((project.root / paths.RELEASES).glob(".*"))


def test_the_commands(
    past: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, (first, second, third) = past
    monkeypatch.setattr("lifecycle.cli._shared.load_contract", lambda _: type("Contract", (), {"name": "shop"}))
    monkeypatch.setenv("LOGNAME", "ada")
    for words, said in (
        (
            ["promote"],
            "promote: version 3 of 'shop' is registered, the champion stays: it passed the quality gate, but is not shown to be better",
        ),
        (["promote", "3"], "promote: version 3 of 'shop' is now the champion: promoted by hand: C is 3.0"),
        (["rollback"], f"rollback: version 2 of 'shop', model {second[:12]}, is the champion: rolled back from"),
        (["shadow", "candidate"], f"shadow: model {third[:12]} is in the shadow"),
        (["shadow", "off"], "shadow: no model is in the shadow"),
    ):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith(said)
    assert main(["history"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["from", "until", "model", "by", "move", "because"]
    told = [tuple(row.split(maxsplit=5)) for row in rows]
    assert [row[2] for row in told] == [first[:12], second[:12], third[:12], second[:12]]
    assert told[-1][3:] == ("ada", "rollback", f"rolled back from {third[:12]}") and told[-1][1] == "now"
    assert [row[1] for row in told[:-1]] == [row[0] for row in told[1:]]
    assert main(["rollback"]) == 0
    assert main(["rollback"]) == 1
    assert "There is no model to go back to" in capsys.readouterr().err
    build(project, 4.0, serving=False)
    assert [main(["promote"]), main(["promote", "--if-blessed"])] == [1, 0]
    assert capsys.readouterr().err.count("the champion stays: did not pass the checks of the running server") == 2


def test_history_lines_are_whole_json_objects(past: tuple[Project, list[str]]) -> None:
    project, _ = past
    lines = [json.loads(line) for line in (project.root / paths.HISTORY).read_text().splitlines()]
    assert [list(line) for line in lines] == [["at", "by", "action", "model", "bundle", "before", "because"]] * 2
