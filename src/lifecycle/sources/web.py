"""Tables from http(s): files, fetched to disk with retries, and JSON APIs, page by page."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any
from urllib.parse import parse_qs, urljoin, urlsplit

import orjson
import pyarrow as pa
import requests
from pyarrow import fs
from pydantic import AfterValidator, Field
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Scalar, Strict
from lifecycle.core.paths import PARAMS
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import SENSITIVE
from lifecycle.sources.files import COMPRESSIONS, KINDS, FileOptions, Spool, open_files, translate_errors, unify_types
from lifecycle.sources.options import parse_options

TIMEOUT = 30  # seconds, to connect and between two pieces
PIECE = 1 << 16  # bytes that a cut transfer loses at most
BACKOFF = 0.5  # seconds, doubled at each retry
LONGEST_WAIT = 600  # seconds that a server may ask for by Retry-After
RETRIED = (429, 500, 502, 503, 504)
VARIABLE = re.compile(r"\$\{(\w+)\}")


def check_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse a header or parameter called like a secret that does not come from the environment (ValueError)."""
    for name, value in values.items():
        if SENSITIVE.search(name) and not VARIABLE.search(str(value)):
            raise ValueError(f"{name} looks like a secret: give it as ${{NAME}}, a variable of the environment")
    return values


Headers = Annotated[dict[str, str], AfterValidator(check_secrets)]


class DownloadOptions(FileOptions):
    """What an http(s) file takes: a file's options, `headers` (`${NAME}` is the environment's) and the `retries`."""

    headers: Headers = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0)] = 5


class PagesOptions(Strict):
    """What a JSON API takes.

    records: dotted path to the list of records, "" for the body. next: dotted path to the next page's address, or to its
    cursor when `cursor_param` names the parameter that takes it, or `link` for the Link header (RFC 8288). page_param:
    the parameter that counts pages instead, from `page_start` in steps of `page_step` until a page is empty, or has
    fewer records than `page_size`. rate: requests a second at most. params, headers: sent with each request; `${NAME}`
    is the environment's. retries: of a request that failed.
    """

    records: str = ""
    next: str | None = None
    cursor_param: str | None = None
    page_param: str | None = None
    page_start: int = 1
    page_step: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1)] | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    params: Annotated[dict[str, Scalar], AfterValidator(check_secrets)] = Field(default_factory=dict)
    headers: Headers = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0)] = 5


class Session(requests.Session):
    """A session that retries, and whose headers go to the first host alone."""

    def __init__(self, headers: Mapping[str, str], retries: int, source: str) -> None:
        super().__init__()
        self.own = {name: expand_variables(value, source) for name, value in headers.items()}
        self.headers.update(self.own)
        self.headers["Accept-Encoding"] = "identity"  # a cut transfer goes on at a byte of the file
        self.retries = retries
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its warnings show whole addresses
        retry = Retry(
            retries,
            backoff_factor=BACKOFF,
            status_forcelist=RETRIED,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT,
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def rebuild_auth(self, prepared_request: Any, response: requests.Response) -> None:
        """Take our headers from a request that was redirected to another host."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            for name in self.own:
                prepared_request.headers.pop(name, None)
        super().rebuild_auth(prepared_request, response)


def expand_variables(text: str, source: str) -> str:
    """Put the environment's variables in the place of `${NAME}`; raises ProjectError naming one that is not set."""

    def find(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ProjectError(f"{PARAMS}: the options of {source} name the variable {match[1]}, which is not set.")
        return os.environ[match[1]]

    return VARIABLE.sub(find, text)


def fetch(
    session: Session, address: str, sink: IO[bytes], source: str, params: Mapping[str, Scalar] | None = None
) -> requests.Response:
    """GET an address into a file; a transfer that is cut goes on where it was, or begins again where the server cannot.

    Returns the response, its body read. Raises ProjectError with `source` and the reason.
    """
    tag: str | None = None
    for attempt in range(session.retries + 1):
        have = sink.tell() if tag else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag} if tag and have else None
        try:
            with session.get(address, params=params, headers=headers, stream=True, timeout=TIMEOUT) as answer:
                answer.raise_for_status()
                if answer.status_code != requests.codes.partial_content:
                    sink.seek(0)
                    sink.truncate()
                    tag = answer.headers.get("ETag", "")
                    if not tag.startswith('"') or "Content-Encoding" in answer.headers:
                        tag = None  # a weak tag, or other bytes than those on disk: no part can follow
                for piece in answer.iter_content(PIECE):
                    sink.write(piece)
                return answer
        except requests.RequestException as error:
            cut = isinstance(error, requests.exceptions.ChunkedEncodingError | requests.ConnectionError)
            if not cut or find_cause(error) is not None or attempt == session.retries:
                raise ProjectError(f"{source} could not be fetched: {describe_reason(error)}.") from None
            time.sleep(BACKOFF * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def find_cause(error: requests.RequestException) -> Exception | None:
    """Why the session's own retries, before any answer, came to their end; None of another error."""
    return getattr(error.args[0], "reason", None) if error.args else None


def describe_reason(error: requests.RequestException) -> str:
    """Why a request failed, without its address, which may hold a secret."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if cause := find_cause(error):
        return " ".join(str(cause).split())
    cut = isinstance(error, requests.exceptions.ChunkedEncodingError | requests.ConnectionError)
    return "the transfer was cut" if cut else type(error).__name__


@contextmanager
def open_download(source: str, name: str, options: DownloadOptions) -> Iterator[Stream]:
    """Fetch an http(s) file to disk, then open it as the file that its path names."""
    plain = FileOptions(**options.model_dump(include=set(FileOptions.model_fields)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PurePosixPath(urlsplit(source).path).name)
        with Session(options.headers, options.retries, name) as session, path.open("wb") as file:
            fetch(session, source, file, name)
        yield open_files(fs.LocalFileSystem(), {str(path): name}, name, plain)


def open_pages(source: str, name: str, options: PagesOptions) -> Stream:
    """Read a JSON API page by page onto disk, then open what came as one table.

    Objects within records become columns called `a.b`, as pandas.json_normalize has them; lists become JSON text. A
    column with whole numbers and fractions is double; with values that do not go together (1, "x"), text.
    """
    types: dict[str, pa.DataType] = {}
    spool, places = Spool(), []
    for number, records in read_pages(source, name, options):
        if records:
            batch = build_batch(records, f"{name}, page {number}")
            for column in batch.schema:
                types[column.name] = unify_types(types.get(column.name, column.type), column.type) or pa.string()
            places.append(spool.write(batch))
    schema = pa.schema(list(types.items()))

    def read() -> Iterator[pa.RecordBatch]:
        with translate_errors(name, "has values that no type holds"):
            yield from (spool.read(place, schema) for place in places)

    return Stream(schema, read())


def read_pages(source: str, name: str, options: PagesOptions) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Fetch the pages of a JSON API: the number of each from 1, and its records. Raises ProjectError naming the page."""
    params: dict[str, Scalar] = {
        key: expand_variables(value, name) if isinstance(value, str) else value for key, value in options.params.items()
    }
    if options.page_param:
        params[options.page_param] = options.page_start
    request: tuple[str, dict[str, Scalar]] | None = (source, params)
    number, seen, due = 0, set(), 0.0
    with Session(options.headers, options.retries, name) as session:
        while request is not None:
            number += 1
            where = f"{name}, page {number}"
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + (1 / options.rate if options.rate else 0.0)
            address, params = request
            given = parse_qs(urlsplit(address).query, keep_blank_values=True)
            body = io.BytesIO()
            answer = fetch(session, address, body, where, {key: params[key] for key in params if key not in given})
            try:
                page = orjson.loads(body.getvalue())
            except orjson.JSONDecodeError as error:
                raise ProjectError(f"{where} is not JSON: {error}.") from error
            # A counted page that comes again as it was is beyond the end; any other is known by its request.
            mark = body.getvalue() if options.page_param else repr(request).encode()
            if (digest := hashlib.sha256(mark).digest()) in seen:
                raise ProjectError(f"{where} is a page that was read before: the pages have no end.")
            seen.add(digest)
            records = look_up(page, options.records)
            if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
                told = repr(options.records) if options.records else "the body"
                raise ProjectError(f"{where}: {told} is not a list of objects (collect.options.records).")
            yield number, records
            request = find_next(options, address, params, answer, page, len(records), where)


def find_next(
    options: PagesOptions,
    address: str,
    params: Mapping[str, Scalar],
    answer: requests.Response,
    page: Any,
    count: int,
    where: str,
) -> tuple[str, dict[str, Scalar]] | None:
    """The next request, address and parameters, after a page of so many records; None after the last."""
    if options.next is not None:
        following = answer.links.get("next", {}).get("url") if options.next == "link" else look_up(page, options.next)
        if not following:
            return None
        if not isinstance(following, str | int):
            raise ProjectError(f"{where}: {options.next!r} is neither an address nor a cursor (collect.options.next).")
        if options.cursor_param:
            return address, {**params, options.cursor_param: following}
        there = urljoin(address, str(following))
        if name_host(there) != name_host(address):
            raise ProjectError(f"{where} leads to another host, which may not see what is sent to the first.")
        return there, dict(params)
    if options.page_param and count >= (options.page_size or 1):
        return address, {**params, options.page_param: int(params[options.page_param]) + options.page_step}
    return None


def name_host(address: str) -> tuple[str, str]:
    """The scheme and the host with its port."""
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def look_up(page: Any, path: str) -> Any:
    """What stands at a dotted path in a page; None where there is nothing."""
    for part in filter(None, path.split(".")):
        page = page.get(part) if isinstance(page, dict) else None
    return page


def flatten(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A record with the fields of its objects as `a.b`, and lists as JSON text; raises ProjectError when two are one."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            inner = {f"{name}.{key}": item for key, item in flatten(value, where).items()}
        else:
            inner = {name: orjson.dumps(value).decode() if isinstance(value, list) else value}
        if twice := flat.keys() & inner.keys():
            raise ProjectError(f"{where} has a record with two values for {min(twice)!r}.")
        flat |= inner
    return flat


def build_batch(records: Sequence[Mapping[str, Any]], where: str) -> pa.RecordBatch:
    """A page's records as a batch: columns in order of appearance, missing fields null."""
    flat = [flatten(record, where) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    return pa.RecordBatch.from_arrays([build_array([record.get(name) for record in flat]) for name in names], names)


def build_array(values: list[Any]) -> pa.Array:
    """Values as an array of their type, or as text where they have no common one."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        texts = (value if value is None or isinstance(value, str) else orjson.dumps(value).decode() for value in values)
        return pa.array(list(texts), pa.string())


def open_web(source: str, name: str, options: Mapping[str, Any]) -> AbstractContextManager[Stream]:
    """Open an http(s) address: a file where its path ends as one does, else (or with the option `records`) a JSON API."""
    suffixes = PurePosixPath(urlsplit(source).path.lower()).suffixes
    if "records" not in options and suffixes and suffixes[-1] in {*KINDS, *COMPRESSIONS}:
        return open_download(source, name, parse_options(DownloadOptions, name, options))
    return nullcontext(open_pages(source, name, parse_options(PagesOptions, name, options)))
