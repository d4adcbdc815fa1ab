from __future__ import annotations

import json
import math
import time
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
from lifecycle.monitoring.degradation import detect_changes
from lifecycle.monitoring.drift import MULTIVARIATE, PREDICTION
from lifecycle.monitoring.scenarios import begin_month, draw_month, score_month
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
from lifecycle.stages import monitor, simulate
from tests.support.bundles import make_champion, make_hole, rewrite_plan
from tests.support.frames import agree
from tests.support.traffic import (
    CONTRACT,
    DAY,
    MODEL,
    NAMES,
    NEW_YEAR,
    draw_rows,
    draw_truths,
    make_months,
    make_records,
    to_micros,
    to_rows,
    write_segment,
    write_watched,
)

Record = dict[str, Any]
LIMITS: Record = {"false_alarms": 0.01, "min_rows": 150, "min_psi": 0.01}
EFFECTS: Record = {"false_alarms": 0.01, "min_class": 20, "min_effect": 0.02}
FAIR = CONTRACT.model_copy(update={"fairness": ("plan", "id")})


class Watch:
    """What the notebook comes to on a log, step by step."""

    def __init__(self, log: Path, bundle: Bundle, reference: Record, length: str = "month") -> None:
        keep = monitor.choose_kept(FAIR, bundle)
        windows = monitor.list_windows(log, length)
        self.traffic = monitor.skip_silence(list(monitor.read_traffic(log, windows, bundle, reference, keep)))
        self.tables = monitor.judge_traffic(self.traffic, reference, **LIMITS)
        self.decay = monitor.judge_truths(self.traffic, reference, **EFFECTS)
        self.raised = monitor.raise_alerts(self.tables, self.decay, self.traffic, reference, 0.01)
        self.standing = monitor.choose_standing(self.raised, self.tables, self.decay)
        self.names = [part.window.name for part in self.traffic]
        self.rows = [part.counts.rows for part in self.traffic]
        self.truths = [len(part.told) for part in self.traffic]
        self.kinds = [{alert["kind"] for alert in found} for found in self.raised]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitor") / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return write_watched(folder)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, folder: Path) -> Record:
    return monitor.read_reference(bundle, folder)


def watch(log: Path, bundle: Bundle, reference: Record, records: list[Record], length: str = "month") -> Watch:
    return Watch(write_segment(log, records), bundle, reference, length)


# --- a log, as the server and the simulation leave it


def test_quiet_months_are_quiet(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    found = watch(tmp_path, bundle, reference, make_months(bundle, [draw_rows(300, seed) for seed in range(4)]))
    assert found.names == ["2026-01", "2026-02", "2026-03", "2026-04"]
    assert found.rows == found.truths == [300] * 4
    assert found.raised == [[], [], [], []] and found.standing == []
    assert not found.decay["decayed"].any()


def test_it_is_the_same_log_while_it_is_written_when_it_is_sealed_and_when_it_is_compacted(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    records = make_months(bundle, [draw_rows(150, seed) for seed in range(2)], days=2, wait=3)

    def read() -> list[Any]:
        found = Watch(tmp_path, bundle, reference)
        return [(part.window, part.told.to_dict("records"), part.counts.rows, part.probability.tolist(), part.last)
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


def test_a_simulated_log_is_read_as_the_servers(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    pool = draw_truths(bundle, draw_rows(600, seed=9), seed=9)
    calm = {"kind": "none", "column": "", "factor": 1.0, "share": 1.0, "category": "", "begin": 1}
    cents = {**calm, "kind": "scale", "column": "spend", "factor": 100.0, "begin": 3}
    records = []
    for month in (1, 2, 3):
        frame = draw_month(pool, cents, CONTRACT, month=month, rows=250, seed=0)
        records += score_month(
            bundle, frame, CONTRACT, first="2026-11", month=month, label_days=[5, 20], label_share=1.0, seed=0
        )
    simulate.write_log(tmp_path / "log", records, begin_month("2026-11", 4))
    found = Watch(tmp_path / "log", bundle, reference)
    assert found.names == ["2026-11", "2026-12", "2027-01"] and found.rows == [250] * 3
    assert found.truths[0] == 250 and found.truths[2] < 250, "what is told later is not there yet"
    assert [bool(kinds) for kinds in found.kinds] == [False, False, True] and "unit" in found.kinds[2]


def test_the_first_truth_stands_and_truths_of_nobody_are_none(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    frame = draw_rows(60, 0).assign(left="yes")
    records = make_records(bundle, frame, NEW_YEAR, days=5, wait=2)
    later = [{**record, "at": record["at"] + DAY, "label": "no"} for record in records if "label" in record]
    stray = [{**later[0], "id": "nobody's"}]
    found = watch(tmp_path, bundle, reference, [*later, *records, *later, *stray])
    (part,) = found.traffic
    assert len(part.told) == 60 and part.told["label"].tolist() == [1] * 60
    assert (part.told["told_at"] - part.told["at"] == timedelta(days=2)).all()


def test_other_models_and_degraded_answers_are_left_out(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    mine = make_records(bundle, draw_truths(bundle, draw_rows(200, 0), 0), NEW_YEAR, name="mine")
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
    truths = [{"kind": "feedback", "id": record["id"], "at": record["at"] + DAY, "label": "yes"}
              for record in [*before, *prior, *silent]]  # fmt: skip
    alone = watch(tmp_path / "alone", bundle, reference, mine)
    found = watch(tmp_path / "all", bundle, reference, [*before, *prior, *silent, *shadow, *mine, *truths])
    assert found.rows == alone.rows == [200] and found.truths == [200]
    agree(found.traffic[0].counts, alone.traffic[0].counts)
    assert found.traffic[0].told.equals(alone.traffic[0].told)


def test_the_log_of_a_running_server_is_read(tmp_path: Path) -> None:
    """A champion that fails for some rows, which the model before it answers: each sees its own."""
    champion = write_watched(tmp_path / paths.RELEASES / MODEL[:12] / "bundle", rows=100)
    before = "b" * 64
    write_watched(tmp_path / paths.RELEASES / before[:12] / "bundle", before, 1.0, rows=100)
    home = tmp_path / paths.RELEASES / MODEL[:12] / "bundle"
    rewrite_plan(home, make_hole)
    record = {"model": MODEL, "bundle": hash_file(home / MANIFEST), "prior": 0.25, "previous": before, "positive": "yes",
              "family": "logistic", "metrics": {}, "verdict": {"blessed": True, "because": "it is good"}}  # fmt: skip
    make_champion(tmp_path, record, {"model": before})
    rows = [row for row in to_rows(draw_rows(80, 0)) if row["months"] < 50]
    with start_server(tmp_path, flush_seconds=0.02) as server:
        _, _, body = server.ask("/predict", json.dumps(rows).encode())
        replies = json.loads(body)["predictions"]
        truths = [{"request_id": reply["request_id"], "label": "yes" if place % 2 else "no"}
                  for place, reply in enumerate(replies)]  # fmt: skip
        assert server.ask("/feedback", json.dumps(truths).encode())[0] == 200
        _, _, body = server.ask("/predict", json.dumps({**rows[0], "months": 60}).encode())
        assert json.loads(body)["degraded"]
        assert server.stop() == 0
    reference = monitor.read_reference(champion, home)
    log = tmp_path / paths.PREDICTIONS
    for model, expected in ((MODEL[:12], len(rows)), (before[:12], 1)):
        eyes = load_bundle(tmp_path / paths.RELEASES / model / "bundle")
        parts = list(monitor.read_traffic(log, monitor.list_windows(log, "day"), eyes, reference, ["plan"]))
        assert sum(part.counts.rows for part in parts) == expected
        if expected > 1:
            told = pd.concat([part.told for part in parts])
            assert len(told) == len(rows) and told["label"].sum() == len(rows) // 2
            given = np.concatenate([part.probability for part in parts])
            np.testing.assert_allclose(given, [reply["probability"] for reply in replies])


# --- what is refused


def test_a_log_that_holds_nothing_is_refused_in_a_sentence(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    with pytest.raises(ProjectError, match="holds no predictions: expected a prediction log"):
        monitor.list_windows(tmp_path, "month")
    write_segment(tmp_path, [{"kind": "feedback", "id": "x", "at": to_micros(NEW_YEAR), "label": "yes"}])
    with pytest.raises(ProjectError, match="holds no predictions"):
        Watch(tmp_path, bundle, reference)


def test_a_log_of_other_models_is_refused_in_a_sentence(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = [record | {"model": "f" * 12} if record["kind"] == "prediction" else record
               for record in make_months(bundle, [draw_rows(20, 0)])]  # fmt: skip
    with pytest.raises(ProjectError, match="holds no prediction of this model"):
        watch(tmp_path, bundle, reference, records)


def test_too_few_rows_are_refused_in_a_sentence(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    found = watch(tmp_path, bundle, reference, make_months(bundle, [draw_rows(100, 0)]))
    assert found.tables == [None]
    with pytest.raises(ProjectError, match=r"rows enough to be judged.*monitor\.min_rows"):
        monitor.find_newest(found.tables)


def test_a_bundle_from_before_there_was_a_reference_is_refused_in_a_sentence(
    tmp_path: Path, bundle: Bundle, folder: Path
) -> None:
    with pytest.raises(
        ProjectError, match=r"has no reference\.json, without which nothing can be compared.*make repro"
    ):
        monitor.read_reference(bundle, tmp_path)
    (tmp_path / REFERENCE).write_text("{")
    with pytest.raises(ProjectError, match=r"reference\.json is not JSON"):
        monitor.read_reference(bundle, tmp_path)
    assert monitor.read_reference(bundle, folder)["performance"]["rows"] == 1500


def test_rehearsals_are_the_folders_of_a_folder_which_must_be_there(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "logs/notes.txt").touch()
    assert monitor.list_rehearsals(tmp_path, "logs") == [tmp_path / "logs/a", tmp_path / "logs/b"]
    assert monitor.list_rehearsals(tmp_path, "") == []
    with pytest.raises(ProjectError, match="nowhere"):
        monitor.list_rehearsals(tmp_path, "nowhere")


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
def test_windows_follow_one_another_without_a_gap(
    tmp_path: Path, bundle: Bundle, first: str, last: str, length: str, names: list[str]
) -> None:
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last)]
    records = [record for moment in moments for record in make_records(bundle, draw_rows(1, 0), moment)]
    write_segment(tmp_path, records)
    windows = monitor.list_windows(tmp_path, length)
    assert [window.name for window in windows] == names
    assert all(one.end == other.start for one, other in pairwise(windows))
    assert windows[0].start <= moments[0] and moments[1] < windows[-1].end
    for window in windows:
        assert window.start.tzinfo is not None and (window.start.hour, window.start.minute) == (0, 0)
        assert length != "week" or window.start.weekday() == 0
        assert length != "month" or window.start.day == 1


def test_every_row_is_in_one_window_whatever_its_length(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    start = datetime(2026, 12, 26, tzinfo=UTC)
    write_segment(tmp_path, make_records(bundle, draw_truths(bundle, draw_rows(300, 0), 0), start, days=12, wait=1))
    for length, count in (("day", 12), ("week", 3), ("month", 2)):
        windows = monitor.list_windows(tmp_path, length)
        assert len({window.name for window in windows}) == len(windows) == count
        parts = list(monitor.read_traffic(tmp_path, windows, bundle, reference, []))
        assert sum(part.counts.rows for part in parts) == sum(len(part.told) for part in parts) == 300


def test_silent_windows_are_windows(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    """Those before the model's first prediction are left out, those within stay, though nobody asked."""
    early = [record | {"model": "f" * 12} for record in make_records(bundle, draw_rows(20, 0), NEW_YEAR, wait=None)]
    parts = [make_records(bundle, draw_truths(bundle, draw_rows(300, month), month),
                          datetime(2026, month, 1, tzinfo=UTC)) for month in (3, 8)]  # fmt: skip
    found = watch(tmp_path, bundle, reference, [*early, *parts[0], *parts[1]])
    assert found.names == [f"2026-{month:02}" for month in range(3, 9)]
    assert found.rows == [300, 0, 0, 0, 0, 300]
    assert [table is not None for table in found.tables][3:] == [False, False, True]
    assert found.standing == []
    performance = monitor.judge_performance(found.traffic, reference, 0.5, 20, 0)
    assert performance["window"].unique().tolist() == ["2026-03", "2026-08"]
    record = describe(found, bundle, reference)
    assert [window["rows"] for window in record["windows"]] == found.rows


# --- what is found


def describe(found: Watch, bundle: Bundle, reference: Record, length: str = "month") -> Record:
    performance = monitor.judge_performance(found.traffic, reference, bundle.manifest.threshold, 20, 0)
    record = monitor.describe_run(
        bundle, reference, found.traffic, found.tables, performance, found.raised, found.standing, length
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == record, "plain JSON"
    return record


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, reference: Record) -> Watch:
    """Three months as ever; then prices double and the truth is the other; the truths of the last month are to come."""
    frames = [draw_rows(300, seed) for seed in range(6)]
    for number in (3, 4, 5):
        frame = draw_truths(bundle, frames[number], number)
        turned = frame["left"].map({"yes": "no", "no": "yes"})
        frames[number] = frame.assign(left=turned, spend=frame["spend"] * 2)
    records = make_months(bundle, frames)
    until = to_micros(datetime(2026, 6, 8, tzinfo=UTC))
    known = [record for record in records if record["at"] < until or record["kind"] == "prediction"]
    return watch(tmp_path_factory.mktemp("turned"), bundle, reference, known)


def test_a_changed_column_and_a_changed_relation_ring_from_their_month_on(turned: Watch) -> None:
    assert [bool(kinds) for kinds in turned.kinds] == [False] * 3 + [True] * 3
    assert turned.decay["decayed"].tolist() == [False] * 3 + [True, True, False]
    alerts = {alert["kind"]: alert for alert in turned.standing}
    spend = next(alert for alert in turned.standing if alert["column"] == "spend")
    assert (spend["kind"], spend["since"], spend["window"], spend["severity"]) == (
        "column",
        "2026-04",
        "2026-06",
        "act",
    )
    assert (alerts["decay"]["since"], alerts["decay"]["window"]) == ("2026-04", "2026-05"), "of the newest with truths"
    assert alerts["decay"]["severity"] == "act"
    assert not any(alert["column"] in {"months", "plan", "senior"} for alert in turned.standing)


def test_the_record_says_all_of_it_in_plain_json(turned: Watch, bundle: Bundle, reference: Record) -> None:
    record = describe(turned, bundle, reference)
    assert (record["format"], record["model"], record["bundle"]) == (1, bundle.name, bundle.sha256)
    assert (record["window"], record["severity"]) == ("month", "act")
    assert record["columns"] == ["months", "plan", "spend", "senior"] and sum(
        record["weights"].values()
    ) == pytest.approx(1)
    last = record["windows"][-1]
    assert (last["name"], last["rows"], last["labelled"], last["judged"]) == ("2026-06", 300, 0, True)
    starts = [datetime.fromisoformat(window["start"]) for window in record["windows"]]
    assert starts[0] == NEW_YEAR and datetime.fromisoformat(record["windows"][0]["end"]) == starts[1]
    assert starts[-1] < datetime.fromisoformat(record["at"]) <= datetime.fromisoformat(last["end"])
    rows = {(row["window"], row["column"]): row for row in record["drift"]}
    assert len(rows) == len(record["drift"]) == 6 * 6
    assert rows["2026-04", "spend"]["drifted"] and not rows["2026-03", "spend"]["drifted"]
    assert rows["2026-06", MULTIVARIATE]["psi"] is None and rows["2026-06", PREDICTION]["kind"] == "numeric"
    said = {(row["window"], row["metric"]): row for row in record["performance"]}
    assert said["2026-06", "roc_auc"]["realised"] is None and said["2026-06", "roc_auc"]["expected"]["value"] > 0.6
    now = said["2026-05", "roc_auc"]
    assert now["realised"]["high"] < now["expected"]["low"], "where the relation has turned the expectation fails"
    assert {alert["window"] for alert in record["timeline"]} == {"2026-04", "2026-05", "2026-06"}
    assert all(alert in record["timeline"] for alert in record["alerts"])


def test_late_truths_count_for_the_month_of_their_prediction(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = make_months(bundle, [draw_rows(200, seed) for seed in range(2)], wait=200)
    log = write_segment(tmp_path, [record for record in records if record["kind"] == "prediction"])
    assert Watch(log, bundle, reference).truths == [0, 0]
    write_segment(log, [record for record in records if record["kind"] == "feedback"])
    found = Watch(log, bundle, reference)
    assert found.names == ["2026-01", "2026-02"] and found.truths == [200, 200]


def test_truths_of_one_class_alone_ring(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    """A feed of truths that says no to everything leaves no ranking to judge, and is no quiet month."""
    frame = draw_rows(400, 0).assign(left="no")
    found = watch(tmp_path, bundle, reference, make_records(bundle, frame, NEW_YEAR))
    assert found.kinds == [{"label"}] and found.raised[0][0]["severity"] == "act"
    assert [alert["kind"] for alert in found.standing] == ["label"]


def test_the_first_truths_of_a_month_do_not_silence_the_month_before(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    """Of truths those stand that are enough to tell by: five of June are not, after four hundred of May."""
    frame = draw_rows(400, 0, plan=["basic"] * 400, months=[0] * 400)
    records = make_months(bundle, [frame, frame])
    told = to_micros(datetime(2026, 2, 11, 8, tzinfo=UTC))  # ten days after the first hours of February
    known = [record for record in records if record["kind"] == "prediction" or record["at"] < told]
    found = watch(tmp_path, bundle, reference, known)
    assert found.truths[0] == 400 and 0 < found.truths[1] < 10
    assert [alert["kind"] for alert in found.standing if alert["kind"] in {"label", "decay"}] == ["label"]


def test_a_share_of_positives_that_moved_with_the_rows_is_told(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    frame = draw_rows(500, 0, plan=["basic"] * 500, months=[0] * 500)
    found = watch(tmp_path, bundle, reference, make_months(bundle, [frame]))
    assert "label" in found.kinds[0] and "decay" not in found.kinds[0], "the relation is what it was"


@pytest.mark.parametrize("name", ["model", "id", "at", "probability", "label", "told_at", "degraded"])
def test_a_column_may_be_called_as_the_log_calls_its_own(
    tmp_path: Path, folder: Path, bundle: Bundle, reference: Record, name: str
) -> None:
    """A table of cars has a model."""
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
    (part,) = monitor.read_traffic(
        log, monitor.list_windows(log, "month"), renamed, monitor.read_reference(renamed, other), []
    )
    assert (part.counts.rows, len(part.told)) == (200, 200)
    assert part.counts.columns[name].present == 200
    truths = {record["id"]: record["label"] == "yes" for record in records if record["kind"] == "feedback"}
    assert part.told["label"].sum() == sum(truths.values())


def change(records: list[Record], **values: Any) -> list[Record]:
    """The records with other features: `...` takes one out."""
    return [
        record | {"features": {key: value for key, value in {**record["features"], **values}.items() if value is not ...}}
        if record["kind"] == "prediction" else record
        for record in records
    ]  # fmt: skip


def test_columns_that_a_log_lacks_are_missing_and_strange_ones_do_not_matter(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    records = make_months(bundle, [draw_rows(300, 0)])
    lost = watch(tmp_path / "lost", bundle, reference, change(records, spend=..., plan=...))
    missing = {alert["column"] for alert in lost.standing if alert["kind"] == "missing"}
    assert missing == {"spend", "plan"}
    empty = watch(tmp_path / "empty", bundle, reference, change(records, **dict.fromkeys(NAMES, ...)))
    assert {alert["column"] for alert in empty.standing if alert["kind"] == "missing"} == set(NAMES)
    more = watch(tmp_path / "more", bundle, reference, change(records, colour="red"))
    assert more.standing == []


def test_segments_may_disagree_about_a_columns_type(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
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
    assert set(counts.counts) == {"0", "1"} and counts == again.traffic[0].counts.columns["senior"]


def test_groups_are_measured_on_all_truths_absent_levels_too(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    records = make_months(bundle, [draw_rows(250, seed) for seed in range(2)])
    for number, record in enumerate(records):
        if record["kind"] == "prediction" and number % 3 == 0:
            record["features"] = {**record["features"], "plan": None}
    found = watch(tmp_path, bundle, reference, records)
    assert monitor.choose_kept(FAIR, bundle) == ["plan"], "the id is no column of a request"
    groups = monitor.measure_groups(found.traffic, ["plan"], 0.5)
    assert groups["rows"].sum() == 500 and {"basic", "plus", "pro"} < set(groups["category"]) and len(groups) == 4
    shown = monitor.tabulate_groups(groups)
    assert shown.index.tolist()[0].startswith("plan = ") and len(shown) == 4
    assert monitor.measure_groups(found.traffic, [], 0.5).empty
    assert monitor.tabulate_groups(pd.DataFrame()).empty


def test_losses_come_in_the_order_of_their_truths(turned: Watch) -> None:
    losses = monitor.list_losses(turned.traffic)
    assert len(losses) == sum(turned.truths) and losses["told_at"].is_monotonic_increasing
    assert losses["loss"].between(-1, 1).all()
    changes = detect_changes(losses["loss"])
    told = monitor.describe_changes(losses, changes)
    noticed = [losses["told_at"].iloc[place] for place in changes.values() if place is not None]
    assert noticed and min(noticed) > pd.Timestamp("2026-04-10", tz="UTC"), "the truths of April come ten days later"
    assert f"{min(noticed):%Y-%m-%d}" in told
    quiet = monitor.describe_changes(losses.iloc[:0], {"adwin": None, "page_hinkley": None})
    assert quiet == "The streaming detectors noticed no change of the loss in 0 truths."


def test_fewer_rows_ring_and_a_month_that_has_hardly_begun_does_not(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    sizes = [250, 250, 250, 250, 100]
    records = make_months(bundle, [draw_rows(size, seed) for seed, size in enumerate(sizes)], wait=None)
    found = watch(tmp_path / "less", bundle, reference, records)
    assert found.kinds == [set()] * 4 + [{"volume"}] and [alert["kind"] for alert in found.standing] == ["volume"]
    begun = to_micros(datetime(2026, 5, 9, tzinfo=UTC))
    part = watch(tmp_path / "begun", bundle, reference, [record for record in records if record["at"] < begun])
    assert part.rows[4] < 30 and part.kinds[4] == set()


def test_a_rehearsal_is_summed_up(turned: Watch, reference: Record) -> None:
    errors = monitor.measure_errors(turned.traffic, reference, 0.5, 20)
    assert errors["window"].tolist() == turned.names[:5]
    summary = monitor.summarise_rehearsal("turned", turned.raised, turned.traffic, errors)
    assert (summary["log"], summary["rang in"], summary["first"][:7]) == ("turned", "3 of 6", "2026-04")
    assert (summary["gravest"], summary["decay from"]) == ("act", "2026-04")
    assert summary["AUC error"] == pytest.approx(errors["roc_auc"].mean()) and summary["AUC error"] < -0.1
    silent = monitor.summarise_rehearsal("calm", [[]] * 6, turned.traffic, errors.iloc[:0])
    assert (silent["gravest"], silent["first"], silent["AUC error"]) == ("quiet", "", None)
    table = monitor.tabulate_rehearsals([summary, silent])
    assert table.loc["calm", "AUC error"] == "" and table.loc["turned", "AUC error"].startswith("-0.")


def test_tables_say_it_in_words(turned: Watch, reference: Record) -> None:
    windows = monitor.tabulate_windows(turned.traffic, turned.raised)
    assert windows.index.tolist() == turned.names and windows.loc["2026-06", "positive"] == ""
    assert windows.loc["2026-01", "predictions"] == "300" and windows.loc["2026-01", "act"] == ""
    newest = monitor.find_newest(turned.tables)
    assert newest == 5
    drift = monitor.tabulate_drift(turned.tables[newest], reference)
    assert drift.index[0] == "spend" and "has risen" in drift.loc["spend", "since the reference"]
    assert drift.loc["senior", "since the reference"] == "" and drift.loc[MULTIVARIATE, "PSI"] == ""
    assert monitor.choose_moved(turned.tables[newest], reference)[0] == "spend"
    assert monitor.order_columns(reference, turned.tables) == [PREDICTION, "months", "plan", "spend", "senior"]
    assert monitor.count_all(turned.traffic) == (1800, sum(turned.truths))


def test_a_request_of_the_whole_scale_harms_no_month(tmp_path: Path, bundle: Bundle, reference: Record) -> None:
    """The contract sets spend no upper limit, so the server takes it."""
    records = make_months(bundle, [draw_rows(300, 0)])
    asked = [record for record in records if record["kind"] == "prediction"]
    for record in asked[:2]:
        record["features"] = to_request({**record["features"], "spend": 1.7e308})
        record["probability"] = 1.0
    found = watch(tmp_path, bundle, reference, records)
    record = describe(found, bundle, reference)
    spend = next(row for row in record["drift"] if row["column"] == "spend")
    assert spend["p"] is not None and spend["distance"] is not None and math.isfinite(spend["psi"])
    assert not any("nan" in alert["message"] or "inf" in alert["message"] for alert in record["alerts"])
