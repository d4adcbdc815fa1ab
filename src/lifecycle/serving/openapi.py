"""The OpenAPI 3.1 description of the service, with the contract's columns and examples, and its page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lifecycle.core.records import Record
from lifecycle.serving.bundle import Bundle, encode_row
from lifecycle.serving.entities import FIELD
from lifecycle.serving.feedback import MAX_ACTION_LETTERS
from lifecycle.serving.settings import Settings

_TITLE = "Lifecycle"
_PREDICTIONS, _SERVICE = "predictions", "service"  # tags
POLICY = b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{_TITLE}: the service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
START = """window.onload = () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null,
});
"""
PAGES = ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")
_PREDICTION: Record = {
    "prediction": {"description": "The class at the threshold; null when no bundle is loaded."},
    "probability": {"type": "number", "description": "Of the positive class."},
    "confidence": {"type": "number", "description": "The probability of the class that was predicted."},
    "request_id": {"type": "string", "description": "The id for POST /feedback."},
    "unseen": {
        "type": "array",
        "items": {"type": "string"},
        "description": "The columns with a value that their open list in the contract does not have; absent when there are none.",
    },
    "explanation": {
        "type": ["object", "null"],
        "description": "With ?explain=true: Shapley values in probability; base, contributions and others add up to the probability.",
    },
}
_SHARED: Record = {
    "threshold": {"type": ["number", "null"]},
    "model": {"type": "string", "description": "The first twelve digits of the model's content hash, or `prior`."},
    "degraded": {"type": "boolean", "description": "The champion could not answer, and a fallback did."},
    "ignored": {
        "type": "array",
        "items": {"type": "string"},
        "description": "The columns of the request that the model does not read; absent when there are none.",
    },
}


def read_page(path: str) -> tuple[bytes, bytes]:
    """Return the content type and the bytes of one of PAGES. Swagger UI's files come from an installed package."""
    if path == "/docs":
        return b"text/html; charset=utf-8", PAGE.encode()
    if path == "/docs/start.js":
        return b"text/javascript; charset=utf-8", START.encode()
    spec = find_spec("fastapi_swagger")  # importing it would import FastAPI
    assert spec is not None and spec.origin is not None
    kind = b"text/css" if path.endswith(".css") else b"text/javascript"
    return kind + b"; charset=utf-8", (Path(spec.origin).parent / "resources" / Path(path).name).read_bytes()


_NAMED: Record = {  # properties of a prediction for a named entity
    "entity_id": {"type": ["integer", "string"], "description": "As in the request."},
    "features": {
        "enum": ["cached", "computed", "direct"],
        "description": "Their origin: the cache, the entity's row, or its row because the cache did not answer.",
    },
}

_CONTROL: Record = {  # a property of a prediction where a share of the entities is in the control group
    "control": {
        "type": "boolean",
        "description": "Whether the entity is in the control group, which is chosen at random and should not be treated.",
    },
}


def describe_service(bundle: Bundle | None, settings: Settings) -> Record:
    """Return the OpenAPI document; without a bundle a row is any object."""
    row: Record = bundle.schema.to_json_schema(strict=settings.strict) if bundle else {"type": "object", "example": {}}
    example = row.pop("example", {})
    labels = [bundle.manifest.negative, bundle.manifest.positive] if bundle else None
    prediction = {
        **_PREDICTION,
        "prediction": {**_PREDICTION["prediction"], **({"enum": [*labels, None]} if labels else {})},
    }
    named = (
        bundle is not None and bool(settings.feature_store.get_secret_value()) and FIELD not in bundle.schema.columns
    )
    kinds = [_refer("Row"), *([_refer("Entity")] if named else [])]
    items = {"oneOf": kinds} if named else kinds[0]
    rows: Record = {"type": "array", "items": items, "minItems": 1, "maxItems": settings.max_rows}
    if named:
        prediction |= _NAMED
        row["properties"].pop(FIELD, None)  # a column of the contract that has this name gives way to the entity
    if settings.control_share:
        prediction |= _CONTROL
    optional = ("explanation", "unseen", "ignored", *(_NAMED if named else ()))
    report: Record = {
        "request_id": {"type": "string"},
        "label": {"enum": labels} if labels else {},
        "action": {"type": "string", "minLength": 1, "maxLength": MAX_ACTION_LETTERS, "description": "What was done after the prediction, such as `called`."},
    }  # fmt: skip
    schemas: Record = {
        "Row": row,
        "Prediction": _describe_object({**prediction, **_SHARED}, optional=optional),
        "Predictions": _describe_object({
            "predictions": {"type": "array", "items": _describe_object(prediction, optional=optional)}, **_SHARED,
        }, optional=optional),
        "Feedback": {
            **_describe_object(report, optional=("label", "action")), "additionalProperties": False,
            "anyOf": [{"required": ["label"]}, {"required": ["action"]}],
        },
        "Problem": _describe_object(
            {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
             "detail": {"type": "string"}, "errors": {"type": "array", "items": {"type": "object"}}}, optional=("errors",),
        ),
    }  # fmt: skip
    if named:
        schemas["Entity"] = _describe_entity(row)
    examples = {
        "one": {"summary": "One row", "value": example},
        "list": {"summary": "A list", "value": [example, example]},
        **(
            {"entity": {"summary": "An entity; the feature store supplies its columns", "value": {FIELD: 1}}}
            if named
            else {}
        ),
    }
    answer = _golden_example(bundle)
    if answer is not None and settings.control_share:
        answer["control"] = False
    predict = {
        "operationId": "predict",
        "tags": [_PREDICTIONS],
        "summary": "Predict one row or a list",
        "parameters": [
            {"name": "explain", "in": "query", "schema": {"type": "boolean", "default": False},
             "description": f"Add an explanation to each prediction; at most {settings.max_explained} rows."}
        ],
        "requestBody": {"required": True, "content": {"application/json": {
            "schema": {"oneOf": [*kinds, rows]}, "examples": examples,
        }}},
        "responses": {
            "200": _describe_answer("The predictions", {"oneOf": [_refer("Prediction"), _refer("Predictions")]}, answer),
            **_list_refusals("400", "401", *(["404"] if named else []), "408", "413", "415", "422", "429"),
            **(_list_refusals("503") if named else {}),
        },
    }  # fmt: skip
    feedback = {
        "operationId": "feedback",
        "tags": [_PREDICTIONS],
        "summary": "Report the label of a prediction, the action that followed it, or both",
        "requestBody": {"required": True, "content": {"application/json": {
            "schema": {"oneOf": [_refer("Feedback"), {"type": "array", "items": _refer("Feedback"), "minItems": 1,
                                                  "maxItems": settings.max_rows}]},
        }}},
        "responses": {
            "200": _describe_answer("Whether the prediction was right; null where no label was reported"),
            **_list_refusals("400", "401", "408", "413", "415", "422", "429"),
        },
    }  # fmt: skip
    unready = {"503": _describe_answer("Not ready, with the reasons"), **_list_refusals("422")}
    allow: Record = {"name": "allow", "in": "query", "schema": {"enum": ["degraded"]}, "required": False}
    keys: Record = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    locked: Record = {"security": [{"bearer": []}, {"key": []}]} if settings.api_keys else {}
    model = {
        "operationId": "model",
        "tags": [_SERVICE],
        "responses": {"200": _describe_answer("The model"), **_list_refusals("401", "429")},
    }
    purpose = f"The probability that {bundle.manifest.target} is {bundle.manifest.positive}." if bundle else ""
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": bundle.name if bundle else "prior", **({"description": purpose} if purpose else {})},
        "paths": {
            "/predict": {"post": {**predict, **locked}},
            "/feedback": {"post": {**feedback, **locked}},
            "/model": {"get": {"summary": "The live model, since when and why", **model, **locked}},
            "/health": {"get": _describe_probe("health", "Whether the process answers")},
            "/ready": {
                "get": _describe_probe("ready", "Whether the champion reproduces its golden answers", unready) | {"parameters": [allow]}
            },
            "/metrics": {
                "get": {"operationId": "metrics", "tags": [_SERVICE], "summary": "Metrics in Prometheus' text format", "responses": {
                    "200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
                }}
            },
            "/monitor": {
                "get": {"operationId": "monitor", "tags": [_SERVICE], "summary": "The last monitoring report: drift and performance",
                        "responses": {"200": _describe_answer("The report", {"type": "object"}), **_list_refusals("404")}}
            },
            "/dashboard": {
                "get": {"operationId": "dashboard", "tags": [_SERVICE], "summary": "The live dashboard", "responses": {
                    "200": {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
                }}
            },
        },
        "components": {"schemas": schemas, **({"securitySchemes": keys} if settings.api_keys else {})},
    }  # fmt: skip


def _describe_entity(row: Record) -> Record:
    """Return the schema of a row that names an entity; columns in the row take precedence over the store's."""
    return {
        "type": "object",
        "properties": {
            FIELD: {"type": ["integer", "string"], "description": "Of the feature store."},
            **row["properties"],
        },
        "required": [FIELD],
        "additionalProperties": False,
    }


def _golden_example(bundle: Bundle | None) -> Record | None:
    """Return the response to the schema's example."""
    if bundle is None:
        return None
    probability = bundle.score_one(bundle.schema.parse(encode_row(bundle.schema.example)).rows[0])
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


def _refer(name: str) -> Record:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _describe_object(properties: Record, optional: tuple[str, ...] = ()) -> Record:
    """Return an object's schema; properties that are not optional are required."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _describe_answer(description: str, schema: Record | None = None, example: Record | None = None) -> Record:
    """Return the description of a JSON response."""
    content: Record = {"schema": schema or {"type": ["object", "array"]}}
    return {
        "description": description,
        "content": {"application/json": content | ({"example": example} if example else {})},
    }


def _describe_probe(name: str, summary: str, more: Record | None = None) -> Record:
    """Return the description of a probe without input."""
    responses = {"200": _describe_answer(summary), **(more or {})}
    return {"operationId": name, "tags": [_SERVICE], "summary": summary, "responses": responses}


def _list_refusals(*statuses: str) -> Record:
    """Return the descriptions of the problems (RFC 9457) with these statuses."""
    content = {"application/problem+json": {"schema": _refer("Problem")}}
    return {status: {"description": "A problem, described in a sentence", "content": content} for status in statuses}
