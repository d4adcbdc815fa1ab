"""Options as they are typed: a value is what was typed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.sources.option_texts import read_option_texts

DATABASE = "sqlite:///shop.db"


@pytest.mark.parametrize(
    ("source", "key", "text", "value"),
    [
        ("t.csv", "delimiter", "|", "|"),
        ("t.csv", "delimiter", "\t", "\t"),
        ("t.csv", "delimiter", "1", "1"),
        ("t.csv", "quote", "", ""),
        ("t.csv", "skip", "3", 3),
        ("t.csv", "header", "false", False),
        ("t.csv", "null_values", "~", ["~"]),
        ("t.csv", "null_values", "['NA', '?']", ["NA", "?"]),
        ("t.csv", "columns", "[age, plan]", ["age", "plan"]),
        ("t.xlsx", "sheet", "2024", 2024),
        ("t.xlsx", "sheet", "Staff", "Staff"),
        (DATABASE, "table", "2024", "2024"),
        (DATABASE, "query", "select * -- all\nfrom t where a: b and c = '#' ", "select * -- all\nfrom t where a: b and c = '#' "),
        (DATABASE, "batch", "500", 500),
        (DATABASE, "key", "id", ["id"]),
        ("https://example.org/api", "params", "{page: 2}", {"page": 2}),
        ("https://example.org/api", "rate", "0.5", 0.5),
        ("kafka://host:9092/topic", "time", "@at", "@at"),
        ("t.csv", "no_such_option", "yes", "yes"),
    ],
)  # fmt: skip
def test_a_value_is_what_was_typed(source: str, key: str, text: str, value: Any) -> None:
    read = read_option_texts(source, {key: text})[key]
    assert ((list(read) if isinstance(read, tuple) else read) == value and type(read) is not tuple) or isinstance(
        value, list
    )


@given(st.text())
def test_text_stays_text(text: str) -> None:
    """Whatever it means in YAML."""
    assert read_option_texts(DATABASE, {"query": text, "table": text}) == {"query": text, "table": text}


def test_a_list_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ProjectError, match="--option columns"):
        read_option_texts("t.csv", {"columns": "[a, b"})
