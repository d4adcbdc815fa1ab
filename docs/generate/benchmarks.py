"""The latest results of the benchmarks, from benchmarks/results."""

from __future__ import annotations

import json
import re
from typing import Any

from generate.markdown import code, write_table
from generate.schemas import ROOT


def include_readme() -> str:
    """Return benchmarks/README.md; a link to a file outside the documentation becomes its text."""
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|\.\./docs/)[^)#]+\)", r"\1", text)
    return text.replace("](../docs/", "](").replace("](results/", "](../benchmarks/results/")


def tabulate_results() -> str:
    """Tabulate each figure of each result, and below it when, on what and with which command it was measured."""
    results = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "benchmarks/results").glob("*.json"))
    ]
    if not results:
        return "No results have been written yet.\n"
    text = []
    for result in results:
        rows = [
            [figure["name"], show(figure.get("ours")), show_peer(figure), show(figure.get("ratio")), show(figure.get("limit")),
             {True: "yes", False: "**no**"}.get(figure.get("kept"), "")]
            for figure in result["figures"]
        ]  # fmt: skip
        text.append(f"### {result['benchmark']}\n")
        text.append(write_table(["figure", "ours", "peer", "ratio", "limit", "kept"], rows) + "\n")
        text.append(
            f"Measured on {result['date']}, commit {code(str(result['commit'])[:12])}, {describe_machine(result['machine'])}, by {code(result['command'])}.\n"
        )
    return "\n".join(text)


def describe_machine(machine: Any) -> str:
    """Return a machine in words."""
    if not isinstance(machine, dict):
        return str(machine)
    parts = [str(machine.get("processor", "")), f"{machine.get('cores', '?')} cores"]
    if memory := machine.get("memory_gigabytes"):
        parts.append(f"{memory:.0f} GB of memory")
    if machine.get("busy"):
        parts.append("busy with other work")
    return ", ".join(filter(None, parts))


def show(value: Any) -> str:
    """Return a figure in four digits, or a text as it is."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def show_peer(figure: dict[str, Any]) -> str:
    """Return the peer's figure with its name."""
    if figure.get("peer") is None:
        return ""
    return f"{show(figure['peer'])} ({figure.get('peer_name') or 'peer'})"
