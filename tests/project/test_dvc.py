"""What the README shows of DVC, as it shows it: remotes and experiments, on a copy of the built project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import S3, start_s3

pytestmark = pytest.mark.integration  # a minute or two, and a built project

ON_PATH = 'export PATH="$PWD/.venv/bin:$PATH"'
ADD_STORAGE = ("dvc remote add --local storage s3://my-bucket/lifecycle", "dvc remote default --local storage")
OURS = ("LIFECYCLE_", "MLFLOW_", "AWS_")  # variables of whoever runs the tests


def try_shell(root: Path, command: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Type a command in `root`, in a shell that finds the environment by the README's own line alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    places = environment["PATH"].split(os.pathsep)
    environment["PATH"] = os.pathsep.join(place for place in places if Path(place) != Path(sys.executable).parent)
    words = ["sh", "-c", f"{ON_PATH}\n{command}"]
    environment |= {"COLUMNS": "200", **(variables or {})}
    return subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)


def shell(root: Path, command: str, variables: dict[str, str] | None = None) -> str:
    """Type a command that works; what it printed."""
    done = try_shell(root, command, variables)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def link_environment(root: Path) -> None:
    """Give a clone its .venv, as `make env` would."""
    (root / ".venv").mkdir()
    (root / ".venv/bin").symlink_to(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def ours(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built project, with its environment."""
    root = tmp_path_factory.mktemp("dvc") / "project"
    shutil.copytree(built, root, symlinks=True)
    link_environment(root)
    return root


def clone(ours: Path, root: Path) -> Path:
    """A fresh clone: nothing of what DVC keeps is there."""
    subprocess.run(["git", "clone", "-q", str(ours), str(root)], check=True)
    assert not (root / "data/raw").exists() and not (root / ".dvc/cache").exists()
    link_environment(root)
    return root


# Remotes.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server with an empty bucket."""
    import s3fs

    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        s3fs.S3FileSystem(key=server.key, secret=server.secret, endpoint_url=server.endpoint).mkdir("my-bucket")
        yield server


@pytest.fixture(params=["a folder", "S3"])
def remote(request: pytest.FixtureRequest) -> tuple[tuple[str, ...], dict[str, str]]:
    """What is typed before the first push or pull, and the variables that are set."""
    if request.param == "a folder":
        return (), {}
    return ADD_STORAGE, request.getfixturevalue("server").environment


def test_what_is_pushed_restores_a_fresh_clone(
    ours: Path, tmp_path: Path, remote: tuple[tuple[str, ...], dict[str, str]]
) -> None:
    """Push, clone, pull: the same bytes, and `dvc repro` finds nothing to do."""
    commands, variables = remote
    first, second = (tmp_path / name for name in ("first", "a clone of it"))
    shutil.copytree(ours, first, symlinks=True)
    clone(first, second)
    for command in commands:
        shell(first, command)
        shell(second, command)
    shell(first, "dvc push", variables)
    assert "Everything is up to date." in shell(first, "dvc push", variables)
    shell(second, "dvc pull", variables)
    assert (tmp_path / "lifecycle-remote").exists() == (not commands)
    shutil.rmtree(first)  # what comes now comes from the second alone
    assert "Data and pipelines are up to date." in shell(second, "dvc repro")
    assert shell(second, "git status --porcelain") == ""
    for name in ("models/candidate/model.joblib", "data/validated/table.parquet", "reports/index.html"):
        assert (second / name).read_bytes() == (ours / name).read_bytes()


def test_secrets_stay_in_the_environment(ours: Path, tmp_path: Path, server: S3) -> None:
    root = tmp_path / "project"
    shutil.copytree(ours, root, symlinks=True)
    for command in (*ADD_STORAGE, f"dvc remote modify --local storage endpointurl {server.endpoint}"):
        shell(root, command)
    known = {name: value for name, value in server.environment.items() if name != "AWS_ENDPOINT_URL"}
    stranger = known | {"AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    refused = try_shell(root, "dvc push", stranger)
    assert refused.returncode != 0
    shell(root, "dvc push", known)
    written = [path.read_bytes() for path in (root / ".dvc").rglob("*") if path.is_file() and "cache" not in path.parts]
    for secret in (server.secret, "not-the-secret"):
        assert secret not in refused.stdout + refused.stderr
        assert not any(secret.encode() in content for content in written)
    assert shell(root, "git status --porcelain") == ""  # an address that is one's own is not the team's


# Experiments.


@pytest.fixture(scope="module")
def tried(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which two experiments were queued and run; both leave the workspace as it was."""
    root = tmp_path_factory.mktemp("tried") / "project"
    shutil.copytree(ours, root, symlinks=True)
    told = shell(root, "dvc exp run --queue -n calibration -S train.calibration=sigmoid,isotonic evaluate")
    assert re.findall(r"Queued experiment '([\w-]+)'", told) == ["calibration-1", "calibration-2"]
    ran = shell(root, "dvc exp run --run-all")
    assert re.findall(r"Running stage '(\w+)'", ran) == ["train", "evaluate"] * 2
    assert shell(root, "git status --porcelain") == ""
    assert "Data and pipelines are up to date." in shell(root, "dvc status")
    return root


def read_metrics(root: Path, name: str) -> dict[str, float]:
    """The metrics that git holds for a commit, a branch or an experiment."""
    commit = (
        f"git rev-parse --verify --quiet {name} || git for-each-ref --format='%(objectname)' 'refs/exps/*/*/{name}'"
    )
    metrics: dict[str, float] = json.loads(shell(root, f"git show $({commit}):reports/metrics.json"))
    return metrics


def test_experiments_are_told_apart_by_few_columns(tried: Path) -> None:
    table = shell(tried, "dvc exp show --only-changed --drop /")
    header, *rows = [line.split() for line in table.splitlines() if line.strip(" ─")]
    assert {"Experiment", "brier", "ece", "train.calibration"} <= set(header) and len(header) <= 15
    assert max(map(len, table.splitlines())) <= 200 and "…" not in table
    for name, calibration in (("calibration-1", "sigmoid"), ("calibration-2", "isotonic")):
        (row,) = [words for words in rows if f"[{name}]" in words]
        assert row[-1] == calibration and f"{read_metrics(tried, name)['brier']:.5g}" in row


def test_metrics_of_an_experiment_are_told_beside_those_of_now(tried: Path) -> None:
    told = shell(tried, "dvc metrics diff HEAD calibration-2")
    before, after = (read_metrics(tried, name) for name in ("HEAD", "calibration-2"))
    changed = {name for name in before if before[name] != after[name]}
    assert {line.split()[1] for line in told.splitlines()[1:]} == changed
    assert re.search(rf"brier +{before['brier']:.5g} +{after['brier']:.5g} ", told), told


def test_curves_of_an_experiment_are_drawn_with_the_network_off(
    tried: Path, tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    chromium = require_program("chromium", "chromium")
    told = shell(tried, "dvc plots diff HEAD calibration-2")
    page = tried / "dvc_plots/index.html"
    assert told.strip() == page.as_uri()
    assert not re.search(r"(src|href)=", page.read_text())
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    drawn = done.stdout
    assert re.findall(r"<h2>(.+?)</h2>", drawn) == ["ROC", "Precision and recall", "Calibration"]
    lines = re.findall(r'<polyline .*?points="(.*?)"', drawn)
    assert [len(line.split()) for line in lines] == [201] * 8 + [10] * 2
    assert "NaN" not in drawn and lines[-1] != lines[-2]  # what was calibrated lies elsewhere
    for label in ("HEAD, test", "calibration-2, train", "false positive rate", "observed share"):
        assert f">{label}</text>" in drawn


def test_an_experiment_is_kept_or_taken_back(tried: Path) -> None:
    shell(tried, "dvc exp branch calibration-2 isotonic")
    assert read_metrics(tried, "isotonic") == read_metrics(tried, "calibration-2") != read_metrics(tried, "HEAD")
    shell(tried, "dvc exp apply calibration-2")
    assert json.loads((tried / "reports/metrics.json").read_text()) == read_metrics(tried, "calibration-2")
    changed = {line[3:] for line in shell(tried, "git status --porcelain").splitlines()}
    records = {f"reports/{name}.json" for name in ("train", "evaluate", "metrics")}
    assert changed == {"params.yaml", "dvc.lock", *records}
    assert "Data and pipelines are up to date." in shell(tried, "dvc status evaluate")
    shell(tried, "git restore params.yaml dvc.lock reports")
    shell(tried, "dvc checkout")
    assert "Data and pipelines are up to date." in shell(tried, "dvc status")
    assert shell(tried, "git status --porcelain") == ""
