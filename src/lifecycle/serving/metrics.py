"""What Prometheus is told; with several workers the numbers are theirs together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from lifecycle.serving.monitor_file import LoadedReport
from lifecycle.serving.monitor_report import SEVERITIES, Interval

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own: where workers share their numbers
TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
State = dict[str, Any]


class Metrics:
    """A worker's counters. `describe` tells the state of its lineup when Prometheus asks, and what the monitor found."""

    def __init__(self, describe: Callable[[], State]) -> None:
        self.registry = CollectorRegistry()
        self.describe = describe
        registry = self.registry
        self.predictions = Counter("model_predictions", "Predictions answered.", ["model", "class"], registry=registry)
        self.latency = Histogram(
            "prediction_latency_seconds",
            "From the first byte to the answer of POST /predict.",
            buckets=BUCKETS,
            registry=registry,
        )
        self.errors = Counter(
            "http_errors", "Requests that were refused or failed.", ["path", "status"], registry=registry
        )
        self.in_flight = Gauge(
            "requests_in_flight", "Requests being answered.", multiprocess_mode="livesum", registry=registry
        )
        self.rejected = Counter(
            "model_inputs_rejected", "Values that broke the contract.", ["column"], registry=registry
        )
        self.missing = Counter("model_inputs_missing", "Values that were absent.", ["column"], registry=registry)
        self.failures = Counter(
            "model_failures", "Times a bundle could not answer.", ["model", "kind"], registry=registry
        )
        self.degraded = Counter("model_degraded_predictions", "Predictions by a stand-in.", ["by"], registry=registry)
        self.feedback = Counter("model_feedback", "Truths that came later.", ["model", "correct"], registry=registry)
        self.logged = Counter(
            "prediction_log_records", "Records for the prediction log.", ["result"], registry=registry
        )
        self.log_healthy = Gauge(
            "prediction_log_healthy",
            "1: the last write went well.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.shadowed = Counter(
            "shadow_predictions", "Requests for the shadow.", ["model", "result"], registry=registry
        )
        self.swaps = Counter("model_swaps", "Times a worker took up another lineup.", ["result"], registry=registry)
        self.children: dict[tuple[str, str], Any] = {}

    def count_predictions(self, model: str, label: str, count: int) -> None:
        """Count answered predictions; the child of a pair of labels is looked up once."""
        child = self.children.get((model, label))
        if child is None:
            child = self.children[model, label] = self.predictions.labels(model, label)
        child.inc(count)

    def render(self) -> bytes:
        """The exposition format (Prometheus text 0.0.4): the counters of all workers, and this one's state."""
        shared = CollectorRegistry()
        if os.environ.get(FOLDER):
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        else:
            shared.register(self.registry)
        shared.register(StateCollector(self.describe(), shared))
        return generate_latest(shared)


class StateCollector:
    """Gauges that are computed when asked for: the lineup's, and the live accuracy from the counted feedback."""

    def __init__(self, state: State, counted: CollectorRegistry) -> None:
        self.state = state
        self.feedback = [family for family in counted.collect() if family.name == "model_feedback"]

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        state = self.state
        info = GaugeMetricFamily("model_info", "The model that is live.", labels=["model", "bundle", "family"])
        info.add_metric([state["model"], state["bundle"], state["family"]], 1)
        yield info
        yield GaugeMetricFamily(
            "model_ready", "1: the champion is loaded and answers its golden requests.", state["ready"]
        )
        yield GaugeMetricFamily("model_prior", "The share of positives in training.", state["prior"])
        if state["since"] is not None:
            yield GaugeMetricFamily(
                "model_age_seconds", "Since the model became champion.", max(0.0, time.time() - state["since"])
            )
        accuracy = GaugeMetricFamily(
            "model_accuracy", "Share of right predictions among truths told.", labels=["model"]
        )
        for model, (right, told) in self.count_truths().items():
            accuracy.add_metric([model], right / told)
        yield accuracy
        if state["store"] is not None:
            yield from collect_store(state["store"])
        if state["monitor"] is not None:
            yield from _collect_drift(state["monitor"])
            yield from _collect_performance(state["monitor"])

    def count_truths(self) -> dict[str, tuple[float, float]]:
        """How many were right, and how many were told, by model."""
        counts: dict[str, tuple[float, float]] = {}
        for family in self.feedback:
            for sample in family.samples:
                if sample.name == "model_feedback_total" and sample.value:
                    right, told = counts.get(sample.labels["model"], (0.0, 0.0))
                    hit = sample.value if sample.labels["correct"] == "true" else 0.0
                    counts[sample.labels["model"]] = (right + hit, told + sample.value)
        return counts


def collect_store(store: State) -> Iterable[Metric]:
    """Gauges of how fresh the feature store's rows are."""
    yield GaugeMetricFamily("feature_store_entities", "Entities that the feature store has rows of.", store["rows"])
    yield GaugeMetricFamily(
        "feature_store_materialized_timestamp_seconds", "When the rows were last materialised.", store["materialized"]
    )
    if store["newest"] is not None:
        yield GaugeMetricFamily("feature_store_newest_timestamp_seconds", "The newest row's moment.", store["newest"])


def _collect_drift(loaded: LoadedReport) -> Iterable[Metric]:
    """Yield gauges of drift in the newest window that was judged, and of its end."""
    report, newest = loaded.report, loaded.newest
    yield GaugeMetricFamily(
        "monitor_written_timestamp_seconds", "When `lifecycle monitor` wrote its report.", loaded.written
    )
    if newest is not None:
        yield GaugeMetricFamily(
            "monitor_window_end_timestamp_seconds", "The end of the newest window that was judged.",
            newest.end.timestamp(),
        )  # fmt: skip
    yield GaugeMetricFamily(
        "drift_severity", "The highest severity among current alerts: 0 ok, 1 info, 2 warning, 3 critical.",
        SEVERITIES.index(report.severity),
    )  # fmt: skip
    alerts = GaugeMetricFamily("drift_alerts", "Current alerts of `lifecycle monitor`.", labels=["severity"])
    for severity, count in loaded.count_alerts().items():
        alerts.add_metric([severity], count)
    yield alerts
    rows = loaded.list_drift()
    for name, help_text, key in (
        ("drift_psi", "Population stability index of a column against the reference.", "psi"),
        ("drift_distance", "Wasserstein distance in standard deviations, or Jensen-Shannon distance.", "distance"),
        ("drift_p_value", "P-value of the test that a column has not changed.", "p"),
        ("drift_missing_share", "Share of a column's values that are missing.", "missing"),
    ):
        family = GaugeMetricFamily(name, help_text, labels=["column"])
        for row in rows:
            if (value := getattr(row, key)) is not None:
                family.add_metric([row.column], value)
        yield family


def _collect_performance(loaded: LoadedReport) -> Iterable[Metric]:
    """Yield gauges of the live model's performance: for each metric and kind, the newest window that has it.

    Labels arrive late, so a realised value may be of an older window than the expected one. The bounds are
    those that were expected in the realised value's own window.
    """
    values: dict[tuple[str, str], float] = {}
    bounds: dict[str, Interval] = {}
    for row in loaded.list_performance():
        if row.expected is not None:
            values[row.metric, "expected"] = row.expected.value
        if row.realised is not None:
            values[row.metric, "realised"] = row.realised.value
            bounds.pop(row.metric, None)
            if row.expected is not None:
                bounds[row.metric] = row.expected
    performance = GaugeMetricFamily(
        "live_performance", "The newest value of a metric, realised or expected.", labels=["metric", "kind"]
    )
    for labels, value in values.items():
        performance.add_metric(labels, value)
    yield performance
    for bound in ("low", "high"):
        family = GaugeMetricFamily(
            f"live_performance_expected_{bound}", f"The {bound} end of the interval expected of the realised value.",
            labels=["metric"],
        )  # fmt: skip
        for metric, interval in bounds.items():
            if (value := getattr(interval, bound)) is not None:
                family.add_metric([metric], value)
        yield family
