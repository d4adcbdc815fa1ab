"""What the OpenAPI document allows is answered as it says, what it forbids is refused; schemathesis has the ideas."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode

from lifecycle.serving.acceptance import ServerProcess, start_server
from tests.support.bundles import make_champion, write_release
from tests.support.champion import copy_champion
from tests.support.sizes import size

MODES = {"allowed": GenerationMode.POSITIVE, "forbidden": GenerationMode.NEGATIVE}
CHECKS = {"negative_data_rejection": {"expected-statuses": ["400", "413", "422"]}}
SERVED: dict[str, Any] = {"max_rows": 5, "drain_seconds": 0}  # a list that is too long is quickly made
Job = tuple[str, str, str, int, int]  # method, path, mode, how many requests, seed


def start_from(root: Path) -> Any:
    """A server for the project in `root`."""
    return start_server(root, **SERVED)


def load_document(port: int) -> Any:
    """The server's own description, as schemathesis reads it."""
    config = schemathesis.Config.from_dict({"checks": CHECKS})
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", config=config)


def find_id(server: ServerProcess) -> str:
    """The id of a prediction, for the document's own example."""
    operation = json.loads(server.ask("/openapi.json")[2])["paths"]["/predict"]["post"]
    row = operation["requestBody"]["content"]["application/json"]["examples"]["one"]["value"]
    identity: str = json.loads(server.ask("/predict", json.dumps(row).encode())[2])["request_id"]
    return identity


def send_requests(port: int, identity: str, job: Job) -> tuple[int, str]:
    """Send requests of an operation on one connection; how many were answered as they should be, and what was not.

    schemathesis checks: no 5xx; status, content type and body as documented; allowed accepted, forbidden refused.
    """
    method, path, mode, most, start = job
    operation = load_document(port)[path][method]
    answered = count()
    with requests.Session() as session:

        @seed(start)
        @settings(
            max_examples=most, phases=[Phase.generate], database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        def check(case: Case) -> None:
            if path == "/feedback" and mode == "allowed":  # the document cannot say which ids there are
                for truth in case.body if isinstance(case.body, list) else [case.body]:
                    truth["request_id"] = identity
            case.validate_response(case.call(session=session, timeout=10))
            next(answered)

        try:
            check()
        except (BaseExceptionGroup, OSError) as error:
            return next(answered), str(error)
    return next(answered), ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("project")
    with start_from(make_champion(root, write_release(root))) as server:
        yield server


REQUESTS = [
    ("POST", "/predict", "allowed", 40),
    ("POST", "/predict", "forbidden", 40),
    ("POST", "/feedback", "allowed", 20),
    ("POST", "/feedback", "forbidden", 30),
    ("GET", "/ready", "allowed", 2),  # there are no more
    ("GET", "/ready", "forbidden", 15),
    *(("GET", path, "allowed", 1) for path in ("/model", "/health", "/metrics", "/monitor", "/dashboard")),
]


@pytest.mark.parametrize(("method", "path", "mode", "most"), REQUESTS)
def test_requests_are_answered_as_documented(
    server: ServerProcess, method: str, path: str, mode: str, most: int
) -> None:
    sent, failure = send_requests(server.port, find_id(server), (method, path, mode, most, 0))
    assert (sent, failure) == (most, ""), failure


def test_every_operation_is_sent_requests(server: ServerProcess) -> None:
    documented = json.loads(server.ask("/openapi.json")[2])["paths"]
    operations = {(method.upper(), path) for path in documented for method in documented[path]}
    assert operations == {(method, path) for method, path, *_ in REQUESTS}


@pytest.mark.integration
def test_requests_to_the_champion_are_answered_as_documented(tmp_path: Path) -> None:
    """Ten thousand in `make prove`, in two processes: to think of a request takes ten times as long as to answer it."""
    copy_champion(tmp_path)
    parts = {
        ("POST", "/predict", "allowed"): 7, ("POST", "/predict", "forbidden"): 6, ("POST", "/feedback", "allowed"): 3,
        ("POST", "/feedback", "forbidden"): 3, ("GET", "/ready", "forbidden"): 1,
    }  # fmt: skip
    jobs = [(*part, size(80, 500), start) for part, times in parts.items() for start in range(size(1, times))]
    with start_from(tmp_path) as server, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        ends = list(pool.map(partial(send_requests, server.port, find_id(server)), jobs))
    assert [failure for _, failure in ends if failure] == []
    assert sum(sent for sent, _ in ends) == size(400, 10_000)
    assert not any('"level": "error"' in line for line in server.errors)
