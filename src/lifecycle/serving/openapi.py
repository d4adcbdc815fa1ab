"""The service described: an OpenAPI 3.1 document with the contract's columns and examples, and the page that shows it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lifecycle.serving.bundle import Bundle, encode_row
from lifecycle.serving.entities import FIELD
from lifecycle.serving.settings import Settings

Record = dict[str, Any]
TITLE = "Lifecycle"
PREDICTIONS, SERVICE = "predictions", "service"  # under which the page shows the paths
POLICY = b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{TITLE}: the service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
START = """window.onload = () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null,
});
"""
PAGES = ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")
PREDICTION: Record = {
    "prediction": {"description": "The class at the threshold; null when nothing that knows one was loaded."},
    "probability": {"type": "number", "description": "Of the positive class."},
    "confidence": {"type": "number", "description": "The probability of the class that was predicted."},
    "request_id": {"type": "string", "description": "What POST /feedback takes."},
    "explanation": {
        "type": ["object", "null"],
        "description": "With ?explain=true: Shapley values in probability; base, contributions and others add up to it.",
    },
}
SHARED: Record = {
    "threshold": {"type": ["number", "null"]},
    "model": {"type": "string", "description": "The first twelve digits of the model's content hash, or `prior`."},
    "degraded": {"type": "boolean", "description": "The champion could not answer; a stand-in did."},
}


def read_page(path: str) -> tuple[bytes, bytes]:
    """Content type and bytes of one of PAGES. Swagger UI's files are those that a package brings: nothing is fetched."""
    if path == "/docs":
        return b"text/html; charset=utf-8", PAGE.encode()
    if path == "/docs/start.js":
        return b"text/javascript; charset=utf-8", START.encode()
    spec = find_spec("fastapi_swagger")  # only its files are wanted: importing it would import FastAPI
    assert spec is not None and spec.origin is not None
    kind = b"text/css" if path.endswith(".css") else b"text/javascript"
    return kind + b"; charset=utf-8", (Path(spec.origin).parent / "resources" / Path(path).name).read_bytes()


NAMED: Record = {  # what is told where a row named an entity
    "entity_id": {"type": ["integer", "string"], "description": "As it was asked for."},
    "features": {
        "enum": ["cached", "computed", "direct"],
        "description": "Where they come from: the cache, the entity's row, or its row because the cache does not answer.",
    },
}


def describe_service(bundle: Bundle | None, settings: Settings) -> Record:
    """The OpenAPI document; without a bundle rows are any objects."""
    row: Record = bundle.schema.to_json_schema() if bundle else {"type": "object", "example": {}}
    example = row.pop("example", {})
    labels = [bundle.manifest.negative, bundle.manifest.positive] if bundle else None
    prediction = {
        **PREDICTION,
        "prediction": {**PREDICTION["prediction"], **({"enum": [*labels, None]} if labels else {})},
    }
    named = bundle is not None and bool(settings.store.get_secret_value()) and FIELD not in bundle.schema.columns
    kinds = [refer("Row"), *([refer("Entity")] if named else [])]
    items = {"oneOf": kinds} if named else kinds[0]
    rows: Record = {"type": "array", "items": items, "minItems": 1, "maxItems": settings.max_rows}
    if named:
        prediction |= NAMED
    optional = ("explanation", *(NAMED if named else ()))
    truth = {"request_id": {"type": "string"}, "label": {"enum": labels} if labels else {}}
    schemas: Record = {
        "Row": row,
        "Prediction": describe_object({**prediction, **SHARED}, optional=optional),
        "Predictions": describe_object({
            "predictions": {"type": "array", "items": describe_object(prediction, optional=optional)}, **SHARED,
        }),
        "Truth": {**describe_object(truth), "additionalProperties": False},
        "Problem": describe_object(
            {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
             "detail": {"type": "string"}, "errors": {"type": "array", "items": {"type": "object"}}}, optional=("errors",),
        ),
    }  # fmt: skip
    if named:
        schemas["Entity"] = describe_entity(row)
    examples = {
        "one": {"summary": "One row", "value": example},
        "list": {"summary": "A list", "value": [example, example]},
        **(
            {"entity": {"summary": "An entity, whose columns the feature store has", "value": {FIELD: 1}}}
            if named
            else {}
        ),
    }
    told = golden_example(bundle)
    predict = {
        "operationId": "predict",
        "tags": [PREDICTIONS],
        "summary": "Predict one row or a list",
        "parameters": [
            {"name": "explain", "in": "query", "schema": {"type": "boolean", "default": False},
             "description": f"Add what moved each prediction; at most {settings.max_explained} rows."}
        ],
        "requestBody": {"required": True, "content": {"application/json": {
            "schema": {"oneOf": [*kinds, rows]}, "examples": examples,
        }}},
        "responses": {
            "200": describe_answer("The predictions", {"oneOf": [refer("Prediction"), refer("Predictions")]}, told),
            **list_refusals("400", "401", *(["404"] if named else []), "408", "413", "415", "422", "429"),
            **(list_refusals("503") if named else {}),
        },
    }  # fmt: skip
    feedback = {
        "operationId": "feedback",
        "tags": [PREDICTIONS],
        "summary": "Tell what became of a prediction",
        "requestBody": {"required": True, "content": {"application/json": {
            "schema": {"oneOf": [refer("Truth"), {"type": "array", "items": refer("Truth"), "minItems": 1,
                                                  "maxItems": settings.max_rows}]},
        }}},
        "responses": {
            "200": describe_answer("Whether the prediction was right"),
            **list_refusals("400", "401", "408", "413", "415", "422", "429"),
        },
    }  # fmt: skip
    unready = {"503": describe_answer("Not ready, and why"), **list_refusals("422")}
    allow: Record = {"name": "allow", "in": "query", "schema": {"enum": ["degraded"]}, "required": False}
    keys: Record = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    locked: Record = {"security": [{"bearer": []}, {"key": []}]} if settings.api_keys else {}
    model = {
        "operationId": "model",
        "tags": [SERVICE],
        "responses": {"200": describe_answer("The model"), **list_refusals("401", "429")},
    }
    purpose = f"The probability that {bundle.manifest.target} is {bundle.manifest.positive}." if bundle else ""
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": bundle.name if bundle else "prior", **({"description": purpose} if purpose else {})},
        "paths": {
            "/predict": {"post": {**predict, **locked}},
            "/feedback": {"post": {**feedback, **locked}},
            "/model": {"get": {"summary": "Which model is live, since when and why", **model, **locked}},
            "/health": {"get": describe_probe("health", "The process answers")},
            "/ready": {
                "get": describe_probe("ready", "The champion gives its golden answers", unready) | {"parameters": [allow]}
            },
            "/metrics": {
                "get": {"operationId": "metrics", "tags": [SERVICE], "summary": "Prometheus' text", "responses": {
                    "200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
                }}
            },
            "/monitor": {
                "get": {"operationId": "monitor", "tags": [SERVICE], "summary": "The last monitoring report on drift and performance degradation",
                        "responses": {"200": describe_answer("The findings", {"type": "object"}), **list_refusals("404")}}
            },
            "/dashboard": {
                "get": {"operationId": "dashboard", "tags": [SERVICE], "summary": "All of it live, as a page", "responses": {
                    "200": {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
                }}
            },
        },
        "components": {"schemas": schemas, **({"securitySchemes": keys} if settings.api_keys else {})},
    }  # fmt: skip


def describe_entity(row: Record) -> Record:
    """The schema of a row that names an entity: any column may stand beside it, and goes before what the store has."""
    return {
        "type": "object",
        "properties": {
            FIELD: {"type": ["integer", "string"], "description": "Of the feature store."},
            **row["properties"],
        },
        "required": [FIELD],
        "additionalProperties": False,
    }


def golden_example(bundle: Bundle | None) -> Record | None:
    """What the schema's example is answered with."""
    if bundle is None:
        return None
    probability = bundle.score_one(bundle.schema.parse_one(encode_row(bundle.schema.example)))
    positive = probability >= bundle.manifest.threshold
    return {
        "prediction": bundle.manifest.positive if positive else bundle.manifest.negative,
        "probability": probability,
        "confidence": probability if positive else 1 - probability,
        "request_id": "AAZEWa8h1OpwFrUOjDABq2bXb1n2wYJ7x0mZ4Q==",
        "threshold": bundle.manifest.threshold,
        "model": bundle.name,
        "degraded": False,
    }


def refer(name: str) -> Record:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def describe_object(properties: Record, optional: tuple[str, ...] = ()) -> Record:
    """An object's schema; what is not optional is required."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def describe_answer(description: str, schema: Record | None = None, example: Record | None = None) -> Record:
    """An answer in JSON."""
    content: Record = {"schema": schema or {"type": ["object", "array"]}}
    return {
        "description": description,
        "content": {"application/json": content | ({"example": example} if example else {})},
    }


def describe_probe(name: str, summary: str, more: Record | None = None) -> Record:
    """A probe that has no input."""
    responses = {"200": describe_answer(summary), **(more or {})}
    return {"operationId": name, "tags": [SERVICE], "summary": summary, "responses": responses}


def list_refusals(*statuses: str) -> Record:
    """Problems (RFC 9457) that a request may meet."""
    content = {"application/problem+json": {"schema": refer("Problem")}}
    return {status: {"description": "A problem, in a sentence", "content": content} for status in statuses}
