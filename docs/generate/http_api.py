"""The HTTP API, from the OpenAPI document of the server."""

from __future__ import annotations

import json
from typing import Any

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT, name_type

Record = dict[str, Any]


def load_document() -> Record:
    """Return the OpenAPI document of the champion of this checkout, with a feature store and API keys."""
    from lifecycle.serving.bundle import load_bundle
    from lifecycle.serving.openapi import describe_service
    from lifecycle.serving.settings import read_settings

    champion = json.loads((ROOT / "models/champion.json").read_text(encoding="utf-8"))
    folder = ROOT / "models/releases" / str(champion["model"])[:12] / "bundle"
    bundle = load_bundle(folder) if champion["model"] and folder.is_dir() else None
    environment = {"LIFECYCLE_SERVE_API_KEYS": "key", **STORE}
    document: Record = describe_service(bundle, read_settings(environment))
    return document


STORE = {"LIFECYCLE_SERVE_STORE": "sqlite:///.lifecycle/features.db"}


def describe_endpoints() -> str:
    """Describe each endpoint and each schema."""
    document = load_document()
    text = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text.append(describe_operation(path, method, operation))
    text.append("## Schemas\n")
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
            if len(str(example["value"])) < 1000:
                shown = json.dumps(example["value"], ensure_ascii=False, indent=1)
                text.append(f"{finish(example['summary'])}\n\n```json\n{shown}\n```\n")
    rows = []
    for status, answer in operation["responses"].items():
        schemas = ", ".join(name_schemas(content.get("schema", {})) for content in answer.get("content", {}).values())
        rows.append([code(status), finish(answer["description"]), schemas])
    text.append(write_table(["status", "meaning", "content"], rows) + "\n")
    return "\n".join(text)


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
