"""The page of the feature registry."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.wording import join_words

Record = dict[str, Any]
SHOWN = 3  # levels of a categorical feature


def render_catalog(registry: Record, links: list[tuple[str, str]], current: str) -> str:
    """The registry (project, features, models) as a page."""
    features = registry["features"]
    champion = next((model for model in registry["models"] if "champion" in model["roles"]), None)
    derived = sum(feature["source"] != "column" for feature in features)
    gaps = sum(feature["statistics"]["missing"] > 0 for feature in features)
    owned = sum(bool(feature["owner"]) for feature in features)
    used = 0 if champion is None else sum(champion["model"] in feature["used_by"] for feature in features)
    cards = [
        {"label": "Features", "value": len(features), "note": f"{derived} of them derived from others"},
        {
            "label": "Used by the champion",
            "value": used,
            "note": champion["model"][:12] if champion else "there is none",
        },
        {"label": "With missing values", "value": gaps, "note": "in the training rows"},
        {"label": "With an owner", "value": owned, "note": f"of {len(features)}"},
    ]
    body = render_part(
        "feature_catalog.html.j2",
        project=registry["project"],
        rows=max((feature["statistics"]["rows"] for feature in features), default=0),
        cards=Markup(render_part("cards.html.j2", cards=cards)),  # noqa: S704 - escaped by its template
        features=[describe_row(feature, registry["models"]) for feature in sorted(features, key=weigh)],
    )
    title = f"{registry['project']}: feature registry"
    return render_page(title, body, project=registry["project"], links=links, current=current)


def weigh(feature: Record) -> float:
    """A key to sort by: the heaviest first, what has no weight of its own last."""
    return -(feature["importance"] or 0.0)


def describe_row(feature: Record, models: list[Record]) -> Record:
    """A feature as the table shows it."""
    statistics, unit = feature["statistics"], f" {feature['unit']}" if feature["unit"] else ""
    roles = [model["roles"][0] for model in models if model["model"] in feature["used_by"]]
    weight = feature["importance"]
    return {
        "name": feature["name"], "definition": feature["definition"], "description": feature["description"],
        "derived": feature["source"] != "column", "type": f"{feature['kind']}, {feature['dtype']}{unit and ', in' + unit}",
        "typical": format_values(feature), "owner": feature["owner"], "version": feature["version"],
        "missing": f"{statistics['missing'] / statistics['rows']:.2%}" if statistics["missing"] else "none",
        "weight": "" if weight is None else f"{100 * weight:.1f}", "used": join_words(roles) if roles else "",
    }  # fmt: skip


def format_values(feature: Record) -> str:
    """What a feature's values look like, in a few words."""
    statistics = feature["statistics"]
    rows = statistics["rows"] - statistics["missing"]
    if feature["kind"] == "categorical":
        told = [f"{level['category']} {level['count'] / rows:.0%}" for level in statistics["categories"][:SHOWN]]
        more = statistics["distinct"] - len(told)
        return ", ".join(told) + (f" and {more} more" if more > 0 else "")
    if not rows:
        return "none"
    if feature["kind"] == "boolean":
        values = feature["values"] or [False, True]
        return f"{'yes' if values in ([0, 1], [False, True]) else values[1]} {statistics['mean']:.0%}"
    return " · ".join(f"{statistics[name]:,.4g}" for name in ("lower_quartile", "median", "upper_quartile"))
