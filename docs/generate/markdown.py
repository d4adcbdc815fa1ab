"""Small pieces of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell is Markdown, and goes on one line."""
    lines = [list(header), ["---"] * len(header), *[list(map(clean_cell, row)) for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def clean_cell(text: str) -> str:
    """Put a cell's text on one line, and keep its bars from ending the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: object) -> str:
    """Return a value as code; nothing for None or an empty text."""
    text = " ".join(str(value).split())
    if value is None or text == "":
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def code_json(value: Any) -> str:
    """Return a value as JSON in code."""
    return code(json.dumps(value, ensure_ascii=False))


def anchor(*words: str) -> str:
    """Return a target to link to, such as (parameters-train-folds)=."""
    name = "-".join(words).replace(".", "-").replace("_", "-").lower()
    return f"({name})=\n"


def finish(sentence: str) -> str:
    """Return a sentence with a capital letter and a full stop."""
    sentence = " ".join(sentence.split())
    if not sentence:
        return ""
    first = sentence[0].upper() if not sentence.startswith("`") else sentence[0]
    return first + sentence[1:] + ("" if sentence[-1] in ".!?:" else ".")
