"""Files in ZIP archives, read as a stream: nothing is unpacked to disk unless its kind needs it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from lifecycle.core.errors import ProjectError


@contextmanager
def open_archive(system: fs.FileSystem, path: str, name: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive; raise ProjectError when it is broken, or uses a compression that is not known."""
    broken = (zipfile.BadZipFile, NotImplementedError, EOFError)
    with system.open_input_file(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*broken, pa.ArrowInvalid) as error:  # the latter for a place before the beginning
            raise ProjectError(f"{name} is not readable as a ZIP archive: {error}.") from error
        with archive:
            try:
                yield archive
            except broken as error:
                raise ProjectError(f"{name} is not readable as a ZIP archive: {error}.") from error


def list_tables(system: fs.FileSystem, path: str, name: str) -> list[str]:
    """List the files in an archive that may be tables, in order; raise ProjectError for one that must not be read."""
    with open_archive(system, path, name) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if ".." in parts.parts or parts.is_absolute():
            raise ProjectError(f"{name} holds {member.filename!r}, a path that leads out of the archive.")
    shown = [member for member in members if not _is_hidden(member.filename)]
    for member in shown:
        if member.flag_bits & 1:
            raise ProjectError(f"{name} is protected by a password ({member.filename}): pack it without one.")
    if not shown:
        raise ProjectError(f"{name} is an archive without a table.")
    return sorted(member.filename for member in shown)


def _is_hidden(member: str) -> bool:
    """Return whether a file's name or folder begins with a dot or an underscore, as what systems add to archives does."""
    return any(part.startswith((".", "_")) for part in PurePosixPath(member).parts)


@contextmanager
def open_member(system: fs.FileSystem, path: str, name: str, member: str) -> Iterator[Any]:
    """Open a file in an archive as a stream of bytes."""
    with open_archive(system, path, name) as archive, archive.open(member) as stream:
        yield stream
