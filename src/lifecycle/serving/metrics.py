"""The metrics for Prometheus; those of several workers are added up."""

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
from lifecycle.serving.settings import METRICS_FOLDER_VARIABLE

TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
State = dict[str, Any]


class Metrics:
    """A worker's metrics.

    describe: returns the state of its models and the monitoring report, for the gauges that are computed at each scrape.
    """

    def __init__(self, describe: Callable[[], State]) -> None:
        self.registry = CollectorRegistry()
        self.describe = describe
        registry = self.registry
        self.predictions = Counter("model_predictions", "Predictions answered.", ["model", "class"], registry=registry)
        self.latency = Histogram(
            "prediction_latency_seconds",
            "From a complete request head to the response of POST /predict.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.errors = Counter(
            "http_errors", "Requests that were refused or failed.", ["path", "status"], registry=registry
        )
        self.in_flight = Gauge(
            "requests_in_flight", "Requests that are being answered.", multiprocess_mode="livesum", registry=registry
        )
        self.rejected = Counter(
            "model_inputs_rejected", "Values that violated the contract.", ["column"], registry=registry
        )
        self.missing = Counter("model_inputs_missing", "Missing values.", ["column"], registry=registry)
        self.ignored = Counter(
            "model_inputs_ignored",
            "Values of columns that the contract has and the model does not read.",
            ["column"],
            registry=registry,
        )
        self.unseen = Counter(
            "model_inputs_unseen",
            "Values that an open list of the contract does not have.",
            ["column"],
            registry=registry,
        )
        self.failures = Counter(
            "model_failures", "Times a bundle could not answer.", ["model", "kind"], registry=registry
        )
        self.degraded = Counter(
            "model_degraded_predictions",
            "Predictions by a fallback instead of the champion.",
            ["by"],
            registry=registry,
        )
        self.feedback = Counter(
            "model_feedback", "Labels that arrived for earlier predictions.", ["model", "correct"], registry=registry
        )
        self.logged = Counter(
            "prediction_log_records", "Records for the prediction log.", ["result"], registry=registry
        )
        self.log_healthy = Gauge(
            "prediction_log_healthy",
            "1: the last write succeeded.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.shadowed = Counter(
            "shadow_predictions", "Rows offered to the model in the shadow.", ["model", "result"], registry=registry
        )
        self.swaps = Counter("model_swaps", "Times a worker loaded other models.", ["result"], registry=registry)
        self.children: dict[tuple[str, str], Any] = {}

    def count_predictions(self, model: str, label: str, count: int) -> None:
        """Count predictions; the child metric of a pair of labels is looked up only once."""
        child = self.children.get((model, label))
        if child is None:
            child = self.children[model, label] = self.predictions.labels(model, label)
        child.inc(count)

    def count_shadow(self, model: str, result: str, rows: int) -> None:
        """Count rows that the model in the shadow scored, failed on, or was too slow for."""
        self.shadowed.labels(model, result).inc(rows)

    def count_traffic(self) -> State:
        """Return this worker's totals: predictions, failed and refused requests, and the latency's cumulative buckets.

        asked: all requests to /predict. failed: 5xx of any path. refused: 4xx of /predict.
        """
        latency = [sample for family in self.latency.collect() for sample in family.samples]
        buckets = {sample.labels["le"]: sample.value for sample in latency if sample.name.endswith("_bucket")}
        errors = [
            (sample.labels, sample.value)
            for family in self.errors.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        ]
        answered = sum(sample.value for sample in latency if sample.name.endswith("_count"))
        on_predict = [(labels, value) for labels, value in errors if labels["path"] == "/predict"]
        return {
            "answered": answered,
            "asked": answered + sum(value for _, value in on_predict),
            "failed": sum(value for labels, value in errors if labels["status"].startswith("5")),
            "refused": sum(value for labels, value in on_predict if labels["status"].startswith("4")),
            "buckets": buckets,
        }

    def render(self) -> bytes:
        """Return the metrics of all workers and the state of this one in Prometheus' text format 0.0.4."""
        shared = CollectorRegistry()
        if os.environ.get(METRICS_FOLDER_VARIABLE):
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        else:
            shared.register(self.registry)
        shared.register(_StateCollector(self.describe(), shared))
        return generate_latest(shared)


class _StateCollector:
    """Gauges that are computed at each scrape: the state of the models, and the live accuracy from the counted labels."""

    def __init__(self, state: State, counted: CollectorRegistry) -> None:
        self.state = state
        self.feedback = [family for family in counted.collect() if family.name == "model_feedback"]

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        state = self.state
        info = GaugeMetricFamily("model_info", "The model that is live.", labels=["model", "bundle", "family"])
        info.add_metric([state["model"], state["bundle"], state["family"]], 1)
        yield info
        yield GaugeMetricFamily(
            "model_ready", "1: the champion is loaded and reproduces its golden answers.", state["ready"]
        )
        yield GaugeMetricFamily("model_prior", "The share of positives in training.", state["prior"])
        if state["since"] is not None:
            yield GaugeMetricFamily(
                "model_age_seconds", "Time since the model became champion.", max(0.0, time.time() - state["since"])
            )
        accuracy = GaugeMetricFamily(
            "model_accuracy", "Share of correct predictions among those with a label.", labels=["model"]
        )
        for model, (correct, labelled) in self.count_labels().items():
            accuracy.add_metric([model], correct / labelled)
        yield accuracy
        if state["store"] is not None:
            yield from _collect_store(state["store"])
        if state["monitor"] is not None:
            yield from _collect_drift(state["monitor"])
            yield from _collect_performance(state["monitor"])

    def count_labels(self) -> dict[str, tuple[float, float]]:
        """Return the correct and the labelled predictions by model."""
        counts: dict[str, tuple[float, float]] = {}
        for family in self.feedback:
            for sample in family.samples:
                if sample.name == "model_feedback_total" and sample.value:
                    correct, labelled = counts.get(sample.labels["model"], (0.0, 0.0))
                    hits = sample.value if sample.labels["correct"] == "true" else 0.0
                    counts[sample.labels["model"]] = (correct + hits, labelled + sample.value)
        return counts


def _collect_store(store: State) -> Iterable[Metric]:
    """Yield gauges of the size and the age of the feature store."""
    yield GaugeMetricFamily("feature_store_entities", "Entities in the feature store.", store["rows"])
    yield GaugeMetricFamily(
        "feature_store_materialized_timestamp_seconds",
        "When the features were last materialised.",
        store["materialized"],
    )
    if store["newest"] is not None:
        yield GaugeMetricFamily(
            "feature_store_newest_timestamp_seconds", "The time of the newest row.", store["newest"]
        )


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
