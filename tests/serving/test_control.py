"""The control group, and the actions that are reported after a prediction: what is answered, and what the log keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from lifecycle.core import paths
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.prediction_log.compaction import compact_segments
from lifecycle.prediction_log.reader import read_predictions
from lifecycle.serving.acceptance import start_server
from lifecycle.serving.bundle import MANIFEST
from lifecycle.serving.control import ControlGroup
from tests.support.bundles import ROW, make_champion, write_release

Record = dict[str, Any]
NAMES = [f"customer {number}" for number in range(20_000)]
QUICK: Record = {"drain_seconds": 0, "flush_seconds": 0.02, "log_key": "a secret"}


def make_root(root: Path) -> Path:
    """A project whose bundle knows the column that names the entity."""
    champion = write_release(root)
    manifest = root / paths.RELEASES / champion["model"][:12] / "bundle" / MANIFEST
    write_json({**read_json(manifest), "entity": "customer"}, manifest)
    return make_champion(root, {**champion, "bundle": hash_file(manifest)})


def send(server: Any, path: str, value: Any) -> Any:
    status, _, body = server.ask(path, json.dumps(value).encode())
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_control_group_has_its_share(share: float) -> None:
    held = np.mean([ControlGroup(b"key", share).holds(name) for name in NAMES])
    assert abs(held - share) < 4 * math.sqrt(share * (1 - share) / len(NAMES))


def test_none_or_all_can_be_in_the_control_group() -> None:
    assert not any(ControlGroup(b"key", 0).holds(name) for name in NAMES[:1000])
    assert all(ControlGroup(b"key", 1).holds(name) for name in NAMES[:1000])


def test_a_larger_share_keeps_the_group_and_another_key_draws_another() -> None:
    small, large, other = ControlGroup(b"key", 0.1), ControlGroup(b"key", 0.3), ControlGroup(b"other", 0.3)
    group = [name for name in NAMES if small.holds(name)]
    assert all(large.holds(name) for name in group)
    assert abs(np.mean([other.holds(name) for name in group]) - 0.3) < 0.05


def test_a_server_marks_entities_and_the_log_keeps_their_group(tmp_path: Path) -> None:
    """An entity stays in its group whatever its columns say, as a number or as text, after a restart and when it is alone."""
    root = make_root(tmp_path)
    rows = [{**ROW, "months": number % 100, "customer": number // 2} for number in range(400)]
    with start_server(root, control_share=0.3, **QUICK) as server:
        first = send(server, "/predict", rows)["predictions"]
        nameless = send(server, "/predict", [ROW] * 400)["predictions"]
        schemas = json.loads(server.ask("/openapi.json")[2])["components"]["schemas"]
    group = {row["customer"]: answer["control"] for row, answer in zip(rows, first, strict=True)}
    assert [group[row["customer"]] for row in rows] == [answer["control"] for answer in first]
    assert 0.15 < np.mean(list(group.values())) < 0.45
    assert 0.2 < np.mean([answer["control"] for answer in nameless]) < 0.4, "without an entity it is by request"
    assert "control" in schemas["Prediction"]["required"]
    with start_server(root, control_share=0.3, **QUICK) as server:
        again = send(server, "/predict", {**ROW, "months": 99, "customer": "7"})
    assert again["control"] == group[7]
    Draft202012Validator(schemas["Prediction"]).validate(again)
    logged = {record["id"]: record["control"] for record in read_predictions(root / paths.PREDICTIONS).to_pylist()}
    answers = [*first, *nameless, again]
    assert logged == {answer["request_id"]: answer["control"] for answer in answers}
    control = np.array([answer["control"] for answer in nameless + first])
    score = np.array([answer["probability"] for answer in nameless + first])
    assert abs(np.corrcoef(control, score)[0, 1]) < 0.15, "the group says nothing about the score"


def test_without_a_share_neither_answers_nor_records_have_a_group(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with start_server(root, **QUICK) as server:
        answer = send(server, "/predict", {**ROW, "customer": 7})
        document = json.loads(server.ask("/openapi.json")[2])
    assert "control" not in answer
    assert "control" not in document["components"]["schemas"]["Prediction"]["properties"]
    lines = b"".join(path.read_bytes() for path in (root / paths.PREDICTIONS / "segments").iterdir())
    assert answer["request_id"].encode() in lines and b"control" not in lines


def test_an_action_is_logged_beside_a_label_or_alone(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with start_server(root, **QUICK) as server:
        one, two, three = (send(server, "/predict", ROW)["request_id"] for _ in range(3))  # each predicts yes
        assert send(server, "/feedback", {"request_id": one, "action": "called"}) == {
            "request_id": one,
            "correct": None,
        }
        reports = [
            {"request_id": one, "label": "yes"},
            {"request_id": two, "label": "no", "action": "é" * 80},
            {"request_id": three, "action": "called"},
        ]
        assert [answer["correct"] for answer in send(server, "/feedback", reports)] == [True, False, None]
        metrics = server.ask("/metrics")[2].decode()
    assert sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("model_feedback_total")) == 2
    for _ in range(2):  # in segments, then in Parquet files
        actions = read_predictions(root / paths.PREDICTIONS, "action").to_pylist()
        assert [(record["id"], record["action"]) for record in actions] == [
            (one, "called"), (two, "é" * 80), (three, "called"),
        ]  # fmt: skip
        labels = read_predictions(root / paths.PREDICTIONS, "feedback").to_pylist()
        assert [(record["id"], record["label"]) for record in labels] == [(one, "yes"), (two, "no")]
        compact_segments(root / paths.PREDICTIONS)
    assert (root / paths.PREDICTIONS / "action").is_dir()
