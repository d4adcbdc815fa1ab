"""What a user writes into files: params.yaml, data/contract.yaml and collect.options, from their pydantic models."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from generate.markdown import anchor, code, code_json, finish, write_table

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w-]+):(?P<rest>.*)$")
COMMENT = re.compile(r"\s#\s*(?P<comment>.*)$")
# What a key of a mapping is, where users choose the keys.
PLAIN = ("true or false", "whole number", "number", "text")  # what a scalar may be
NAMES = {"families": "FAMILY", "first": "FAMILY", "scenarios": "SCENARIO", "columns": "COLUMN", "derived": "FEATURE"}


@dataclass(frozen=True)
class Entry:
    """One key: its path, the JSON schema of its value, its default if it has one, and what it means."""

    path: str
    schema: dict[str, Any]
    default: Any
    required: bool
    comment: str


def read_yaml_comments(text: str) -> dict[str, str]:
    """Return the comment at the end of each key's line, by the key's path."""
    comments: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (found := KEY.match(line)):
            continue
        indent = len(found["indent"])
        stack = [place for place in stack if place[0] < indent]
        stack.append((indent, found["key"]))
        if comment := COMMENT.search(found["rest"]):
            comments[".".join(key for _, key in stack)] = comment["comment"]
    return comments


def read_code_comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment on the lines of each field of a class, by the field's name."""
    comments: dict[str, str] = {}
    for base in reversed(model.__mro__[1:]):
        if inspect.isclass(base) and issubclass(base, BaseModel) and base.model_fields:
            comments |= read_code_comments(base)
    own: set[str] = set()
    name = None
    source = inspect.getsource(model)
    field = re.compile(r"^    (\w+): ")
    starts = {number: found[1] for number, line in enumerate(source.splitlines(), 1) if (found := field.match(line))}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = starts.get(token.start[0], name)
        if token.type == tokenize.COMMENT and name in model.model_fields and "fmt:" not in token.string:
            before = comments[name] if name in own else ""
            comments[name] = f"{before} {token.string.lstrip('# ')}".strip()
            own.add(name)
    return comments


def list_entries(model: type[BaseModel], prefix: str = "") -> Iterator[Entry]:
    """Walk a model and the models within it; a mapping whose keys users choose shows as a name in capitals."""
    schema = model.model_json_schema(by_alias=True)
    comments = read_code_comments(model)
    for name, field in model.model_fields.items():
        key = field.alias or name
        own = schema["properties"][key]
        path = f"{prefix}{key}"
        comment = field.description or comments.get(name, "")
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        yield Entry(path, own, default, field.is_required(), comment)
        for inner, mapped in find_models(field.annotation):
            step = f"{path}.{NAMES.get(key, 'NAME')}." if mapped else f"{path}."
            if mapped and inner.__name__ == "Range":
                step = f"{path}.{NAMES.get(key, 'NAME')}.HYPERPARAMETER."
            yield from list_entries(inner, step)


def find_models(annotation: Any, *, mapped: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """Find the models in a type, and whether each is the value of a mapping."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation, mapped
        return
    parts = getattr(annotation, "__args__", ())
    is_mapping = getattr(annotation, "__origin__", None) in (dict, tuple, list) or "Mapping" in str(
        getattr(annotation, "__origin__", "")
    )
    for part in parts:
        yield from find_models(part, mapped=mapped or is_mapping)


def name_type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the type that a JSON schema allows, with its limits, in words."""
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[-1]
        return name_type(definitions.get(target, {"type": "object"}), definitions)
    if "enum" in schema:
        return " or ".join(code(value) for value in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema or "oneOf" in schema:
        parts = [part for part in schema.get("anyOf", schema.get("oneOf", [])) if part.get("type") != "null"]
        options = list(dict.fromkeys(name_type(part, definitions) for part in parts))
        return "plain value" if set(PLAIN) <= set(options) else " or ".join(options)
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    words = {
        "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "mapping",
        "null": "nothing",
    }  # fmt: skip
    if kind == "array" and "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} values"
    if kind == "array":
        inner = schema.get("items")
        return f"list of {name_type(inner, definitions)}" if inner else "list"
    limits = []
    if "minimum" in schema and "maximum" in schema:
        limits.append(f"{show_limit(schema['minimum'])} to {show_limit(schema['maximum'])}")
        schema = {key: value for key, value in schema.items() if key not in ("minimum", "maximum")}
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in schema:
            limits.append(f"{sign} {show_limit(schema[key])}")
    if "pattern" in schema:
        limits.append(f"matching {code(schema['pattern'])}")
    return ", ".join([words.get(kind, kind), *limits])


def show_limit(value: float) -> str:
    """Return a limit; whole numbers have separators of thousands."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def definitions_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas that a model's schema refers to."""
    definitions: dict[str, Any] = model.model_json_schema(by_alias=True).get("$defs", {})
    return definitions


def read_value(params: Any, path: str) -> Any:
    """Return the value at a path of params.yaml; None where users choose a key on the way."""
    value = params
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def show_value(value: Any) -> str:
    """Return a value as code, shortened where it is long."""
    if value is None or value == "":
        return "empty" if value == "" else ""
    if isinstance(value, dict | list | tuple) and len(str(value)) > 60:
        return f"{len(value)} entries"
    return code_json(value) if isinstance(value, dict | list | tuple | bool) else code(value)


def describe_parameters() -> str:
    """Describe every key of params.yaml, a section a stage."""
    from lifecycle.core.params import Params, read_yaml

    path = ROOT / "params.yaml"
    values, comments = read_yaml(path), read_yaml_comments(path.read_text(encoding="utf-8"))
    definitions = definitions_of(Params)
    sections: dict[str, list[Entry]] = {}
    for entry in list_entries(Params):
        sections.setdefault(entry.path.split(".", maxsplit=1)[0], []).append(entry)
    text, missing = [], []
    for name, (head, *entries) in sections.items():
        if not entries:  # a key of the file itself
            meaning = comments.get(name) or head.comment
            missing += [] if meaning else [f"params.yaml: {name}"]
            text.append(
                f"{anchor('parameters', name)}## `{name}`\n\n{finish(meaning)} Value here: {show_value(values[name])}.\n"
            )
            continue
        notebook = next((ROOT / "notebooks").glob(f"[0-9][0-9]_{name}.ipynb"), None)
        model = next(inner for inner, _ in find_models(find_field(Params, name)))
        where = f" Notebook: `notebooks/{notebook.name}`." if notebook else ""
        text.append(
            f"{anchor('parameters', name)}## `{name}`\n\n{finish((model.__doc__ or '').split(chr(10))[0])}{where}\n"
        )
        rows = []
        for entry in entries:
            comment = comments.get(entry.path) or entry.comment
            if not comment:
                missing.append(f"params.yaml: {entry.path}")
            value = show_value(read_value(values, entry.path))
            rows.append([code(entry.path), name_type(entry.schema, definitions), value, finish(comment)])
        text.append(write_table(["key", "type", "value here", "meaning"], rows) + "\n")
    refuse_missing(missing)
    return "\n".join(text)


def find_field(model: type[BaseModel], key: str) -> Any:
    """Return the annotation of the field that a key names."""
    return next(field.annotation for name, field in model.model_fields.items() if (field.alias or name) == key)


def describe_contract() -> str:
    """Describe every key of data/contract.yaml: of the table, then of a column, then the roles."""
    contract = importlib.import_module("lifecycle.core.contract")
    definitions = definitions_of(contract.Contract)
    text, missing = [], []
    entries = list(list_entries(contract.Contract))
    for title, chosen in (
        ("The table", [entry for entry in entries if not entry.path.startswith("columns.")]),
        ("A column", [entry for entry in entries if entry.path.startswith("columns.")]),
    ):
        rows = []
        for entry in chosen:
            if not entry.comment:
                missing.append(f"data/contract.yaml: {entry.path}")
            default = "required" if entry.required else show_value(dump(entry.default)) or "absent"
            key = entry.path.removeprefix("columns.COLUMN.")
            rows.append([code(key), name_type(entry.schema, definitions), default, finish(entry.comment)])
        text.append(f"## {title}\n\n" + write_table(["key", "type", "default", "meaning"], rows) + "\n")
    refuse_missing(missing)
    return "\n".join(text)


def dump(value: Any) -> Any:
    """Return a default as plain values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def describe_source_options() -> str:
    """Describe what `collect.options` takes for each kind of source."""
    text, missing = [], []
    for title, module, name in SOURCES:
        model = getattr(importlib.import_module(f"lifecycle.sources.{module}"), name)
        definitions, rows = definitions_of(model), []
        for entry in list_entries(model):
            if not entry.comment:
                missing.append(f"{name}.{entry.path}")
            value = show_value(dump(entry.default))
            rows.append([code(entry.path), name_type(entry.schema, definitions), value, finish(entry.comment)])
        text.append(f"## {title}\n\n{write_table(['key', 'type', 'default', 'meaning'], rows)}\n")
    refuse_missing(missing)
    return "\n".join(text)


SOURCES = (
    ("Files and object stores", "files", "FileOptions"),
    ("Delta tables", "delta", "DeltaOptions"),
    ("Web files", "web", "DownloadOptions"),
    ("JSON APIs", "web", "PagesOptions"),
    ("Databases", "sql", "DatabaseOptions"),
    ("Kafka topics", "kafka", "TopicOptions"),
)


def refuse_missing(missing: list[str]) -> None:
    """Fail where something has no description."""
    if missing:
        raise ValueError(f"without a description: {', '.join(missing)}: add a comment to the key's line.")
