"""Monitor: a prediction log, window by window, held against what the model was evaluated on; alerts in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.paths import PARAMS
from lifecycle.modeling.metrics import TITLES, bound_share, measure_slices
from lifecycle.monitoring import alerts as words
from lifecycle.monitoring.degradation import (
    METRICS,
    expect_performance,
    has_classes,
    judge_decay,
    measure_error,
    measure_performance,
)
from lifecycle.monitoring.drift import PREDICTION, cells_pvalue, judge_windows
from lifecycle.monitoring.reference import Counts, count_window, name_level
from lifecycle.prediction_log.reader import find_span, frame_features, read_predictions
from lifecycle.serving.bundle import REFERENCE, Bundle

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
FORMAT = 1
SHOWN = ("roc_auc", "accuracy", "recall", "brier", "ece", "cost")
ERRORS = {"roc_auc": "AUC", "accuracy": "accuracy", "brier": "Brier"}  # of the expected metrics, that rehearsals tell
ENOUGH = 30  # truths by which a share of positives is told
ELAPSED = 0.5  # of a window, from which its volume is judged


@dataclass(frozen=True)
class Window:
    """A stretch of time: start is in it, end is not; both in UTC."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Traffic:
    """What a window's predictions leave behind: counts, probabilities, and the rows whose truth is known.

    told: columns at, told_at, truth (0 or 1), probability. groups: the columns asked for, of the same rows. last: the
    newest prediction.
    """

    window: Window
    counts: Counts
    probability: Array
    told: pd.DataFrame
    groups: pd.DataFrame
    last: datetime | None


# Reading.


def read_reference(bundle: Bundle, folder: Path) -> Record:
    """What the bundle says later rows are held against; raises ProjectError for a bundle from before there was such."""
    path = folder / REFERENCE
    if not path.is_file():
        raise ProjectError(
            f"bundle {bundle.sha256[:12]} has no {REFERENCE}, without which nothing can be compared: it was made by an older "
            "version. `make repro` makes one that has."
        )
    reference: Record = read_json(path)
    return reference


def list_windows(folder: Path, length: str) -> list[Window]:
    """The days, weeks (from Monday) or months from the first prediction of a log to the last, without a gap.

    Raises ProjectError for an empty log.
    """
    first, last = find_span(folder)
    windows, start = [], begin_window(first, length)
    while start <= last:
        end = begin_window(start + timedelta(days={"day": 1, "week": 7, "month": 31}[length]), length)
        windows.append(Window(name_window(start, length), start, end))
        start = end
    return windows


def begin_window(moment: datetime, length: str) -> datetime:
    """The first moment of the window that holds a moment."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if length == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if length == "week" else day


def name_window(start: datetime, length: str) -> str:
    """A window's name: 2026-06, 2026-W23 or 2026-06-01."""
    return start.strftime({"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[length])


def read_truths(folder: Path, positive: Any) -> pd.DataFrame:
    """What became of predictions: columns id, truth (1: positive), told_at; of several truths for one, the first."""
    table = read_predictions(folder, "feedback").to_pandas()
    table = table.drop_duplicates("id", keep="first")
    return pd.DataFrame({
        "id": table["id"], "label": (table["label"] == str(positive)).astype("int8"), "told_at": table["at"]
    })  # fmt: skip


def read_traffic(
    folder: Path, windows: Sequence[Window], bundle: Bundle, reference: Record, keep: Sequence[str]
) -> Iterator[Traffic]:
    """Each window's traffic that this model answered; memory holds one window at a time, and the truths.

    `keep` are columns that stay beside the truths.
    """
    truths = read_truths(folder, bundle.manifest.positive)
    for window in windows:
        table = read_predictions(folder, "prediction", window.start, window.end)
        mine = pc.and_(pc.equal(table["model"], bundle.name), pc.is_valid(table["probability"]))
        table = table.filter(mine)
        said = table.drop_columns("features").to_pandas()
        frame = frame_features(table, bundle.schema.names)
        frame[PREDICTION] = said["probability"]
        asked = said[["id", "at", "probability"]].assign(place=np.arange(len(said)))
        told = asked.merge(truths, on="id").sort_values("told_at", kind="stable", ignore_index=True)
        yield Traffic(
            window,
            count_window(frame, reference),
            frame[PREDICTION].to_numpy(dtype=np.float64),
            told[["at", "told_at", "label", "probability"]],
            frame[list(keep)].iloc[told["place"].to_numpy()].reset_index(drop=True),
            said["at"].max().to_pydatetime() if len(said) else None,
        )


def skip_silence(traffic: Sequence[Traffic]) -> list[Traffic]:
    """The windows from the model's first prediction on; raises ProjectError where it made none."""
    first = next((place for place, part in enumerate(traffic) if part.counts.rows), None)
    if first is None:
        raise ProjectError("The log holds no prediction of this model: expected at least one.")
    return list(traffic[first:])


def choose_kept(contract: Contract, bundle: Bundle) -> list[str]:
    """The fairness columns that requests have: what live performance is cut by."""
    return [name for name in contract.fairness if name in bundle.schema.columns]


# Judging.


def judge_performance(
    traffic: Sequence[Traffic], reference: Record, threshold: float, min_class: int, seed: int
) -> pd.DataFrame:
    """Each window's metrics, expected of the probabilities and, where truths allow it, realised: a row a window and metric.

    Columns: window, metric, expected, expected_low, expected_high, realised, realised_low, realised_high, rows, labelled.
    """
    rows = []
    for part in traffic:
        if len(part.probability) < 2:
            continue
        settings = {"threshold": threshold, "cost": reference["cost"], "seed": seed}
        expected = expect_performance(part.probability, **settings)
        truth, p = to_pair(part)
        known = has_classes(truth, min_class)
        realised = measure_performance(truth, p, **settings) if known else {}
        for name in METRICS:
            row = {"window": part.window.name, "metric": name, "rows": len(part.probability), "labelled": len(truth)}
            for kind, found in (("expected", expected), ("realised", realised)):
                estimate = found.get(name, {"value": np.nan, "low": np.nan, "high": np.nan})
                row |= {kind: estimate["value"], f"{kind}_low": estimate["low"], f"{kind}_high": estimate["high"]}
            rows.append(row)
    return pd.DataFrame(rows)


def to_pair(part: Traffic) -> tuple[Array, Array]:
    """Truths and probabilities of a window's rows whose truth is known."""
    return part.told["label"].to_numpy(), part.told["probability"].to_numpy(dtype=np.float64)


def judge_traffic(
    traffic: Sequence[Traffic], reference: Record, *, false_alarms: float, min_rows: int, min_psi: float
) -> list[pd.DataFrame | None]:
    """Every window's drift, judged in its turn (see `drift.judge_windows`)."""
    return judge_windows(
        reference, [part.counts for part in traffic], false_alarms=false_alarms, min_rows=min_rows, min_psi=min_psi
    )


def judge_truths(
    traffic: Sequence[Traffic], reference: Record, *, false_alarms: float, min_class: int, min_effect: float
) -> pd.DataFrame:
    """Every window's decay (see `decay.judge_decay`), with the share of positives among its truths and its p-value."""
    table = judge_decay(
        reference["performance"],
        [to_pair(part) for part in traffic],
        false_alarms=false_alarms,
        min_class=min_class,
        min_effect=min_effect,
    )
    before = reference["performance"]["rows"], reference["performance"]["rate"]
    rates, p = [], []
    for part in traffic:
        truth, _ = to_pair(part)
        rates.append(float(truth.mean()) if len(truth) else np.nan)
        p.append(compare_rates(before, truth))
    return table.assign(window=[part.window.name for part in traffic], rate=rates, rate_p=p)


def compare_rates(before: tuple[int, float], truth: Array) -> float:
    """The p-value of two shares of positives; NaN without truths."""
    positives = before[0] * before[1]
    return cells_pvalue(
        np.array([positives, before[0] - positives]), np.array([truth.sum(), len(truth) - truth.sum()], dtype=float)
    )


def raise_alerts(
    tables: Sequence[pd.DataFrame | None],
    decay: pd.DataFrame,
    traffic: Sequence[Traffic],
    reference: Record,
    false_alarms: float,
) -> list[list[Record]]:
    """Each window's alerts, the gravest first: of drift, of the truths, of volume."""
    names = [part.window.name for part in traffic]
    rates = [measure_volume(part, traffic[-1].last) for part in traffic]
    raised = []
    for place, name in enumerate(names):
        found = words.describe_drift_text(tables, place, names, reference["weights"], reference["units"])
        row = decay.iloc[place].to_dict()
        before = reference["performance"]
        label = words.describe_label_shift(row["rate"], before["rate"], row["rate_p"], name, false_alarms)
        if row["decayed"]:
            since = place
            while since and decay["decayed"].iloc[since - 1]:
                since -= 1
            found.append(words.describe_decay(row, names[since], name, before["metrics"]))
        volume = words.describe_volume([rate for rate in rates[: place + 1] if rate is not None], names[: place + 1])
        found += [alert for alert in (label, volume if rates[place] is not None else None) if alert is not None]
        raised.append(words.sort_alerts(found))
    return raised


def measure_volume(part: Traffic, last: datetime | None) -> float | None:
    """A window's rows a day; None while too little of it has passed."""
    whole = (part.window.end - part.window.start).total_seconds()
    passed = min((last - part.window.start).total_seconds(), whole) if last else whole
    return part.counts.rows / (passed / 86_400) if passed >= ELAPSED * whole else None


def choose_standing(
    raised: Sequence[list[Record]], tables: Sequence[pd.DataFrame | None], decay: pd.DataFrame
) -> list[Record]:
    """The alerts that stand: of drift those of the newest judged window, of truths those of the newest window that has enough."""
    drift = next((place for place in reversed(range(len(tables))) if tables[place] is not None), None)
    known = {"decay": decay["p"].notna(), "label": decay["rows"] >= ENOUGH}
    standing = [alert for alert in (raised[drift] if drift is not None else []) if alert["kind"] not in known]
    for kind, enough in known.items():
        places = np.flatnonzero(enough)
        standing += [alert for alert in (raised[places[-1]] if len(places) else []) if alert["kind"] == kind]
    return words.sort_alerts(standing)


def measure_groups(traffic: Sequence[Traffic], keep: Sequence[str], threshold: float) -> pd.DataFrame:
    """Live performance of each group of the fairness columns, over all windows: columns as those of `measure_slices`."""
    told, groups = (
        pd.concat([getattr(part, name) for part in traffic], ignore_index=True) for name in ("told", "groups")
    )
    if not keep or told["label"].nunique() < 2:
        return pd.DataFrame()
    truth, p = told["label"].to_numpy(), told["probability"].to_numpy(dtype=np.float64)
    tables = [
        measure_slices(truth, p, groups[name].map(name_level).astype(str), threshold).assign(column=name)
        for name in keep
    ]
    return pd.concat(tables, ignore_index=True)


def list_losses(traffic: Sequence[Traffic]) -> pd.DataFrame:
    """Truths in the order in which they were told: columns told_at, loss (squared error less what was promised)."""
    told = pd.concat([part.told for part in traffic], ignore_index=True).sort_values("told_at", kind="stable")
    p = told["probability"].to_numpy(dtype=np.float64)
    loss = (told["label"].to_numpy() - p) ** 2 - p * (1 - p)
    return pd.DataFrame({"told_at": told["told_at"].to_numpy(), "loss": loss})


# Rehearsing.


def list_rehearsals(root: Path, folder: str) -> list[Path]:
    """The logs in a folder, by name; none where it is not named."""
    if not folder:
        return []
    if not (root / folder).is_dir():
        raise ProjectError(f"{PARAMS}: monitor.rehearsals names {folder}, which is no folder of {root}.")
    return sorted(path for path in (root / folder).iterdir() if path.is_dir())


def measure_errors(traffic: Sequence[Traffic], reference: Record, threshold: float, min_class: int) -> pd.DataFrame:
    """The error of the expected metrics, realised less expected of the same rows: a row a window that has truths enough."""
    pairs = [(part.window.name, *to_pair(part)) for part in traffic]
    rows = [
        {"window": name, **measure_error(truth, p, threshold, reference["cost"])}
        for name, truth, p in pairs
        if has_classes(truth, min_class)
    ]
    return pd.DataFrame(rows, columns=["window", *METRICS])


def summarise_rehearsal(
    name: str, raised: Sequence[list[Record]], traffic: Sequence[Traffic], errors: pd.DataFrame
) -> Record:
    """What monitoring makes of a log: first alert, its kind, how grave it gets, and the expected metrics' mean error."""
    names = [part.window.name for part in traffic]
    rung = [(names[place], alert) for place, found in enumerate(raised) for alert in found]
    return {
        "log": name,
        "rang in": f"{sum(bool(found) for found in raised)} of {len(names)}",
        "first": f"{rung[0][0]}: {rung[0][1]['column'] or rung[0][1]['kind']}" if rung else "",
        "gravest": words.find_worst([alert for _, alert in rung]),
        "decay from": next((window for window, alert in rung if alert["kind"] == "decay"), ""),
        **{f"{title} error": to_plain(errors[name].mean()) for name, title in ERRORS.items()},
    }


# Telling.


def describe_run(
    bundle: Bundle, reference: Record, traffic: Sequence[Traffic], tables: Sequence[pd.DataFrame | None],
    performance: pd.DataFrame, raised: Sequence[list[Record]], standing: list[Record], length: str,
) -> Record:  # fmt: skip
    """All that was found, for machines: reports/monitor.json."""
    weights = reference["weights"]
    first = min(part.last for part in traffic if part.last is not None)
    return {
        "format": FORMAT,
        "model": bundle.name,
        "bundle": bundle.sha256,
        "since": traffic[0].window.start.isoformat(),
        "at": max(first, *(part.last for part in traffic if part.last is not None)).isoformat(timespec="seconds"),
        "window": length,
        "severity": words.find_worst(standing),
        "windows": [
            {
                "name": part.window.name,
                "start": part.window.start.isoformat(),
                "end": part.window.end.isoformat(),
                "rows": part.counts.rows,
                "labelled": len(part.told),
                "judged": table is not None,
            }
            for part, table in zip(traffic, tables, strict=True)
        ],
        "columns": sorted(weights, key=lambda name: (-weights[name], name)),
        "weights": weights,
        "drift": [
            {"window": part.window.name, **{key: to_plain(row[key]) for key in KEPT}}
            for part, table in zip(traffic, tables, strict=True)
            if table is not None
            for row in table.to_dict("records")
        ],
        "performance": [
            {
                "window": row["window"],
                "metric": row["metric"],
                "realised": to_estimate(row, "realised"),
                "expected": to_estimate(row, "expected"),
            }
            for row in performance.to_dict("records")
        ],
        "alerts": standing,
        "timeline": [alert for found in raised for alert in found],
    }


KEPT = ("column", "kind", "p", "q", "psi", "distance", "missing", "drifted")


def to_plain(value: Any) -> Any:
    """A value as JSON holds it; what is not finite is null."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return bool(value) if isinstance(value, np.bool_) else value


def to_estimate(row: Mapping[Any, Any], kind: str) -> Record | None:
    """An estimate of a row of the performance table; None where it is unknown."""
    if np.isnan(row[kind]):
        return None
    return {"value": row[kind], "low": to_plain(row[f"{kind}_low"]), "high": to_plain(row[f"{kind}_high"])}


def tabulate_windows(traffic: Sequence[Traffic], raised: Sequence[list[Record]]) -> pd.DataFrame:
    """A row a window: predictions, truths told, the share of positives among them, alerts by severity."""
    rows = []
    for part, found in zip(traffic, raised, strict=True):
        truth, _ = to_pair(part)
        low, high = (float(bound) for bound in bound_share(truth.sum(), len(truth)))
        rows.append({
            "window": part.window.name, "predictions": f"{part.counts.rows:,}", "truths": f"{len(truth):,}",
            "positive": f"{truth.mean():.3f} ({low:.3f}\u2013{high:.3f})" if len(truth) else "",
            **{name: str(sum(alert["severity"] == name for alert in found) or "") for name in words.SEVERITIES[:0:-1]},
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("window")


def count_all(traffic: Sequence[Traffic]) -> tuple[int, int]:
    """Predictions and truths."""
    return sum(part.counts.rows for part in traffic), sum(len(part.told) for part in traffic)


def title_metrics() -> dict[str, str]:
    """The metrics that are drawn, with their titles."""
    return {name: TITLES[name].partition(" (")[0] for name in SHOWN}


def order_columns(reference: Record, tables: Sequence[pd.DataFrame | None]) -> list[str]:
    """The columns in the order of their weight, the predictions first."""
    weights = reference["weights"]
    names = next((list(table["column"]) for table in tables if table is not None), [])
    columns = [name for name in names if name in weights]
    return [PREDICTION, *sorted(columns, key=lambda name: (-weights[name], name))]


def find_newest(tables: Sequence[pd.DataFrame | None]) -> int:
    """The newest judged window; raises ProjectError where none is."""
    for place in reversed(range(len(tables))):
        if tables[place] is not None:
            return place
    raise ProjectError("No window of the log has rows enough to be judged: lower monitor.min_rows in params.yaml.")


def tabulate_drift(table: pd.DataFrame | None, reference: Record, most: int = 12) -> pd.DataFrame:
    """The columns that moved most in a window, in words; those that drifted first."""
    if table is None:
        return pd.DataFrame()
    ordered = table.assign(weight=table["column"].map(reference["weights"])).sort_values(
        ["drifted", "psi"], ascending=False, kind="stable"
    )
    rows = []
    for row in ordered.head(most).to_dict("records"):
        told = ""
        if row["drifted"] and row["column"] in reference["weights"]:
            told = words.explain_column(row, row["psi"], row["weight"], reference["units"].get(row["column"], ""))[2]
        rows.append({
            "column": row["column"], "PSI": tell(row["psi"], ".3f"), "distance": tell(row["distance"], ".2f"),
            "p": "< 0.001" if row["p"] < 0.001 else tell(row["p"], ".3f"), "weight": tell(row["weight"], ".0%"), "drifted": "yes" if row["drifted"] else "",
            "since the reference": told,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("column")


def tell(value: float, form: str) -> str:
    """A number in a format; empty where it is unknown."""
    return "" if value is None or np.isnan(value) else format(value, form)


def choose_moved(table: pd.DataFrame | None, reference: Record, most: int = 4) -> list[str]:
    """The drifted columns that moved most, the predictions among them."""
    if table is None:
        return []
    moved = table[table["drifted"] & table["column"].isin(reference["columns"])]
    return [str(name) for name in moved.sort_values("psi", ascending=False, kind="stable")["column"].head(most)]


def describe_changes(losses: pd.DataFrame, found: Mapping[str, int | None]) -> str:
    """When the streaming detectors noticed a change of the loss, in a sentence."""
    told = [
        f"{name.replace('_', '-')} on {losses['told_at'].iloc[place]:%Y-%m-%d}, after {place + 1:,} truths"
        for name, place in found.items()
        if place is not None
    ]
    if not told:
        return f"The streaming detectors noticed no change of the loss in {len(losses):,} truths."
    return f"The streaming detectors noticed a change of the loss: {'; '.join(told)}."


def tabulate_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """Live performance of the fairness columns' groups, in words."""
    shown = [
        {
            "group": f"{row['column']} = {row['category']}", "truths": f"{row['rows']:,}",
            **{
                title: f"{row[name]:.3f} ({row[f'{name}_low']:.3f}\u2013{row[f'{name}_high']:.3f})"
                for name, title in (("roc_auc", "ROC AUC"), ("recall", "Recall"), ("false_alarms", "False alarms"), ("predicted_positive", "Called"))
            },
        }
        for row in groups.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(shown, columns=["group", "truths", "ROC AUC", "Recall", "False alarms", "Called"]).set_index(
        "group"
    )


def tabulate_rehearsals(summaries: list[Record]) -> pd.DataFrame:
    """The rehearsals in words."""
    table = pd.DataFrame(summaries).set_index("log")
    for name in table.columns[table.columns.str.endswith(" error")]:
        table[name] = table[name].map(lambda value: tell(value, "+.3f"))
    return table.astype(str)
