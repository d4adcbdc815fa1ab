"""Deploy: compile the candidate into a serving bundle and run acceptance checks against the real server."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.files import hash_file
from lifecycle.core.records import Record
from lifecycle.core.split_rule import SplitRule
from lifecycle.modeling.model import METADATA_FILE, Model
from lifecycle.monitoring.degradation import describe_performance
from lifecycle.monitoring.drift import PREDICTION
from lifecycle.monitoring.reference import Kind, build_reference, summarize_column
from lifecycle.promotion.records import FORMAT, Blessing, Champion, Check
from lifecycle.serving import bundle as bundles
from lifecycle.serving.acceptance import Load, ServerProcess, ask
from lifecycle.serving.bundle import (  # fmt: skip
    BACKGROUND,
    GOLDEN,
    MANIFEST,
    PLAN,
    REFERENCE,
    SCHEMA,
    TREES,
    Bundle,
    to_request,
)

Array = np.ndarray[Any, Any]
_TRAINING_PACKAGES = ("sklearn", "pandas", "mlflow", "joblib", "pyarrow", "matplotlib")
_EXAMPLE = "a text"  # of a column of texts, in place of one that somebody wrote
_BATCH = 500  # rows of a request when the hold-out is replayed


def choose_features(declaration: Record, model: Model) -> list[Record]:
    """Return the records of the features that a model reads, in the model's order."""
    known = {feature["name"]: feature for feature in declaration["features"]}
    return [known[name] for name in model.metadata["features"]]


def describe_columns(contract: Contract, features: list[Record], raw: pd.DataFrame) -> list[Record]:
    """Return the columns that features are computed from, in the contract's order, with their rules and an example."""
    read = {name for feature in features for name in feature["columns"]}
    rules = ("dtype", "nullable", "values", "open", "min", "max", "unit", "format", "null_values", "description")
    return [
        {
            "name": name,
            **{key: value for key, value in column.model_dump(mode="json").items() if key in rules},
            "example": _EXAMPLE if column.terms else to_request({name: raw[name].iloc[0]})[name],
        }
        for name, column in contract.columns.items()
        if name in read
    ]


def to_requests(raw: pd.DataFrame, columns: list[Record]) -> list[Record]:
    """Return rows of a table as requests."""
    return bundles.to_requests(raw, [column["name"] for column in columns])


def choose_evenly(probability: Array, rows: int, also: Array | None = None) -> list[int]:
    """Return positions of rows spread evenly over their probabilities, and of the first five for which `also` is true."""
    order = np.argsort(probability, kind="stable")
    places = ((np.arange(min(rows, len(order))) + 0.5) * (len(order) / min(rows, len(order)))).astype(np.int64)
    extra = [] if also is None else np.flatnonzero(also)[:5].tolist()
    return sorted({*order[places].tolist(), *extra})


def choose_golden(requests: list[Record], probability: Array, rows: int) -> list[Record]:
    """Return golden requests with the fitted model's answers, spread over the probabilities; some have missing values."""
    absent = np.array([any(value is None for value in request.values()) for request in requests])
    return [
        {"request": requests[place], "probability": float(probability[place])}
        for place in choose_evenly(probability, rows, absent)
    ]


def describe_bundle(model: Model, contract: Contract, prior: float, columns: list[Record]) -> Record:
    """Return the facts about a model that a bundle's manifest holds. columns: those of a request.

    Of the contract's other columns only the names are recorded, so that a row of the table can be sent as it is.
    """
    read = {column["name"] for column in columns}
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
        "other_columns": [name for name in contract.columns if name not in read],
        "entity": next(iter(contract.names(Role.ID)), None),
        "rule": SplitRule.parse(metadata["rule"], f"{METADATA_FILE}: rule"),
        "onset": metadata["onset"] and datetime.fromisoformat(metadata["onset"]),
    }


def describe_reference(
    held_out: pd.DataFrame, learned: pd.DataFrame, contract: Contract, columns: list[Record], probability: Array, model: Model,
    importance: list[Record], seed: int, entities: Array | None = None,
) -> Record:  # fmt: skip
    """Return what monitoring compares later rows with: counts of the hold-out, which was not used in fitting.

    learned: the training rows, whose categories are not new when they occur later.
    weights: each column's share of the total attribution. performance: what the metrics of labelled rows are compared with.
    entities: the entity of each row of the hold-out, from 0, where rows of one are not independent.
    """
    kinds = choose_kinds(contract, columns)
    reference = build_reference(held_out, kinds, learned, entities)
    reference["columns"][PREDICTION] = summarize_column(pd.Series(probability), "numeric", entities)
    label = (held_out[contract.target] == contract.positive).to_numpy()
    attributions = {record["column"]: record["attribution"] for record in importance}
    # not `sum`, which compensates rounding errors since Python 3.12 and so has another last digit there
    total = reduce(add, attributions.values(), 0.0) or 1.0
    cost = model.metadata["cost"]
    return {
        **reference,
        "weights": {name: attributions.get(name, 0.0) / total for name in kinds},
        "units": {column["name"]: column["unit"] for column in columns if column["unit"]},
        "cost": cost,
        "performance": describe_performance(
            label, probability, threshold=model.threshold, cost=cost, seed=seed, entities=entities
        ),
    }


def choose_kinds(contract: Contract, columns: list[Record]) -> dict[str, Kind]:
    """Return how each column of a request is counted; times are not, because later rows always have later times."""
    kinds: dict[Role, Kind] = {Role.NUMERIC: "numeric", Role.CATEGORICAL: "categories", Role.BOOLEAN: "categories"}
    roles = {column["name"]: contract.columns[column["name"]].role for column in columns}
    return {name: kinds[role] for name, role in roles.items() if role in kinds}


def tabulate_bundle(folder: Path) -> pd.DataFrame:
    """Return a table of the bundle's files: content, size and hash."""
    contents = {
        MANIFEST: "hashes of the other files, the threshold, the prior, hashes of the training data",
        PLAN: "the features' expressions, and the model in numbers",
        SCHEMA: "the columns of a request",
        GOLDEN: "requests and their probabilities, checked whenever the bundle is loaded",
        BACKGROUND: "rows that explanations compare with",
        REFERENCE: "counts of the hold-out's rows, the model's metrics on them and the columns' weights, for monitoring",
        TREES: "trees in treelite's format",
    }
    files = [folder / name for name in contents if (folder / name).exists()]
    return pd.DataFrame(
        {
            "content": [contents[path.name] for path in files],
            "bytes": [f"{path.stat().st_size:,}" for path in files],
            "SHA-256": [hash_file(path)[:12] for path in files],
        },
        index=pd.Index([path.name for path in files], name="file"),
    )


def describe_champion(bundle: Bundle) -> Champion:
    """Return the champion.json for a server under test."""
    prior = bundle.manifest.prior
    return Champion(format=FORMAT, model=bundle.manifest.model, bundle=bundle.sha256, prior=prior, previous=None)


def check_imports(bundle: Path) -> Check:
    """Check that loading and scoring the bundle imports none of the packages of training."""
    code = (
        "import sys; from pathlib import Path; from lifecycle.serving.bundle import load_bundle; "
        "load_bundle(Path(sys.argv[1])).check_golden(); "
        f"print([name for name in {_TRAINING_PACKAGES!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False)
    passed = done.returncode == 0 and done.stdout.strip() == "[]"
    output = "" if passed else f" The process printed: {(done.stdout + done.stderr).strip()[-300:]}"
    message = f"Imports none of {', '.join(_TRAINING_PACKAGES)}.{output}"
    return Check(name="loads_light", title="Loads without the packages of training", passed=passed, message=message)


def replay_rows(server: ServerProcess, requests: list[Record], batch: int) -> Iterator[float]:
    """Yield the server's probabilities of rows, sent in lists of `batch` over one connection; 1 sends single rows."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        for start in range(0, len(requests), batch):
            content = requests[start] if batch == 1 else requests[start : start + batch]
            status, _, body = ask(connection, "/predict", json.dumps(content).encode())
            if status != 200:
                raise RuntimeError(f"row {start} was answered with {status}: {body[:300]!r}")
            reply = json.loads(body)
            yield from (record["probability"] for record in ([reply] if batch == 1 else reply["predictions"]))


def check_equality(server: ServerProcess, requests: list[Record], expected: Array, tolerance: float) -> Check:
    """Check that every row, sent singly and in lists, has the fitted pipeline's probability to within the tolerance."""
    try:
        found = np.array([list(replay_rows(server, requests, batch)) for batch in (1, _BATCH)])
        wrong = int((~(np.abs(found - expected) <= tolerance).all(axis=0)).sum())
        message = (
            f"{len(requests):,} hold-out rows over HTTP, singly and in lists; "
            f"{wrong} differ from the fitted model by more than {tolerance:g}."
        )
    except (RuntimeError, ValueError) as error:
        wrong, message = 1, str(error)
    return Check(name="equals_training", title="Answers like the fitted model", passed=wrong == 0, message=message)


def check_golden(server: ServerProcess, bundle: Bundle) -> Check:
    """Send the golden requests one by one, as a client does."""
    wrong = 0
    for record in bundle.golden:
        status, _, body = server.ask("/predict", json.dumps(record["request"]).encode())
        reply = json.loads(body)
        wrong += (
            status != 200
            or not abs(reply["probability"] - record["probability"]) <= bundle.tolerance
            or reply["degraded"]
        )
    message = f"{len(bundle.golden)} golden requests, {wrong} wrong."
    return Check(name="golden", title="Reproduces its golden answers", passed=wrong == 0, message=message)


def check_odd_requests(crashes: list[str], count: int) -> Check:
    """Check that no odd request got a 5xx, no answer at all, or an answer that is not JSON."""
    message = " ".join([f"{count:,} malformed or hostile requests; {len(crashes)} not refused properly.", *crashes[:3]])
    return Check(name="odd_requests", title="Refuses invalid requests", passed=not crashes, message=message)


def time_requests(server: ServerProcess, requests: Sequence[Record], count: int) -> Array:
    """Return the seconds of `count` single-row requests in sequence on one connection, after a warm-up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    bodies = [json.dumps(request).encode() for request in requests[:200]]
    seconds = []
    for number in range(count + count // 10):
        began = time.perf_counter()
        ask(connection, "/predict", bodies[number % len(bodies)])
        seconds.append(time.perf_counter() - began)
    connection.close()
    return np.array(seconds[count // 10 :])


def check_budget(name: str, title: str, value: float, limit: float, unit: str) -> Check:
    """Compare a measured value with its budget; the record holds only the outcome, because the value varies."""
    words = "within" if value <= limit else "above"
    message = f"Measured {words} the budget of {limit:g} {unit}."
    return Check(name=name, title=title, passed=value <= limit, message=message)


def check_stop(load: Load, status: int) -> Check:
    """Check that SIGTERM under load ends the server with status 0 after it answered every accepted request."""
    passed = status == 0 and not load.failures and bool(load.seconds)
    message = f"Ended with status {status} under load; {len(load.failures)} requests failed."
    message = " ".join([message, *load.failures[:3]])
    return Check(name="stops_well", title="Stops without losing a request", passed=passed, message=message)


def decide_blessing(bundle: Bundle, checks: list[Check]) -> Blessing:
    """Return the verdict on a bundle, bound to its hash."""
    failed = [check for check in checks if not check.passed]
    because = (
        f"All {len(checks)} checks of the running server hold."
        if not failed
        else " ".join(f"{check.title}: no. {check.message}" for check in failed)
    )
    return Blessing(
        blessed=not failed,
        bundle=bundle.sha256,
        model=bundle.manifest.model,
        conditions=tuple(checks),
        because=because,
    )


def summarise_times(seconds: Array, start: float, memory: int) -> dict[str, float]:
    """Return the measurements for MLflow and the report: percentiles (ms), requests per second, start (s), memory (MB)."""
    return {
        **{f"serve_p{q}_ms": float(np.percentile(seconds, q) * 1e3) for q in (50, 90, 99)},
        "serve_requests_per_second": float(1 / seconds.mean()),
        "serve_start_seconds": start,
        "serve_memory_mb": memory / 1e6,
    }
