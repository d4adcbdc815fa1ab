"""The server as a process: it is stopped, killed, swapped and starved under load, and nobody is left without an answer."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.core import paths
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.prediction_log.reader import read_segment
from lifecycle.prediction_log.writer import SEGMENTS
from lifecycle.serving.acceptance import Load, ServerProcess, list_children, put_under_load, start_server
from lifecycle.serving.bundle import find_bundle_folder
from tests.support.bundles import (
    ROW,
    compute_probability,
    make_champion,
    make_hole,
    rewrite_plan,
    write_release,
    write_small_bundle,
)
from tests.support.mlflow_stores import copy_store
from tests.support.servers import read_command
from tests.support.sizes import size

pytestmark = pytest.mark.usefixtures("measured")

Record = dict[str, Any]
ROWS = [{**ROW, "months": months} for months in range(50)]
PATIENCE = 60  # seconds; a busy machine is slow to stop processes


def wait(condition: Callable[[], Any], pause: float = 0.01) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(pause)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose champion has a model before it."""
    return make_champion(tmp_path, write_release(tmp_path, 1.0), write_release(tmp_path, 0.0))


def predict(server: ServerProcess, row: Record = ROW) -> Record:
    status, _, body = server.ask("/predict", json.dumps(row).encode())
    assert status == 200, body
    reply: Record = json.loads(body)
    return reply


def ready(server: ServerProcess, query: str = "") -> tuple[int, Record]:
    status, _, body = server.ask(f"/ready{query}")
    return status, json.loads(body)


def read_metric(server: ServerProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    _, _, body = server.ask("/metrics")
    samples = [sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def read_log(folder: Path) -> tuple[list[Record], int]:
    """The log's records in the order of writing, and how many lines are damaged."""
    read = [read_segment(path) for path in sorted((folder / SEGMENTS).iterdir())]
    return [record for records, _ in read for record in records], sum(damaged for _, damaged in read)


# --- stopping


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_under_load_it_answers_and_logs_whoever_asked(root: Path, workers: int) -> None:
    with start_server(root, workers=workers, drain_seconds=0.3) as server, put_under_load(server, ROWS) as load:
        wait(lambda: len(load.replies) > 300)
        assert server.stop() == 0
    assert load.failures == []
    records, damaged = read_log(root / paths.PREDICTIONS)
    assert damaged == 0
    assert {record["id"] for record in records} == {reply["request_id"] for _, reply in load.replies}
    assert {path.suffix for path in (root / paths.PREDICTIONS / SEGMENTS).iterdir()} == {".sealed"}


@pytest.mark.integration  # in `make prove`, a minute of stopping
@pytest.mark.parametrize("workers", [1, 3])
def test_no_stop_loses_a_request(root: Path, workers: int) -> None:
    for _ in range(size(2, 10)):
        with start_server(root, workers=workers, drain_seconds=0.2) as server, put_under_load(server, ROWS, 16) as load:
            wait(lambda load=load: len(load.replies) > 100)
            assert server.stop() == 0
        assert load.failures == []


def test_while_it_drains_it_is_not_ready_and_asks_clients_to_close(root: Path) -> None:
    with start_server(root, drain_seconds=1.0) as server:
        server.process.send_signal(signal.SIGTERM)
        wait(lambda: ready(server)[0] == 503)
        assert ready(server)[1]["status"] == "draining"
        status, headers, _ = server.ask("/predict", json.dumps(ROW).encode())
        assert (status, headers["connection"]) == (200, "close")
        assert server.process.wait(PATIENCE) == 0


def test_told_twice_it_stops_at_once(root: Path) -> None:
    with start_server(root, drain_seconds=60) as server:
        server.process.send_signal(signal.SIGINT)
        wait(lambda: ready(server)[0] == 503)
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0 and time.monotonic() - began < 10


def test_workers_do_not_outlive_their_supervisor(root: Path) -> None:
    with start_server(root, workers=2, drain_seconds=0) as server:
        workers = [pid for pid in list_children(server.process.pid) if "spawn_main" in read_command(pid)]
        assert len(workers) == 2
        server.process.kill()
        wait(lambda: not any("spawn_main" in read_command(pid) for pid in workers))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / paths.CHAMPION).unlink(), "lifecycle promote"),
        (lambda root: (root / paths.CHAMPION).write_text("{"), "champion.json is not JSON"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_cannot_be_served_is_a_sentence(
    root: Path, spoil: Callable[[Path], object], said: str, workers: str
) -> None:
    spoil(root)
    done = subprocess.run(
        [sys.executable, "-m", "lifecycle.cli.main", "serve", "--port", "0", "--workers", workers],
        env={**os.environ, paths.ROOT_VARIABLE: str(root)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


# --- swapping


def make_models(root: Path, count: int) -> list[Record]:
    return [write_release(root, float(number)) for number in range(count)]


def check_replies(load: Load, models: dict[str, float]) -> None:
    """Every answer is what the model that it names gives: none mixes two."""
    assert load.failures == []
    assert {reply["model"] for _, reply in load.replies} == set(models)
    possible = {
        name: {round(compute_probability(row, intercept), 9) for row in ROWS} for name, intercept in models.items()
    }
    for _, reply in load.replies:
        assert not reply["degraded"]
        assert round(reply["probability"], 9) in possible[reply["model"]]


def follow(load: Load, model: str) -> None:
    """Wait until a model answers."""
    wait(lambda: load.replies and load.replies[-1][1]["model"] == model[:12])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.integration)])
def test_twenty_swaps_under_load_lose_and_mix_nothing(tmp_path: Path, workers: int) -> None:
    models = make_models(tmp_path, 4)
    make_champion(tmp_path, models[0], models[3])
    with start_server(tmp_path, workers=workers, watch_seconds=0.05) as server, put_under_load(server, ROWS) as load:
        follow(load, models[0]["model"])
        for number in range(1, 21):
            make_champion(tmp_path, models[number % 4], models[(number - 1) % 4])
            follow(load, models[number % 4]["model"])
    check_replies(load, {record["model"][:12]: float(number) for number, record in enumerate(models)})


@pytest.mark.integration  # in `make prove`, MLflow moves twenty-one times
def test_promotions_and_a_rollback_reach_a_server_under_load(
    project: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands' own functions, on a registry of its own, while clients ask."""
    from lifecycle.core.paths import open_project
    from lifecycle.promotion.registry import promote_candidate, promote_version, rollback
    from tests.support.releases import build

    write_json({"model": None}, copy_store(store, project) / paths.CHAMPION)
    monkeypatch.chdir(project)
    opened, models = open_project(write=True), {}
    for number, strength in enumerate((0.5, 1.0)):
        model = build(opened, strength)
        bundle = write_small_bundle(opened.write(f"{paths.BUNDLE}/x").parent, model, float(number))
        write_json({**read_json(project / paths.BLESSING), "bundle": bundle}, project / paths.BLESSING)
        assert promote_candidate(opened, "churn").moved
        models[model] = float(number)
    first, second = models
    with start_server(project, watch_seconds=0.05) as server, put_under_load(server, ROWS) as load:
        follow(load, second)
        for number in range(size(4, 20)):
            model = (first, second)[number % 2]
            assert promote_version(opened, "churn", model).moved
            follow(load, model)
        assert rollback(opened, "churn").model == first
        follow(load, first)
    check_replies(load, {model[:12]: intercept for model, intercept in models.items()})


def test_a_champion_that_does_not_load_is_stood_in_for_and_told_of(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    plan = find_bundle_folder(root, champion["model"]) / "plan.json"
    kept = plan.read_bytes()
    plan.write_bytes(kept[:-2])
    with start_server(root, ready=False, watch_seconds=0.05) as server:
        reply = predict(server)
        assert reply["degraded"] and reply["model"] == champion["previous"][:12]
        assert reply["probability"] == pytest.approx(compute_probability(ROW, 0.0), abs=1e-12)
        status, told = ready(server)
        assert (status, told["status"], told["model"]) == (503, "degraded", champion["model"][:12])
        assert "plan.json is not the file" in told["problems"][0]
        assert ready(server, "?allow=degraded")[0] == 200
        assert read_metric(server, "model_degraded_predictions_total", by=champion["previous"][:12]) == 1
        assert read_metric(server, "model_ready") == 0
        plan.write_bytes(kept)
        os.utime(root / paths.CHAMPION)  # as promoting it again does
        wait(lambda: ready(server)[0] == 200)
        assert not predict(server)["degraded"]
        assert read_metric(server, "model_ready") == 1


def test_with_no_model_left_the_prior_answers(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    for model in (champion["model"], champion["previous"]):
        (find_bundle_folder(root, model) / "manifest.json").unlink()
    with start_server(root, ready=False) as server:
        reply = predict(server)
        assert (reply["probability"], reply["model"], reply["degraded"]) == (0.25, "prior", True)
        assert reply["prediction"] is None and reply["threshold"] is None
        assert predict(server, {**ROW, "e-mail": "ann@example.org"})["model"] == "prior"
        status, headers, body = server.ask("/predict", b"[1]")
        assert (status, headers["content-type"]) == (422, "application/problem+json"), body
        assert ready(server)[0] == 503 and len(ready(server)[1]["problems"]) == 2
        assert read_metric(server, "model_degraded_predictions_total", by="prior") == 2
        for path in ("/model", "/metrics", "/openapi.json"):
            assert server.ask(path)[0] == 200
    logged = [
        line for path in (root / paths.PREDICTIONS / SEGMENTS).iterdir() for line in path.read_text().splitlines()
    ]
    assert len(logged) == 2 and not any("ann@" in line or "spend" in line for line in logged)


def test_a_stand_in_that_does_not_load_is_told_of_and_no_more(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    (find_bundle_folder(root, champion["previous"]) / "plan.json").unlink()
    with start_server(root) as server:
        status, told = ready(server)
        assert (status, told["status"], len(told["problems"])) == (200, "ready", 1)
        assert not predict(server)["degraded"]


def test_a_champion_file_that_cannot_be_read_changes_nothing(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    with start_server(root, watch_seconds=0.05) as server:
        (root / paths.CHAMPION).write_text("{")
        wait(lambda: read_metric(server, "model_swaps_total", result="refused") == 1)
        assert predict(server)["model"] == champion["model"][:12] and not predict(server)["degraded"]
        make_champion(root, champion)
        wait(lambda: read_metric(server, "model_swaps_total", result="done") == 1)


@pytest.mark.integration
def test_a_model_that_is_too_slow_is_given_up_rests_and_is_asked_again(root: Path) -> None:
    """Eight thousand features: right, and far beyond the budget."""

    def burden(plan: Record) -> None:
        numbers, extra = plan["numbers"], [f"extra {place}" for place in range(8000)]
        derived = {"kind": "numeric", "expression": "log1p(months) * sqrt(months) + sin(months)", "columns": ["months"]}
        plan["features"] += [{"name": name, "values": None, **derived} for name in extra]
        numbers["names"] += extra
        for key, value in (("low", None), ("high", None), ("fill", 0.0), ("mean", 0.0), ("scale", 1.0)):
            numbers[key] += [value] * len(extra)
        plan["categories"][0]["start"] = 0
        plan["order"] = [*range(len(numbers["names"]) + 3)]
        weights = plan["model"]["coefficients"]
        plan["model"]["coefficients"] = [*weights[:3], *[0.0] * len(extra), *weights[3:]]

    champion = read_json(root / paths.CHAMPION)
    folder = find_bundle_folder(root, champion["model"])
    rewrite_plan(folder, burden)
    write_json({**champion, "bundle": hash_file(folder / "manifest.json")}, root / paths.CHAMPION)
    name, before = champion["model"][:12], champion["previous"][:12]
    with start_server(root, budget_seconds=0.002, cooldown_seconds=3) as server:
        reply = predict(server)
        assert (reply["model"], reply["degraded"]) == (before, True)
        assert reply["probability"] == pytest.approx(compute_probability(ROW, 0.0), abs=1e-12)
        assert "took longer than 0.002 s" in ready(server)[1]["problems"][0]
        assert predict(server)["model"] == before
        for kind in ("timeout", "cooldown"):
            assert read_metric(server, "model_failures_total", model=name, kind=kind) == 1
        wait(lambda: predict(server) and read_metric(server, "model_failures_total", kind="timeout") >= 2, pause=0.2)


# --- the shadow


def test_a_challenger_in_the_shadow_is_logged_and_never_returned(tmp_path: Path) -> None:
    champion, challenger = make_models(tmp_path, 2)
    make_champion(tmp_path, champion)
    with start_server(tmp_path, watch_seconds=0.05, flush_seconds=0.05) as server:
        write_json({"model": challenger["model"]}, tmp_path / paths.SHADOW)
        wait(lambda: json.loads(server.ask("/model")[2])["shadow"] == challenger["model"][:12])
        replies = [predict(server, row) for row in ROWS]
        wait(lambda: read_metric(server, "shadow_predictions_total", result="scored") == len(ROWS))
        write_json({"model": None}, tmp_path / paths.SHADOW)
        wait(lambda: json.loads(server.ask("/model")[2])["shadow"] is None)
        predict(server)
        server.stop()
    records, _ = read_log(tmp_path / paths.PREDICTIONS)
    shadowed = {record["id"]: record for record in records if record["kind"] == "shadow"}
    assert shadowed.keys() == {reply["request_id"] for reply in replies}
    for row, reply in zip(ROWS, replies, strict=True):
        assert (reply["model"], reply["probability"]) == (
            champion["model"][:12],
            pytest.approx(compute_probability(row)),
        )
        record = shadowed[reply["request_id"]]
        assert record["model"] == challenger["model"][:12]
        assert record["probability"] == pytest.approx(compute_probability(row, 1.0), abs=1e-12)


def test_a_challenger_that_fails_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    champion, challenger = make_models(tmp_path, 2)
    make_champion(tmp_path, champion)
    rewrite_plan(find_bundle_folder(tmp_path, challenger["model"]), make_hole)
    write_json({"model": challenger["model"]}, tmp_path / paths.SHADOW)
    with start_server(tmp_path) as server:
        for months in (20, 70):
            reply = predict(server, {**ROW, "months": months})
            assert (reply["model"], reply["degraded"]) == (champion["model"][:12], False)
        wait(lambda: read_metric(server, "shadow_predictions_total") == 2)
        assert read_metric(server, "shadow_predictions_total", result="failed") == 1


# --- the log


WINDOW, MARGIN = 0.1, 0.5  # the margin is the machine's, which may be busy


def kill_under_load(root: Path, chance: random.Random) -> float:
    """Kill a server under load and check its log; the age of the oldest answer that was lost, in seconds."""
    folder = root / f"log {chance.random()}"
    settings = {"log_folder": folder, "flush_seconds": WINDOW, "segment_bytes": 50_000}
    with start_server(root, **settings) as server, put_under_load(server, ROWS) as load:
        wait(lambda: len(load.replies) > 50)
        time.sleep(WINDOW + MARGIN + chance.uniform(0, WINDOW))
        server.process.kill()
        killed = time.monotonic()
        server.process.wait()
    records, damaged = read_log(folder)
    found = [record["id"] for record in records]
    assert damaged <= 1, "at most the line that was being written"
    assert len(found) == len(set(found))
    given = {reply["request_id"]: at for at, reply in load.replies if at <= killed}
    assert set(list(given)[:20]) <= set(found)
    lost = max((killed - given[identity] for identity in given.keys() - set(found)), default=0.0)
    assert lost < WINDOW + MARGIN
    return lost


@pytest.mark.integration
def test_killed_under_load_it_loses_no_more_than_the_window(root: Path) -> None:
    kill_under_load(root, random.Random(0))  # noqa: S311


@pytest.mark.integration  # in `make prove`, half a minute of killing
def test_kills_lose_no_more_than_the_window(root: Path) -> None:
    chance = random.Random(1)  # noqa: S311
    lost = [kill_under_load(root, chance) for _ in range(size(2, 20))]
    print(f"the oldest answer lost was {max(lost):.3f} s old; the window is {WINDOW} s")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        assert not os.environ.get("CI"), "CI is root, and may mount"
        pytest.skip("a small disk cannot be mounted here: root may")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.integration  # mounts a disk
def test_a_full_disk_is_a_metric_and_a_warning_and_no_failed_prediction(root: Path, full_disk: Path) -> None:
    with start_server(root, log_folder=full_disk, flush_seconds=0.05) as server:
        with put_under_load(server, ROWS) as load:
            wait(lambda: read_metric(server, "prediction_log_healthy") == 0)
            seen = len(load.replies)
            wait(lambda: len(load.replies) > seen + 500)
        assert load.failures == []
        assert ready(server)[0] == 200
        wait(lambda: any("No space left" in line for line in server.errors))
    records, damaged = read_log(full_disk)
    assert damaged == 0 and len(records) > 100


def test_a_log_that_cannot_be_written_is_told_of_and_no_prediction_fails(root: Path) -> None:
    blocked = root / "a file"
    blocked.write_text("where a folder was wanted")
    with start_server(root, log_folder=blocked, flush_seconds=0.05) as server:
        reply = predict(server)
        wait(lambda: read_metric(server, "prediction_log_healthy") == 0)
        told = {"request_id": reply["request_id"], "label": "yes"}
        assert server.ask("/feedback", json.dumps(told).encode())[0] == 200
        assert any("only this process will recognise its request ids" in line for line in server.errors)
        assert not any("Traceback" in line for line in server.errors)
    assert blocked.read_text() == "where a folder was wanted"
