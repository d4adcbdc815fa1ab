"""Tables from http(s): files, downloaded with retries, and JSON APIs, page by page."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import logging
import os
import re
import tempfile
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, NoReturn
from urllib.parse import parse_qs, urljoin, urlsplit

import pyarrow as pa
import requests
from pyarrow import fs
from pydantic import AfterValidator, Field
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Scalar, Strict
from lifecycle.core.paths import PARAMS
from lifecycle.core.progress import report_slowly
from lifecycle.core.tables import Rejects, Stream
from lifecycle.sources import kinds
from lifecycle.sources.addresses import SENSITIVE
from lifecycle.sources.cells import NOTHING, Kind, Kinds, choose_type, classify_whole
from lifecycle.sources.files import FileOptions, Found, is_utf8, list_files, open_files
from lifecycle.sources.json_records import flatten
from lifecycle.sources.options import parse_options
from lifecycle.sources.selection import translate_errors
from lifecycle.sources.typing import format_json, parse_json

logger = logging.getLogger("lifecycle")

_TIMEOUT = 30  # seconds to connect, and between two chunks
_CHUNK_BYTES = 1 << 16  # bytes that an interrupted transfer loses at most
_BACKOFF = 0.5  # seconds, doubled with each retry
_MAX_RETRY_AFTER = 600  # seconds that a server may request with Retry-After
_RETRIED = (429, 500, 502, 503, 504)
_NOT_FOUND = 404
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_NEXT = re.compile(  # what APIs call the next page, where there is one, and the number of all records
    r"(@odata\.)?next_?((page_?)?(url|link|href|cursor|token))?|next_?page|has_?(more|next)(_?page)?", re.IGNORECASE
)
_TOTAL = re.compile(r"count|num_?found|total_?(count|results|items|records|rows|hits|elements)?", re.IGNORECASE)
_NOT_FINITE = re.compile(rb"\b(NaN|Infinity)\b")
_MOST_EMPTY = 100  # pages in a row; an API that filters may have some
_LEAST_SHIFTED = 3  # records that a page shares with the one before, moved by a step: the parameter counts records


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
    page_size: Annotated[int, Field(ge=1)] | None = (
        None  # a page with fewer records, or fewer than the first one, is the last
    )
    rate: Annotated[float, Field(gt=0)] | None = None  # requests a second at most
    max_pages: Annotated[int, Field(ge=1)] = 100_000  # pages at most; more are an error, as an API may never end
    max_bytes: Annotated[int, Field(ge=1)] = 20_000_000_000  # bytes of all pages at most
    max_seconds: Annotated[float, Field(gt=0)] = 43_200  # seconds for all pages at most
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
    session: Session,
    address: str,
    sink: IO[bytes],
    source: str,
    params: Mapping[str, Scalar] | None = None,
    accepted: Collection[int] = (),
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
                if answer.status_code not in accepted:
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
    """Keeps the records of pages on disk until the types of all columns are known."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with its last reader
        weakref.finalize(self, self.file.close)
        self.sizes: list[int] = []

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Store the records of a page."""
        self.sizes.append(self.file.write(format_json(records).encode()))

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        self.file.seek(0)
        return (_parse_body(self.file.read(size)) for size in self.sizes)


class _Budget:
    """Counts pages, bytes and seconds; raises ProjectError naming the option to look at when a limit is reached."""

    def __init__(self, options: PagesOptions, name: str) -> None:
        self.options, self.name = options, name
        self.pages, self.empty, self.bytes, self.end = 0, 0, 0, time.monotonic() + options.max_seconds

    def begin_page(self) -> None:
        """Count a page."""
        self.pages += 1
        self.take(0)
        if self.pages > self.options.max_pages:
            self.stop("max_pages", f"more than {self.options.max_pages:,} pages")

    def end_page(self, records: int, where: str) -> None:
        """Count pages without a record."""
        self.empty = 0 if records else self.empty + 1
        if self.empty > _MOST_EMPTY:
            raise ProjectError(
                f"{where}: this page and the {_MOST_EMPTY} before have no records, though each leads to a next one "
                "(collect.options.next, collect.options.records)."
            )

    def take(self, count: int) -> None:
        """Count received bytes."""
        self.bytes += count
        if self.bytes > self.options.max_bytes:
            self.stop("max_bytes", f"more than {self.options.max_bytes:,} bytes")
        if time.monotonic() > self.end:
            self.stop("max_seconds", f"more to send after {self.options.max_seconds:,g} seconds")

    def stop(self, option: str, what: str) -> NoReturn:
        """Raise the error."""
        raise ProjectError(f"{self.name} has {what}: if that is right, raise the limit (collect.options.{option}).")


class _Body(io.BytesIO):
    """The body of a page, whose bytes are counted."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__()
        self.budget = budget

    def write(self, data: Any) -> int:
        self.budget.take(len(data))
        return super().write(data)


def _open_pages(source: str, name: str, options: PagesOptions) -> Stream:
    """Read a JSON API page by page to disk, then open the records as one table.

    Objects within records become columns named `a.b`, as in pandas.json_normalize; lists and empty objects become JSON
    text. A column of whole numbers and fractions is double if that alters none; a column of several types (1, "x"), or with
    whole numbers beyond 64 bits, is text as JSON has it. A record that is not an object is rejected.
    """
    spool, rejected, notes = _Spool(), Rejects(), list[str]()
    found: Kinds = {}
    report, rows = report_slowly(f"collect: {name}"), 0
    for number, records in _read_pages(source, name, options, notes):
        flat = []
        for place, record in enumerate(records, 1):
            if not isinstance(record, dict):
                rejected.add(
                    f"{name}, page {number}, record {place}", format_json(record), "the record is not an object"
                )
                continue
            try:
                flat.append(flatten(record))
            except ValueError as error:
                raise ProjectError(f"{name}, page {number} has a record with {error}.") from error
            for key, value in flat[-1].items():
                found[key] = found.get(key, NOTHING) | _classify(value)
        rows += len(flat)
        if flat:
            spool.write(flat)
        report(f"{number:,} pages, {rows:,} records")
    schema = pa.schema([(key, choose_type(kind) if kind else pa.null()) for key, kind in found.items()])

    def read() -> Iterator[pa.RecordBatch]:
        with translate_errors(name, "has text that is not Unicode"):
            for page in spool:
                columns = ([record.get(column.name) for record in page] for column in schema)
                arrays = [_build_array(values, column.type) for values, column in zip(columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    for note in notes:
        logger.warning("%s", note)
    return Stream(schema, read(), rejected=rejected, notes=tuple(notes))


def _classify(value: Any) -> Kind:
    """Return the kind of a JSON value, of which lists and objects are text already; none for null."""
    if value is None:
        return NOTHING
    if type(value) is int:
        return classify_whole(value)
    return {bool: Kind.BOOLEAN, float: Kind.FRACTION}.get(type(value), Kind.TEXT)


def _build_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert values to an array of a column's type; text has numbers, true and false as JSON has them."""
    if pa.types.is_string(kind):
        values = [value if value is None or isinstance(value, str) else format_json(value) for value in values]
    return pa.array(values, kind)


def _read_pages(source: str, name: str, options: PagesOptions, notes: list[str]) -> Iterator[tuple[int, list[Any]]]:
    """Fetch the pages of a JSON API; yield the number of each, from 1, and its records. Raises ProjectError naming the page.

    After the first of pages that are counted, one that is not found, or empty, is beyond the last. When the last page that is
    read says that there are more, a sentence goes to `notes`.
    """
    params: dict[str, Scalar] = {
        key: _expand_variables(value, name) if isinstance(value, str) else value
        for key, value in options.params.items()
    }
    if options.page_param:
        params[options.page_param] = options.page_start
    request: tuple[str, dict[str, Scalar]] | None = (source, params)
    number, asked, due, budget = 0, set(), 0.0, _Budget(options, name)
    rows, before, size = 0, list[Any](), options.page_size or 1
    known: dict[int, bytes] = {}  # the records of the first page and of the one before
    with Session(options.headers, options.retries, name) as session:
        while request is not None:
            number += 1
            where = f"{name}, page {number}"
            if (mark := hashlib.sha256(repr(request).encode()).digest()) in asked:
                raise ProjectError(f"{where} was read before: the pages never end.")
            asked.add(mark)
            budget.begin_page()
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + (1 / options.rate if options.rate else 0.0)
            address, params = request
            given = parse_qs(urlsplit(address).query, keep_blank_values=True)
            body, last = _Body(budget), options.page_param is not None and options.next is None and number > 1
            sent = {key: params[key] for key in params if key not in given}
            answer = _fetch(session, address, body, where, sent, (_NOT_FOUND,) if last else ())
            text = body.getvalue()
            if answer.status_code == _NOT_FOUND or ((last or number == 1) and not text.strip()):
                return
            page = _parse_page(text, answer.headers.get("Content-Type", ""), where)
            records = _look_up(page, options.records)
            if records is None and _is_null(page, options.records):
                records = []
            if not isinstance(records, list) or (records and not any(isinstance(record, dict) for record in records)):
                raise ProjectError(
                    f"{where}: {repr(options.records) if options.records else 'the body'} is not a list of objects (collect.options.records)."
                )
            if records:
                digest = hashlib.sha256(format_json(records).encode()).digest()
                if digest in known.values() and number == 2 and size < (options.page_size or 1):
                    return  # the first page was the only one, and the API shows it whatever is asked for
                if digest in known.values():
                    earlier = next(page for page, seen in known.items() if seen == digest)
                    raise ProjectError(f"{where} has the records of page {earlier} again: {_describe_paging(options)}.")
                known = {key: seen for key, seen in known.items() if key == 1} | {number: digest}
                shifted = before[options.page_step :] if options.next is None else []
                if len(shifted) >= _LEAST_SHIFTED and records[: len(shifted)] == shifted:
                    raise ProjectError(
                        f"{where} has {len(shifted):,} records of page {number - 1} again, as {options.page_param!r} counts records: "
                        "set the records of a page (collect.options.page_step)."
                    )
            budget.end_page(len(records), where)
            yield number, records
            rows, before = rows + len(records), records
            if number == 1 and records:
                size = min(size, len(records))  # an API may have smaller pages than it is asked for
            request = _find_next(options, address, params, answer, page, len(records), size, where)
            more = "its Link header names a next one" if "next" in answer.links else _find_more(page, rows)
            if request is None and records and more:
                notes.append(
                    f"{where} is the last one that is read, but {more}: set collect.options.next (link for the Link header) or "
                    f"page_param to read them all; {rows:,} records were read"
                )


def _describe_paging(options: PagesOptions) -> str:
    """Describe which option to look at when the pages of an API repeat."""
    if options.next is None:
        return f"the API ignores {options.page_param!r}, or counts pages otherwise (collect.options.page_param)"
    if options.cursor_param:
        return f"the API ignores {options.cursor_param!r} (collect.options.cursor_param)"
    return "its address of the next page leads back (collect.options.next)"


def _parse_body(text: bytes) -> Any:
    """Parse JSON; NaN and Infinity, as Python's servers write them, are numbers, as in files. Raises ValueError for other text."""
    try:
        return parse_json(text)
    except ValueError:
        if _NOT_FINITE.search(text) is None:
            raise
        return json.loads(text)


def _parse_page(body: bytes, content_type: str, where: str) -> Any:
    """Parse JSON in the encoding that its bytes show, as a byte order mark does, or that its Content-Type names."""
    header = Message()
    header["Content-Type"] = content_type
    encoding: str = json.detect_encoding(body)
    if encoding == "utf-8":  # nothing shows another one
        encoding = header.get_content_charset("utf-8")
    try:
        return _parse_body(body if encoding == "utf-8" else body.decode(encoding).encode())
    except LookupError as error:
        raise ProjectError(f"{where} is in the encoding {encoding!r}, which Python does not know.") from error
    except UnicodeError as error:
        raise ProjectError(f"{where} is not {encoding} text, as its Content-Type says: {error}.") from error
    except ValueError as error:
        kind = header.get_content_type()
        other = (
            ""
            if "json" in kind or not content_type
            else f" (the Content-Type is {kind}; a file's address ends as in .csv)"
        )
        raise ProjectError(f"{where} is not JSON{other}: {error}.") from error


def _find_next(
    options: PagesOptions,
    address: str,
    params: Mapping[str, Scalar],
    answer: requests.Response,
    page: Any,
    count: int,
    size: int,
    where: str,
) -> tuple[str, dict[str, Scalar]] | None:
    """Return address and parameters of the next request, None after the last page: one with fewer records than `size`."""
    if options.next is not None:
        following = answer.links.get("next", {}).get("url") if options.next == "link" else _look_up(page, options.next)
        if following is None or following is False or following == "" or (following == 0 and not options.cursor_param):
            return None
        if not isinstance(following, str | int) or following is True:
            raise ProjectError(f"{where}: {options.next!r} is neither an address nor a cursor (collect.options.next).")
        if options.cursor_param:
            if not count and following == params.get(options.cursor_param):
                return None  # an empty page that leads to itself
            return address, {**params, options.cursor_param: following}
        there = urljoin(address, str(following))
        if _name_host(there) != _name_host(address):
            raise ProjectError(
                f"{where} leads to another host, which must not receive the headers and parameters for the first."
            )
        return there, dict(params)
    if options.page_param and count >= size:
        return address, {**params, options.page_param: int(params[options.page_param]) + options.page_step}
    return None


def _find_more(found: Any, rows: int, path: str = "") -> str:
    """Return what a page says of more records than so many, as `next is 'https://…'`; empty when it says nothing."""
    for key, value in found.items() if isinstance(found, dict) else ():
        place = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and _NEXT.fullmatch(key) and "href" in value:  # as HAL writes a link
            place, value = f"{place}.href", value["href"]  # noqa: PLW2901
        if isinstance(value, dict) and (said := _find_more(value, rows, place)):
            return said
        more = _NEXT.fullmatch(key) and value and isinstance(value, str | int)
        if more or (_TOTAL.fullmatch(key) and type(value) is int and value > rows):
            return f"{place} is {value!r:.80}"
    return ""


def _name_host(address: str) -> tuple[str, str]:
    """Return the scheme and the host with its port."""
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _look_up(page: Any, path: str) -> Any:
    """Return the value at a dotted path in a page, None when it is missing; a name may have a dot, as `@odata.nextLink`."""
    if isinstance(page, dict) and path in page:
        return page[path]
    for part in filter(None, path.split(".")):
        page = page.get(part) if isinstance(page, dict) else None
    return page


def _is_null(page: Any, path: str) -> bool:
    """Return whether a page has null at a dotted path, as some servers write an empty list."""
    parent, _, name = path.rpartition(".")
    found = _look_up(page, parent)
    return bool(path) and isinstance(found, dict) and name in found and found[name] is None


def is_file(source: str, options: Mapping[str, Any]) -> bool:
    """Return whether an http(s) address is that of a file: its path has a file's suffix, and no option is for an API."""
    pages = set(options) & (set(PagesOptions.model_fields) - set(DownloadOptions.model_fields))
    return not pages and kinds.names_kind(urlsplit(source).path)


def open_web(source: str, name: str, options: Mapping[str, Any]) -> AbstractContextManager[Stream]:
    """Open an http(s) address: a file when its path has a file's suffix, else (or with the option `records`) a JSON API."""
    if is_file(source, options):
        return _open_download(source, name, parse_options(DownloadOptions, name, options))
    return nullcontext(_open_pages(source, name, parse_options(PagesOptions, name, options)))
