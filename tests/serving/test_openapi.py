"""The document that describes the service, without the service: test_app.py asks a running one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from lifecycle.core.paths import RELEASES
from lifecycle.serving import dashboard
from lifecycle.serving.app import Service
from lifecycle.serving.bundle import Bundle, load_bundle
from lifecycle.serving.openapi import PAGE, PAGES, START, describe_service, read_page
from lifecycle.serving.settings import Settings, read_settings
from tests.support.bundles import COLUMNS, OTHERS, ROW, make_champion, write_release

Record = dict[str, Any]
DOCUMENT = "urn:document"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    return make_champion(root, write_release(root))


@pytest.fixture(scope="module")
def bundle(root: Path) -> Bundle:
    return load_bundle(next((root / RELEASES).glob("*/bundle")))


def describe(bundle: Bundle | None, **settings: Any) -> Record:
    """The document as a client gets it."""
    told: Record = json.loads(json.dumps(describe_service(bundle, read_settings({}, **settings)), allow_nan=False))
    return told


@pytest.fixture(params=["bundle", "locked", "without"])
def document(request: pytest.FixtureRequest, bundle: Bundle) -> Record:
    """Each of the documents: of a bundle, with keys, and where no bundle is loaded."""
    if request.param == "locked":
        return describe(bundle, api_keys="first,second")
    return describe(bundle if request.param == "bundle" else None)


def check(document: Record, schema: Record, value: Any) -> None:
    """Validate a value against a schema that stands in the document."""
    registry: Registry[Any] = Registry().with_resource(DOCUMENT, DRAFT202012.create_resource(document))
    text = json.dumps(schema).replace('"#/', f'"{DOCUMENT}#/')
    Draft202012Validator(json.loads(text), registry=registry).validate(value)


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a document, with what it holds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def list_operations(document: Record) -> Iterator[tuple[str, Record]]:
    for path, item in document["paths"].items():
        assert item.keys() <= METHODS
        yield from ((path, operation) for operation in item.values())


def find_schemas(document: Record) -> Iterator[Record]:
    yield from document["components"]["schemas"].values()
    for key, value in walk(document["paths"]):
        if key == "schema":
            yield value


def test_it_is_openapi_3_1(document: Record) -> None:
    """By FastAPI's model of the specification; what that leaves open is looked at below."""
    told = OpenAPI.model_validate(document)
    assert told.openapi == "3.1.0" and told.info.title and told.info.version
    assert document.keys() <= {"openapi", "info", "paths", "components"}
    names = [operation["operationId"] for _, operation in list_operations(document)]
    assert len(set(names)) == len(names) == 8
    for path, operation in list_operations(document):
        assert operation["summary"], path
        assert operation["responses"] and all(answer["description"] for answer in operation["responses"].values())
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"])
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "query" and parameter["schema"]


def test_every_schema_is_one_and_every_reference_leads_somewhere(document: Record) -> None:
    for schema in find_schemas(document):
        Draft202012Validator.check_schema(schema)
    references = {value for key, value in walk(document) if key == "$ref"}
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_every_path_is_there_and_no_other(root: Path, document: Record) -> None:
    service = Service(root, Settings())
    service.log.close()
    taken = {path: {method.lower() for method in methods} - {"head"} for path, methods in service.methods.items()}
    assert {path: set(item) for path, item in document["paths"].items()} == {
        path: methods
        for path, methods in taken.items()
        if path not in {*PAGES, *dashboard.PAGES, dashboard.HISTORY, "/openapi.json"} or path == "/dashboard"
    }


def test_the_examples_are_what_the_parser_takes_and_the_schemas_say(bundle: Bundle) -> None:
    document = describe(bundle)
    operation = document["paths"]["/predict"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    for name, example in body["examples"].items():
        check(document, body["schema"], example["value"])
        parsed = bundle.schema.parse(json.dumps(example["value"]).encode())
        assert parsed.listed == (name == "list") and parsed.rows[0] == ROW
    answer = operation["responses"]["200"]["content"]["application/json"]
    check(document, answer["schema"], answer["example"])
    told = answer["example"]
    assert told["probability"] == bundle.score_one(ROW)
    assert told["prediction"] == ("yes" if told["probability"] >= bundle.manifest.threshold else "no")
    assert told["confidence"] == max(told["probability"], 1 - told["probability"])  # the threshold is a half
    assert told["model"] == bundle.name == document["info"]["version"]


ANSWER: Record = {
    "prediction": "yes", "probability": 0.7, "confidence": 0.7, "request_id": "x", "threshold": 0.5, "model": "0" * 12,
    "degraded": False,
}  # fmt: skip
SHARED = {"threshold": 0.5, "model": "0" * 12, "degraded": True}
ONE = {key: ANSWER[key] for key in ("prediction", "probability", "confidence", "request_id")}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"explanation": None}, True),
        ({"explanation": {"base": 0.1, "others": 0.0, "contributions": []}}, True),
        ({"prediction": None, "threshold": None, "model": "prior"}, True),
        ({"prediction": "maybe"}, False),
        ({"probability": "0.7"}, False),
        ({"degraded": None}, False),
        ({"ignored": ["customer"]}, True),
        ({"ignored": 1}, False),
        ({"unseen": ["plan"]}, True),
        ({"predictions": [ONE]}, False),
    ],
)
def test_an_answer_has_one_of_two_forms(bundle: Bundle, change: Record, fits: bool) -> None:
    document = describe(bundle)
    schema = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    told = Draft202012Validator({**schema, "components": document["components"]})
    assert told.is_valid({**ANSWER, **change}) is fits
    listed = {"predictions": [{**ONE, **change}], **SHARED}
    if change.keys() <= {"prediction", "probability", "explanation", "unseen"}:
        assert told.is_valid(listed) is fits
    assert not told.is_valid(ONE) and not told.is_valid(SHARED)


@pytest.mark.parametrize(
    ("label", "fits"),
    [
        ({"request_id": "x", "label": "yes"}, True),
        ([{"request_id": "x", "label": "no"}], True),
        ({"request_id": "x", "label": "perhaps"}, False),
        ({"request_id": "x"}, False),
        ({"request_id": "x", "action": "called"}, True),
        ({"request_id": "x", "label": "yes", "action": "a" * 80}, True),
        ({"request_id": "x", "label": "yes", "action": "a" * 81}, False),
        ({"request_id": "x", "action": ""}, False),
        ({"request_id": "x", "label": "yes", "action": None}, False),
        ({"label": "yes", "action": "called"}, False),
        ({"request_id": 5, "label": "yes"}, False),
        ({"request_id": "x", "label": "yes", "more": 1}, False),
        ([], False),
    ],
)
def test_a_truth_is_one_of_the_classes(bundle: Bundle, label: Any, fits: bool) -> None:
    document = describe(bundle)
    schema = document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert Draft202012Validator({**schema, "components": document["components"]}).is_valid(label) is fits


def test_the_row_is_that_of_the_contract(bundle: Bundle) -> None:
    document = describe(bundle)
    row = document["components"]["schemas"]["Row"]
    columns = [column["name"] for column in COLUMNS]
    assert list(row["properties"]) == [*columns, *OTHERS, ""]
    assert list(describe(bundle, strict=True)["components"]["schemas"]["Row"]["properties"]) == columns
    assert row["additionalProperties"] is False and set(row["required"]) == {"months", "senior"}
    assert "example" not in row  # JSON Schema 2020-12 has `examples`; the request has the row


def test_limits_are_those_of_the_settings(bundle: Bundle) -> None:
    document = describe(bundle, max_rows=7, max_explained=3)
    operation = document["paths"]["/predict"]["post"]
    _, rows = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert (rows["minItems"], rows["maxItems"]) == (1, 7)
    assert "at most 3 rows" in operation["parameters"][0]["description"]


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_each_refusal_is_a_problem(bundle: Bundle, path: str) -> None:
    document = describe(bundle)
    answers = document["paths"][path]["post"]["responses"]
    assert answers.keys() == {"200", "400", "401", "408", "413", "415", "422", "429"}
    problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "The body is not JSON."}
    for status, answer in answers.items():
        if status != "200":
            ((kind, content),) = answer["content"].items()
            assert kind == "application/problem+json"
            check(document, content["schema"], problem)
            check(
                document, content["schema"], {**problem, "errors": [{"field": "months", "got": "1", "expected": "x"}]}
            )


def test_readiness_may_be_refused(document: Record) -> None:
    answers = document["paths"]["/ready"]["get"]["responses"]
    assert answers.keys() == {"200", "422", "503"}
    assert document["paths"]["/health"]["get"]["responses"].keys() == {"200"}


def test_findings_may_not_be_there_yet(document: Record) -> None:
    assert document["paths"]["/monitor"]["get"]["responses"].keys() == {"200", "404"}


def test_keys_are_asked_for_where_they_are_set(bundle: Bundle) -> None:
    locked, opened = describe(bundle, api_keys="secret"), describe(bundle)
    assert locked["components"]["securitySchemes"].keys() == {"bearer", "key"}
    asked = {path for path, operation in list_operations(locked) if operation.get("security")}
    assert asked == {"/predict", "/feedback", "/model"}
    for _, operation in list_operations(locked):
        for way in operation.get("security", []):
            assert way.keys() <= locked["components"]["securitySchemes"].keys()
    assert "securitySchemes" not in opened["components"] and "secret" not in json.dumps(locked)
    assert not any(operation.get("security") for _, operation in list_operations(opened))


def test_the_page_and_what_it_loads_come_from_here() -> None:
    for path in PAGES:
        kind, body = read_page(path)
        assert kind.startswith(b"text/") and len(body) > 50
    addresses = re.findall(r'(?:src|href)="([^"]*)"', PAGE)
    assert set(addresses) == set(PAGES) - {"/docs"}
    assert "//" not in PAGE + START
    style = read_page("/docs/swagger-ui.css")[1].decode()
    assert all(address.strip("\"'").startswith("data:") for address in re.findall(r"url\(([^)]{1,20})", style))
