"""Predictions for an entity id: its columns come from the feature store, and the row goes the way of any other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.prediction_log.reader import read_predictions
from lifecycle.serving.acceptance import ServerProcess, start_server
from lifecycle.serving.entities import read_entities
from lifecycle.serving.schema import Schema
from lifecycle.serving.settings import read_settings
from tests.support.bundles import COLUMNS, ROW, compute_probability, make_champion, write_release
from tests.support.servers import find_port, start_redis
from tests.support.stores import DTYPES, ROWS, write_small_rows

Record = dict[str, Any]
QUICK: Record = {"drain_seconds": 0, "flush_seconds": 0.02, "store_timeout": 5}
EMBEDDED = "sqlite:///.lifecycle/features.db"


def make_root(root: Path) -> Path:
    write_small_rows(root)
    return make_champion(root, write_release(root))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = make_root(tmp_path_factory.mktemp("project"))
    with start_server(root, feature_store=EMBEDDED, max_rows=50, **QUICK) as server:
        yield server


def predict(server: ServerProcess, value: Any, query: str = "") -> tuple[int, Any]:
    status, _, body = server.ask(f"/predict{query}", json.dumps(value).encode())
    return status, json.loads(body)


def read_row(entity: Any) -> Record:
    return dict(zip(DTYPES, ROWS[entity], strict=True))


def test_an_entity_is_predicted_as_its_row_is(server: ServerProcess) -> None:
    for entity in (1, 2, 3.0, 17):
        status, answer = predict(server, {"entity_id": entity})
        assert status == 200, answer
        assert answer["probability"] == pytest.approx(compute_probability(read_row(int(entity))), abs=1e-12)
        assert answer["entity_id"] == entity and answer["features"] in ("computed", "cached")
        assert predict(server, {"entity_id": entity})[1]["features"] == "cached"
    status, plain = predict(server, read_row(17))
    assert status == 200 and answer.keys() - plain.keys() == {"entity_id", "features"}


def test_what_stands_beside_an_id_goes_before_what_the_store_has(server: ServerProcess) -> None:
    status, answer = predict(server, {"entity_id": 1, "months": 70, "plan": None})
    expected = compute_probability({**read_row(1), "months": 70, "plan": None})
    assert (status, answer["probability"]) == (200, pytest.approx(expected, abs=1e-12))
    everything = predict(server, {"entity_id": 2, **ROW})[1]
    assert everything["probability"] == pytest.approx(compute_probability(ROW), abs=1e-12)


def test_a_list_may_mix_rows_and_entities(server: ServerProcess) -> None:
    status, answer = predict(server, [{"entity_id": 1}, ROW, {"entity_id": 2, "senior": 0}, {"entity_id": 1}])
    assert status == 200
    expected = [compute_probability(row) for row in (read_row(1), ROW, {**read_row(2), "senior": 0}, read_row(1))]
    assert [told["probability"] for told in answer["predictions"]] == pytest.approx(expected, abs=1e-12)
    assert [told.get("entity_id") for told in answer["predictions"]] == [1, None, 2, 1]
    assert "features" not in answer["predictions"][1]


def test_an_entity_is_explained(server: ServerProcess) -> None:
    status, answer = predict(server, {"entity_id": 17}, "?explain=true")
    contributions = {told["column"]: told["value"] for told in answer["explanation"]["contributions"]}
    assert status == 200 and contributions["months"] == 17


@pytest.mark.parametrize(
    ("value", "status", "told"),
    [
        ({"entity_id": 99}, 404, "the feature store has no row of id (int64) 99."),
        ({"entity_id": "1"}, 404, "the feature store has no row of id (int64) '1'."),
        ({"entity_id": 10**30}, 404, "no row of id (int64) 10000000"),
        ([{"entity_id": 1}, *({"entity_id": 90 + n} for n in range(5))], 404, "90, 91, 92 and 2 more."),
        ({"entity_id": None}, 422, "entity_id: got null, expected an id: a whole number or a string."),
        ({"entity_id": True}, 422, "entity_id: got true, expected an id"),
        ({"entity_id": 1.5}, 422, "entity_id: got 1.5, expected an id"),
        ([ROW, {"entity_id": {}}], 422, "entity_id: got object of 0, expected an id"),
        ({"entity_id": 1, "months": -1}, 422, "months: got -1, expected a whole number from 0 to 100"),
        ({"entity_id": 1, "speed": 3}, 422, "speed: got 3, expected no such column"),
        ([{"entity_id": 1}, {"months": 1}], 422, "senior: got nothing, expected one of 0, 1"),
        ([{"entity_id": 1}, 3], 422, "(body): got 3, expected an object"),
        ([{"entity_id": 1}] * 51, 413, "at most 50 rows"),
        ({"plan": "entity_id"}, 422, "months"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_a_sentence(
    server: ServerProcess, value: Any, status: int, told: str
) -> None:
    given, problem = predict(server, value)
    assert given == status and (told in problem["detail"] or told in str(problem.get("errors"))), problem


def test_broken_json_that_names_an_entity_is_broken_json(server: ServerProcess) -> None:
    status, _, body = server.ask("/predict", b'{"entity_id": 1,}')
    assert status == 400 and b"not JSON" in body


def test_metrics_tell_hits_and_freshness(server: ServerProcess) -> None:
    predict(server, {"entity_id": 5})
    predict(server, {"entity_id": 5})
    told = dict(re.findall(r"^(feature_store\S+) (\S+)$", server.ask("/metrics")[2].decode(), re.MULTILINE))
    assert float(told['feature_store_lookups_total{result="cached"}']) >= 1
    assert float(told['feature_store_lookups_total{result="computed"}']) >= 1
    assert told["feature_store_up"] == "1.0" and told["feature_store_entities"] == str(float(len(ROWS)))
    assert float(told["feature_store_materialized_timestamp_seconds"]) > 1.7e9
    assert float(told["feature_store_age_seconds_count"]) >= 1 and float(told["feature_store_seconds_count"]) >= 2


def test_the_document_describes_it(server: ServerProcess) -> None:
    document = json.loads(server.ask("/openapi.json")[2])
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    root = Resource.from_contents({**document, "$schema": "https://json-schema.org/draft/2020-12/schema"}, DRAFT202012)

    def takes(part: Any, value: Any) -> bool:
        text = json.dumps(part).replace("#/components", "urn:doc#/components")
        validator = Draft202012Validator(json.loads(text), registry=Registry().with_resource("urn:doc", root))
        return bool(validator.is_valid(value))

    for value in (ROW, {"entity_id": 1}, {"entity_id": "a", "months": 3}, [ROW, {"entity_id": 1}]):
        assert takes(schema, value), value
    for value in ({}, {"entity_id": 1.5}, {"entity_id": 1, "speed": 3}, [{"entity_id": None}]):
        assert not takes(schema, value), value
    for value in ({"entity_id": 1}, ROW):
        answer = {"$ref": "#/components/schemas/Prediction"}
        assert takes(answer, predict(server, value)[1])
    assert {"404", "503"} <= document["paths"]["/predict"]["post"]["responses"].keys()


def test_the_log_keeps_the_resolved_row(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with start_server(root, feature_store=EMBEDDED, **QUICK) as server:
        assert predict(server, {"entity_id": 17, "senior": 1})[0] == 200
    (logged,) = read_predictions(root / paths.PREDICTIONS).to_pylist()
    assert logged["features"] == {**read_row(17), "senior": 1}


def test_redis_is_killed_and_predictions_go_on(tmp_path: Path) -> None:
    root, port = make_root(tmp_path / "project"), find_port()
    url = f"redis://127.0.0.1:{port}/0"
    with start_server(root, feature_store=url, **QUICK) as server:
        with start_redis(tmp_path / "redis", port):
            assert [predict(server, {"entity_id": 7})[1]["features"] for _ in range(2)] == ["computed", "cached"]
        answers = [predict(server, {"entity_id": 7}) for _ in range(20)]
        assert {(status, answer["features"]) for status, answer in answers} == {(200, "direct")}
        assert answers[0][1]["probability"] == pytest.approx(compute_probability(read_row(7)), abs=1e-12)
        assert b"feature_store_up 0.0" in server.ask("/metrics")[2]
    assert sum("features are computed directly" in line for line in server.errors) in (1, 2)


def test_without_a_store_such_a_request_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with start_server(make_root(tmp_path), **QUICK) as server:
        status, problem = predict(server, {"entity_id": 1})
        assert (status, problem["detail"]) == (
            422, "entity_id: rows cannot name entities: LIFECYCLE_FEATURE_STORE names no feature store.",
        )  # fmt: skip
        assert "Entity" not in json.loads(server.ask("/openapi.json")[2])["components"]["schemas"]
        assert b"feature_store" not in server.ask("/metrics")[2]


def test_without_rows_only_such_requests_fail(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / paths.ONLINE_ROWS).unlink()
    with start_server(root, feature_store=EMBEDDED, workers=2, **QUICK) as server:
        status, problem = predict(server, {"entity_id": 1})
        assert status == 503 and "run `lifecycle materialize`" in problem["detail"]
        assert predict(server, ROW)[0] == 200
        write_small_rows(root)
        assert predict(server, {"entity_id": 1})[0] == 200
        assert b"feature_store_up 1.0" in server.ask("/metrics")[2]


def test_a_column_of_the_model_that_has_the_name_keeps_it() -> None:
    column = {**COLUMNS[0], "name": "entity_id"}
    body = b'{"entity_id": 1}'
    assert read_entities(body, Schema(COLUMNS, 10)) == ([{"entity_id": 1}], False)
    schema = Schema([column, *COLUMNS[1:]], 10)
    assert read_entities(body, schema) is None
    assert (
        schema.parse(json.dumps({**ROW, "entity_id": 3} | {}).replace('"months": 12, ', "").encode()).rows[0][
            "entity_id"
        ]
        == 3
    )


def test_an_id_beside_the_entity_is_ignored_like_other_columns(server: ServerProcess) -> None:
    status, answer = predict(server, {"entity_id": 17, "customer": 17, "left": "no"})
    assert (status, answer["ignored"], answer["entity_id"]) == (200, ["customer", "left"], 17)
    assert answer["probability"] == predict(server, {"entity_id": 17})[1]["probability"]


@pytest.mark.parametrize("store", ["", EMBEDDED])
def test_an_id_column_may_be_called_as_the_field_that_names_an_entity(tmp_path: Path, store: str) -> None:
    """Without a feature store it is a column that the model does not read; with one it names the entity."""
    root = make_root(tmp_path)
    (manifest,) = (root / paths.RELEASES).glob("*/bundle/manifest.json")
    write_json({**read_json(manifest), "other_columns": ["entity_id"]}, manifest)
    champion = read_json(root / paths.CHAMPION)
    write_json({**champion, "bundle": hash_file(manifest)}, root / paths.CHAMPION)
    with start_server(root, feature_store=store, **QUICK) as server:
        status, answer = predict(server, {"entity_id": 17, **ROW})
        assert (status, answer["probability"]) == (200, pytest.approx(compute_probability(ROW), abs=1e-12))
        assert answer.get("entity_id") == (17 if store else None)
        assert answer.get("ignored") == (None if store else ["entity_id"])
        document = json.loads(server.ask("/openapi.json")[2])["components"]["schemas"]
        assert ("entity_id" in document["Row"]["properties"]) == (not store)


@pytest.mark.parametrize("url", ["redis://:s3cret@h:port", "postgresql://:s3cret@h/d"])
def test_an_address_that_is_none_stops_the_server_without_its_password(tmp_path: Path, url: str) -> None:
    with (
        pytest.raises(ProjectError, match="is not an address") as error,
        start_server(make_root(tmp_path), feature_store=url),
    ):
        pass
    assert "s3cret" not in str(error.value)
    assert "s3cret" not in repr(read_settings({"LIFECYCLE_FEATURE_STORE": url}))
