import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.cli.main import main
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PREDICTIONS
from lifecycle.prediction_log.compaction import Compaction, compact_segments, prune_log
from lifecycle.prediction_log.reader import find_span, read_predictions, read_segment
from lifecycle.prediction_log.writer import PredictionLog, mark_format

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=5)
)


def stamp(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def predict(name: str, features: dict[str, Any] | None = None, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    record = {"kind": "prediction", "id": name, "at": stamp(at), "model": "0123456789ab", "probability": 0.25}
    return {**record, "prediction": "no", "degraded": False, "features": features or {}, **more}


def confirm(name: str, at: datetime = NOON) -> dict[str, Any]:
    return {"kind": "feedback", "id": name, "at": stamp(at), "label": "yes"}


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    """A sealed segment of these records."""
    log = PredictionLog(folder)
    for record in records:
        assert log.append(record)
    assert log.close()
    assert log.written == len(records)


def frame(text: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(text), text)


def names(table: pa.Table) -> list[str]:
    return table["id"].to_pylist()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A segment of three records."""
    records = [predict("a", {"x": "ü☃"}), confirm("b"), predict("c", {"x": 1.5})]
    write(tmp_path, records)
    (path,) = (tmp_path / "segments").iterdir()
    return path, records


def test_a_torn_tail_costs_the_line_that_is_torn(small: tuple[Path, list[dict[str, Any]]]) -> None:
    path, records = small
    data = path.read_bytes()
    ends = [end for end, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)  # a line without its end of line is whole
        torn = size not in {0, *ends, *(end + 1 for end in ends)}
        assert read_segment(path) == (records[:whole], int(torn)), size


def test_damage_in_the_middle_costs_the_lines_it_is_in(small: tuple[Path, list[dict[str, Any]]]) -> None:
    path, records = small
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        line = data[:place].count(b"\n")
        lost = {line, line + 1} if data[place : place + 1] == b"\n" else {line}
        told, damaged = read_segment(path)
        assert told == [record for number, record in enumerate(records) if number not in lost], place
        assert damaged >= 1


def test_bytes_of_any_kind_are_damage_and_never_an_end(tmp_path: Path) -> None:
    path = tmp_path / "x.sealed"

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=60).filter(lambda noise: noise.strip(b"\n")))
    def try_noise(noise: bytes) -> None:
        path.write_bytes(noise + b"\n" + frame(orjson.dumps(confirm("a"))))
        told, damaged = read_segment(path)
        assert told == [confirm("a")] and damaged >= 1

    try_noise()


@pytest.mark.parametrize(
    "strange",
    [
        [1],
        {"at": 1},
        {"kind": "../up", "at": 1},
        {"kind": ["feedback"], "at": 1},
        confirm("a") | {"at": True},
        confirm("a") | {"at": 1.5},
        confirm("a") | {"at": -1},
        confirm("a") | {"at": 10**18},
        confirm("a") | {"id": 7},
        predict("a", probability="high"),
        predict("a", degraded="no"),
        predict("a", features=[1]),
    ],
)
def test_a_record_of_no_kind_is_put_aside(strange: Any, tmp_path: Path) -> None:
    line = frame(orjson.dumps(strange))
    mark_format(tmp_path)
    (tmp_path / "segments").mkdir()
    path = tmp_path / "segments/20260301T120000000000Z-1-0.sealed"
    path.write_bytes(line + frame(orjson.dumps(confirm("a"))))
    assert read_segment(path) == ([confirm("a")], 1)
    assert compact_segments(tmp_path) == Compaction(segments=1, records=1, damaged=1)
    assert (tmp_path / f"damaged/{path.stem}.lines").read_bytes() == line
    assert names(read_predictions(tmp_path, "feedback")) == ["a"]


def test_segments_become_a_file_a_kind_and_day(tmp_path: Path) -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    shadow = {"kind": "shadow", "id": "a", "at": stamp(NOON), "model": "ba9876543210", "probability": 0.75}
    write(tmp_path, [predict("a"), confirm("a"), predict("b", at=late + timedelta(microseconds=1)), shadow])
    (segment,) = (tmp_path / "segments").iterdir()
    assert compact_segments(tmp_path) == Compaction(segments=1, records=4, damaged=0)
    assert set(files(tmp_path)) - {"FORMAT"} == {
        f"{kind}/date={day}/{segment.stem}.parquet"
        for kind, day in [
            ("prediction", "2026-03-01"),
            ("prediction", "2026-03-02"),
            ("feedback", "2026-03-01"),
            ("shadow", "2026-03-01"),
        ]
    }
    assert read_predictions(tmp_path, "shadow").to_pylist() == [
        {"id": "a", "at": NOON, "model": "ba9876543210", "probability": 0.75}
    ]
    assert read_predictions(tmp_path, "feedback").to_pylist() == [{"id": "a", "at": NOON, "label": "yes"}]
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})
    assert compact_segments(tmp_path) == Compaction(0, 0, 0)


def test_columns_that_come_and_go_are_one_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"x": 1, "flag": True, "none": None, "mixed": 1, "text": "a"},
        {"x": 2.5, "flag": None, "new": 3, "mixed": "one", "count": True},
        {"text": None, "none": None, "mixed": True, "count": 7, "": 1, "a.b": 2**64 - 1},
        {},
    ]
    for number, row in enumerate(rows):
        write(tmp_path, [predict(str(number), row, NOON - timedelta(hours=number))])
        if number == 1:
            assert compact_segments(tmp_path).segments == 2
    table = read_predictions(tmp_path)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    types = {field.name: field.type for field in table.schema.field("features").type}
    assert types == {
        "x": pa.float64(), "flag": pa.bool_(), "none": pa.null(), "mixed": pa.string(), "text": pa.string(),
        "new": pa.int64(), "count": pa.int64(), "": pa.int64(), "a.b": pa.float64(),
    }  # fmt: skip
    assert names(table) == ["3", "2", "1", "0"]  # sorted by `at`
    told = [{name: value for name, value in row.items() if value is not None} for row in table["features"].to_pylist()]
    assert told == [
        {},
        {"mixed": "true", "count": 7, "": 1, "a.b": float(2**64)},
        {"x": 2.5, "new": 3, "mixed": "one", "count": 1},
        {"x": 1.0, "flag": True, "mixed": "1", "text": "a"},
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.dictionaries(st.text(max_size=2), VALUES, max_size=4), max_size=3), max_size=3))
def test_compacting_changes_nothing_that_is_read(segments: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, rows in enumerate(segments):
            write(folder, [predict(f"{number}-{place}", row) for place, row in enumerate(rows)])
        before = read_predictions(folder)
        assert compact_segments(folder).records == len(before) == sum(map(len, segments))
        after = read_predictions(folder)
        assert before.to_pylist() == after.to_pylist()
        assert {field.name: field.type for field in before.schema.field("features").type} == {
            field.name: field.type for field in after.schema.field("features").type
        }


def test_other_keys_are_kept(tmp_path: Path) -> None:
    write(tmp_path, [predict("a", by="prior"), predict("b", rows=[1, 2], prediction=None)])
    compact_segments(tmp_path)
    table = read_predictions(tmp_path)
    assert table.select(["by", "rows", "prediction"]).to_pylist() == [
        {"by": "prior", "rows": None, "prediction": "no"},
        {"by": None, "rows": "[1,2]", "prediction": None},
    ]


def test_without_a_log_the_table_is_empty_and_has_its_columns(tmp_path: Path) -> None:
    table = read_predictions(tmp_path / "none")
    assert len(table) == 0
    assert table.column_names == [
        "id", "at", "model", "probability", "prediction", "degraded", "entity", "control", "features",
    ]  # fmt: skip
    assert compact_segments(tmp_path / "none") == Compaction(0, 0, 0)
    assert prune_log(tmp_path / "none", 1) == 0


def test_times_choose(tmp_path: Path) -> None:
    moments = [NOON + timedelta(days=day) for day in range(4)]
    for number, moment in enumerate(moments):
        write(tmp_path, [predict(str(number), at=moment)])
        if number == 2:
            compact_segments(tmp_path)
    assert names(read_predictions(tmp_path, since=moments[1])) == ["1", "2", "3"]
    assert names(read_predictions(tmp_path, until=moments[2])) == ["0", "1"]
    assert names(read_predictions(tmp_path, since=moments[2], until=moments[3] + timedelta(seconds=1))) == ["2", "3"]
    with pytest.raises(ProjectError, match="no time zone"):
        read_predictions(tmp_path, since=NOON.replace(tzinfo=None))
    with pytest.raises(ProjectError, match="no kind 'other'"):
        read_predictions(tmp_path, "other")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, [predict("a")])
    compact_segments(tmp_path)
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProjectError, match=path.name):
        read_predictions(tmp_path)


def test_a_living_writers_segment_is_read_and_left_alone(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_seconds=0.01)
    log.append(predict("a"))
    while not log.written:
        pass
    assert compact_segments(tmp_path) == Compaction(0, 0, 0)
    assert names(read_predictions(tmp_path)) == ["a"]
    log.append(predict("b"))
    log.close()
    assert compact_segments(tmp_path) == Compaction(1, 2, 0)
    assert names(read_predictions(tmp_path)) == ["a", "b"]


def test_a_dead_writers_segment_is_compacted_with_its_torn_tail_put_aside(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from lifecycle.prediction_log.writer import PredictionLog
log = PredictionLog(Path(sys.argv[1]), flush_seconds=0.01)
log.append({"kind": "feedback", "id": "a", "at": 1, "label": "yes"})
while not log.written:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False, timeout=20)
    (path,) = (tmp_path / "segments").iterdir()
    assert path.suffix == ".open"
    with path.open("ab") as file:
        file.write(b"01234567 {")
    assert compact_segments(tmp_path) == Compaction(segments=1, records=1, damaged=1)
    assert names(read_predictions(tmp_path, "feedback")) == ["a"]
    assert (tmp_path / f"damaged/{path.stem}.lines").read_bytes() == b"01234567 {\n"
    assert not path.exists()


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crash_at(step: int) -> Iterator[list[str]]:
    """The disk's step of this number, and all after it, do not happen; gives the steps that did."""
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for real in (os.replace, os.unlink, os.fsync, os.mkdir):

            def call(*arguments: Any, real: Any = real, **more: Any) -> Any:
                if len(steps) >= step:
                    raise Crash
                steps.append(real.__name__)
                return real(*arguments, **more)

            patch.setattr(os, real.__name__, call)
        yield steps


def test_a_crash_of_the_compaction_loses_and_doubles_nothing(tmp_path: Path) -> None:
    start = tmp_path / "start"
    write(start, [predict("a", {"x": 1}), confirm("a"), predict("b", at=NOON + timedelta(days=1))])
    write(start, [predict("c", {"x": 2}), confirm("c")])
    with min((start / "segments").iterdir()).open("ab") as file:
        file.write(b"torn")
    whole = shutil.copytree(start, tmp_path / "whole")
    with crash_at(1000) as steps:
        assert compact_segments(whole) == Compaction(2, 5, 1)
    assert {"replace", "unlink", "fsync", "mkdir"} == set(steps)
    for step in range(len(steps)):
        folder = shutil.copytree(start, tmp_path / str(step))
        with crash_at(step), pytest.raises(Crash):
            compact_segments(folder)
        assert names(read_predictions(folder)) == ["a", "c", "b"], step
        assert names(read_predictions(folder, "feedback")) == ["a", "c"], step
        compact_segments(folder)
        assert files(folder) == files(whole), step


def test_readers_and_compactors_may_meet(tmp_path: Path) -> None:
    expected = [f"{number:02}" for number in range(30)]
    for number, name in enumerate(expected):
        write(tmp_path, [predict(name, {"x": number}, NOON + timedelta(seconds=number))])
    done: list[Compaction] = []
    threads = [threading.Thread(target=lambda: done.append(compact_segments(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    alive = True
    while alive:
        alive = any(thread.is_alive() for thread in threads)
        assert names(read_predictions(tmp_path)) == expected
    assert sum(each.segments for each in done) == 30
    assert list((tmp_path / "segments").iterdir()) == []


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [predict("a"), confirm("a")])
    assert (tmp_path / "FORMAT").read_text() == "2\n"
    for content, found in (("1\n", "the format 1"), (None, "of an earlier version")):
        (tmp_path / "FORMAT").unlink()
        if content:
            (tmp_path / "FORMAT").write_text(content)
        for read in (read_predictions, find_span):
            with pytest.raises(ProjectError, match=f"{found}, expected 2: run `lifecycle upgrade`"):
                read(tmp_path)
    write(tmp_path, [predict("b")])
    assert not (tmp_path / "FORMAT").exists(), "a log with records of an earlier version keeps its format"


def test_a_segment_that_another_compacted_first_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [predict("a")])
    lock, inner = fcntl.flock, []

    def flock(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        inner.append(compact_segments(tmp_path))  # between the opening and the lock
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert compact_segments(tmp_path) == Compaction(0, 0, 0)
    assert inner == [Compaction(1, 1, 0)]
    assert names(read_predictions(tmp_path)) == ["a"]


def test_old_days_are_removed(tmp_path: Path) -> None:
    today = datetime.now(UTC)
    for age in (0, 29, 31, 400):
        write(
            tmp_path,
            [predict(str(age), at=today - timedelta(days=age)), confirm("x", datetime(2020, 1, 1, tzinfo=UTC))],
        )
    compact_segments(tmp_path)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for day in (today, today - timedelta(days=40)):
        (damaged / f"{day:%Y%m%dT%H%M%S%fZ}-1-0.lines").write_bytes(b"x\n")
    assert prune_log(tmp_path, 30) == 4
    assert not list((tmp_path / "feedback").iterdir())
    assert sorted(names(read_predictions(tmp_path))) == ["0", "29"]
    assert len(list(damaged.iterdir())) == 1
    with pytest.raises(ProjectError, match="at least 1 day, not 0"):
        prune_log(tmp_path, 0)
    assert len(read_predictions(tmp_path)) == 2


def test_the_command_compacts_and_prunes(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = project / PREDICTIONS
    write(log, [predict("old", at=datetime.now(UTC) - timedelta(days=40)), predict("new", at=datetime.now(UTC))])
    assert main(["compact", "--keep-days", "30"]) == 0
    assert "2 records of 1 segments" in capsys.readouterr().out
    assert names(read_predictions(log)) == ["new"]
    assert main(["compact", "--keep-days", "0"]) == 1
    assert "at least 1 day" in capsys.readouterr().err
    (project / "elsewhere").write_text("no folder")
    monkeypatch.setenv("LIFECYCLE_SERVE_LOG_FOLDER", "elsewhere")
    assert main(["compact"]) == 0
    assert "0 records of 0 segments" in capsys.readouterr().out
