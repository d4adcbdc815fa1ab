"""Files and JSON APIs from a real HTTP server, which fails, cuts, limits and turns pages as real ones do."""

import functools
import http.server
import io
import json
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.core import progress
from lifecycle.core.errors import ProjectError
from lifecycle.sources import web
from lifecycle.sources.detect import Detected, detect_options
from lifecycle.sources.dispatch import open_source, read_source

ROWS = 40_000
CSV = b"a,b\n" + b"".join(b"%d,x\n" % number for number in range(ROWS))
PEOPLE = [{"id": number, "at": {"x": number / 2}, "tags": ["a", number]} for number in range(7)]
PAGES: dict[str, Any] = {
    "/mixed/1": {"rows": [{"n": 1, "t": 1, "first": True}], "next": "2"},
    "/mixed/2": {"rows": [], "next": "/mixed/3"},
    "/mixed/3": {"rows": [{"n": 0.5, "t": "x"}, {"n": None, "t": {}}], "next": None},
    "/clash/1": [{"a.b": 1, "a": {"b": 2}}],
    "/words/1": {"rows": [{"n": 1}], "next": "/words/2"},
    "/words/2": {"rows": [2, "x"]},
    "/strange/1": {"rows": [{"n": 1}, "x", None, {"n": 2}, [3]]},
    "/big/1": {
        "rows": [{"id": 2**53 + 1, "u": 2**64 - 1, "x": 1.5, "o": {}}, {"id": 2**63 - 1, "u": 5, "x": 2, "o": {}}],
        "next": "2",
    },
    "/big/2": {
        "rows": [{"id": 3, "u": 2**70, "x": 2**53 + 1, "o": {"a": 1}}, {"id": 4, "u": None, "x": None, "o": [2**70]}]
    },
    "/circle/1": {"rows": [{"n": 1}], "next": "/circle/1"},
    "/away/1": {"rows": [{"n": 1}], "next": "http://127.0.0.2:9/x"},
    "/odd/1": {"rows": [{"n": 1}], "next": {"href": "x"}},
    "/none/1": {"rows": []},
    "/more/hal": {"rows": [{"n": 1}], "_links": {"self": {"href": "1"}, "next": {"href": "/more/2"}}},
    "/more/odata": {"rows": [{"n": 1}], "@odata.nextLink": "/more/2"},
    "/more/total": {"rows": [{"n": 1}], "page": {"total_count": 2}},
    "/more/flag": {"rows": [{"n": 1}], "has_more": True},
    "/more/2": {"rows": [{"n": 2}], "count": 2, "next": None, "has_more": False},
}
CURSORS: dict[str, dict[str | None, tuple[list[int], Any]]] = {  # by the cursor sent: the rows, and the next cursor
    "zero": {None: ([1], 0), "0": ([2], 3), "3": ([3], None)},
    "to-itself": {None: ([1], 5), "5": ([2, 3], 0), "0": ([], 0)},
    "blank": {None: ([1, 2, 3], "")},
}


def pack(content: bytes) -> bytes:
    """A ZIP archive with one file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/t.csv", content)
    return packed.getvalue()


@dataclass
class Seen:
    """What a server was asked for."""

    counts: Counter[str] = field(default_factory=Counter)
    headers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    address: str = ""
    elsewhere: str = ""
    pages: dict[str, Any] = field(default_factory=dict)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, seen: Seen, *words: Any) -> None:
        self.seen = seen
        super().__init__(*words)

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def do_GET(self) -> None:  # noqa: PLR0912 - a case for each kind of answer
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.seen.counts[parts.path] += 1
        self.seen.headers.append((parts.path, dict(self.headers)))
        self.seen.times.append(time.monotonic())
        count = self.seen.counts[parts.path]
        match parts.path.split("/")[1:]:
            case ["gone", *_]:
                self.answer(b"", 404)
            case ["busy", *_] if count < 3:
                self.answer(b"later", 503 if count == 1 else 429, Retry_After="0")
            case ["down", *_]:
                self.answer(b"", 503)
            case ["cut", *_] if count < 3:  # the rest comes from the byte on where it was cut
                begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
                part = CSV[begin : begin + 100_000]
                self.answer(part, 206 if begin else 200, len(CSV) - begin, ETag='"v1"')
            case ["cut", *_] if self.headers["If-Range"] == '"v1"':
                begin = int(self.headers["Range"][6:-1])
                self.answer(CSV[begin:], 206, ETag='"v1"')
            case ["weak", *_] if count < 2:  # no strong tag: the file begins again
                self.answer(CSV[:100_000], 200, len(CSV), ETag='W/"v1"')
            case ["always-cut", *_]:
                self.answer(CSV[:100_000], 200, len(CSV))
            case ["moved", *_]:
                self.answer(b"", 302, Location=f"{self.seen.elsewhere}/table.csv")
            case ["secret", *_] if self.headers.get("Authorization") != "Bearer s3cr3t":
                self.answer(b"", 401)
            case ["latin-1" | "utf-8" as encoding, *_]:
                self.answer("a,b\nMüller,x\n".encode(encoding), Content_Type="text/csv; charset=ISO-8859-1")
            case [*_, "t.zip"]:
                self.answer(pack(CSV))
            case [*_, name] if name.endswith(".csv"):
                self.answer(CSV)
            case ["page", *_]:
                self.answer(b"<html>")
            case _:
                self.answer_page(parts.path, query)

    def answer_page(self, path: str, query: dict[str, str]) -> None:
        match path.split("/")[1:]:
            case ["api", "link" | "secret"]:
                page = int(query.get("page", 0))
                following = f'<{self.path.partition("?")[0]}?page={page + 1}>; rel="next", </>; rel="up"'
                rows = PEOPLE[page * 3 : page * 3 + 3]
                self.answer(json.dumps(rows).encode(), Link=following if page < 2 else '</>; rel="up"')
            case ["api", "cursor"]:
                at = int(query.get("after", 0))
                body = {"data": {"rows": PEOPLE[at : at + 3]}, "meta": {"after": at + 3 if at < 6 else None}}
                self.answer(json.dumps(body).encode())
            case ["api", "numbered"]:
                at = int(query["offset"])
                self.answer(json.dumps({"rows": PEOPLE[at : at + int(query["limit"])]}).encode())
            case ["api", "same"]:
                self.answer(json.dumps(PEOPLE).encode())
            case _ if path in PAGES:
                self.answer(json.dumps(PAGES[path]).encode())
            case _:
                self.answer_strangely(path, query)

    def answer_strangely(self, path: str, query: dict[str, str]) -> None:
        match path.split("/")[1:]:
            case ["given"]:
                self.answer(json.dumps(self.seen.pages.get(query["page"], [])).encode())
            case ["endless"]:
                self.answer(json.dumps([{"page": query["page"], "text": "x" * 200}]).encode())
            case ["flood"]:
                self.answer(b"[" + b" " * 10_000_000 + b"]")
            case ["charset", charset]:
                body = self.seen.pages.get("body", '[{"name": "Müller"}]'.encode("latin-1"))
                self.answer(
                    body, Content_Type="application/json" + (f"; charset={charset}" if charset != "none" else "")
                )
            case ["stamped", kind]:
                page = int(query.get("page", 1))
                shown = {"always": 1, "last": min(page, 3), "first": page if page <= 3 else 1, "cursor": 1}[kind]
                body = {"rows": [{"id": shown * 10 + row} for row in range(7)], "at": time.time(), "next": time.time()}
                self.answer(json.dumps(body | {"next": f"{body['at']}"}).encode())
            case ["ends", end]:
                page = int(query["page"])
                rows = PEOPLE[page * 3 : page * 3 + 3]
                status, body = {"404": (404, b"{}"), "204": (204, b""), "empty": (200, b" "), "null": (200, b'{"rows": null}'),
                                "short": (200, b'{"rows": []}')}[end]  # fmt: skip
                self.answer(json.dumps({"rows": rows}).encode() if rows else body, 200 if rows else status)
            case ["lost", "1"]:
                self.answer(b'{"rows": [{"n": 1}], "next": "2"}')
            case ["drained"]:  # its cursor goes on after the last record
                after = int(query.get("after", 0))
                self.answer(json.dumps({"rows": [] if after else [{"n": 1}], "next": after + 1}).encode())
            case ["cursors", kind]:
                rows, following = CURSORS[kind][query.get("after")]
                self.answer(json.dumps({"rows": [{"n": row} for row in rows], "next": following}).encode())
            case _:
                self.answer(b"", 404)

    def log_message(self, *words: object) -> None:
        pass


def serve(seen: Seen) -> http.server.ThreadingHTTPServer:
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, seen))
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    return running


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """A server and another one: `seen.elsewhere` is on another host."""
    monkeypatch.setattr(web, "_BACKOFF", 0.01)
    seen = Seen()
    with serve(seen) as here, serve(seen) as there:
        seen.address = f"http://127.0.0.1:{here.server_port}"
        seen.elsewhere = f"http://localhost:{there.server_port}"
        yield seen
        here.shutdown()
        there.shutdown()


def read(source: str, **options: Any) -> pd.DataFrame:
    return read_source(source, Path(), options)[0].to_pandas()


@pytest.mark.parametrize(("path", "asked"), [("busy", 3), ("cut", 3), ("weak", 2), ("plain", 1)])
def test_a_file_comes_whole_from_a_server_that_fails_and_cuts(server: Seen, path: str, asked: int) -> None:
    assert read(f"{server.address}/{path}/t.csv")["a"].tolist() == list(map(str, range(ROWS)))
    assert server.counts[f"/{path}/t.csv"] == asked


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone", "404 Not Found"),
        ("down", "503 Service Unavailable"),
        ("always-cut", "the transfer was interrupted"),
        ("secret", "401 Unauthorized"),
    ],
)
def test_a_file_that_does_not_come_is_one_sentence_without_its_token(
    server: Seen, caplog: pytest.LogCaptureFixture, path: str, reason: str
) -> None:
    with pytest.raises(ProjectError, match=f"could not be fetched: {reason}") as raised:
        read(f"{server.address}/{path}/t.csv?api_key=abc&page=1", retries=2)
    assert "api_key=***&page=1" in str(raised.value)
    assert "abc" not in str(raised.value) + caplog.text
    assert server.counts[f"/{path}/t.csv"] == (1 if path in {"gone", "secret"} else 3)


def test_an_address_gives_what_the_file_gives(server: Seen, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    assert read_source(f"{server.address}/t.csv?token=1", tmp_path)[0] == read_source("t.csv", tmp_path)[0]
    assert read_source(f"{server.address}/t.zip", tmp_path)[0] == read_source("t.csv", tmp_path)[0]
    assert detect_options(f"{server.address}/t.zip", tmp_path, {}) == Detected({}, delimited=True)


@pytest.mark.parametrize("path", ["latin-1", "utf-8"])
def test_the_server_says_how_a_text_is_encoded_unless_it_is_unicode(server: Seen, path: str) -> None:
    assert read(f"{server.address}/{path}/t.csv")["a"].tolist() == ["Müller"]


def test_a_file_takes_columns_and_a_filter(server: Seen) -> None:
    assert read(f"{server.address}/t.csv", columns=["a"], filter=[["a", ">=", 39_998]]).to_dict("list") == {
        "a": ["39998", "39999"]
    }


def test_secrets_come_from_the_environment_and_stay_with_their_host(
    server: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": "Bearer ${API_TOKEN}", "X-Api-Key": "${API_TOKEN}"}
    with pytest.raises(ProjectError, match=r"name the variable API_TOKEN, which is not set"):
        read(f"{server.address}/secret/t.csv", headers=headers)
    monkeypatch.setenv("API_TOKEN", "s3cr3t")
    assert len(read(f"{server.address}/secret/t.csv", headers=headers)) == ROWS
    assert len(read(f"{server.address}/moved/t.csv", headers=headers)) == ROWS
    sent = dict(server.headers)
    assert sent["/moved/t.csv"]["X-Api-Key"] == "s3cr3t"
    assert not {"Authorization", "X-Api-Key"} & set(sent["/table.csv"])
    with pytest.raises(ProjectError, match=r"headers of .*: X-Api-Key looks like a secret") as raised:
        read(f"{server.address}/secret/t.csv", headers={"X-Api-Key": "s3cr3t"})
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "options", "asked"),
    [
        ("/api/link", {"next": "link"}, 3),
        ("/api/cursor", {"records": "data.rows", "next": "meta.after", "cursor_param": "after"}, 3),
        (
            "/api/numbered",
            {"records": "rows", "page_param": "offset", "page_start": 0, "page_step": 3, "params": {"limit": 3}},
            4,
        ),
        (
            "/api/numbered?limit=3",
            {"records": "rows", "page_param": "offset", "page_start": 0, "page_step": 3, "page_size": 3},
            3,
        ),
        (
            "/api/numbered?limit=3",  # the API has smaller pages than it is asked for
            {"records": "rows", "page_param": "offset", "page_start": 0, "page_step": 3, "page_size": 100},
            3,
        ),
        ("/api/same", {}, 1),
        ("/api/same", {"page_param": "page", "page_size": 100}, 2),
    ],
)
def test_pages_are_one_table(server: Seen, path: str, options: dict[str, Any], asked: int) -> None:
    table = read(f"{server.address}{path}", **options)
    assert table["id"].tolist() == list(range(7))
    assert table["at.x"].tolist() == [number / 2 for number in range(7)]
    assert table["tags"].tolist()[6] == '["a",6]'
    assert server.counts[path.partition("?")[0]] == asked


def test_types_that_differ_from_page_to_page(server: Seen) -> None:
    table = read_source(f"{server.address}/mixed/1", Path(), {"records": "rows", "next": "next"})[0]
    assert table.to_pylist() == [
        {"n": 1.0, "t": "1", "first": True},
        {"n": 0.5, "t": "x", "first": None},
        {"n": None, "t": "{}", "first": None},
    ]


def test_whole_numbers_of_any_size_are_exact(server: Seen) -> None:
    table = read_source(f"{server.address}/big/1", Path(), {"records": "rows", "next": "next"})[0]
    assert table["id"].to_pylist() == [2**53 + 1, 2**63 - 1, 3, 4]
    assert table["u"].to_pylist() == [str(2**64 - 1), "5", str(2**70), None]
    assert table["x"].to_pylist() == ["1.5", "2", str(2**53 + 1), None], "float64 would alter one"
    assert table["o"].to_pylist() == ["{}", "{}", None, f"[{2**70}]"] and table["o.a"].to_pylist() == [
        None,
        None,
        1,
        None,
    ]


def test_a_record_that_is_not_an_object_is_a_row_in_quarantine(server: Seen) -> None:
    with open_source(f"{server.address}/strange/1", Path(), {"records": "rows"}) as stream:
        assert pa.Table.from_batches(stream, stream.schema)["n"].to_pylist() == [1, 2]
    found = [(line.where.rpartition("/1, ")[2], line.text) for line in stream.rejected.rows]
    assert found == [("page 1, record 2", '"x"'), ("page 1, record 3", "null"), ("page 1, record 5", "[3]")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.fixed_dictionaries({"x": JSON}), min_size=1, max_size=4), min_size=1, max_size=3))
def test_whatever_types_a_field_has_no_value_is_altered(server: Seen, pages: list[list[dict[str, Any]]]) -> None:
    given = [[{"id": f"{page} {row}", **value} for row, value in enumerate(rows)] for page, rows in enumerate(pages)]
    server.pages = {str(page): rows for page, rows in enumerate(given)}
    table = read_source(f"{server.address}/given", Path(), {"page_param": "page", "page_start": 0})[0]

    def flatten(value: Any, name: str) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            return {key: item for inner in value for key, item in flatten(value[inner], f"{name}.{inner}").items()}
        return {name: value}

    for row, record in zip(table.to_pylist(), [record for rows in given for record in rows], strict=True):
        expected = flatten(record["x"], "x")
        for name in row.keys() - {"id"}:
            before, found = expected.get(name), row[name]
            if isinstance(found, str) and not isinstance(before, str):
                assert json.loads(found) == before and ("." in found or "e" in found) >= isinstance(before, float)
            else:
                assert found == before and isinstance(found, bool) == isinstance(before, bool)


@pytest.mark.parametrize("end", ["404", "204", "empty", "null", "short"])
def test_counted_pages_end_as_apis_end(server: Seen, end: str) -> None:
    table = read(f"{server.address}/ends/{end}", records="rows", page_param="page", page_start=0)
    assert table["id"].tolist() == list(range(7))


def test_only_counted_pages_end_with_one_that_is_not_there(server: Seen) -> None:
    with pytest.raises(ProjectError, match="page 2 could not be fetched: 404"):
        read(f"{server.address}/lost/1", records="rows", next="next")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/more/hal", "_links.next.href is '/more/2'"),
        ("/more/odata", "@odata.nextLink is '/more/2'"),
        ("/more/total", "page.total_count is 2"),
        ("/more/flag", "has_more is True"),
        ("/api/link", "its Link header names a next one"),
    ],
)
def test_a_last_page_that_says_there_are_more_is_told(server: Seen, path: str, more: str) -> None:
    options = {} if path == "/api/link" else {"records": "rows"}
    with open_source(f"{server.address}{path}", Path(), options) as stream:
        assert f"page 1 is the last one that is read, but {more}: set collect.options.next" in stream.notes[0]


@pytest.mark.parametrize(("path", "following"), [("/more/hal", "_links.next.href"), ("/more/odata", "@odata.nextLink")])
def test_all_pages_leave_nothing_to_tell(server: Seen, path: str, following: str) -> None:
    with open_source(f"{server.address}{path}", Path(), {"records": "rows", "next": following}) as stream:
        assert [row["n"] for batch in stream for row in batch.to_pylist()] == [1, 2]
        assert not stream.notes


def test_pages_without_records_that_go_on_are_refused(server: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifecycle.sources.web._MOST_EMPTY", 4)
    with pytest.raises(ProjectError, match=r"page 6: this page and the 4 before have no records, .* next one"):
        read(f"{server.address}/drained", records="rows", next="next", cursor_param="after")


@pytest.mark.parametrize("kind", ["zero", "to-itself", "blank"])
def test_a_cursor_of_zero_is_a_cursor(server: Seen, kind: str) -> None:
    table = read(f"{server.address}/cursors/{kind}", records="rows", next="next", cursor_param="after")
    assert table["n"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("iso-8859-1", "latin-1"), ("windows-1252", "cp1252"), ("utf-16", "utf-16"), ("utf-16", "utf-16-be"), ("none", "utf-16-le"),
        ("none", "utf-8-sig"), ("utf8", "utf-8"), ("iso-8859-1", "utf-16"),
    ],
)  # fmt: skip
def test_a_page_in_any_encoding(server: Seen, charset: str, encoding: str) -> None:
    server.pages = {"body": '[{"name": "Müller"}]'.encode(encoding)}
    assert read(f"{server.address}/charset/{charset}")["name"].tolist() == ["Müller"]


def test_a_number_that_is_none_is_one_as_in_a_file(server: Seen) -> None:
    server.pages = {"body": b'[{"n": NaN, "t": "NaN"}, {"n": -Infinity, "t": "x"}, {"n": 1, "t": null}]'}
    table = read_source(f"{server.address}/charset/utf-8", Path())[0]
    assert table["n"].type == pa.float64() and str(table["n"].to_pylist()) == "[nan, -inf, 1.0]"
    assert table["t"].to_pylist() == ["NaN", "x", None]


def test_long_reading_says_how_far_it_is(
    server: Seen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0)
    read(f"{server.address}/api/link", next="link")
    assert capsys.readouterr().err.endswith("/api/link: 3 pages, 7 records\n")


def test_the_token_of_a_page_goes_with_every_page(server: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cr3t")
    read(f"{server.address}/api/secret", next="link", headers={"Authorization": "Bearer ${API_TOKEN}"})
    assert [names.get("Authorization") for _, names in server.headers] == ["Bearer s3cr3t"] * 3


def test_no_more_requests_a_second_than_allowed(server: Seen) -> None:
    read(f"{server.address}/api/link", next="link", rate=20)
    gaps = [later - sooner for sooner, later in zip(server.times, server.times[1:], strict=False)]
    assert len(gaps) == 2 and min(gaps) > 0.04


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/page/1", {}, r"/page/1, page 1 is not JSON: "),
        (
            "/latin-1/table",
            {},
            r"page 1 is not JSON \(the Content-Type is text/csv; a file's address ends as in \.csv\): ",
        ),
        ("/words/1", {"records": "rows", "next": "next"}, r"page 2: 'rows' is not a list of objects"),
        ("/mixed/1", {}, r"page 1: the body is not a list of objects"),
        ("/mixed/1", {"records": "rows.deep"}, r"page 1: 'rows\.deep' is not a list"),
        ("/circle/1", {"records": "rows", "next": "next"}, r"page 2 was read before"),
        ("/api/same", {"page_param": "page"}, r"page 2 has the records of page 1 again: the API ignores 'page'"),
        (
            "/stamped/always",
            {"records": "rows", "page_param": "page", "page_size": 7},
            r"page 2 has the records of page 1 again: the API ignores 'page'.*collect\.options\.page_param",
        ),
        ("/stamped/last", {"records": "rows", "page_param": "page"}, r"page 4 has the records of page 3 again"),
        ("/stamped/first", {"records": "rows", "page_param": "page"}, r"page 4 has the records of page 1 again"),
        (
            "/stamped/cursor",
            {"records": "rows", "next": "next", "cursor_param": "after"},
            r"page 2 has the records of page 1 again: the API ignores 'after'",
        ),
        (
            "/api/numbered?limit=5",
            {"records": "rows", "page_param": "offset", "page_start": 0},
            r"page 2 has 4 records of page 1 again, as 'offset' counts records: .*collect\.options\.page_step",
        ),
        ("/endless", {"page_param": "page", "max_pages": 3}, r"more than 3 pages: .*collect\.options\.max_pages"),
        ("/endless", {"page_param": "page", "max_bytes": 999}, r"more than 999 bytes: .*collect\.options\.max_bytes"),
        (
            "/endless",
            {"page_param": "page", "max_seconds": 0.05, "rate": 50},
            r"more to send after 0\.05 seconds: .*collect\.options\.max_seconds",
        ),
        ("/flood", {"max_bytes": 100_000}, r"more than 100,000 bytes"),
        ("/charset/none", {}, r"page 1 is not JSON"),
        ("/charset/klingon", {}, r"page 1 is in the encoding 'klingon', which Python does not know"),
        ("/charset/ascii", {}, r"page 1 is not ascii text, as its Content-Type says"),
        ("/away/1", {"records": "rows", "next": "next"}, r"page 1 leads to another host"),
        ("/odd/1", {"records": "rows", "next": "next"}, r"page 1: 'next' is neither an address nor a cursor"),
        ("/clash/1", {}, r"page 1 has a record with two values for 'a\.b'"),
        ("/none/1", {"records": "rows"}, r"/none/1 has no rows"),
        ("/absent", {}, r"/absent, page 1 could not be fetched: 404 Not Found"),
        (
            "/api/link",
            {"delimiter": ";"},
            r"collect\.options has delimiter, which .* does not take: it takes records, next",
        ),
        ("/api/link", {"rate": 0}, r"collect\.options\.rate of .*greater than 0"),
        ("/api/link", {"params": {"api_key": "abc"}}, r"collect\.options\.params of .*: api_key looks like a secret"),
    ],
)
def test_pages_that_cannot_be_read_are_one_sentence(
    server: Seen, path: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message) as raised:
        read(f"{server.address}{path}", retries=0, **options)
    assert "\n" not in str(raised.value) and "abc" not in str(raised.value)
