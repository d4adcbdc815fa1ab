"""`lifecycle materialize`: the online store filled from the offline table, and the two compared."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.paths import Project
from lifecycle.features.materialize import compare_stores, open_store
from lifecycle.features.store import UnknownEntityError
from lifecycle.stages.features import list_features
from tests.support.contracts import make_contract
from tests.support.servers import start_redis

START = datetime(2026, 1, 1)  # noqa: DTZ001 - in UTC, without a zone
TIMED: dict[str, dict[str, Any]] = {"seen": {"role": "time", "dtype": "datetime", "nullable": True}}
DERIVED = {"pace": "spend / (1 + months)", "fresh": 'plan == "pro"'}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, which commands find."""
    monkeypatch.setenv("LIFECYCLE_ROOT", str(tmp_path))
    monkeypatch.delenv("LIFECYCLE_FEATURE_STORE", raising=False)
    return tmp_path


def write_offline(root: Path, frame: pd.DataFrame, derived: dict[str, str] = DERIVED, **changes: Any) -> Project:
    """Write what the pipeline would: contract, validated table and the features' declaration."""
    contract = make_contract(**changes)
    for name in (paths.CONTRACT, paths.VALIDATED_TABLE, paths.FEATURES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    YAML(typ="safe").dump(json.loads(contract.model_dump_json(exclude_none=True)), root / paths.CONTRACT)
    frame.to_parquet(root / paths.VALIDATED_TABLE, index=False)
    declared = {"features": list_features(contract, list(frame), derived)}
    (root / paths.FEATURES).write_text(json.dumps(declared))
    return Project(root, root)


def put_time(frame: pd.DataFrame, days: Any) -> pd.DataFrame:
    return frame.assign(seen=pd.Timestamp(START) + pd.to_timedelta(days, "D"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """A command's status, and what it said."""
    status = main(["materialize", *words])
    told = capsys.readouterr()
    return status, told.out + told.err


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "redis":
        with start_redis(root / "redis") as url:
            monkeypatch.setenv("LIFECYCLE_FEATURE_STORE", url)
            yield url
    else:
        yield ""


def test_online_is_what_offline_is(
    root: Path, backend: str, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write_offline(root, customers)
    status, told = run(capsys)
    assert status == 0 and "300 entities online, new (version " in told and "300 cached" in told
    status, told = run(capsys, "--check")
    assert status == 0
    assert "300 entities compared (300 cached): 0 not online, 0 differ; 1,800 of 1,800 values agree (100.0000%)" in told
    row = customers.iloc[7]
    found = open_store(project, timeout=5).get_features(int(row["id"]))
    assert found.origin == "cached" and (found["months"], found["plan"]) == (row["months"], row["plan"])
    assert (
        found["pace"] == pytest.approx(row["spend"] / (1 + row["months"])) and "left" not in found and "id" not in found
    )


def test_the_same_table_twice_changes_nothing(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write_offline(root, customers)
    run(capsys)
    before = open_store(project).look()
    status, told = run(capsys)
    assert status == 0 and "300 entities online, as they were" in told
    assert open_store(project).look().prefix == before.prefix
    write_offline(root, customers.sample(frac=1, random_state=0))
    assert "as they were" in run(capsys)[1], "the order of entities matters to nothing"
    write_offline(root, customers.assign(months=customers["months"] + 1))
    assert "300 entities online, new" in run(capsys)[1]


def test_an_entity_has_its_newest_row(root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    frame = put_time(customers.assign(id=rng.integers(0, 60, 300)), rng.integers(0, 40, 300))
    frame.loc[::11, "seen"] = pd.NaT
    project = write_offline(root, frame, **TIMED)
    assert run(capsys)[0] == 0 and run(capsys, "--check")[0] == 0
    store = open_store(project)
    for entity, rows in frame.groupby("id"):
        newest = rows.sort_values("seen", kind="stable", na_position="first").iloc[-1]
        found = store.get_features(int(entity))
        assert found["months"] == newest["months"]
        assert found["seen"] == (None if pd.isna(newest["seen"]) else newest["seen"].to_pydatetime())
        hour = 0.0 if pd.notna(newest["seen"]) else np.nan
        assert found["seen_hour"] == pytest.approx(hour, nan_ok=True)


def test_since_adds_what_is_newer_and_comes_to_the_same_as_all(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = put_time(customers.assign(id=customers["id"] % 100), np.arange(300) // 10)
    project = write_offline(root, frame[:200], **TIMED)
    run(capsys)
    write_offline(root, frame, **TIMED)
    day = (START + timedelta(days=20)).date().isoformat()
    status, told = run(capsys, "--since", day)
    assert status == 0 and "100 entities online, new" in told
    assert run(capsys, "--check")[0] == 0
    prefix = open_store(project).look().prefix
    for words in (["--since", day], ["--since", f"{day}T00:00:00+00:00"], ["--since", "2000-01-01"], []):
        assert "100 entities online, as they were" in run(capsys, *words)[1]
        assert open_store(project).look().prefix == prefix


def test_since_takes_all_rows_the_first_time(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline(root, put_time(customers, np.arange(300)), **TIMED)
    assert "300 entities online, new" in run(capsys, "--since", "2026-06-01")[1]


def test_rows_of_before_are_kept_by_since_and_left_by_all(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = put_time(customers, np.arange(300))
    project = write_offline(root, frame[:100], **TIMED)
    run(capsys)
    write_offline(root, frame[100:], **TIMED)
    assert "300 entities online" in run(capsys, "--since", "2026-01-05")[1]
    assert run(capsys, "--check")[0] == 0, "offline entities are what is compared"
    assert "200 entities online" in run(capsys)[1]
    with pytest.raises(UnknownEntityError):
        open_store(project).get_features(0)


def test_differences_are_counted_and_shown(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline(root, customers)
    run(capsys)
    changed = customers.assign(months=customers["months"].where(customers["id"] != 5, 71))
    newcomer = pd.concat([changed, customers[:1].assign(id=1000)])
    write_offline(root, newcomer)
    status, told = run(capsys, "--check")
    assert status == 1
    assert "301 entities compared (300 cached): 1 not online, 1 differ; 1,798 of 1,800 values agree" in told
    assert "id 1000 is not online" in told and "id 5: months is " in told and "online, 71 offline" in told
    assert "id 5: pace is " in told


def test_a_sample_is_compared_and_is_the_same_each_time(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline(root, customers)
    run(capsys)
    write_offline(root, customers.assign(plan="plus"))
    told = [run(capsys, "--check", "--sample", "20") for _ in range(2)]
    assert told[0] == told[1] and told[0][0] == 1 and "20 entities compared" in told[0][1]
    assert "100 entities" not in told[0][1]


def test_the_check_does_not_trust_the_cache(root: Path, customers: pd.DataFrame) -> None:
    """A value that somebody changed in the cache is found: what readers get is what is compared."""
    project = write_offline(root, customers)
    assert main(["materialize"]) == 0
    store = open_store(project)
    key = store.look().make_key(3)
    (blob,) = store.cache.get_many([key], 0)
    assert blob is not None
    store.cache.put_many([(key, blob.replace(b'"', b'"x', 1))], 9e9, 60)
    found = compare_stores(project)
    assert (found.different, found.wrong) == (1, 1) and "plan" in found.examples[0]


def test_strings_booleans_and_missing_ids(
    root: Path, backend: str, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = customers.assign(
        id=[f"kunde é {number}" for number in range(300)], flag=pd.array([True, False, None] * 100, dtype="boolean"),
        note=["a", None, "c"] * 100,
    )  # fmt: skip
    frame.loc[[2, 3], "id"] = None
    columns = {
        "id": {"role": "id", "dtype": "string", "nullable": True}, "flag": {"role": "boolean", "dtype": "bool", "nullable": True},
        "note": {"role": "text", "dtype": "string", "nullable": True},
    }  # fmt: skip
    project = write_offline(root, frame, **columns)
    status, told = run(capsys)
    assert status == 0 and "298 entities online" in told and "2 rows without an id left out" in told
    assert run(capsys, "--check")[0] == 0
    found = open_store(project, timeout=5).get_features("kunde é 1")
    assert (found["flag"], found["note"]) == (False, None) and found.origin == "cached"


def test_a_failure_leaves_what_is_there(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_offline(root, customers)
    run(capsys)
    before = (root / paths.ONLINE_ROWS).read_bytes()
    write_offline(root, customers.assign(months=1))
    monkeypatch.setenv("LIFECYCLE_FEATURE_STORE", "redis://:s3cret@127.0.0.1:1/0")
    status, told = run(capsys)
    assert status == 1 and "redis://127.0.0.1:1/0 cannot be filled" in told and "s3cret" not in told
    assert (root / paths.ONLINE_ROWS).read_bytes() == before
    assert {path.name for path in (root / paths.ONLINE_ROWS).parent.iterdir()} == {"rows.db", ".lock"}
    monkeypatch.delenv("LIFECYCLE_FEATURE_STORE")
    assert open_store(project).get_features(1)["months"] == customers["months"][1]


def test_two_at_once_are_refused(root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    write_offline(root, customers)
    run(capsys)
    with (root / paths.ONLINE_ROWS).with_name(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, told = run(capsys)
    assert status == 1 and "is being written by another `lifecycle materialize`" in told
    assert run(capsys)[0] == 0


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        ({"id": {"role": "ignored"}}, [], "no column has role id: entities need one"),
        (
            {"id": {"role": "id", "dtype": "float64"}},
            [],
            "'id' is float64; the id of an entity must be int64 or string",
        ),
        ({"plan": {"dtype": "int64", "values": None}}, [], "column 'plan' is not int64"),
        ({}, ["--since", "2026-01-01"], "--since needs a column with role time"),
        (TIMED, ["--since", "yesterday"], "--since takes a moment such as 2026-01-31"),
        ({}, ["--sample", "3"], "--sample needs --check"),
        ({}, ["--check", "--sample", "0"], "--check takes --sample with a number of at least 1"),
        ({}, ["--check"], "rows.db is missing: run `lifecycle materialize`"),
    ],
)
def test_errors_are_one_sentence(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str], change: Any, words: list[str], told: str
) -> None:
    write_offline(root, put_time(customers, 0) if change is TIMED else customers, **change)
    status, said = run(capsys, *words)
    assert status == 1 and told in said and said.count("\n") == 1


def test_other_columns_need_all_rows_once(
    root: Path, customers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline(root, put_time(customers, 0), **TIMED)
    run(capsys)
    write_offline(root, put_time(customers, 0).assign(size=1.0), size={"role": "numeric", "dtype": "float64"}, **TIMED)
    status, told = run(capsys, "--since", "2025-01-01")
    assert status == 1 and "has other columns than the table: leave --since out once" in told
    assert run(capsys)[0] == 0 and run(capsys, "--check")[0] == 0
