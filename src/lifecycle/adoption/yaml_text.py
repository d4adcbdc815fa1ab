"""Write contract and parameters as YAML, keeping comments and order."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from lifecycle.core.records import Record

_YAML_BOOLEANS = {"yes", "no", "y", "n", "on", "off"}  # YAML 1.1 reads these words as booleans, so they are quoted
_PLAIN = re.compile(
    r"[^\W_]([\w ./()+$%'*=^<>~-]*[\w.()+$%])?"
)  # text that needs no quotes: YAML reads the rest in its own ways
_COSTS = {
    "false_positive": "a false alarm",
    "false_negative": "a missed positive: set both to the costs of your decisions",
}


def clean(text: str) -> str:
    """Return a comment on one line: no character of a table's names or values may end the comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def to_flow(value: Any) -> Any:
    """Return a value whose lists and mappings are written on one line."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({to_flow(key): to_flow(inner) for key, inner in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        listed = CommentedSeq([to_flow(inner) for inner in value])
        listed.fa.set_flow_style()
        return listed
    if isinstance(value, str) and (value.lower() in _YAML_BOOLEANS or not _PLAIN.fullmatch(value)):
        return DoubleQuotedScalarString(value)
    return value


def make_yaml() -> YAML:
    """Return a reader and writer of YAML 1.2 that keeps comments."""
    yaml = YAML()
    yaml.width = 1 << 16
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def dump(document: Any) -> str:
    """Return a document as text."""
    buffer = io.StringIO()
    make_yaml().dump(document, buffer)
    return buffer.getvalue()


def write_line(name: str, column: Record) -> str:
    """Return the line of a column in the contract. What columns have in common is written once, as they may be thousands."""
    rules = json.dumps({key: value for key, value in column.items() if key != "description"})
    return f"{_write_scalar(name)}: {_write_rules(rules)[:-1]}, description: {_write_scalar(column['description'])}}}"


@lru_cache(maxsize=1024)
def _write_scalar(text: str) -> str:
    """Return one text as YAML."""
    return dump(to_flow([text])).strip()[1:-1]


@lru_cache(maxsize=1024)
def _write_rules(rules: str) -> str:
    """Return a mapping, given as JSON, as YAML on one line."""
    return dump(to_flow(json.loads(rules))).strip()


def change_params(text: str, changes: Mapping[str, Record]) -> str:
    """Return params.yaml with other values; its comments and order are kept."""
    document = make_yaml().load(text)
    for section, values in changes.items():
        _change_section(document[section], values)
    for key, comment in _COSTS.items():
        _change_comment(document["train"]["cost"], key, comment)
    return dump(document)


def _change_comment(section: CommentedMap, key: str, comment: str) -> None:
    """Replace the comment after a key, or add one; blank lines after it are kept."""
    token = section.ca.items.get(key, [None] * 3)[2]
    if token is None:
        section.yaml_add_eol_comment(comment, key)
    else:
        token.value = f"# {comment}{token.value[token.value.index(chr(10)) :]}"


def _change_section(section: CommentedMap, values: Mapping[str, Any]) -> None:
    """Change a section in place; None removes a key, and nested mappings are changed key by key."""
    for key, value in values.items():
        if value is None:
            section.pop(key, None)
        elif key == "families":
            _change_families(section[key], value)
        elif key in ("gate", "cost"):
            _change_section(section.setdefault(key, CommentedMap()), value)
        elif key in ("scenarios", "derived"):
            _replace_children(section, key, value)
        else:
            section[key] = to_flow(value)


def _change_families(families: CommentedMap, changes: Mapping[str, Any]) -> None:
    """Change the search spaces of the families that params.yaml names; None removes a family."""
    for name, space in changes.items():
        if space is None:
            families.pop(name, None)
        elif name in families:
            _change_section(families[name], space)


def _replace_children(section: CommentedMap, key: str, value: Record) -> None:
    """Replace a mapping, with one line for each entry, and keep the comment after its key."""
    section[key] = CommentedMap({name: to_flow(inner) for name, inner in value.items()}) if value else to_flow({})
