"""Tables from http(s): files, downloaded with retries, and JSON APIs, page by page."""

from __future__ import annotations

import codecs
import hashlib
import io
import logging
import os
import re
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from email.message import Message
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
from lifecycle.sources import kinds
from lifecycle.sources.addresses import SENSITIVE
from lifecycle.sources.files import FileOptions, Found, is_utf8, list_files, open_files
from lifecycle.sources.json_records import flatten
from lifecycle.sources.options import parse_options
from lifecycle.sources.parquet import unify_types
from lifecycle.sources.selection import translate_errors

_TIMEOUT = 30  # seconds to connect, and between two chunks
_CHUNK_BYTES = 1 << 16  # bytes that an interrupted transfer loses at most
_BACKOFF = 0.5  # seconds, doubled with each retry
_MAX_RETRY_AFTER = 600  # seconds that a server may request with Retry-After
_RETRIED = (429, 500, 502, 503, 504)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _check_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for a header or parameter named like a secret whose value is not from the environment."""
    for name, value in values.items():
        if SENSITIVE.search(name) and not _VARIABLE.search(str(value)):
            raise ValueError(f"{name} looks like a secret: give it as ${{NAME}}, a variable of the environment")
    return values


_Headers = Annotated[dict[str, str], AfterValidator(_check_secrets)]


class DownloadOptions(FileOptions):
    """The options of an http(s) file: those of a file, `headers` (with ${NAME} from the environment) and `retries`."""

    headers: _Headers = Field(default_factory=dict)  # sent with each request; ${NAME} is taken from the environment
    retries: Annotated[int, Field(ge=0)] = 5  # of a failed request


class PagesOptions(Strict):
    """The options of a JSON API."""

    records: str = ""  # the dotted path to the list of records; empty: the body
    next: str | None = None  # the dotted path to the next page's address or cursor, or `link`: the Link header
    cursor_param: str | None = None  # the parameter that takes the cursor
    page_param: str | None = None  # the parameter that counts pages, instead of `next`
    page_start: int = 1  # the first page
    page_step: Annotated[int, Field(ge=1)] = 1  # what is added for the next page
    page_size: Annotated[int, Field(ge=1)] | None = None  # a page with fewer records is the last
    rate: Annotated[float, Field(gt=0)] | None = None  # requests a second at most
    params: Annotated[dict[str, Scalar], AfterValidator(_check_secrets)] = Field(
        default_factory=dict
    )  # sent with each request; ${NAME} is taken from the environment
    headers: _Headers = Field(default_factory=dict)  # sent with each request; ${NAME} is taken from the environment
    retries: Annotated[int, Field(ge=0)] = 5  # of a failed request


class Session(requests.Session):
    """A session with retries that sends its headers to the first host only."""

    def __init__(self, headers: Mapping[str, str], retries: int, source: str) -> None:
        super().__init__()
        self.own = {name: _expand_variables(value, source) for name, value in headers.items()}
        self.headers.update(self.own)
        self.headers["Accept-Encoding"] = "identity"  # an interrupted transfer resumes at a byte of the file
        self.retries = retries
        logging.getLogger("urllib3.connectionpool").setLevel(
            logging.ERROR
        )  # its warnings show whole addresses, with secrets
        retry = Retry(
            retries,
            backoff_factor=_BACKOFF,
            status_forcelist=_RETRIED,
            raise_on_status=False,
            retry_after_max=_MAX_RETRY_AFTER,
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def rebuild_auth(self, prepared_request: Any, response: requests.Response) -> None:
        """Remove our headers from a request that was redirected to another host."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            for name in self.own:
                prepared_request.headers.pop(name, None)
        super().rebuild_auth(prepared_request, response)


def _expand_variables(text: str, source: str) -> str:
    """Replace `${NAME}` by environment variables; raise ProjectError naming one that is not set."""

    def find(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ProjectError(f"{PARAMS}: the options of {source} name the variable {match[1]}, which is not set.")
        return os.environ[match[1]]

    return _VARIABLE.sub(find, text)


def _fetch(
    session: Session, address: str, sink: IO[bytes], source: str, params: Mapping[str, Scalar] | None = None
) -> requests.Response:
    """Download an address to a file; resume an interrupted transfer, or restart it when the server cannot resume.

    Returns the response, its body consumed. Raises ProjectError with `source` and the reason.
    """
    tag: str | None = None
    for attempt in range(session.retries + 1):
        have = sink.tell() if tag else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag} if tag and have else None
        try:
            with session.get(address, params=params, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                answer.raise_for_status()
                if answer.status_code != requests.codes.partial_content:
                    sink.seek(0)
                    sink.truncate()
                    tag = answer.headers.get("ETag", "")
                    if not tag.startswith('"') or "Content-Encoding" in answer.headers:
                        tag = None  # a weak tag or encoded content: the transfer cannot be resumed
                for piece in answer.iter_content(_CHUNK_BYTES):
                    sink.write(piece)
                return answer
        except requests.RequestException as error:
            cut = isinstance(error, requests.exceptions.ChunkedEncodingError | requests.ConnectionError)
            if not cut or _find_cause(error) is not None or attempt == session.retries:
                raise ProjectError(f"{source} could not be fetched: {_describe_reason(error)}.") from None
            time.sleep(_BACKOFF * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _find_cause(error: requests.RequestException) -> Exception | None:
    """Return the reason why the session's retries ended before any response; None for other errors."""
    return getattr(error.args[0], "reason", None) if error.args else None


def _describe_reason(error: requests.RequestException) -> str:
    """Describe why a request failed, without its address, which may hold a secret."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if cause := _find_cause(error):
        return " ".join(str(cause).split())
    cut = isinstance(error, requests.exceptions.ChunkedEncodingError | requests.ConnectionError)
    return "the transfer was interrupted" if cut else type(error).__name__


@contextmanager
def _open_download(source: str, name: str, options: DownloadOptions) -> Iterator[Stream]:
    """Download an http(s) file, then open it as a file of the kind that its path or its content says."""
    with download(source, name, options) as (found, plain):
        yield open_files(found, plain)


@contextmanager
def download(source: str, name: str, options: DownloadOptions) -> Iterator[tuple[Found, FileOptions]]:
    """Download an http(s) file; yield it with the options of a file.

    The encoding is the one that the server names, unless an option names one, or the text is UTF-8.
    """
    given = options.model_dump(include=set(FileOptions.model_fields), exclude_unset=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PurePosixPath(urlsplit(source).path).name)
        with Session(options.headers, options.retries, name) as session, path.open("wb") as file:
            answer = _fetch(session, source, file, name)
        found = Found(fs.LocalFileSystem(), {str(path): name}, name)
        charset = _find_charset(answer)
        if charset and "encoding" not in given and not is_utf8(list_files(found)[0].read_head()):
            given["encoding"] = charset
        yield found, FileOptions(**given)


def _find_charset(answer: requests.Response) -> str | None:
    """Return the encoding that a response names, if it is known and not UTF-8."""
    message = Message()
    message["Content-Type"] = answer.headers.get("Content-Type", "")
    with suppress(LookupError):
        name = codecs.lookup(str(message.get_content_charset() or "utf-8")).name
        return name if name != "utf-8" else None
    return None


class _Spool:
    """Keeps batches with different columns and types on disk until their common schema is known."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with its last reader
        weakref.finalize(self, self.file.close)

    def write(self, batch: pa.RecordBatch) -> int:
        """Store a batch; return its position."""
        place = self.file.tell()
        with pa.ipc.new_stream(self.file, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(batch)
        return place

    def read(self, place: int, schema: pa.Schema) -> pa.RecordBatch:
        """Read a batch with the columns of `schema`: cast, and null where it lacks one."""
        self.file.seek(place)
        batch = pa.ipc.open_stream(self.file).read_next_batch()
        arrays = [
            batch.column(column.name).cast(column.type)
            if column.name in batch.schema.names
            else pa.nulls(batch.num_rows, column.type)
            for column in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _open_pages(source: str, name: str, options: PagesOptions) -> Stream:
    """Read a JSON API page by page to disk, then open the records as one table.

    Objects within records become columns named `a.b`, as in pandas.json_normalize; lists become JSON text. A column of
    whole numbers and fractions is double; a column of incompatible values (1, "x") is text.
    """
    types: dict[str, pa.DataType] = {}
    spool, places = _Spool(), []
    for number, records in _read_pages(source, name, options):
        if records:
            batch = _build_batch(records, f"{name}, page {number}")
            for column in batch.schema:
                types[column.name] = unify_types(types.get(column.name, column.type), column.type) or pa.string()
            places.append(spool.write(batch))
    schema = pa.schema(list(types.items()))

    def read() -> Iterator[pa.RecordBatch]:
        with translate_errors(name, "has values without a common type"):
            yield from (spool.read(place, schema) for place in places)

    return Stream(schema, read())


def _read_pages(source: str, name: str, options: PagesOptions) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Fetch the pages of a JSON API; yield the number of each, from 1, and its records. Raises ProjectError naming the page."""
    params: dict[str, Scalar] = {
        key: _expand_variables(value, name) if isinstance(value, str) else value
        for key, value in options.params.items()
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
            answer = _fetch(session, address, body, where, {key: params[key] for key in params if key not in given})
            try:
                page = orjson.loads(body.getvalue())
            except orjson.JSONDecodeError as error:
                raise ProjectError(f"{where} is not JSON: {error}.") from error
            # A counted page that repeats the one before is beyond the end; other pages are identified by their request.
            mark = body.getvalue() if options.page_param else repr(request).encode()
            if (digest := hashlib.sha256(mark).digest()) in seen:
                raise ProjectError(f"{where} was read before: the pages never end.")
            seen.add(digest)
            records = _look_up(page, options.records)
            if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
                shown_path = repr(options.records) if options.records else "the body"
                raise ProjectError(f"{where}: {shown_path} is not a list of objects (collect.options.records).")
            yield number, records
            request = _find_next(options, address, params, answer, page, len(records), where)


def _find_next(
    options: PagesOptions,
    address: str,
    params: Mapping[str, Scalar],
    answer: requests.Response,
    page: Any,
    count: int,
    where: str,
) -> tuple[str, dict[str, Scalar]] | None:
    """Return address and parameters of the next request, None after the last page."""
    if options.next is not None:
        following = answer.links.get("next", {}).get("url") if options.next == "link" else _look_up(page, options.next)
        if not following:
            return None
        if not isinstance(following, str | int):
            raise ProjectError(f"{where}: {options.next!r} is neither an address nor a cursor (collect.options.next).")
        if options.cursor_param:
            return address, {**params, options.cursor_param: following}
        there = urljoin(address, str(following))
        if _name_host(there) != _name_host(address):
            raise ProjectError(
                f"{where} leads to another host, which must not receive the headers and parameters for the first."
            )
        return there, dict(params)
    if options.page_param and count >= (options.page_size or 1):
        return address, {**params, options.page_param: int(params[options.page_param]) + options.page_step}
    return None


def _name_host(address: str) -> tuple[str, str]:
    """Return the scheme and the host with its port."""
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _look_up(page: Any, path: str) -> Any:
    """Return the value at a dotted path in a page, None when it is missing."""
    for part in filter(None, path.split(".")):
        page = page.get(part) if isinstance(page, dict) else None
    return page


def _build_batch(records: Sequence[Mapping[str, Any]], where: str) -> pa.RecordBatch:
    """Convert a page's records to a batch: columns in order of appearance, missing fields null."""
    try:
        flat = [flatten(record) for record in records]
    except ValueError as error:
        raise ProjectError(f"{where} has a record with {error}.") from error
    names = list(dict.fromkeys(name for record in flat for name in record))
    return pa.RecordBatch.from_arrays([_build_array([record.get(name) for record in flat]) for name in names], names)


def _build_array(values: list[Any]) -> pa.Array:
    """Convert values to an array of their type, or to text when they have no common type."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        texts = (value if value is None or isinstance(value, str) else orjson.dumps(value).decode() for value in values)
        return pa.array(list(texts), pa.string())


def is_file(source: str, options: Mapping[str, Any]) -> bool:
    """Return whether an http(s) address is that of a file: its path has a file's suffix, and no option is for an API."""
    pages = set(options) & (set(PagesOptions.model_fields) - set(DownloadOptions.model_fields))
    return not pages and kinds.names_kind(urlsplit(source).path)


def open_web(source: str, name: str, options: Mapping[str, Any]) -> AbstractContextManager[Stream]:
    """Open an http(s) address: a file when its path has a file's suffix, else (or with the option `records`) a JSON API."""
    if is_file(source, options):
        return _open_download(source, name, parse_options(DownloadOptions, name, options))
    return nullcontext(_open_pages(source, name, parse_options(PagesOptions, name, options)))
