"""Tables of an evaluation: the metrics, the models that it compares, the slices, and the gaps between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lifecycle.core.records import Record
from lifecycle.reporting.wording import format_estimate, format_p


def tabulate_metrics(metrics: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of the metrics with their intervals, as text, in the order of their titles."""
    rows = [(title, format_estimate(metrics[name])) for name, title in titles.items()]
    return pd.DataFrame(dict(rows), index=["value (95% interval)"]).T


def tabulate_models(records: Sequence[Record], titles: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of the candidate and the models that it is compared with, with paired differences, as text."""
    rows = {}
    for record in sorted(records, key=lambda record: list(titles).index(record["name"])):
        differences = record["differences"]
        rows[titles[record["name"]]] = {
            "ROC AUC": format_estimate(record["metrics"]["roc_auc"]),
            "Brier": f"{record['metrics']['brier']['value']:.4f}",
            "Cost per row": format_estimate(record["metrics"]["cost"]),
            "Difference in ROC AUC": f"{differences['roc_auc']['value']:+.3f}, {format_p(differences['roc_auc']['p'])}"
            if differences else "",
            "Difference in cost": f"{differences['cost']['value']:+.3f}, {format_p(differences['cost']['p'])}"
            if differences else "",
        }  # fmt: skip
    return pd.DataFrame(rows).T


def tabulate_slices(slices: Sequence[Record]) -> pd.DataFrame:
    """Return a table of the slices: size, positive rate, and metrics, as text, with intervals where there are enough rows."""
    rows = [
        {
            "group": f"{record['column']} = {record['category']}",
            "rows": f"{record['rows']:,}",
            "positive": f"{record['rate']['value']:.1%}",
            "ROC AUC": _format_metric(record, "roc_auc", 3),
            "recall": _format_metric(record, "recall", 2),
            "precision": _format_metric(record, "precision", 2),
            "": "" if record["judged"] else "too few to judge",
        }
        for record in slices
    ]
    return pd.DataFrame(rows).set_index("group").rename_axis(None) if rows else pd.DataFrame()


def _format_metric(record: Record, name: str, digits: int) -> str:
    """Format a slice's metric; without its interval where the rows are too few for one that holds as often as it says."""
    text = format_estimate(record[name], digits)
    return text if record["judged"] else text.partition(" ")[0]


def tabulate_gaps(fairness: Sequence[Record]) -> pd.DataFrame:
    """Return a table of the gaps between the groups of each fairness column, as text; empty without such columns."""
    titles = {
        "rate": "Actually positive",
        "recall": "Positives found",
        "false_alarms": "False alarms",
        "predicted_positive": "Predicted positive",
    }
    cells = {(record["column"], titles[record["metric"]]): _format_gap(record["gap"]) for record in fairness}
    columns = list(dict.fromkeys(column for column, _ in cells))
    rows = [[cells.get((column, title), "\u2013") for title in titles.values()] for column in columns]
    return pd.DataFrame(rows, index=columns, columns=list(titles.values()))


def _format_gap(gap: Mapping[str, Any] | None) -> str:
    """Format a gap in percentage points, with the group that has the highest rate."""
    if gap is None:
        return "not measured"
    numbers = [100 * gap[key] for key in ("value", "low", "high")]
    return f"{numbers[0]:.1f} points ({numbers[1]:.1f} to {numbers[2]:.1f}), highest for {gap['most']}"
