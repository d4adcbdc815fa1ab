"""Tests of the stage monitor: reading logs, judging windows, alerts, the report, and backtests."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.histograms import CategoryCounts
from lifecycle.core.params import Monitor
from lifecycle.monitoring import traffic
from lifecycle.monitoring.drift import MULTIVARIATE, PREDICTION
from lifecycle.monitoring.report import build_report, summarize_backtest
from lifecycle.monitoring.scenarios import begin_month, draw_month, is_simulated, score_month
from lifecycle.prediction_log.compaction import compact_segments
from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving.acceptance import start_server
from lifecycle.serving.bundle import (
    BACKGROUND,
    GOLDEN,
    MANIFEST,
    PLAN,
    REFERENCE,
    SCHEMA,
    Bundle,
    load_bundle,
    to_request,
)
from lifecycle.serving.monitor_report import MonitorReport
from lifecycle.stages import monitor, simulate
from tests.support.bundles import make_champion, make_hole, rewrite_plan
from tests.support.frames import agree
from tests.support.monitor_reports import LIMITS
from tests.support.traffic import (
    CONTRACT,
    DAY,
    MODEL,
    NAMES,
    NEW_YEAR,
    draw_labels,
    draw_rows,
    make_months,
    make_records,
    to_micros,
    to_rows,
    write_segment,
    write_watched,
)

Record = dict[str, Any]
AT = datetime(2026, 5, 1, tzinfo=UTC)
SETTINGS = Monitor(
    log="", backtests="", window="month", maturity_days=0, reference="holdout", reference_windows=6, treated="keep", false_alarms=0.01, min_rows=150, min_class=20, min_psi=0.01, min_effect=0.02,
    severity=LIMITS,
)  # fmt: skip
FAIR = CONTRACT.model_copy(update={"fairness": ("plan", "id")})


class Watch:
    """The notebook's results on a log."""

    def __init__(self, log: Path, bundle: Bundle, reference: Record, length: str = "month") -> None:
        keep = traffic.choose_groups(FAIR, bundle)
        windows = traffic.list_windows(log, length)
        self.traffic = traffic.drop_leading_windows(list(traffic.read_traffic(log, windows, bundle, reference, keep)))
        self.results = monitor.judge_traffic(self.traffic, reference, SETTINGS)
        self.tables, self.degradation = self.results.tables, self.results.degradation
        self.alerts, self.current, self.names = self.results.alerts, self.results.current, self.results.names
        self.rows = [part.counts.rows for part in self.traffic]
        self.labels = [len(part.labelled) for part in self.traffic]
        self.kinds = [{alert.kind for alert in found} for found in self.alerts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitor") / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return write_watched(folder)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, folder: Path) -> Record:
    return traffic.read_reference(bundle, folder)


def watch(log: Path, bundle: Bundle, reference: Record, records: list[Record], length: str = "month") -> Watch:
    return Watch(write_segment(log, records), bundle, reference, length)


# --- logs as the server and the simulation write them


def test_months_without_a_change_have_no_alert(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    found = watch(tmp_path, bundle, reference, make_months(bundle, [draw_rows(300, seed) for seed in range(4)]))
    assert found.names == ["2026-01", "2026-02", "2026-03", "2026-04"]
    assert found.rows == found.labels == [300] * 4
    assert found.alerts == [[], [], [], []] and found.current == []
    assert not found.degradation["degraded"].any()


def test_a_log_reads_the_same_while_it_is_written_sealed_and_compacted(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    records = make_months(bundle, [draw_rows(150, seed) for seed in range(2)], days=2, wait=3)

    def read() -> list[Any]:
        found = Watch(tmp_path, bundle, reference)
        return [(part.window, part.labelled.to_dict("records"), part.counts.rows, part.probability.tolist(), part.last)
                for part in found.traffic]  # fmt: skip

    log = PredictionLog(tmp_path, flush_seconds=0.01)
    for record in records[:200]:
        log.append(record)
    end = time.monotonic() + 10
    while log.written < 200:
        assert time.monotonic() < end
        time.sleep(0.005)
    opened = read()
    assert sum(part[2] for part in opened) == sum(record["kind"] == "prediction" for record in records[:200])
    assert log.close()
    assert read() == opened, "sealed"
    assert compact_segments(tmp_path).damaged == 0
    assert read() == opened, "compacted"
    write_segment(tmp_path, records[200:])
    mixed = read()
    assert [part[2] for part in mixed] == [150, 150]
    compact_segments(tmp_path)
    assert read() == mixed


def test_a_simulated_log_reads_as_the_servers_and_is_recognised(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    pool = draw_labels(bundle, draw_rows(600, seed=9), seed=9)
    calm = {"kind": "none", "column": "", "factor": 1.0, "share": 1.0, "category": "", "begin": 1}
    cents = {**calm, "kind": "scale", "column": "spend", "factor": 100.0, "begin": 3}
    records = []
    for month in (1, 2, 3):
        frame = draw_month(pool, cents, CONTRACT, month=month, rows=250, seed=0)
        records += score_month(
            bundle,
            frame,
            CONTRACT,
            first="2026-11",
            month=month,
            label_days={"positive": [5, 20], "negative": [5, 20]},
            label_share=1.0,
            seed=0,
        )
    simulate.write_log(tmp_path / "log", records, begin_month("2026-11", 4))
    found = Watch(tmp_path / "log", bundle, reference)
    assert found.names == ["2026-11", "2026-12", "2027-01"] and found.rows == [250] * 3
    assert is_simulated(tmp_path / "log")
    assert found.labels[0] == 250 and found.labels[2] < 250, "later labels have not arrived yet"
    assert [bool(kinds) for kinds in found.kinds] == [False, False, True] and "unit" in found.kinds[2]


def test_the_first_label_counts_and_labels_of_unknown_predictions_do_not(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    frame = draw_rows(60, 0).assign(left="yes")
    records = make_records(bundle, frame, NEW_YEAR, days=5, wait=2)
    later = [{**record, "at": record["at"] + DAY, "label": "no"} for record in records if "label" in record]
    stray = [{**later[0], "id": "unknown"}]
    found = watch(tmp_path, bundle, reference, [*later, *records, *later, *stray])
    (part,) = found.traffic
    assert len(part.labelled) == 60 and part.labelled["label"].tolist() == [1] * 60
    assert (part.labelled["labelled_at"] - part.labelled["at"] == timedelta(days=2)).all()


def test_predictions_of_other_models_and_fallbacks_are_left_out(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    mine = make_records(bundle, draw_labels(bundle, draw_rows(200, 0), 0), NEW_YEAR, name="mine")
    before = [{**record, "model": "f" * 12, "degraded": True, "id": f"before {record['id']}"}
              for record in mine if record["kind"] == "prediction"]  # fmt: skip
    prior = [{**record, "model": "prior", "degraded": True, "probability": 0.25, "id": f"prior {record['id']}"}
             for record in before]  # fmt: skip
    silent = [
        {**record, "model": bundle.name, "probability": None, "id": f"silent {record['id']}"} for record in before
    ]
    shadow = [
        {key: record[key] for key in ("id", "at", "model", "probability")} | {"kind": "shadow"} for record in before
    ]
    labels = [{"kind": "feedback", "id": record["id"], "at": record["at"] + DAY, "label": "yes"}
              for record in [*before, *prior, *silent]]  # fmt: skip
    alone = watch(tmp_path / "alone", bundle, reference, mine)
    found = watch(tmp_path / "all", bundle, reference, [*before, *prior, *silent, *shadow, *mine, *labels])
    assert found.rows == alone.rows == [200] and found.labels == [200]
    agree(found.traffic[0].counts, alone.traffic[0].counts)
    assert found.traffic[0].labelled.equals(alone.traffic[0].labelled)


def test_the_log_of_a_running_server_is_read(tmp_path: Path) -> None:
    """The champion fails for some rows, which the previous model scores: each has its own predictions in the log."""
    champion = write_watched(tmp_path / paths.RELEASES / MODEL[:12] / "bundle", rows=100)
    before = "b" * 64
    write_watched(tmp_path / paths.RELEASES / before[:12] / "bundle", before, 1.0, rows=100)
    home = tmp_path / paths.RELEASES / MODEL[:12] / "bundle"
    rewrite_plan(home, make_hole)
    record = {"format": 2, "model": MODEL, "bundle": hash_file(home / MANIFEST), "prior": 0.25, "previous": before}
    make_champion(tmp_path, record, {"model": before})
    rows = [row for row in to_rows(draw_rows(80, 0)) if row["months"] < 50]
    with start_server(tmp_path, flush_seconds=0.02) as server:
        _, _, body = server.ask("/predict", json.dumps(rows).encode())
        replies = json.loads(body)["predictions"]
        labels = [{"request_id": reply["request_id"], "label": "yes" if place % 2 else "no"}
                  for place, reply in enumerate(replies)]  # fmt: skip
        assert server.ask("/feedback", json.dumps(labels).encode())[0] == 200
        _, _, body = server.ask("/predict", json.dumps({**rows[0], "months": 60}).encode())
        assert json.loads(body)["degraded"]
        assert server.stop() == 0
    reference = traffic.read_reference(champion, home)
    log = tmp_path / paths.PREDICTIONS
    for model, expected in ((MODEL[:12], len(rows)), (before[:12], 1)):
        eyes = load_bundle(tmp_path / paths.RELEASES / model / "bundle")
        parts = list(traffic.read_traffic(log, traffic.list_windows(log, "day"), eyes, reference, ["plan"]))
        assert sum(part.counts.rows for part in parts) == expected
        if expected > 1:
            labelled = pd.concat([part.labelled for part in parts])
            assert len(labelled) == len(rows) and labelled["label"].sum() == len(rows) // 2
            given = np.concatenate([part.probability for part in parts])
            np.testing.assert_allclose(given, [reply["probability"] for reply in replies])


# --- what is refused


def test_an_empty_log_is_refused(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    with pytest.raises(ProjectError, match="has no predictions: expected a prediction log"):
        traffic.list_windows(tmp_path, "month")
    write_segment(tmp_path, [{"kind": "feedback", "id": "x", "at": to_micros(NEW_YEAR), "label": "yes"}])
    with pytest.raises(ProjectError, match="has no predictions"):
        Watch(tmp_path, bundle, reference)


def test_a_log_of_other_models_is_refused(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = [record | {"model": "f" * 12} if record["kind"] == "prediction" else record
               for record in make_months(bundle, [draw_rows(20, 0)])]  # fmt: skip
    with pytest.raises(ProjectError, match="holds no prediction of this model"):
        watch(tmp_path, bundle, reference, records)


def test_too_few_rows_are_refused(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    found = watch(tmp_path, bundle, reference, make_months(bundle, [draw_rows(100, 0)]))
    assert found.tables == [None]
    with pytest.raises(ProjectError, match=r"enough rows to be judged.*monitor\.min_rows"):
        monitor.find_newest(found.tables)


def test_a_bundle_without_a_reference_is_refused(tmp_path: Path, bundle: Bundle, folder: Path) -> None:
    with pytest.raises(ProjectError, match=r"has no reference\.json to compare with.*make repro"):
        traffic.read_reference(bundle, tmp_path)
    (tmp_path / REFERENCE).write_text("{")
    with pytest.raises(ProjectError, match=r"reference\.json is not JSON"):
        traffic.read_reference(bundle, tmp_path)
    assert traffic.read_reference(bundle, folder)["performance"]["rows"] == 1500


def test_backtests_are_the_folders_of_an_existing_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "logs/notes.txt").touch()
    assert monitor.list_backtests(tmp_path, "logs") == [tmp_path / "logs/a", tmp_path / "logs/b"]
    assert monitor.list_backtests(tmp_path, "") == []
    with pytest.raises(ProjectError, match="nowhere"):
        monitor.list_backtests(tmp_path, "nowhere")


# --- windows


@pytest.mark.parametrize(
    ("first", "last", "length", "names"),
    [
        ("2026-12-31T23:59:59.999999", "2027-01-01T00:00:00", "day", ["2026-12-31", "2027-01-01"]),
        ("2026-12-31", "2027-01-01", "month", ["2026-12", "2027-01"]),
        ("2026-12-27T23:59:59.999999", "2027-01-04", "week", ["2026-W52", "2026-W53", "2027-W01"]),
        ("2025-12-29", "2026-01-01", "week", ["2026-W01"]),
        ("2024-12-30", "2025-01-06", "week", ["2025-W01", "2025-W02"]),
        ("2028-01-31", "2028-03-01", "month", ["2028-01", "2028-02", "2028-03"]),
        ("2028-02-28", "2028-03-01", "day", ["2028-02-28", "2028-02-29", "2028-03-01"]),
        ("2026-03-29", "2026-03-29", "month", ["2026-03"]),
    ],
)
def test_windows_have_no_gaps(
    tmp_path: Path, bundle: Bundle, first: str, last: str, length: str, names: list[str]
) -> None:
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last)]
    records = [record for moment in moments for record in make_records(bundle, draw_rows(1, 0), moment)]
    write_segment(tmp_path, records)
    windows = traffic.list_windows(tmp_path, length)
    assert [window.name for window in windows] == names
    assert all(one.end == other.start for one, other in pairwise(windows))
    assert windows[0].start <= moments[0] and moments[1] < windows[-1].end
    for window in windows:
        assert window.start.tzinfo is not None and (window.start.hour, window.start.minute) == (0, 0)
        assert length != "week" or window.start.weekday() == 0
        assert length != "month" or window.start.day == 1


def test_every_row_is_in_one_window_of_any_length(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    start = datetime(2026, 12, 26, tzinfo=UTC)
    write_segment(tmp_path, make_records(bundle, draw_labels(bundle, draw_rows(300, 0), 0), start, days=12, wait=1))
    for length, count in (("day", 12), ("week", 3), ("month", 2)):
        windows = traffic.list_windows(tmp_path, length)
        assert len({window.name for window in windows}) == len(windows) == count
        parts = list(traffic.read_traffic(tmp_path, windows, bundle, reference, []))
        assert sum(part.counts.rows for part in parts) == sum(len(part.labelled) for part in parts) == 300


def test_windows_without_predictions_are_kept(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    """Those before the model's first prediction are left out."""
    early = [record | {"model": "f" * 12} for record in make_records(bundle, draw_rows(20, 0), NEW_YEAR, wait=None)]
    parts = [make_records(bundle, draw_labels(bundle, draw_rows(300, month), month),
                          datetime(2026, month, 1, tzinfo=UTC)) for month in (3, 8)]  # fmt: skip
    found = watch(tmp_path, bundle, reference, [*early, *parts[0], *parts[1]])
    assert found.names == [f"2026-{month:02}" for month in range(3, 9)]
    assert found.rows == [300, 0, 0, 0, 0, 300]
    assert [table is not None for table in found.tables][3:] == [False, False, True]
    assert found.current == []
    performance = monitor.judge_performance(found.traffic, reference, 0.5, 20, 0)
    assert performance["window"].unique().tolist() == ["2026-03", "2026-08"]
    report = describe(found, bundle, reference)
    assert [window.rows for window in report.windows] == found.rows


# --- findings


def describe(found: Watch, bundle: Bundle, reference: Record) -> MonitorReport:
    performance = monitor.judge_performance(found.traffic, reference, bundle.manifest.threshold, 20, 0)
    about = {"window": "month", "mature_until": AT, "simulated": False}
    report = build_report(bundle, reference, found.results, performance, [], **about)
    text = json.dumps(report.to_json(), allow_nan=False)
    assert MonitorReport.model_validate_json(text) == report, "the same after it was written and read"
    assert report.budget is not None and report.budget.total == SETTINGS.false_alarms
    return report


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, reference: Record) -> Watch:
    """Three months without a change; then prices double and labels are reversed; the labels of the last month are missing."""
    frames = [draw_rows(300, seed) for seed in range(6)]
    for number in (3, 4, 5):
        frame = draw_labels(bundle, frames[number], number)
        turned = frame["left"].map({"yes": "no", "no": "yes"})
        frames[number] = frame.assign(left=turned, spend=frame["spend"] * 2)
    records = make_months(bundle, frames)
    until = to_micros(datetime(2026, 6, 8, tzinfo=UTC))
    known = [record for record in records if record["at"] < until or record["kind"] == "prediction"]
    return watch(tmp_path_factory.mktemp("turned"), bundle, reference, known)


def test_drift_and_concept_drift_have_alerts_from_their_month_on(turned: Watch) -> None:
    assert [bool(kinds) for kinds in turned.kinds] == [False] * 3 + [True] * 3
    assert turned.degradation["degraded"].tolist() == [False] * 3 + [True, True, False]
    alerts = {alert.kind: alert for alert in turned.current}
    spend = next(alert for alert in turned.current if alert.column == "spend")
    assert (spend.kind, spend.since, spend.window, spend.severity) == (
        "column",
        "2026-04",
        "2026-06",
        "critical",
    )
    assert (alerts["degradation"].since, alerts["degradation"].window) == ("2026-04", "2026-05"), (
        "the newest with labels"
    )
    assert alerts["degradation"].severity == "critical"
    assert not any(alert.column in {"months", "plan", "senior"} for alert in turned.current)


def test_the_report_names_new_categories(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    months = [draw_rows(300, seed) for seed in range(2)]
    months[1].loc[:29, "plan"] = "gold"
    months[1].loc[30:59, "plan"] = [f"plan {number}" for number in range(30)]
    report = describe(watch(tmp_path, bundle, reference, make_months(bundle, months)), bundle, reference)
    new = {(row.window, row.column): row.new for row in report.drift if row.new}
    assert new.keys() == {("2026-02", "plan")} and len(new["2026-02", "plan"]) == 10
    assert new["2026-02", "plan"][:2] == ("gold", "plan 0")
    report.write(tmp_path / "report.json")
    assert MonitorReport.read(tmp_path / "report.json") == report


def test_the_report_has_all_findings(turned: Watch, bundle: Bundle, reference: Record) -> None:
    report = describe(turned, bundle, reference)
    assert (report.format, report.model, report.bundle) == (2, bundle.name, bundle.sha256)
    assert (report.window, report.severity, report.simulated) == ("month", "critical", False)
    assert report.columns == ["months", "plan", "spend", "senior"] and sum(report.weights.values()) == pytest.approx(1)
    last = report.windows[-1]
    assert (last.name, last.rows, last.labelled, last.judged) == ("2026-06", 300, 0, True)
    assert report.windows[0].start == NEW_YEAR and report.windows[0].end == report.windows[1].start
    assert last.start < report.at <= last.end
    rows = {(row.window, row.column): row for row in report.drift}
    assert len(rows) == len(report.drift) == 6 * 6
    assert rows["2026-04", "spend"].drifted and not rows["2026-03", "spend"].drifted
    assert rows["2026-06", MULTIVARIATE].psi is None and rows["2026-06", PREDICTION].kind == "numeric"
    assert {row.new for row in report.drift} == {()}
    performance = {(row.window, row.metric): row for row in report.performance}
    newest = performance["2026-06", "roc_auc"]
    assert newest.realised is None and newest.expected is not None and newest.expected.value > 0.6
    now = performance["2026-05", "roc_auc"]
    assert now.realised is not None and now.realised.high is not None
    assert now.expected is not None and now.expected.low is not None
    assert now.realised.high < now.expected.low, "under concept drift the expectation fails"
    assert {alert.window for alert in report.timeline} == {"2026-04", "2026-05", "2026-06"}
    assert all(alert in report.timeline for alert in report.alerts)


def test_late_labels_count_for_the_month_of_their_prediction(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = make_months(bundle, [draw_rows(200, seed) for seed in range(2)], wait=200)
    log = write_segment(tmp_path, [record for record in records if record["kind"] == "prediction"])
    assert Watch(log, bundle, reference).labels == [0, 0]
    write_segment(log, [record for record in records if record["kind"] == "feedback"])
    found = Watch(log, bundle, reference)
    assert found.names == ["2026-01", "2026-02"] and found.labels == [200, 200]


def test_labels_of_one_class_only_have_an_alert(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    """Without positives no ranking can be judged, but the share of positives has changed."""
    frame = draw_rows(400, 0).assign(left="no")
    found = watch(tmp_path, bundle, reference, make_records(bundle, frame, NEW_YEAR))
    assert found.kinds == [{"label"}] and found.alerts[0][0].severity == "critical"
    assert [alert.kind for alert in found.current] == ["label"]


def test_a_few_labels_of_a_new_month_do_not_hide_the_alert_of_the_month_before(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    """The alert is that of the newest window with enough labels."""
    frame = draw_rows(400, 0, plan=["basic"] * 400, months=[0] * 400)
    records = make_months(bundle, [frame, frame])
    until = to_micros(datetime(2026, 2, 11, 8, tzinfo=UTC))  # ten days after the first hours of February
    known = [record for record in records if record["kind"] == "prediction" or record["at"] < until]
    found = watch(tmp_path, bundle, reference, known)
    assert found.labels[0] == 400 and 0 < found.labels[1] < 10
    assert [alert.kind for alert in found.current if alert.kind in {"label", "degradation"}] == ["label"]


def test_a_share_of_positives_that_moved_with_the_rows_is_not_degradation(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    frame = draw_rows(500, 0, plan=["basic"] * 500, months=[0] * 500)
    found = watch(tmp_path, bundle, reference, make_months(bundle, [frame]))
    assert "label" in found.kinds[0] and "degradation" not in found.kinds[0], "the relation is unchanged"


@pytest.mark.parametrize("name", ["model", "id", "at", "probability", "label", "labelled_at", "degraded"])
def test_a_column_may_have_the_name_of_a_log_column(
    tmp_path: Path, folder: Path, bundle: Bundle, reference: Record, name: str
) -> None:
    """A table of cars has a column model."""
    other = tmp_path / "bundle"
    other.mkdir()
    for file in (PLAN, SCHEMA, GOLDEN, BACKGROUND, REFERENCE):
        (other / file).write_text((folder / file).read_text().replace('"plan"', f'"{name}"'))
    manifest = read_json(folder / MANIFEST)
    write_json({**manifest, "files": {file: hash_file(other / file) for file in manifest["files"]}}, other / MANIFEST)
    renamed = load_bundle(other)
    records = make_months(bundle, [draw_rows(200, 0)])
    for record in records:
        if record["kind"] == "prediction":
            record["features"] = {name if key == "plan" else key: value for key, value in record["features"].items()}
    log = write_segment(tmp_path / "log", records)
    (part,) = traffic.read_traffic(
        log, traffic.list_windows(log, "month"), renamed, traffic.read_reference(renamed, other), []
    )
    assert (part.counts.rows, len(part.labelled)) == (200, 200)
    assert part.counts.columns[name].present == 200
    labels = {record["id"]: record["label"] == "yes" for record in records if record["kind"] == "feedback"}
    assert part.labelled["label"].sum() == sum(labels.values())


def change(records: list[Record], **values: Any) -> list[Record]:
    """The records with other features: `...` takes one out."""
    return [
        record | {"features": {key: value for key, value in {**record["features"], **values}.items() if value is not ...}}
        if record["kind"] == "prediction" else record
        for record in records
    ]  # fmt: skip


def test_lacking_columns_are_missing_and_unknown_ones_are_ignored(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    records = make_months(bundle, [draw_rows(300, 0)])
    lost = watch(tmp_path / "lost", bundle, reference, change(records, spend=..., plan=...))
    missing = {alert.column for alert in lost.current if alert.kind == "missing"}
    assert missing == {"spend", "plan"}
    empty = watch(tmp_path / "empty", bundle, reference, change(records, **dict.fromkeys(NAMES, ...)))
    assert {alert.column for alert in empty.current if alert.kind == "missing"} == set(NAMES)
    more = watch(tmp_path / "more", bundle, reference, change(records, colour="red"))
    assert more.current == []


def test_segments_may_have_different_types_of_a_column(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = make_months(bundle, [draw_rows(300, 0)], days=3)
    third = len(records) // 3
    parts = (records[:third], change(records[third : 2 * third], senior=1.0, spend=None), records[2 * third :])
    for part in parts:
        write_segment(tmp_path, part)
    whole = Watch(tmp_path, bundle, reference)
    compact_segments(tmp_path)
    again = Watch(tmp_path, bundle, reference)
    assert whole.rows == again.rows == [300]
    counts = whole.traffic[0].counts.columns["senior"]
    assert (
        isinstance(counts, CategoryCounts)
        and set(counts.counts) == {"0", "1"}
        and counts == again.traffic[0].counts.columns["senior"]
    )


def test_groups_are_measured_on_all_labels_missing_categories_too(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    records = make_months(bundle, [draw_rows(250, seed) for seed in range(2)])
    for number, record in enumerate(records):
        if record["kind"] == "prediction" and number % 3 == 0:
            record["features"] = {**record["features"], "plan": None}
    found = watch(tmp_path, bundle, reference, records)
    assert traffic.choose_groups(FAIR, bundle) == ["plan"], "requests have no id column"
    groups = monitor.measure_groups(found.traffic, ["plan"], 0.5)
    assert groups["rows"].sum() == 500 and {"basic", "plus", "pro"} < set(groups["category"]) and len(groups) == 4
    shown = monitor.tabulate_groups(groups)
    assert shown.index.tolist()[0].startswith("plan = ") and len(shown) == 4
    assert monitor.measure_groups(found.traffic, [], 0.5).empty
    assert monitor.tabulate_groups(pd.DataFrame()).empty
    undefined = monitor.tabulate_groups(groups.assign(recall=np.nan, recall_low=np.nan, recall_high=np.nan))
    assert set(undefined["Recall"]) == {"\u2013"}, "a group without positives has no recall"


def test_losses_are_in_the_order_of_their_labels(turned: Watch) -> None:
    losses = monitor.list_losses(turned.traffic)
    assert len(losses) == sum(turned.labels) and losses["labelled_at"].is_monotonic_increasing
    assert losses["loss"].between(-1, 1).all()


def test_fewer_rows_have_an_alert_but_not_in_a_month_that_has_just_begun(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    sizes = [250, 250, 250, 250, 100]
    records = make_months(bundle, [draw_rows(size, seed) for seed, size in enumerate(sizes)], wait=None)
    found = watch(tmp_path / "less", bundle, reference, records)
    assert found.kinds == [set()] * 4 + [{"volume"}] and [alert.kind for alert in found.current] == ["volume"]
    begun = to_micros(datetime(2026, 5, 9, tzinfo=UTC))
    part = watch(tmp_path / "begun", bundle, reference, [record for record in records if record["at"] < begun])
    assert part.rows[4] < 30 and part.kinds[4] == set()


def test_a_backtest_is_summarized(turned: Watch, reference: Record) -> None:
    errors = monitor.measure_errors(turned.traffic, reference, 0.5, 20)
    assert errors["window"].tolist() == turned.names[:5]
    backtest = summarize_backtest("turned", turned.results, errors)
    assert (backtest.log, backtest.windows_with_alerts, backtest.windows) == ("turned", 3, 6)
    assert backtest.first_alert.startswith("2026-04: ")
    assert (backtest.severity, backtest.degradation_since) == ("critical", "2026-04")
    assert backtest.roc_auc_error == pytest.approx(errors["roc_auc"].mean()) and backtest.roc_auc_error < -0.1
    silent = summarize_backtest("calm", replace(turned.results, alerts=[[]] * 6), errors.iloc[:0])
    assert (silent.severity, silent.first_alert, silent.roc_auc_error) == ("ok", "", None)
    table = monitor.tabulate_backtests([backtest, silent])
    assert table.loc["calm", "ROC AUC error"] == "" and table.loc["turned", "ROC AUC error"].startswith("-0.")


def test_tables_for_the_notebook(turned: Watch, reference: Record) -> None:
    windows = monitor.tabulate_windows(turned.results)
    assert windows.index.tolist() == turned.names and windows.loc["2026-06", "positive"] == ""
    assert windows.loc["2026-01", "predictions"] == "300" and windows.loc["2026-01", "critical"] == ""
    newest = monitor.find_newest(turned.tables)
    assert newest == 5
    drift = monitor.tabulate_drift(turned.tables[newest], "2026-06", reference, LIMITS)
    assert drift.index[0] == "spend" and "has risen" in drift.loc["spend", "change"]
    assert drift.loc["senior", "change"] == "" and drift.loc[MULTIVARIATE, "PSI"] == ""
    assert monitor.choose_moved(turned.tables[newest], reference)[0] == "spend"
    assert monitor.order_columns(reference, turned.tables) == [PREDICTION, "months", "plan", "spend", "senior"]
    assert monitor.count_all(turned.traffic) == (1800, 1800, sum(turned.labels))


def test_a_request_with_the_largest_float_leaves_all_numbers_finite(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    """The contract has no upper limit for spend, so the server accepts it."""
    records = make_months(bundle, [draw_rows(300, 0)])
    asked = [record for record in records if record["kind"] == "prediction"]
    for record in asked[:2]:
        record["features"] = to_request({**record["features"], "spend": 1.7e308})
        record["probability"] = 1.0
    found = watch(tmp_path, bundle, reference, records)
    report = describe(found, bundle, reference)
    spend = next(row for row in report.drift if row.column == "spend")
    assert spend.p is not None and spend.distance is not None and spend.psi is not None and math.isfinite(spend.psi)
    assert not any("nan" in alert.message or "inf" in alert.message for alert in report.alerts)
