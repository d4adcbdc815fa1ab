"""Files in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyarrow import fs

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import split_glob
from lifecycle.sources.files import Again, FileOptions, Found, leave_hidden, open_files


def open_store(source: str, name: str, options: FileOptions) -> Stream:
    """Open an object, a glob or a folder in an object store that fsspec knows; the environment holds the credentials."""
    with translate_store_errors(name):
        stream = open_files(find_objects(source, name), options)

    def read() -> Iterator[pa.RecordBatch]:
        with translate_store_errors(name):
            yield from stream

    return replace(stream, batches=Again(read) if stream.text else read())


def find_objects(source: str, name: str) -> Found:
    """Find an object, or those of a glob or folder; what begins with a dot or an underscore is left out."""
    import fsspec

    store, path = fsspec.core.url_to_fs(source)
    system = fs.LocalFileSystem() if "file" in store.protocol else fs.PyFileSystem(_make_handler(store))
    folder, pattern = split_glob(path)
    if not pattern and store.isfile(path):
        return Found(system, {path: name}, name)
    found = store.glob(path) if pattern else store.find(path)
    if not found:
        store.ls(folder)  # an error of the listing names what is wrong with a bucket or a key
    paths = {file: store.unstrip_protocol(file) for file in found if not file.endswith("/")}
    return leave_hidden(Found(system, paths, name, folder), "looked with the credentials of the environment")


def _make_handler(store: Any) -> fs.FSSpecHandler:
    """Make a handler through which pyarrow reads an fsspec file system: only the requested ranges, without read-ahead."""

    class Handler(fs.FSSpecHandler):  # type: ignore[misc]
        def open_input_file(self, path: str) -> Any:
            return pa.PythonFile(self.fs.open(path, mode="rb", cache_type="none"), mode="r")

    return Handler(store)


@contextmanager
def translate_store_errors(name: str) -> Iterator[None]:
    """Translate the exceptions of an object store's library into a ProjectError of one sentence."""
    try:
        yield
    except ProjectError:
        raise
    except ImportError as error:
        raise ProjectError(f"{name} needs a package that is not installed: {' '.join(str(error).split())}") from error
    except Exception as error:  # each store's library has its own exceptions
        raise ProjectError(f"{name} could not be read: {' '.join(str(error).split())}") from error
