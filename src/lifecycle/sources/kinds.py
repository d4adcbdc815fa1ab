"""Which kind of file is it: by its ending, and by its first bytes where the ending does not say."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import PurePosixPath

from lifecycle.core.errors import ProjectError
from lifecycle.sources import excel

TEXT = (".csv", ".tsv", ".tab", ".psv", ".txt")
LINES = (".jsonl", ".ndjson")  # JSON, one record a line
JSON = (".json", *LINES)
KINDS = (*TEXT, *JSON, ".parquet", *excel.KINDS)
ZIP = ".zip"
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}  # of text: Parquet compresses its columns
ACCEPTED = (
    f"expected {', '.join(KINDS)} or {ZIP}, or a text file's suffix followed by one of {', '.join(COMPRESSIONS)}, "
    "or a file that contains such a table"
)
_CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_BINARY = {  # the first bytes of files that hold no table
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"GIF8": "a picture", b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database (its address is sqlite:///…)", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive",
    b"\x7fELF": "a program", b"ARROW1": "an Arrow file", b"Obj\x01": "an Avro file", b"ORC": "an ORC file",
}  # fmt: skip
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_CONTROLS = bytes({*range(0x20)} - {0x01, *b"\t\n\r\f\v\x1a\x1c\x1d\x1e\x1f"})


def split_ending(path: str) -> tuple[str, str | None]:
    """Return the ending of a path that says its kind ("" if none does), and the compression that its last ending says."""
    *inner, last = PurePosixPath(path.lower()).suffixes or [""]
    if last in COMPRESSIONS:
        return (inner[-1] if inner else ""), COMPRESSIONS[last]
    return last, None


def names_kind(path: str) -> bool:
    """Return whether the ending of a path says that it is a file of a table."""
    ending, compression = split_ending(path)
    return ending in (*KINDS, ZIP) or compression is not None


def needs_content(path: str) -> bool:
    """Return whether the content decides the kind: programs write text into workbooks, and anything into .csv."""
    ending, compression = split_ending(path)
    return compression is not None or ending not in {".parquet", ZIP}


def find_compression(head: bytes) -> str | None:
    """Return the compression of a file by its first bytes."""
    return next((codec for magic, codec in _CODECS.items() if head.startswith(magic)), None)


def find_kind(path: str, name: str, head: bytes, list_members: Callable[[], list[str]]) -> str:
    """Return the kind of a file, one of `KINDS` or `ZIP`, from its ending and its first bytes without their compression.

    list_members: lists the files in the file, if it is a ZIP archive. Raises ProjectError for a file without a table.
    """
    ending, compression = split_ending(path)
    if compression is not None and ending in {".parquet", *excel.KINDS}:
        raise ProjectError(f"{name} ends in {ending + PurePosixPath(path.lower()).suffix!r}: {ACCEPTED}.")
    if head.startswith(b"PAR1"):
        return ".parquet"
    if head.startswith(b"PK\x03\x04"):
        return ending if ending in excel.KINDS else _name_archive(list_members())
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return ending if ending in excel.KINDS else ".xls"
    thing = next((thing for magic, thing in _BINARY.items() if head.startswith(magic)), None)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:15].lower()
    if thing is None and start.startswith((b"<!doctype", b"<html", b"<table", b"<?xml")):
        thing = "an HTML or XML document"
    if thing is None and not _is_text(head):
        thing = "not text, as it has too many bytes such as zeros"
    if thing is not None and ending not in JSON:
        raise ProjectError(f"{name} is {thing}: {ACCEPTED}.")
    if ending in (*JSON, *(kind for kind in TEXT if kind != ".txt")):
        return ending
    if start[:1] == b"{" or start[:2] == b"[{" or (start[:1] == b"[" and start[1:].lstrip()[:1] == b"{"):
        return ".json"
    return ending if ending in TEXT else ".txt"


def _name_archive(members: list[str]) -> str:
    """Return the kind of a ZIP archive by the files in it."""
    if "xl/workbook.bin" in members:
        return ".xlsb"
    if any(member.startswith("xl/") for member in members):
        return ".xlsx"
    return ".ods" if "content.xml" in members and "mimetype" in members else ZIP


def _is_text(head: bytes) -> bool:
    """Return whether bytes may be text: without control characters, except in UTF-16 and UTF-32."""
    if head.startswith(_MARKS) or not head:
        return True
    if max(head[::2].count(0), head[1::2].count(0)) > 0.3 * len(head) / 2:
        return min(head[::2].count(0), head[1::2].count(0)) < 0.1 * len(head) / 2  # UTF-16 without a mark
    return len(head.translate(None, _CONTROLS)) > 0.99 * len(head)
