"""The page of the feature catalog."""

from __future__ import annotations

from markupsafe import Markup

from lifecycle.core.records import Record
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.wording import join_words

_SHOWN = 3  # categories of a categorical feature


def render_catalog(catalog: Record, links: list[tuple[str, str]], current: str) -> str:
    """Render the catalog (project, features, models) as a page."""
    features = catalog["features"]
    champion = next((model for model in catalog["models"] if "champion" in model["roles"]), None)
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
        project=catalog["project"],
        rows=max((feature["statistics"]["rows"] for feature in features), default=0),
        cards=Markup(render_part("cards.html.j2", cards=cards)),  # noqa: S704 - escaped by its template
        features=[_describe_row(feature, catalog["models"]) for feature in sorted(features, key=_order_by_importance)],
    )
    title = f"{catalog['project']}: feature catalog"
    return render_page(title, body, project=catalog["project"], links=links, current=current)


def _order_by_importance(feature: Record) -> float:
    """Return a sort key: features with the highest importance first, those without one last."""
    return -(feature["importance"] or 0.0)


def _describe_row(feature: Record, models: list[Record]) -> Record:
    """Format a feature as a row of the table."""
    statistics, unit = feature["statistics"], f" {feature['unit']}" if feature["unit"] else ""
    roles = [model["roles"][0] for model in models if model["model"] in feature["used_by"]]
    weight = feature["importance"]
    return {
        "name": feature["name"], "definition": feature["definition"], "description": feature["description"],
        "derived": feature["source"] != "column", "type": f"{feature['kind']}, {feature['dtype']}{unit and ', in' + unit}",
        "typical": _format_values(feature), "owner": feature["owner"], "version": feature["version"],
        "missing": f"{statistics['missing'] / statistics['rows']:.2%}" if statistics["missing"] else "none",
        "weight": "" if weight is None else f"{100 * weight:.1f}", "used": join_words(roles) if roles else "",
    }  # fmt: skip


def _format_values(feature: Record) -> str:
    """Summarize a feature's values in a few words."""
    statistics = feature["statistics"]
    rows = statistics["rows"] - statistics["missing"]
    if feature["kind"] == "categorical":
        shares = [
            f"{category['category']} {category['count'] / rows:.0%}" for category in statistics["categories"][:_SHOWN]
        ]
        more = statistics["distinct"] - len(shares)
        return ", ".join(shares) + (f" and {more} more" if more > 0 else "")
    if not rows:
        return "none"
    if feature["kind"] == "text":
        return f"{statistics['distinct']:,} different texts"
    if feature["kind"] == "boolean":
        values = feature["values"] or [False, True]
        return f"{'yes' if values in ([0, 1], [False, True]) else values[1]} {statistics['mean']:.0%}"
    return " · ".join(f"{statistics[name]:,.4g}" for name in ("lower_quartile", "median", "upper_quartile"))
