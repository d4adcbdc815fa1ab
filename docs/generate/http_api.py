"""The HTTP API, from the OpenAPI document of the server."""

from __future__ import annotations

import json
from typing import Any

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT, name_type, refuse_missing

Record = dict[str, Any]
# When each status refuses a request. The build fails where the document has one that is missing here.
REFUSALS = {
    "400": "The request is not HTTP or JSON as it should be.",
    "401": "The API key is missing or unknown.",
    "404": "There is nothing of this name: an entity, or findings of monitoring.",
    "408": "The body did not arrive in time.",
    "413": "The body or the list of rows is too long.",
    "415": "The content type is not JSON.",
    "422": "A row breaks the contract, or a label or parameter is not as expected; the answer names the field.",
    "429": "The client sends more requests a second than it may.",
    "503": "The feature store does not answer, or nothing is ready.",
}


def load_document() -> Record:
    """Return the OpenAPI document of the champion of this checkout, with a feature store and API keys.

    Without a champion that can be loaded the rows are any objects.
    """
    from lifecycle.core.errors import ProjectError
    from lifecycle.serving.bundle import load_bundle
    from lifecycle.serving.openapi import describe_service
    from lifecycle.serving.settings import Settings

    champion = json.loads((ROOT / "models/champion.json").read_text(encoding="utf-8"))["model"]
    try:
        bundle = load_bundle(ROOT / "models/releases" / champion[:12] / "bundle") if champion else None
    except ProjectError:
        bundle = None
    settings = Settings.model_validate({"api_keys": "key", "feature_store": "sqlite:///.lifecycle/features.db"})
    document: Record = describe_service(bundle, settings)
    return document


def describe_endpoints() -> str:
    """Describe each endpoint and each schema."""
    document = load_document()
    text = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            refuse_missing(
                [
                    f"the status {status} of {path}"
                    for status in operation["responses"]
                    if status not in {*REFUSALS, "200"}
                ]
            )
            text.append(describe_operation(path, method, operation))
    text += [describe_refusals(), "## Schemas\n"]
    for name, schema in document["components"]["schemas"].items():
        text.append(describe_schema(name, schema, document["components"]["schemas"]))
    return "\n".join(text)


def describe_operation(path: str, method: str, operation: Record) -> str:
    """Describe one endpoint: parameters, body and answers."""
    text = [f"## `{method.upper()} {path}`\n", finish(operation.get("summary", "")) + "\n"]
    if operation.get("security"):
        text.append("Requires an API key where `LIFECYCLE_SERVE_API_KEYS` names any.\n")
    if operation.get("parameters"):
        rows = [
            [code(each["name"]), each["in"], name_type(each["schema"], {}), finish(each.get("description", ""))]
            for each in operation["parameters"]
        ]
        text.append(write_table(["parameter", "in", "type", "meaning"], rows) + "\n")
    body = operation.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        text.append(f"Body, `{kind}`: {name_schemas(content['schema'])}.\n")
        for example in content.get("examples", {}).values():
            if not isinstance(example["value"], list):  # a list repeats the one row
                shown = json.dumps(example["value"], ensure_ascii=False, indent=1)
                text.append(f"{finish(example['summary'])}\n\n```json\n{shown}\n```\n")
    rows = []
    refusals = [status for status in operation["responses"] if status in REFUSALS and not is_own(operation, status)]
    for status, answer in operation["responses"].items():
        if status in refusals:
            continue
        schemas = ", ".join(name_schemas(content.get("schema", {})) for content in answer.get("content", {}).values())
        rows.append([code(status), finish(answer["description"]), schemas])
    text.append(write_table(["status", "meaning", "content"], rows) + "\n")
    if refusals:
        text.append(f"Refused with {', '.join(map(code, refusals))}: see [below](#http-refusals).\n")
    return "\n".join(text)


def is_own(operation: Record, status: str) -> bool:
    """Return whether an endpoint describes this status itself, and not as a problem like any other."""
    return not any("problem" in kind for kind in operation["responses"][status].get("content", {}))


def describe_refusals() -> str:
    """Describe the statuses with which requests are refused."""
    rows = [[code(status), text] for status, text in REFUSALS.items()]
    text = "(http-refusals)=\n## Refused requests\n\nEach answer is a [Problem](#schema-problem): JSON with a sentence in `detail`.\n"
    return f"{text}\n{write_table(['status', 'when'], rows)}\n"


def name_schemas(schema: Record) -> str:
    """Name the schemas of a body or an answer."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#schema-{name.lower()})"
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(name_schemas(part) for part in schema.get("oneOf", schema.get("anyOf", [])))
    if schema.get("type") == "array":
        return f"a list of {name_schemas(schema.get('items', {}))}"
    return name_type(schema, {}) if schema else ""


def describe_schema(name: str, schema: Record, schemas: Record) -> str:
    """Describe one schema, a row for each property."""
    text = [f"(schema-{name.lower()})=\n### {name}\n"]
    required = schema.get("required", [])
    rows = [
        [
            code(key),
            name_property(value, schemas),
            "yes" if key in required else "no",
            finish(value.get("description", "")),
        ]
        for key, value in schema.get("properties", {}).items()
    ]
    if rows:
        text.append(write_table(["field", "type", "required", "meaning"], rows) + "\n")
    else:
        text.append("Any object.\n")
    return "\n".join(text)


def name_property(schema: Record, schemas: Record) -> str:
    """Describe a property's type; a schema of its own is a link."""
    if "$ref" in schema:
        return name_schemas(schema)
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        return f"list of {name_schemas(schema['items'])}"
    return name_type(schema, schemas)
