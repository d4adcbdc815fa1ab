"""A client that sends the rows of the table's own file is answered as the fitted model answers them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.contract import Contract, load_contract
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.serving.acceptance import ServerProcess, prepare_workspace, start_server
from lifecycle.serving.bundle import load_bundle, to_requests, write_bundle
from lifecycle.serving.compiler import compile_model
from lifecycle.stages import deploy
from lifecycle.stages.features import compute_features, list_features
from lifecycle.validation.conversion import convert_columns
from tests.support.contracts import make_contract
from tests.support.families import ACCURACY, QUICK
from tests.support.small import SMALL, read_sample

Record = dict[str, Any]
CONTRACT = make_contract(
    when={"role": "time", "dtype": "datetime", "format": "%d.%m.%Y"},
    plan={"values": ["basic", "plus"], "open": True, "nullable": True, "missing": "category"},
    sex={"role": "boolean", "dtype": "string", "values": ["f", "m"], "open": True, "nullable": True},
    mail={"role": "pii", "dtype": "string", "nullable": True},
    remark={"role": "ignored", "dtype": "string", "nullable": True},
    note={"role": "text", "dtype": "string", "nullable": True},
)


def make_raw(customers: pd.DataFrame) -> pd.DataFrame:
    """A table as a program exports it: days as text, blank cells, personal columns, and values that no list has."""
    number = customers["id"]
    day = pd.Timestamp(2016, 1, 1) + pd.to_timedelta(3 * number, unit="D")
    written = day.dt.strftime("%d.%m.%Y").where(number % 7 > 0, day.dt.strftime("%Y-%m-%d"))
    return customers.assign(
        when=written,
        plan=customers["plan"].where(number % 11 > 0, "gold").where(number % 13 > 0, "  "),
        sex=np.where(number % 17 == 0, "x", np.where(number % 2, "m", "f")),
        mail=[f"customer{place}@example.org" for place in number],
        remark="called twice",
        note=None,
    )


def serve(raw: pd.DataFrame, contract: Contract, family: str, folder: Path) -> tuple[Path, np.ndarray, pd.DataFrame]:
    """A root that serves a model of the table; the fitted model's probabilities of its rows, and the typed table."""
    typed, broken = convert_columns(raw, contract.columns)
    assert not broken
    features = list_features(contract, list(typed.columns), {})
    names = [feature["name"] for feature in features]
    # the rows that a model is trained on do not have every value that later ones have
    learned = ~raw.isin(["gold", "x"]).any(axis="columns").to_numpy()
    table, label = compute_features(typed, features)[names], (typed[contract.target] == contract.positive).astype(int)
    rows = table[learned], label[learned]
    pipeline = fit_pipeline(family, QUICK[family], features, *rows, seed=0, threads=1)
    classifier = CalibratedClassifier(pipeline, Calibrator("none"))
    plan, trees = compile_model(classifier, features, family)
    columns = deploy.describe_columns(contract, features, typed)
    requests = to_requests(typed, [column["name"] for column in columns])
    expected = classifier.predict_proba(table)[:, 1]
    facts = {
        "model": "a" * 64, "family": family, "target": contract.target, "positive": contract.positive,
        "negative": contract.columns[contract.target].negative, "threshold": 0.5, "prior": 0.3, "hashes": {},
        "other_columns": [name for name in contract.columns if name not in {column["name"] for column in columns}],
    }  # fmt: skip
    write_bundle(
        folder / "bundle", plan, trees, columns, deploy.choose_golden(requests, expected, 10), requests[:5], facts
    )
    champion = deploy.describe_champion(load_bundle(folder / "bundle"))
    return prepare_workspace(folder / "root", folder / "bundle", champion), expected, typed


def write_records(raw: pd.DataFrame, path: Path) -> list[Record]:
    """The rows of a file of JSON lines with the table."""
    raw.to_json(path, orient="records", lines=True)
    return [json.loads(line) for line in path.read_text().splitlines()]


def predict(server: ServerProcess, rows: Any) -> Record:
    status, _, body = server.ask("/predict", json.dumps(rows).encode())
    assert status == 200, body
    reply: Record = json.loads(body)
    return reply


@pytest.mark.parametrize("family", QUICK)
def test_days_other_columns_and_new_values_are_taken(customers: pd.DataFrame, tmp_path: Path, family: str) -> None:
    raw = make_raw(customers)
    root, expected, typed = serve(raw, CONTRACT, family, tmp_path)
    rows = write_records(raw, tmp_path / "table.jsonl")
    assert {row["when"][2] for row in rows} == {".", "1"} and {row["plan"] for row in rows} >= {"gold", "  "}
    with start_server(root, flush_seconds=0.02) as server:
        reply = predict(server, rows)
        alone = [predict(server, row)["probability"] for row in rows[:40]]
        metrics = server.ask("/metrics")[2].decode()
        server.stop()
    found = [record["probability"] for record in reply["predictions"]]
    atol = ACCURACY.get(family, 1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(alone, expected[:40], rtol=0, atol=atol)
    assert reply["ignored"] == ["id", "left", "mail", "remark", "note"]
    unseen = [record.get("unseen", []) for record in reply["predictions"]]
    for name, listed in (("plan", ["basic", "plus"]), ("sex", ["f", "m"])):
        beyond = (typed[name].notna() & ~typed[name].isin(listed)).tolist()
        assert [name in names for names in unseen] == beyond and any(beyond)
        assert f'model_inputs_unseen_total{{column="{name}"}} {sum(beyond) + sum(beyond[:40]):.1f}' in metrics
    logged = b"".join(path.read_bytes() for path in (root / "data").rglob("*") if path.is_file())
    assert b"gold" in logged and b"example.org" not in logged and b"called twice" not in logged


def test_the_rows_of_the_small_project_are_taken(tmp_path: Path) -> None:
    raw, contract = read_sample(), load_contract(SMALL / "data/contract.yaml")
    root, expected, _ = serve(raw, contract, "logistic", tmp_path)
    rows = write_records(raw, tmp_path / "table.jsonl")
    with start_server(root) as server:
        replies = [predict(server, rows[start : start + 500]) for start in range(0, len(rows), 500)]
    found = [record["probability"] for reply in replies for record in reply["predictions"]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert {tuple(reply["ignored"]) for reply in replies} == {("rownames", "churn")}
    assert not any("unseen" in record for reply in replies for record in reply["predictions"])
