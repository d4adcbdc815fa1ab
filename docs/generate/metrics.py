"""The metrics that the server exports, read from the code that creates them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT, refuse_missing

KINDS = {
    "Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "Summary": "summary",
    "GaugeMetricFamily": "gauge", "CounterMetricFamily": "counter", "HistogramMetricFamily": "histogram",
}  # fmt: skip
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """A metric: its name as Prometheus shows it, its kind, its labels and what it means."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str


def tabulate_metrics() -> str:
    """Tabulate every metric: name, kind, labels, meaning."""
    found = sorted({each.name: each for each in find_all()}.items())
    refuse_missing([f"the metric {name}" for name, each in found if not each.description])
    rows = [
        [code(name), each.kind, ", ".join(map(code, each.labels)), finish(each.description)] for name, each in found
    ]
    return write_table(["metric", "kind", "labels", "meaning"], rows)


def find_all() -> list[Described]:
    """Find the metrics of every module that uses Prometheus' client."""
    paths = sorted((ROOT / "src/lifecycle").rglob("*.py"))
    return [
        each for path in paths if "prometheus_client" in path.read_text(encoding="utf-8") for each in find_metrics(path)
    ]


def find_metrics(path: Path) -> list[Described]:
    """Find the metrics that a module creates; loops over constants are followed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return list(walk(tree, {}))


def walk(node: ast.AST, values: Values) -> Iterator[Described]:
    """Walk a tree with the values that loops give to names."""
    if isinstance(node, ast.For) and (bound := list_bindings(node)) is not None:
        for more in bound:
            for child in node.body:
                yield from walk(child, {**values, **more})
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
        yield describe_call(node, KINDS[node.func.id], values)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, values)


def list_bindings(loop: ast.For) -> list[dict[str, Any]] | None:
    """Return what each round of a loop over constants gives to its names; None for any other loop."""
    numbered = isinstance(loop.iter, ast.Call) and getattr(loop.iter.func, "id", "") == "enumerate"
    source = loop.iter.args[0] if numbered and isinstance(loop.iter, ast.Call) else loop.iter
    try:
        items = ast.literal_eval(source)
    except ValueError:
        return None
    return [bind(loop.target, (place, item) if numbered else item) for place, item in enumerate(items)]


def bind(target: ast.expr, value: Any) -> dict[str, Any]:
    """Give a value to a loop's name or names."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    pairs = zip(target.elts, value, strict=True) if isinstance(target, ast.Tuple) else ()
    return {name: inner for part, item in pairs for name, inner in bind(part, item).items()}


def describe_call(call: ast.Call, kind: str, values: Values) -> Described:
    """Read a metric from the call that creates it."""
    given = dict(zip(("name", "documentation", "labels"), call.args, strict=False))
    given |= {"labels" if word.arg == "labelnames" else str(word.arg): word.value for word in call.keywords}
    name = str(read(given["name"], values))
    labels = read(given["labels"], values) if "labels" in given else []
    if kind == "counter" and not name.endswith("_total"):
        name += "_total"
    labels = tuple(labels) if isinstance(labels, list | tuple) else ()
    return Described(name, kind, labels, str(read(given["documentation"], values)))


def read(node: ast.expr, values: Values) -> Any:
    """Return the value of a constant, a name that a loop bound, or a text put together from them."""
    if isinstance(node, ast.Name):
        return values.get(node.id, "")
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(read(part.value if isinstance(part, ast.FormattedValue) else part, values)) for part in node.values
        )
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ""
