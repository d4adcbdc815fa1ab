"""Deploy: compile the candidate into a serving bundle, put the real server through its paces, bless the bundle or not."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.files import hash_file
from lifecycle.modeling.model import Model
from lifecycle.monitoring.degradation import describe_performance
from lifecycle.monitoring.drift import PREDICTION
from lifecycle.monitoring.reference import Kind, build_reference, summarize_column
from lifecycle.serving import bundle as bundles
from lifecycle.serving.acceptance import (
    Load,
    ServerProcess,
    ask,
)
from lifecycle.serving.bundle import (  # fmt: skip
    BACKGROUND,
    GOLDEN,
    MANIFEST,
    PLAN,
    REFERENCE,
    SCHEMA,
    TOLERANCE,
    TREES,
    Bundle,
    to_request,
)

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
HEAVY = ("sklearn", "pandas", "mlflow", "joblib", "pyarrow", "matplotlib")
BATCH = 500  # rows of a request when the hold-out is replayed


def choose_features(declaration: Record, model: Model) -> list[Record]:
    """The records of the features that a model reads, in its order."""
    known = {feature["name"]: feature for feature in declaration["features"]}
    return [known[name] for name in model.metadata["features"]]


def find_raw_rows(valid: pd.DataFrame, split: pd.DataFrame, *, held_out: bool) -> pd.DataFrame:
    """The validated rows of one side of the split: what a client would have sent for the rows of its feature table."""
    return valid[(split["held_out"] == held_out).to_numpy()].reset_index(drop=True)


def describe_columns(contract: Contract, features: list[Record], raw: pd.DataFrame) -> list[Record]:
    """The columns that features are computed from, in the contract's order, each with its rules and a real example."""
    read = {name for feature in features for name in feature["columns"]}
    rules = ("dtype", "nullable", "values", "min", "max", "unit", "description")
    return [
        {
            "name": name,
            **{key: value for key, value in column.model_dump(mode="json").items() if key in rules},
            "example": to_request({name: raw[name].iloc[0]})[name],
        }
        for name, column in contract.columns.items()
        if name in read
    ]


def to_requests(raw: pd.DataFrame, columns: list[Record]) -> list[Record]:
    """Rows of a table as requests."""
    return bundles.to_requests(raw, [column["name"] for column in columns])


def choose_evenly(probability: Array, rows: int, also: Array | None = None) -> list[int]:
    """Positions of rows spread evenly over their probabilities; and of the first five that `also` marks."""
    order = np.argsort(probability, kind="stable")
    places = ((np.arange(min(rows, len(order))) + 0.5) * (len(order) / min(rows, len(order)))).astype(np.int64)
    marked = [] if also is None else np.flatnonzero(also)[:5].tolist()
    return sorted({*order[places].tolist(), *marked})


def choose_golden(requests: list[Record], probability: Array, rows: int) -> list[Record]:
    """Golden requests with the fitted model's own answers: spread over the probabilities, rows with absent values among them."""
    absent = np.array([any(value is None for value in request.values()) for request in requests])
    return [
        {"request": requests[place], "probability": float(probability[place])}
        for place in choose_evenly(probability, rows, absent)
    ]


def describe_bundle(model: Model, contract: Contract, prior: float) -> Record:
    """The facts of a bundle's manifest."""
    metadata = model.metadata
    return {
        "model": model.sha256,
        "family": metadata["family"],
        "target": contract.target,
        "positive": contract.positive,
        "negative": contract.columns[contract.target].negative,
        "threshold": metadata["threshold"],
        "prior": prior,
        "hashes": {key.removesuffix("_sha256"): metadata[key] for key in metadata if key.endswith("_sha256")},
    }


def describe_reference(
    held_out: pd.DataFrame, contract: Contract, columns: list[Record], probability: Array, model: Model,
    importance: list[Record], seed: int,
) -> Record:  # fmt: skip
    """What monitoring holds later rows against: the held-out rows, which no fit has seen and the metrics are of, in counts.

    weights: the share of each column in all the moves of predictions. performance: what truths are compared with.
    """
    kinds = choose_kinds(contract, columns)
    reference = build_reference(held_out, kinds)
    reference["columns"][PREDICTION] = summarize_column(pd.Series(probability), "numeric")
    truth = (held_out[contract.target] == contract.positive).to_numpy()
    moved = {record["column"]: record["attribution"] for record in importance}
    # not `sum`, which compensates rounding errors since Python 3.12, and so gives another last digit there
    total = reduce(add, moved.values(), 0.0) or 1.0
    cost = model.metadata["cost"]
    return {
        **reference,
        "weights": {name: moved.get(name, 0.0) / total for name in kinds},
        "units": {column["name"]: column["unit"] for column in columns if column["unit"]},
        "cost": cost,
        "performance": describe_performance(truth, probability, threshold=model.threshold, cost=cost, seed=seed),
    }


def choose_kinds(contract: Contract, columns: list[Record]) -> dict[str, Kind]:
    """How each column of a request is counted; a moment is not, for later rows are later."""
    kinds: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categories", Role.BOOLEAN: "categories"}
    roles = {column["name"]: contract.columns[column["name"]].role for column in columns}
    return {name: kinds[role] for name, role in roles.items() if role in kinds}


def tabulate_bundle(folder: Path) -> pd.DataFrame:
    """The bundle's files: what each holds, its size and its hash."""
    holds = {
        MANIFEST: "hashes of the others, the threshold, the prior, what the model was made of",
        PLAN: "the features' expressions, and the model in numbers",
        SCHEMA: "the columns of a request",
        GOLDEN: "requests and their answers, checked whenever the bundle is loaded",
        BACKGROUND: "rows that explanations compare with",
        REFERENCE: "the held-out rows in counts, what the model did on them, and each column's weight: for monitoring",
        TREES: "trees, as treelite stores them",
    }
    files = [folder / name for name in holds if (folder / name).exists()]
    return pd.DataFrame(
        {
            "what it holds": [holds[path.name] for path in files],
            "bytes": [f"{path.stat().st_size:,}" for path in files],
            "SHA-256": [hash_file(path)[:12] for path in files],
        },
        index=pd.Index([path.name for path in files], name="file"),
    )


def describe_champion(bundle: Bundle) -> Record:
    """The champion.json that a server under test is given."""
    return {"model": bundle.manifest.model, "bundle": bundle.sha256, "prior": bundle.manifest.prior, "previous": None}


def make_check(name: str, title: str, passed: bool, message: str) -> Record:
    """A check's record; its message holds nothing that was measured."""
    return {"name": name, "title": title, "passed": bool(passed), "message": message}


def check_lightness(bundle: Path) -> Record:
    """Load the bundle and answer its golden requests in a process that has imported none of the training's packages."""
    code = (
        "import sys; from pathlib import Path; from lifecycle.serving.bundle import load_bundle; "
        "load_bundle(Path(sys.argv[1])).check_golden(); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False)
    passed = done.returncode == 0 and done.stdout.strip() == "[]"
    said = "" if passed else f" It said: {(done.stdout + done.stderr).strip()[-300:]}"
    return make_check(
        "loads_light", "Loads without the training's packages", passed, f"None of {', '.join(HEAVY)}.{said}"
    )


def replay_rows(server: ServerProcess, requests: list[Record], batch: int) -> Iterator[float]:
    """The probabilities that the server gives for rows, in lists of `batch` over one connection; 1: without a list."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        for start in range(0, len(requests), batch):
            asked = requests[start] if batch == 1 else requests[start : start + batch]
            status, _, body = ask(connection, "/predict", json.dumps(asked).encode())
            if status != 200:
                raise RuntimeError(f"row {start} was answered with {status}: {body[:300]!r}")
            reply = json.loads(body)
            yield from (record["probability"] for record in ([reply] if batch == 1 else reply["predictions"]))


def check_equality(server: ServerProcess, requests: list[Record], expected: Array) -> Record:
    """Every row through HTTP, one by one and in lists, against the fitted pipeline."""
    try:
        given = np.array([list(replay_rows(server, requests, batch)) for batch in (1, BATCH)])
        wrong = int((~(np.abs(given - expected) <= TOLERANCE).all(axis=0)).sum())
        message = (
            f"{len(requests):,} hold-out rows over HTTP, one by one and in lists; "
            f"{wrong} differ from scikit-learn by more than {TOLERANCE:g}."
        )
    except (RuntimeError, ValueError) as error:
        wrong, message = 1, str(error)
    return make_check("equals_training", "Answers as the fitted model does", wrong == 0, message)


def check_golden(server: ServerProcess, bundle: Bundle) -> Record:
    """The golden requests one by one, as a client sends them."""
    wrong = 0
    for record in bundle.golden:
        status, _, body = server.ask("/predict", json.dumps(record["request"]).encode())
        reply = json.loads(body)
        wrong += (
            status != 200 or not abs(reply["probability"] - record["probability"]) <= TOLERANCE or reply["degraded"]
        )
    return make_check(
        "golden", "Gives its golden answers", wrong == 0, f"{len(bundle.golden)} golden requests, {wrong} wrong."
    )


def check_odd_requests(crashes: list[str], count: int) -> Record:
    """No odd request is answered with 5xx, left without an answer, or answered with something that is no JSON."""
    message = f"{count:,} malformed, hostile or odd requests; {len(crashes)} were not refused properly."
    return make_check("odd_requests", "Refuses nonsense in a sentence", not crashes, " ".join([message, *crashes[:3]]))


def time_requests(server: ServerProcess, requests: Sequence[Record], count: int) -> Array:
    """Seconds of single-row requests, one after the other on one connection, after a tenth as many to warm up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    bodies = [json.dumps(request).encode() for request in requests[:200]]
    seconds = []
    for number in range(count + count // 10):
        began = time.perf_counter()
        ask(connection, "/predict", bodies[number % len(bodies)])
        seconds.append(time.perf_counter() - began)
    connection.close()
    return np.array(seconds[count // 10 :])


def check_budget(name: str, title: str, value: float, limit: float, unit: str) -> Record:
    """A measured value against its budget; only whether it is kept is told, for the value is another each time."""
    words = "within" if value <= limit else "above"
    return make_check(name, title, value <= limit, f"Measured {words} the budget of {limit:g} {unit}.")


def check_stop(load: Load, status: int) -> Record:
    """SIGTERM under load: the server ends well, and every request that it took is answered."""
    passed = status == 0 and not load.failures and bool(load.seconds)
    message = f"Ended with status {status} under load; {len(load.failures)} requests failed."
    return make_check("stops_well", "Stops without losing a request", passed, " ".join([message, *load.failures[:3]]))


def decide_blessing(bundle: Bundle, checks: list[Record]) -> Record:
    """The verdict on a bundle, bound to its hash."""
    failed = [check for check in checks if not check["passed"]]
    because = (
        f"All {len(checks)} checks of the running server hold."
        if not failed
        else " ".join(f"{check['title']}: no. {check['message']}" for check in failed)
    )
    return {
        "blessed": not failed,
        "bundle": bundle.sha256,
        "model": bundle.manifest.model,
        "conditions": checks,
        "because": because,
    }


def summarise_times(seconds: Array, start: float, memory: int) -> dict[str, float]:
    """What MLflow and the report are told: percentiles in milliseconds, requests a second of one client, start, memory."""
    return {
        **{f"serve_p{q}_ms": float(np.percentile(seconds, q) * 1e3) for q in (50, 90, 99)},
        "serve_requests_per_second": float(1 / seconds.mean()),
        "serve_start_seconds": start,
        "serve_memory_mb": memory / 1e6,
    }
