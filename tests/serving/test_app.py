"""The REST API as its clients meet it: a real server, and what a careless or hostile client may send to it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.core import paths
from lifecycle.prediction_log.reader import read_predictions
from lifecycle.serving.acceptance import Reply, ServerProcess, ask, list_children, start_server
from lifecycle.serving.request_ids import Signer, now
from tests.support.bundles import COLUMNS, OTHERS, ROW, compute_probability, make_champion, write_release
from tests.support.monitor_reports import make_report, write_report
from tests.support.servers import read_command

Record = dict[str, Any]
OLD, NEW = 1.0, 0.0  # intercepts: the champion, and the model before it
BODY = json.dumps(ROW).encode()
SINCE = "2026-01-31T12:00:00+00:00"
HURRY = 0.5  # seconds that the impatient server waits for a request
QUICK: Record = {"drain_seconds": 0, "flush_seconds": 0.02}
PAGES = ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")
DASHBOARD = ("/dashboard", "/dashboard/style.css", "/dashboard/script.js")
PROBES = ("/health", "/ready", "/metrics", "/openapi.json", *PAGES, *DASHBOARD)
SECURITY = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
MEGABYTE = 1024 * 1024


def make_root(root: Path) -> tuple[Path, Record]:
    """A project with a champion, the model before it, and a history."""
    champion = write_release(root, NEW)
    make_champion(root, champion, write_release(root, OLD))
    line = {"at": SINCE, "by": "somebody", "model": champion["model"], "before": None, "because": "it is better"}
    (root / paths.HISTORY).write_text(json.dumps(line) + "\n")
    return root, champion


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """A root, and its champion."""
    return make_root(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def champion(project: tuple[Path, Record]) -> Record:
    return project[1]


@pytest.fixture(scope="module")
def server(project: tuple[Path, Record]) -> Iterator[ServerProcess]:
    """A server as it comes, but that it tells every request in its log."""
    with start_server(project[0], access_log=True, **QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(project: tuple[Path, Record]) -> Iterator[ServerProcess]:
    """A server that waits for a request no longer than HURRY."""
    with start_server(project[0], body_seconds=HURRY, **QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(project: tuple[Path, Record]) -> Iterator[ServerProcess]:
    """A server with keys and a rate limit, which pages of https://a.example may ask."""
    keys = "alpha,beta,gamma,delta"
    with start_server(
        project[0], api_keys=keys, rate_limit=3, cors_origins="https://a.example", **QUICK
    ) as server:  # fmt: skip
        yield server


def wait(until: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def post(body: bytes, path: str = "/predict", *more: str, close: bool = True) -> bytes:
    """The bytes of a POST request."""
    lines = [
        f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}",
        *more, *(["Connection: close"] if close else []),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


def begin(*lines: str) -> bytes:
    """The head of a POST request whose body comes in chunks, or as `lines` say."""
    return "\r\n".join(["POST /predict HTTP/1.1", "Content-Type: application/json", *lines, "", ""]).encode()


CHUNKED = begin("Transfer-Encoding: chunked")


def read_replies(data: bytes) -> list[Reply]:
    """The answers that a connection brought, all of which must be whole."""
    replies = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert (separator, version) == (b"\r\n\r\n", "HTTP/1.1")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        assert len(data) >= length, "an answer is cut"
        replies.append((int(status), headers, data[:length]))
        data = data[length:]
    return replies


def converse(server: ServerProcess, data: bytes) -> list[Reply]:
    """Send bytes as they are; all answers until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        wire.sendall(data)
        return read_replies(b"".join(iter(lambda: wire.recv(65536), b"")))


def tell(server: ServerProcess, value: Any, path: str = "/predict") -> Reply:
    """POST a value as JSON."""
    return server.ask(path, json.dumps(value).encode())


def predict(server: ServerProcess, value: Any = ROW, query: str = "") -> Any:
    """What a request is answered with, which must succeed."""
    status, headers, body = tell(server, value, f"/predict{query}")
    assert (status, headers["content-type"]) == (200, "application/json"), body
    return json.loads(body)


def check_problem(reply: Reply, status: int, *words: str) -> Record:
    """A refusal is a problem (RFC 9457) in one sentence that says `words`."""
    given, headers, body = reply
    assert (given, headers["content-type"]) == (status, "application/problem+json"), body
    problem: Record = json.loads(body)
    title = http.HTTPStatus(status).phrase
    assert problem.items() >= {"type": "about:blank", "status": status, "title": title}.items()
    assert len(problem["detail"]) < 1000 and problem["detail"].endswith(".")
    for word in words:
        assert word in problem["detail"]
    return problem


def read_metrics(server: ServerProcess) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels, in the order of the labels' names; all must parse."""
    status, headers, body = server.ask("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.fixture
def count(server: ServerProcess) -> Callable[..., float]:
    """By how much a sample has grown since the test began."""
    before = read_metrics(server)
    return lambda *key: read_metrics(server).get(key, 0) - before.get(key, 0)


# --- predictions


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {**ROW, "months": 90},
        {**ROW, "months": 3.0},
        {**ROW, "months": 0, "spend": 0},
        {**ROW, "spend": None},
        {**ROW, "spend": 1e300},
        {**ROW, "plan": None},
        {"months": 12, "senior": 1},
    ],
)
def test_a_row_is_answered_with_what_the_model_gives(server: ServerProcess, champion: Record, row: Record) -> None:
    answer = predict(server, row)
    probability = compute_probability(row, NEW)
    positive = probability >= 0.5
    assert len(answer.pop("request_id")) == 40
    assert answer == {
        "prediction": "yes" if positive else "no",
        "probability": pytest.approx(probability, abs=1e-12),
        "confidence": pytest.approx(probability if positive else 1 - probability, abs=1e-12),
        "threshold": 0.5,
        "model": champion["model"][:12],
        "degraded": False,
    }


@pytest.mark.parametrize("length", [1, 3, 1000])
def test_a_list_is_answered_row_by_row(server: ServerProcess, champion: Record, length: int) -> None:
    rows = [{**ROW, "months": number % 101} for number in range(length)]
    answer = predict(server, rows)
    told = answer.pop("predictions")
    assert answer == {"threshold": 0.5, "model": champion["model"][:12], "degraded": False}
    assert [record["probability"] for record in told] == pytest.approx([compute_probability(row) for row in rows])
    assert len({record["request_id"] for record in told}) == length


@pytest.mark.parametrize("listed", [False, True])
def test_an_explanation_adds_up(server: ServerProcess, listed: bool) -> None:
    rows = [ROW, {**ROW, "months": 90, "plan": None}] if listed else [ROW]
    answer = predict(server, rows if listed else ROW, "?explain=true")
    for row, told in zip(rows, answer["predictions"] if listed else [answer], strict=True):
        explanation = told["explanation"]
        parts = explanation["contributions"]
        assert {part["column"]: part["value"] for part in parts} == row
        total = explanation["base"] + explanation["others"] + sum(part["contribution"] for part in parts)
        assert total == pytest.approx(told["probability"], abs=1e-9)
        strength = [abs(part["contribution"]) for part in parts]
        assert strength == sorted(strength, reverse=True) and strength[0] > 0.01
        assert strength[-1] == 0, "the model does not read `senior`"


def test_nothing_is_explained_unasked(server: ServerProcess) -> None:
    for query in ("", "?", "?explain=false"):
        assert "explanation" not in predict(server, ROW, query)


@pytest.mark.parametrize(
    "query", ["explain", "explain=", "explain=1", "explain=TRUE", "x=1", "explain=true&x=1", "%FF"]
)
def test_a_query_that_is_not_known_is_refused(server: ServerProcess, query: str) -> None:
    check_problem(tell(server, ROW, f"/predict?{query}"), 422, "explain=true or explain=false, got", query)


def test_more_rows_than_can_be_explained_are_refused(server: ServerProcess) -> None:
    assert len(predict(server, [ROW] * 20, "?explain=true")["predictions"]) == 20
    check_problem(tell(server, [ROW] * 21, "/predict?explain=true"), 413, "At most 20 rows")


def test_the_log_holds_what_was_answered(server: ServerProcess, project: tuple[Path, Record]) -> None:
    rows = [ROW, {"months": 3.0, "senior": 1}, {**ROW, "spend": None, "plan": None}]
    before = now()
    answers = [*predict(server, rows)["predictions"], predict(server)]
    after = now()
    (told,) = json.loads(tell(server, [{"request_id": answers[0]["request_id"], "label": "no"}], "/feedback")[2])

    def read(kind: str) -> dict[str, Record]:
        table = read_predictions(project[0] / paths.PREDICTIONS, kind)
        return {record["id"]: record for record in table.to_pylist()}

    wait(lambda: told["request_id"] in read("feedback"))
    assert read("feedback")[told["request_id"]]["label"] == "no"
    logged = read("prediction")
    for row, answer in zip([*rows, ROW], answers, strict=True):
        record = logged[answer["request_id"]]
        assert before <= record["at"].timestamp() * 1e6 <= after
        assert record["features"] == {name: row.get(name) for name in ROW}
        kept = {name: record[name] for name in ("probability", "prediction", "degraded", "model")}
        shared = {"model": project[1]["model"][:12], "degraded": False}
        assert kept == {"probability": answer["probability"], "prediction": answer["prediction"], **shared}
    assert len({answer["request_id"] for answer in answers}) == len(answers)


def test_a_row_of_the_table_is_answered_as_its_columns_of_the_model(
    server: ServerProcess, project: tuple[Path, Record], count: Callable[..., float]
) -> None:
    """Other columns of the contract are ignored and counted; their values reach neither the answer nor the log."""
    own = {"customer": 7, **ROW, "left": "yes", "e-mail": "ann@example.org"}
    one, several = predict(server, own), predict(server, [ROW, own, {**ROW, "e-mail": ["bob@example.org"]}])
    assert one["probability"] == predict(server)["probability"] and "ignored" not in predict(server)
    assert one["ignored"] == several["ignored"] == OTHERS
    assert {record["probability"] for record in several["predictions"]} == {one["probability"]}
    for name, times in (("customer", 2), ("left", 2), ("e-mail", 3)):
        assert count("model_inputs_ignored_total", name) == times
    identity = one["request_id"]

    def read() -> dict[str, Record]:
        table = read_predictions(project[0] / paths.PREDICTIONS, "prediction")
        return {record["id"]: record["features"] for record in table.to_pylist()}

    wait(lambda: identity in read())
    assert read()[identity] == ROW
    written = b"".join(path.read_bytes() for path in (project[0] / paths.PREDICTIONS).rglob("*") if path.is_file())
    assert b"example.org" not in written and b"ann@" not in "".join(server.errors).encode()


def test_a_misspelt_column_is_refused_with_the_closest(server: ServerProcess) -> None:
    """It would count as missing without a word."""
    row = {"spent": 40.5, **{name: value for name, value in ROW.items() if name != "spend"}, "left": "no"}
    check_problem(tell(server, row), 422, "spent: got 40.5, expected no such column; the closest is 'spend'.")


def test_a_strict_server_refuses_what_the_model_does_not_read(project: tuple[Path, Record]) -> None:
    with start_server(project[0], strict=1, **QUICK) as strict:
        assert predict(strict)["degraded"] is False
        reply = tell(strict, [ROW, {**ROW, "e-mail": "ann@example.org", "left": "no"}])
        sentence = (
            "left, e-mail: expected no column that the model does not read, because LIFECYCLE_SERVE_STRICT is set."
        )
        problem = check_problem(reply, 422, sentence)
        assert [error["field"] for error in problem["errors"]] == ["left", "e-mail"] and b"ann@" not in reply[2]
        document = json.loads(strict.ask("/openapi.json")[2])
        assert document["components"]["schemas"]["Row"]["properties"].keys() == ROW.keys()


# --- the later truth


def test_a_truth_is_taken_and_counted_once(
    server: ServerProcess, champion: Record, count: Callable[..., float]
) -> None:
    model = champion["model"][:12]
    first, second, third = (predict(server)["request_id"] for _ in range(3))  # each predicts yes
    status, _, body = tell(server, {"request_id": first, "label": "yes"}, "/feedback")
    assert (status, json.loads(body)) == (200, {"request_id": first, "correct": True})
    truths = [
        {"request_id": first, "label": "yes"},
        {"request_id": second, "label": "no"},
        {"request_id": second, "label": "no"},
        {"request_id": third, "label": "yes"},
    ]
    status, _, body = tell(server, truths, "/feedback")
    expected = [(first, True), (second, False), (second, False), (third, True)]
    assert status == 200
    assert json.loads(body) == [{"request_id": name, "correct": correct} for name, correct in expected]
    assert count("model_feedback_total", "true", model) == 2
    assert count("model_feedback_total", "false", model) == 1
    metrics = read_metrics(server)
    right, wrong = (metrics["model_feedback_total", correct, model] for correct in ("true", "false"))
    assert metrics["model_accuracy", model] == pytest.approx(right / (right + wrong))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"request_id": "no id", "label": "no"}, ["request_id: 'no id' is not an id that this service issued"]),
        ({"request_id": "é" * 40, "label": "no"}, ["is not an id that this service issued"]),
        ({"request_id": "A" * 40, "label": "no"}, ["is not an id that this service issued"]),
        ({"request_id": "A" * 101, "label": "no"}, ["request_id: got 'AAA", "expected"]),
        ({"label": "maybe"}, ["label: got 'maybe', expected one of 'no', 'yes'"]),
        ({"label": True}, ["label: got true, expected one of 'no', 'yes'"]),
        ({"label": 1}, ["label: got 1, expected one of"]),
        ({"label": float("nan")}, ["label: got NaN, expected one of"]),
        ({"label": "y" * 5000}, ["label: got 'yyy", "expected one of"]),
        ({"label": 10**4000}, ["label: got 1000", "expected one of"]),
        ({"label": None}, ["label: got null, expected"]),
        ({"label": ["no"]}, ["label: got list of 1, expected"]),
        ({"request_id": 7, "label": "no"}, ["request_id: got 7, expected"]),
        ({"request_id": "A" * 40}, ["label: got nothing, expected a class, unless an action is reported alone"]),
        ({"action": ""}, ["action: got '', expected a text of 1 to 80 letters"]),
        ({"action": "c" * 81}, ["action: got 'ccc", "expected a text of 1 to 80 letters"]),
        ({"action": None, "label": "no"}, ["action: got null, expected a text"]),
        ({"action": 7}, ["action: got 7, expected a text"]),
        ({"action": "called", "label": None}, ["label: got null, expected a class"]),
        ({"action": "called", "label": "maybe"}, ["label: got 'maybe', expected one of 'no', 'yes'"]),
        ({"action": "called", "request_id": "A" * 40}, ["is not an id that this service issued"]),
        ({"label": "no", "when": "now"}, ["when: got 'now', expected no such field"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_wrong_truth_is_refused_and_counts_nothing(
    server: ServerProcess, champion: Record, count: Callable[..., float], label: Record, words: list[str]
) -> None:
    """Alone, or in a list: all of its truths are taken or none."""
    good = {"request_id": predict(server)["request_id"], "label": "no"}
    wrong = label if "request_id" in label else {"request_id": good["request_id"], **label}
    check_problem(tell(server, wrong, "/feedback"), 422, *words)
    check_problem(tell(server, [good, wrong], "/feedback"), 422, *words)
    assert count("model_feedback_total", "false", champion["model"][:12]) == 0


def test_the_id_of_another_service_is_refused(server: ServerProcess, champion: Record) -> None:
    foreign = Signer(b"another key").sign(now(), champion["model"][:12], True)
    check_problem(tell(server, {"request_id": foreign, "label": "no"}, "/feedback"), 422, foreign, "is not an id")


@pytest.mark.parametrize("separator", [b"", b",", b"\n", b"]["])
def test_two_truths_are_no_one(server: ServerProcess, separator: bytes) -> None:
    truth = json.dumps({"request_id": predict(server)["request_id"], "label": "no"}).encode()
    check_problem(server.ask("/feedback", truth + separator + truth), 400, "The body is not JSON")


# --- bad input


@pytest.mark.parametrize(
    ("change", "field", "got", "expected"),
    [
        ({"months": "12"}, "months", "'12'", "a whole number from 0 to 100 months: send 12 without quotes"),
        ({"months": None}, "months", "null", "a whole number from 0 to 100 months"),
        ({"months": True}, "months", "true", "a whole number from 0 to 100 months"),
        ({"months": 1.5}, "months", "1.5", "a whole number from 0 to 100 months"),
        ({"months": 101}, "months", "101", "a whole number from 0 to 100 months"),
        ({"months": -1}, "months", "-1", "a whole number from 0 to 100 months"),
        ({"months": float("nan")}, "months", "NaN", "a whole number from 0 to 100 months"),
        ({"months": 1e308}, "months", "1e+308", "a whole number from 0 to 100 months"),
        ({"months": 10**4000}, "months", "1" + "0" * 79 + "…", "a whole number from 0 to 100 months"),
        ({"months": []}, "months", "list of 0", "a whole number from 0 to 100 months"),
        ({"months": {"a": 1}}, "months", "object of 1", "a whole number from 0 to 100 months"),
        ({"spend": -0.01}, "spend", "-0.01", "a finite number of at least 0 or null"),
        ({"spend": float("inf")}, "spend", "Infinity", "a finite number of at least 0 or null"),
        ({"spend": float("nan")}, "spend", "NaN", "a finite number of at least 0 or null"),
        ({"spend": False}, "spend", "false", "a finite number of at least 0 or null"),
        ({"spend": 10**400}, "spend", "1" + "0" * 79 + "…", "a finite number of at least 0 or null"),
        ({"plan": "gold"}, "plan", "'gold'", "one of 'basic', 'plus', 'pro' or null"),
        ({"plan": "Basic"}, "plan", "'Basic'", "one of 'basic', 'plus', 'pro' or null"),
        ({"plan": "basic\u0000"}, "plan", r"'basic\x00'", "one of 'basic', 'plus', 'pro' or null"),
        ({"plan": "x" * 5000}, "plan", "'" + "x" * 79 + "…", "one of 'basic', 'plus', 'pro' or null"),
        ({"senior": 2}, "senior", "2", "one of 0, 1"),
        ({"senior": True}, "senior", "true", "one of 0, 1"),
        ({"senior": "0"}, "senior", "'0'", "one of 0, 1: send 0 without quotes"),
        ({"region": 1}, "region", "1", "no such column; the columns are months, spend, plan, senior"),
        ({"__proto__": {}}, "__proto__", "object of 0", "no such column; the columns are months, spend, plan, senior"),
    ],
)
def test_a_wrong_value_is_told(server: ServerProcess, change: Record, field: str, got: str, expected: str) -> None:
    """Alone, and in the second row of a list: the field, what came, and what was expected."""
    told = {"field": field, "got": got, "expected": expected}
    sentence = f"{field}: got {got}, expected {expected}."
    assert check_problem(tell(server, {**ROW, **change}), 422, sentence)["errors"] == [told]
    assert check_problem(tell(server, [ROW, {**ROW, **change}]), 422, sentence)["errors"] == [{**told, "row": 1}]


@pytest.mark.parametrize("name", ["months", "senior"])
def test_a_missing_value_is_told(server: ServerProcess, name: str) -> None:
    row = {key: value for key, value in ROW.items() if key != name}
    problem = check_problem(tell(server, row), 422, f"{name}: got nothing, expected")
    assert [error["got"] for error in problem["errors"]] == ["nothing"]


def test_many_wrong_values_are_told_in_part(server: ServerProcess) -> None:
    problem = check_problem(tell(server, [{"months": -1, "senior": 3}] * 1000), 422, "(1999 more problems)")
    assert len(problem["errors"]) == 20


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((body, 400) for body in (
            b"", b" ", b"{", b'{"months": 12,}', b"{'months': 12}", b'{"months": 012}', b'{"months": 0x1}',
            BODY + BODY, BODY + b"," + BODY, b"[" + BODY, b"<xml/>", b"months=12&senior=0", b"\x00", b"[" * 100_000,
            b'{"a":' * 100_000, b'{"months": ' + b"9" * 5000 + b"}", b'{"plan": "\xff"}', b'{"plan": "\\ud800"}',
            b"\xef\xbb\xbf" + BODY,
            BODY.decode().encode("utf-16"), BODY.decode().encode("utf-32-le"), gzip.compress(BODY, mtime=0),
        )),
        *((body, 422) for body in (
            b"null", b"true", b"12", b'"x"', b"NaN", b"-Infinity", b"[]", b"[[]]", b"[null]", b"{}", b'{"": 1}',
            b'{"months": 1e999, "senior": 0}', b'[{}, {"months": 1}, 7]',
        )),
        (json.dumps([ROW] * 1001).encode(), 413),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_body_that_is_no_row_is_refused(server: ServerProcess, body: bytes, status: int) -> None:
    check_problem(server.ask("/predict", body), status)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b"{", b"\xef\xbb\xbf{}", b"[" * 100_000, b"{}", b"[[]]", b"\xff"],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_body_that_is_no_truth_is_refused(server: ServerProcess, body: bytes) -> None:
    reply = server.ask("/feedback", body)
    check_problem(reply, 422 if body in (b"[]", b"null", b"7", b"{}", b"[[]]") else 400)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ROW, "x", ""]), inner),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_whatever_comes_is_answered_with_a_prediction_or_a_problem(server: ServerProcess, body: bytes) -> None:
    for path in ("/predict", "/feedback"):
        reply = server.ask(path, body)
        if reply[0] != 200:
            check_problem(reply, 400 if reply[0] == 400 else 422)


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/vnd.api+json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br, identity"},
    ],
)
def test_what_is_not_plain_json_is_refused(server: ServerProcess, path: str, headers: dict[str, str]) -> None:
    body = gzip.compress(BODY, mtime=0) if "Content-Encoding" in headers else BODY
    check_problem(server.ask(path, body, headers), 415, "The body must")


def test_a_body_without_a_type_is_refused(server: ServerProcess) -> None:
    (reply,) = converse(server, post(BODY).replace(b"Content-Type", b"X-Nothing"))
    check_problem(reply, 415, "must be application/json, got ''")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;a=b"])
def test_a_type_with_parameters_is_taken(server: ServerProcess, kind: str) -> None:
    assert server.ask("/predict", BODY, {"Content-Type": kind})[0] == 200


LIMIT = 2 * MEGABYTE


@pytest.mark.parametrize(
    "data",
    [
        post(b" " * (LIMIT + 1)),
        post(b"", close=False).replace(b"Content-Length: 0", b"Content-Length: %d" % 10**15),
        post(b"", "/feedback").replace(b"Content-Length: 0", b"Content-Length: %d" % (LIMIT + 1)),
        post(b"", "/predict", "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: %d" % 10**9),
        CHUNKED + (b"%x\r\n" % MEGABYTE + b" " * MEGABYTE + b"\r\n") * 3 + b"0\r\n\r\n",
        CHUNKED + (b"%x\r\n" % MEGABYTE + b" " * MEGABYTE + b"\r\n") * 12,  # and no end
    ],
    ids=["sent", "announced", "truths", "expecting", "chunked", "endless"],
)
def test_a_body_over_the_limit_is_refused(server: ServerProcess, data: bytes) -> None:
    replies = converse(server, data)
    assert len(replies) == 1
    check_problem(replies[0], 413, f"at most {LIMIT} bytes")
    assert replies[0][1]["connection"] == "close"


@pytest.mark.parametrize("chunk", [7, LIMIT])
def test_a_body_up_to_the_limit_is_taken_in_chunks(server: ServerProcess, chunk: int) -> None:
    body = BODY if chunk == 7 else BODY + b" " * (LIMIT - len(BODY))
    parts = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"
    (reply,) = converse(server, begin("Transfer-Encoding: chunked", "Connection: close") + data)
    assert reply[0] == 200


# --- HTTP, as it should not be


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HT",
        b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\n",
        b"",
        b"\r\n\r\n",
        post(BODY)[:-1],
        post(BODY).replace(b"Content-Length: ", b"Content-Length: 1"),  # it promises more than comes
        CHUNKED + b"3\r\n{",
        CHUNKED + b"0\r\nA: b\r\n",
    ],
    ids=["line", "head", "nothing", "blank", "body", "promise", "chunk", "trailer"],
)
def test_what_comes_too_slowly_is_given_up(impatient: ServerProcess, data: bytes) -> None:
    began = time.monotonic()
    (reply,) = converse(impatient, data)
    assert HURRY * 0.9 < time.monotonic() - began < 4
    check_problem(reply, 408, "did not arrive within 0.5 s")
    assert reply[1]["connection"] == "close"


def test_who_sends_a_letter_at_a_time_gains_no_time(impatient: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=5) as wire:
        began = time.monotonic()
        for letter in post(BODY)[:-1]:
            wire.send(bytes([letter]))
            if select.select([wire], [], [], 0.01)[0]:
                break
        check_problem(*read_replies(wire.recv(65536)), 408)
        assert time.monotonic() - began < 4


def test_a_slow_request_delays_no_other(impatient: ServerProcess) -> None:
    wires = [socket.create_connection(("127.0.0.1", impatient.port)) for _ in range(200)]
    for wire in wires:
        wire.send(post(BODY)[:-1])
    began = time.monotonic()
    assert predict(impatient)["prediction"] == "yes"
    assert time.monotonic() - began < HURRY
    for wire in wires:
        wire.close()


def test_a_refusal_that_was_given_before_the_body_is_not_followed_by_another(impatient: ServerProcess) -> None:
    (reply,) = converse(impatient, post(BODY, "/nothing", close=False)[:-1])
    check_problem(reply, 404)


@pytest.mark.parametrize(("body", "more", "first"), [(b'{"plan": "Wolpertinger', b'"}', 400), (BODY, b"}}", 200)])
def test_a_body_longer_than_was_said_is_told(server: ServerProcess, body: bytes, more: bytes, first: int) -> None:
    """What was said is a request and is answered; the rest is none."""
    answer, refusal = converse(server, post(body, close=False) + more)
    assert answer[0] == first
    check_problem(refusal, 400)
    check_log(server, ["Wolpertinger"])


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,  # a client that speaks TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/7.7\r\n\r\n",
        "GET /é HTTP/1.1\r\n\r\n".encode(),
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\n\r\n",
        post(BODY).replace(b"Content-Length: ", b"Content-Length: -"),
        post(BODY).replace(b"Content-Length: ", b"Content-Length: +"),
        post(BODY).replace(b"Content-Length: ", b"Content-Length: 9999999999999999999999"),
        post(BODY, "/predict", "Content-Length: 3"),
        post(BODY, "/predict", "Transfer-Encoding: chunked"),
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n",
    ],
    ids=lambda data: repr(data)[:40],
)
def test_what_is_not_http_is_refused(server: ServerProcess, data: bytes) -> None:
    (reply,) = converse(server, data)
    check_problem(reply, 400)
    assert reply[1]["connection"] == "close"


def flood(server: ServerProcess, data: bytes, more: bytes, most: int) -> tuple[bytes, int]:
    """Send up to `most` bytes, or until the server answers or hangs up; how it answers, and how much was sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        sent = 0
        try:
            wire.sendall(data)
            while sent < most and not select.select([wire], [], [], 0)[0]:
                sent += wire.send(more)
        except OSError:
            return b"", sent
        wire.settimeout(0.01 if sent >= most else 5)
        try:
            return wire.recv(65536), sent
        except OSError:
            return b"", sent


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (b"GET /", b"x" * 65536),
        (b"GET /health HTTP/1.1\r\nA: ", b"x" * 65536),
        (b"GET /health HTTP/1.1\r\n", b"A: b\r\n" * 10000),
        (CHUNKED + b"1;", b"x" * 65536),
        (CHUNKED + b"0\r\nA: ", b"x" * 65536),
        (CHUNKED + b"0\r\n", b"A: b\r\n" * 10000),
    ],
    ids=["path", "header", "headers", "chunk", "trailer", "trailers"],
)
def test_what_has_no_end_is_refused(server: ServerProcess, data: bytes, more: bytes) -> None:
    before = server.memory
    answer, sent = flood(server, data, more, 32 * MEGABYTE)
    assert sent < 32 * MEGABYTE
    check_problem(*read_replies(answer), 431, "65536 bytes")
    assert server.memory - before < 32 * MEGABYTE


def test_a_large_head_is_taken(server: ServerProcess) -> None:
    data = post(BODY, "/predict", *(f"X-{number}: {'x' * 500}" for number in range(100)))
    assert [reply[0] for reply in converse(server, data)] == [200]


def test_requests_that_are_sent_at_once_are_answered_in_their_order(server: ServerProcess) -> None:
    """With heads so large that reads of the socket end within them."""
    rows = [{**ROW, "months": number} for number in range(90)]
    bodies = [json.dumps(row).encode() + b" " * 2000 for row in rows]
    requests = [post(body, "/predict", f"X-Large: {'x' * 6000}", close=False) for body in bodies]
    replies = converse(server, b"".join(requests) + post(b"{"))
    assert [reply[0] for reply in replies] == [200] * 90 + [400]
    given = [json.loads(body)["probability"] for _, _, body in replies[:-1]]
    assert given == pytest.approx([compute_probability(row) for row in rows])


@pytest.mark.parametrize("size", [32, 45])  # of a request: reads end between two of them, and within one
def test_requests_without_an_end_fill_no_memory(server: ServerProcess, size: int) -> None:
    request = b"GET /health HTTP/1.1\r\nA: %b\r\n\r\n" % (b"x" * (size - 29))
    before = server.memory
    flood(server, b"", request * 2000, 12 * MEGABYTE)
    assert server.memory - before < 32 * MEGABYTE


def test_a_client_that_waits_for_leave_to_send_is_given_it(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        head, separator, body = post(BODY, "/predict", "Expect: 100-continue").partition(b"\r\n\r\n")
        wire.sendall(head + separator)
        assert wire.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(body)
        (reply,) = read_replies(b"".join(iter(lambda: wire.recv(65536), b"")))
    assert reply[0] == 200


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_a_wish_for_another_protocol_is_passed_over(server: ServerProcess, protocol: str) -> None:
    """Java's client wishes for HTTP/2 with every first request."""
    wish = post(BODY, "/predict", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", close=False)
    replies = converse(server, wish + post(BODY))
    assert [reply[0] for reply in replies] == [200, 200]


def test_http_1_0_is_answered_and_closed(server: ServerProcess) -> None:
    for data in (b"GET /health HTTP/1.0\r\n\r\n", post(BODY, close=False).replace(b"HTTP/1.1", b"HTTP/1.0")):
        (reply,) = converse(server, data)
        assert (reply[0], reply[1]["connection"]) == (200, "close")


def test_a_client_that_says_it_has_sent_all_is_answered(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        wire.sendall(post(BODY, close=False))
        wire.shutdown(socket.SHUT_WR)
        (reply,) = read_replies(b"".join(iter(lambda: wire.recv(65536), b"")))
    assert reply[0] == 200


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("rude", [False, True])
def test_a_client_that_hangs_up_half_way_harms_nobody(
    server: ServerProcess, count: Callable[..., float], share: float, rude: bool
) -> None:
    data = post(BODY, "/predict", f"X-Padding: {'x' * 20}", close=False)
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(data[: int(len(data) * share)])
        if rude:  # a reset instead of a farewell
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    if share == 0.99:  # its body had begun
        wait(lambda: count("http_errors_total", "/predict", "gone") == 1)
    assert predict(server)["prediction"] == "yes"
    wait(lambda: read_metrics(server)["requests_in_flight",] == 1)  # the scrape itself


# --- what the service tells of itself


def test_the_probes_tell_that_all_is_well(server: ServerProcess, champion: Record) -> None:
    assert json.loads(server.ask("/health")[2]) == {"status": "ok"}
    for query in ("", "?allow=degraded"):
        status, _, body = server.ask(f"/ready{query}")
        assert (status, json.loads(body)) == (
            200, {"status": "ready", "model": champion["model"][:12], "problems": []},
        )  # fmt: skip
    check_problem(server.ask("/ready?allow=anything"), 422, "allow=degraded")


def test_the_model_is_described(server: ServerProcess, champion: Record) -> None:
    status, _, body = server.ask("/model")
    told = json.loads(body)
    columns = told.pop("columns")
    assert (status, columns) == (200, COLUMNS)
    assert told == {
        "model": champion["model"], "bundle": champion["bundle"], "family": "logistic",
        "answering": champion["model"][:12], "threshold": 0.5, "prior": 0.25, "metrics": {"roc_auc": 0.8},
        "since": SINCE, "by": "somebody", "because": "it is better", "verdict": "it is good",
        "made_of": {"train": "t" * 64}, "shadow": None, "ignored": OTHERS,
    }  # fmt: skip


def test_every_example_of_the_description_is_answered_as_it_says(server: ServerProcess) -> None:
    status, _, body = server.ask("/openapi.json")
    document = json.loads(body)
    assert (status, document["openapi"]) == (200, "3.1.0")
    operation = document["paths"]["/predict"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    one, several = (predict(server, examples[name]["value"]) for name in ("one", "list"))
    told = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert one.keys() == told.keys() and len(one["request_id"]) == len(told["request_id"])
    assert several["predictions"][0]["probability"] == one["probability"]
    columns = document["components"]["schemas"]["Row"]["properties"]
    assert columns.keys() == {*ROW, *OTHERS, ""}
    assert (columns["months"]["minimum"], columns["months"]["maximum"]) == (0, 100)
    assert "Since the beginning." in columns["months"]["description"]


def test_an_example_holds_what_the_model_gives_for_it(server: ServerProcess) -> None:
    operation = json.loads(server.ask("/openapi.json")[2])["paths"]["/predict"]["post"]
    row = operation["requestBody"]["content"]["application/json"]["examples"]["one"]["value"]
    told = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert told["probability"] == predict(server, row)["probability"]


class Links(HTMLParser):
    """The addresses that a page has its reader fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href", "data", "action"} and value]


def test_the_page_fetches_nothing_from_elsewhere(server: ServerProcess) -> None:
    links = Links()
    links.feed(server.ask("/docs")[2].decode())
    assert sorted(links.found) == sorted(PAGES[1:])
    for path in PAGES:
        status, headers, body = server.ask(path)
        kind = {"docs": "text/html", "js": "text/javascript", "css": "text/css"}[re.split(r"[/.]", path)[-1]]
        assert (status, headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) > 50
        rules = [rule.split() for rule in headers["content-security-policy"].split(";")]
        assert rules[0] == ["default-src", "'self'"], "what no other rule says"
        own = {"'self'", "'none'", "data:"}
        assert all({*words} <= own | ({"'unsafe-inline'"} if name == "style-src" else set()) for name, *words in rules)
    for text in (links.found, server.ask("/docs")[2].decode(), server.ask("/docs/start.js")[2].decode()):
        assert "//" not in str(text)
    assert b"@import" not in server.ask("/docs/swagger-ui.css")[2]


def test_the_page_asks_no_service_whether_its_document_is_valid(server: ServerProcess) -> None:
    """Swagger UI shows a badge of validator.swagger.io beside any document that is not on localhost."""
    assert "validatorUrl: null" in server.ask("/docs/start.js")[2].decode()


@pytest.mark.parametrize("path", [*PROBES, "/model"])
def test_head_is_get_without_a_body(server: ServerProcess, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=3)
    connection.request("HEAD", path)
    head = connection.getresponse()
    assert (head.status, head.read()) == (200, b"")
    status, headers, body = ask(connection, path)  # on the same connection
    connection.close()
    told = {name.lower(): value for name, value in head.getheaders()}
    assert (status, told.keys()) == (200, headers.keys())
    if path != "/metrics":  # which counts
        assert int(told["content-length"]) == len(body)


@pytest.mark.parametrize(
    "path", ["/", "/predict/", "//predict", "/Predict", "/docs/", "/docs/../health", "/docs/%2e%2e/x"]
)
def test_there_is_no_other_path(server: ServerProcess, path: str) -> None:
    for body in (None, BODY):
        check_problem(server.ask(path, body), 404, "/predict, /feedback")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "POST"])
def test_another_method_is_refused_with_those_that_are_taken(server: ServerProcess, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=3)
    paths = ("/health", "/model", "/docs") if method == "POST" else ("/predict", "/feedback")
    for path in paths:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        assert {*answer.getheader("allow", "").split(", ")} == ({"GET", "HEAD"} if method == "POST" else {"POST"})
        assert answer.status == 405
        if method != "HEAD":
            assert f"{path} takes " in json.loads(body)["detail"]
    connection.close()


def test_every_answer_has_the_headers_of_security(server: ServerProcess, impatient: ServerProcess) -> None:
    asked = [server.ask(path) for path in (*PROBES, "/model", "/nothing", "/predict")]
    sent = [server.ask(path, body) for path in ("/predict", "/feedback") for body in (BODY, b"{")]
    raw = [
        *converse(server, b"hello\r\n\r\n"),
        *converse(server, post(b" " * (LIMIT + 1))),
        *read_replies(flood(server, b"GET /", b"x" * 65536, 32 * MEGABYTE)[0]),
        *converse(impatient, post(BODY)[:-1]),
    ]
    statuses = set()
    for status, headers, _ in (*asked, *sent, *raw):
        statuses.add(status)
        assert headers.items() >= SECURITY.items(), status
        assert "frame-ancestors 'none'" in headers.get("content-security-policy", ""), status
        assert "server" not in headers
    assert statuses == {200, 400, 404, 405, 408, 413, 422, 431}


# --- who may ask


@pytest.mark.parametrize("path", PROBES)
def test_probes_and_pages_need_no_key(guarded: ServerProcess, path: str) -> None:
    assert guarded.ask(path)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer alpha,beta"},
        {"Authorization": "Basic YWxwaGE6"},
        {"Authorization": "alpha"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "Alpha"},
        {"Cookie": "key=alpha"},
    ],
)
def test_without_a_key_all_else_is_closed(guarded: ServerProcess, headers: dict[str, str]) -> None:
    for path, body in (("/predict", BODY), ("/predict", b"{"), ("/feedback", b"{}"), ("/model", None), ("/x", None)):
        reply = guarded.ask(path, body, headers)
        check_problem(reply, 401, "A key is required")
        assert reply[1]["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Authorization: Bearer gamma", "authorization: bearer gamma", "X-API-Key: gamma"])
def test_a_key_opens(guarded: ServerProcess, header: str) -> None:
    name, value = header.split(": ")
    wait(lambda: guarded.ask("/predict", BODY, {name: value})[0] == 200)  # the limit is another test's


def test_who_asks_too_often_waits_and_nobody_else(guarded: ServerProcess) -> None:
    replies = [guarded.ask("/predict", BODY, {"X-API-Key": "alpha"}) for _ in range(20)]
    taken = [reply for reply in replies if reply[0] == 200]
    refused = [reply for reply in replies if reply[0] != 200]
    assert 6 <= len(taken) <= 12, "two seconds of the rate at once, and what the test took"
    for reply in refused:
        check_problem(reply, 429, "Too many requests; the next one is accepted in 0.")
        assert reply[1]["retry-after"] == "1"
    assert guarded.ask("/predict", BODY, {"X-API-Key": "beta"})[0] == 200
    assert guarded.ask("/health", None, {"X-API-Key": "alpha"})[0] == 200
    wait(lambda: guarded.ask("/predict", BODY, {"X-API-Key": "alpha"})[0] == 200, 3)


def test_a_client_is_its_key_however_it_is_spelled(guarded: ServerProcess) -> None:
    spelled: list[Record] = [{"Authorization": f"Bearer {' ' * number}delta"} for number in range(10)]
    spelled += [{"Authorization": "bearer delta", "X-API-Key": str(number)} for number in range(10)]
    statuses = [guarded.ask("/predict", BODY, headers)[0] for headers in [*spelled, {"X-API-Key": "delta"}]]
    assert 6 <= statuses.count(200) <= 12 and statuses.count(429) == 21 - statuses.count(200)


def test_without_keys_a_client_is_its_address(project: tuple[Path, Record]) -> None:
    with start_server(project[0], rate_limit=1, **QUICK) as server:
        first = [server.ask("/predict", BODY, {"X-API-Key": str(number)})[0] for number in range(8)]
        assert 2 <= first.count(200) <= 4 and first[-1] == 429
        other = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5, source_address=("127.0.0.2", 0))
        assert ask(other, "/predict", BODY)[0] == 200
        other.close()


def test_other_sites_pages_may_not_ask(server: ServerProcess) -> None:
    origin = {"Origin": "https://a.example"}
    for reply in (server.ask("/predict", BODY, origin), server.ask("/nothing", None, origin)):
        assert not any(name.startswith("access-control") for name in reply[1])


def test_pages_of_a_site_that_is_named_may_ask(guarded: ServerProcess) -> None:
    """Errors too: a page that may not read why it was refused cannot mend it."""
    asked = {
        200: ("/health", None, {}), 401: ("/predict", BODY, {}), 404: ("/x", None, {"X-API-Key": "gamma"}),
        405: ("/health", BODY, {}),
    }  # fmt: skip

    def read(path: str, body: bytes | None, headers: Record, origin: str) -> Reply:
        return guarded.ask(path, body, {**headers, "Origin": origin})

    for status, question in asked.items():
        wait(lambda status=status, question=question: read(*question, "https://a.example")[0] == status)
        headers = read(*question, "https://a.example")[1]
        assert headers["access-control-allow-origin"] == "https://a.example" and "Origin" in headers["vary"]
        assert "access-control-allow-origin" not in read(*question, "https://b.example")[1]
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(("site", "status"), [("a", 200), ("b", 400)])
def test_a_browser_that_asks_first_is_told(guarded: ServerProcess, site: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=5)
    asked = {"Origin": f"https://{site}.example", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", "/predict", headers={**asked, "Access-Control-Request-Headers": "x-api-key"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == status
    assert answer.getheader("access-control-allow-origin") == ("https://a.example" if site == "a" else None)
    assert "POST" in answer.getheader("access-control-allow-methods", "")


# --- log and metrics


def check_log(server: ServerProcess, planted: list[str]) -> list[Record]:
    """The records of a server's stderr; every line is one, and none holds what was planted in a request."""
    if server.process.poll() is None:  # what is written until now has arrived once this request has a line
        told = sum('"/model"' in line for line in server.errors)
        server.ask("/model")
        wait(lambda: sum('"/model"' in line for line in server.errors) > told)
    records = [json.loads(line) for line in server.errors]
    for record in records:
        assert record.keys() >= {"at", "level", "message", "pid"}
        assert not any(word in str(record) for word in planted), record
    return records


def test_the_log_is_json_and_tells_no_value_of_a_request(server: ServerProcess) -> None:
    word = "Wolpertinger"
    replies = [
        tell(server, {**ROW, "plan": word}),
        tell(server, {**ROW, word: 1}),
        tell(server, {**ROW, "months": word}, f"/predict?explain={word}"),
        tell(server, {"request_id": word, "label": "no"}, "/feedback"),
        tell(server, {"request_id": predict(server)["request_id"], "label": word}, "/feedback"),
        server.ask("/predict", f'{{"plan": "{word}'.encode()),
        server.ask("/predict", BODY, {"X-Name": word}),
        server.ask("/predict", BODY, {"Content-Type": word}),
        server.ask(f"/{word}"),
        server.ask(f"/predict/{word}?{word}", BODY),
        server.ask(f"/ready?{word}"),
        *converse(server, f"{word}\r\n\r\n".encode()),
        *converse(server, f"GET /{word} HTTP/1.1\r\nHost: {word}\r\n{word}\r\n\r\n".encode()),
        server.ask("/health"),
    ]
    assert {reply[0] for reply in replies} >= {200, 400, 404, 415, 422}
    records = check_log(server, [word])
    requests = [record for record in records if record["message"] == "request"]
    assert all(record.keys() >= {"path", "method", "seconds"} for record in requests)
    refused = {(record["path"], record["status"]) for record in records if record["message"] == "refused"}
    assert refused >= {("/predict", 422), ("/feedback", 422), ("(unknown)", 404)}


def test_requests_are_counted(server: ServerProcess, champion: Record, count: Callable[..., float]) -> None:
    model = champion["model"][:12]
    predict(server, [ROW, {**ROW, "months": 90}, {**ROW, "spend": None}])
    predict(server, {"months": 90, "senior": 0})
    tell(server, [{**ROW, "months": -1}, {**ROW, "months": 1.5, "senior": 7, "region": 3}])
    server.ask("/predict", b"{")
    server.ask("/nowhere-1")
    server.ask("/nowhere-2")
    server.ask("/health", BODY)
    expected = {
        ("model_predictions_total", "yes", model): 2,
        ("model_predictions_total", "no", model): 2,
        ("prediction_latency_seconds_count",): 2,
        ("prediction_latency_seconds_bucket", "+Inf"): 2,
        ("prediction_latency_seconds_bucket", "10.0"): 2,
        ("model_inputs_missing_total", "spend"): 2,
        ("model_inputs_missing_total", "plan"): 1,
        ("model_inputs_rejected_total", "months"): 2,
        ("model_inputs_rejected_total", "senior"): 1,
        ("model_inputs_rejected_total", "(unknown)"): 1,
        ("http_errors_total", "/predict", "422"): 1,
        ("http_errors_total", "/predict", "400"): 1,
        ("http_errors_total", "(unknown)", "404"): 2,
        ("http_errors_total", "/health", "405"): 1,
    }
    assert {key: count(*key) for key in expected} == expected
    assert 0 < count("prediction_latency_seconds_sum") < 2


def test_the_metrics_describe_the_model_and_the_server(server: ServerProcess, champion: Record) -> None:
    predict(server)
    wait(lambda: read_metrics(server).get(("prediction_log_records_total", "written"), 0) > 0)
    metrics = read_metrics(server)
    assert metrics["model_info", champion["bundle"][:12], "logistic", champion["model"][:12]] == 1
    ready = ("model_ready", "prediction_log_healthy", "requests_in_flight")
    assert {name: metrics[name,] for name in ready} == dict.fromkeys(ready, 1)  # in flight: the scrape itself
    assert metrics["model_prior",] == 0.25
    age = time.time() - datetime.fromisoformat(SINCE).timestamp()
    assert metrics["model_age_seconds",] == pytest.approx(age, abs=5)
    assert metrics["prediction_log_records_total", "dropped"] == 0
    bounds = [key for key in metrics if key[0] == "prediction_latency_seconds_bucket"]
    assert len(bounds) > 10
    assert all(metrics[low] <= metrics[high] for low, high in pairwise(bounds))


# --- several workers


def ask_all(server: ServerProcess, requests: int) -> list[Any]:
    """Predictions over connections of their own, some at once, so that every worker has its share."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: predict(server, {**ROW, "months": number % 101}), range(requests)))


def select_totals(server: ServerProcess) -> dict[tuple[str, ...], float]:
    """What has been counted, without what workers sample only now and then, and without the times."""
    names = ("model_predictions_total", "http_errors_total", "prediction_latency_seconds_count", "model_feedback_total")
    return {key: value for key, value in read_metrics(server).items() if key[0] in names}


def find_workers(server: ServerProcess) -> list[int]:
    """The processes that serve: multiprocessing has one more, which only looks after what they share."""
    return [pid for pid in list_children(server.process.pid) if "spawn_main" in read_command(pid)]


@pytest.mark.integration
def test_the_metrics_of_workers_are_their_sum_and_outlive_them(tmp_path: Path) -> None:
    """Whoever is asked tells the same; a worker that is killed is replaced, and what it had counted stays."""
    root, champion = make_root(tmp_path)
    model = champion["model"][:12]
    blocked = root / paths.PREDICTIONS / "segments"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")  # no log can be written
    write_report(make_report(model), root / paths.LIVE_MONITORING)
    with start_server(root, workers=2, **QUICK) as server:
        before = find_workers(server)
        assert len(before) == 2
        answers = ask_all(server, 120)
        for answer in answers[:10]:
            tell(server, {"request_id": answer["request_id"], "label": "yes"}, "/feedback")
        server.ask("/nowhere")
        totals = select_totals(server)
        assert sum(value for key, value in totals.items() if key[0] == "model_predictions_total") == 120
        assert totals["prediction_latency_seconds_count",] == 120
        assert totals["http_errors_total", "(unknown)", "404"] == 1
        assert totals["model_feedback_total", "true", model] == 10
        assert read_metrics(server)["model_accuracy", model] == 1
        wait(lambda: read_metrics(server)["prediction_log_healthy",] == 0)
        os.kill(before[0], signal.SIGKILL)
        wait(lambda: len({*find_workers(server)} - {before[0]}) == 2)
        wait(lambda: server.ask("/ready")[0] == 200)
        assert [select_totals(server) for _ in range(20)] == [totals] * 20
        assert {read_metrics(server)["drift_psi", "spend"] for _ in range(20)} == {0.31}
        ask_all(server, 30)
        assert select_totals(server)["prediction_latency_seconds_count",] == 150
        blocked.unlink()
        wait(lambda: read_metrics(server)["prediction_log_healthy",] == 1)
        assert server.stop() == 0
    records = check_log(server, [])
    (died,) = [record for record in records if record["message"] == "a worker died"]
    assert (died["worker"], died["status"]) == (before[0], -signal.SIGKILL)


@pytest.mark.integration
def test_a_worker_that_cannot_start_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    root, _ = make_root(tmp_path)
    with start_server(root, workers=2, **QUICK) as server:
        (root / paths.CHAMPION).unlink()
        os.kill(find_workers(server)[0], signal.SIGKILL)
        assert server.process.wait(20) == 1
    (sentence,) = [record["message"] for record in check_log(server, []) if "cannot start" in record["message"]]
    assert sentence.startswith("a worker cannot start: ") and "champion.json does not exist" in sentence


# --- a server that does not start


@pytest.mark.parametrize("wrong", ["port", "variable"])
def test_a_server_that_cannot_start_says_so_in_a_sentence(
    project: tuple[Path, Record], server: ServerProcess, wrong: str
) -> None:
    port, variables = (server.port, {}) if wrong == "port" else (0, {"LIFECYCLE_SERVE_PROT": "80"})
    end = subprocess.run(
        [sys.executable, "-m", "lifecycle.cli.main", "serve", "--port", str(port)],
        env={**os.environ, **variables, paths.ROOT_VARIABLE: str(project[0])},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = {
        "port": f"Cannot listen on 127.0.0.1:{port}: Address already in use.",
        "variable": "LIFECYCLE_SERVE_PROT: is not a setting.",
    }
    assert (end.returncode, end.stdout, end.stderr) == (1, "", f"lifecycle serve: {said[wrong]}\n")
