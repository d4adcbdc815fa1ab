"""The Python interface: what a module offers, by autodoc."""

from __future__ import annotations

import re
from typing import Any

from generate.packages import list_modules, read_summary

SPECIAL = re.compile(r"([\\*|_])")


def describe_package(package: str) -> str:
    """Describe a package: a section for each module, with the docstrings of what it offers."""
    text = [f"# {package}\n", read_summary(package) + "\n"]
    for module in list_modules(package):
        name = f"lifecycle.{package}.{module}"
        text.append(f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    return "\n".join(text)


def escape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring, which is plain text with words in backticks, into reStructuredText."""
    lines[:] = [escape_line(line) for line in lines]
    if what != "module":
        lines.append("")


def escape_line(line: str) -> str:
    """Escape what reStructuredText would take for markup, outside of backticks; a word in backticks becomes code."""
    parts = line.replace("``", "`").split("`")
    if len(parts) % 2 == 0:  # code that goes on in the next line
        return SPECIAL.sub(r"\\\1", line.replace("`", ""))
    return "".join(
        f"``{part}``" if place % 2 and part.strip() == part and part else SPECIAL.sub(r"\\\1", part)
        for place, part in enumerate(parts)
    )
