"""Read the table that is adopted: its first rows, how many there are, and what quotes say of words such as NA."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.adoption.reading import NO_VALUE
from lifecycle.core.errors import ProjectError
from lifecycle.core.progress import show_progress
from lifecycle.sources.addresses import hide_secrets
from lifecycle.sources.dispatch import open_source

_MAX_ROWS = 1_000_000  # rows of a longer table that are examined
_PLAIN = re.compile(r"[\d\s.,+-]*")  # a number, which is not quoted where text is


@dataclass(frozen=True)
class Quotes:
    """What quotes say of the words for "no value", such as NA, in a file of text.

    missing: the words that mean missing throughout, as they stand without quotes where other text has them. words: the columns
    in which they are certainly words, as they are in quotes and numbers are not.
    """

    missing: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SourceTable:
    """The rows of a source: the first ones, how many there are and how many could not be read, what quotes say, and notes."""

    shown: pa.Table
    rows: int
    rejected: int
    first_reject: str
    quotes: Quotes
    notes: tuple[str, ...] = ()


def read_table(source: str, root: Path, options: Mapping[str, Any], *, delimited: bool) -> SourceTable:
    """Read the source's first rows, and count all of its rows, with progress.

    delimited: its files are delimited text, whose quotes separate words such as NA from missing values.
    """
    kept, rows = [], 0
    with open_source(source, root, options) as stream:
        for batch in show_progress(stream, f"adopt: {hide_secrets(source)}"):
            if rows < _MAX_ROWS:
                kept.append(batch)
            rows += batch.num_rows
        shown = pa.Table.from_batches(kept, stream.schema).slice(0, _MAX_ROWS)
        rejects, notes = stream.rejected, stream.notes
        first = f"{rejects.rows[0].where}: {rejects.rows[0].reason}" if rejects.rows else ""
        if len(rejects) > rows:
            raise ProjectError(
                f"{len(rejects):,} of {rows + len(rejects):,} rows cannot be read, the first is {first}."
            )
    quotes = _inspect_quotes(source, root, options, shown) if delimited else Quotes()
    if quotes.missing:
        shown = _read_shown(source, root, {**options, "null_values": list(quotes.missing)}, len(shown))
    return SourceTable(shown, rows, len(rejects), first, quotes, notes)


def _read_shown(source: str, root: Path, options: Mapping[str, Any], rows: int) -> pa.Table:
    """Read as many of the source's first rows again."""
    kept, have = [], 0
    with open_source(source, root, options) as stream:
        for batch in stream:
            kept.append(batch)
            have += batch.num_rows
            if have >= rows:
                break
        return pa.Table.from_batches(kept, stream.schema).slice(0, rows)


def _inspect_quotes(source: str, root: Path, options: Mapping[str, Any], shown: pa.Table) -> Quotes:
    """Find out whether words such as NA are in quotes, as R and pandas write text, where missing values have none.

    The reader takes the option `null_values` for missing where it is not quoted. So the table is read once more with these
    words, with the most common text of each such column, and with a number: what is still there is quoted.
    """
    if "null_values" in options:
        return Quotes()
    texts = [field.name for field in shown.schema if pa.types.is_string(field.type)]
    none: dict[str, list[str]] = {}
    common: dict[str, str] = {}
    number = ("", "")
    for name in texts:
        words = pc.value_counts(shown[name].drop_null()).sort("descending", by="counts").field("values").to_pylist()
        if not number[0] and words and all(map(_PLAIN.fullmatch, words)):
            number = (name, words[0])
        empty = [word for word in words if word.strip().lower() in NO_VALUE]
        others = (word for word in words if word not in empty and not _PLAIN.fullmatch(word))
        if empty and (other := next(others, "")):
            none[name], common[name] = empty, other
    if not none:
        return Quotes()
    tried = sorted({*chain(*none.values()), *common.values(), number[1]} - {""})
    again = _read_shown(source, root, {**options, "null_values": tried}, len(shown))
    quoted = [name for name in none if _count(again[name], common[name])]
    missing = {word for name in quoted for word in none[name] if _count(again[name], word) < _count(shown[name], word)}
    bare = bool(number[0]) and not _count(again[number[0]], number[1])
    return Quotes(tuple(sorted(missing)), frozenset(quoted) if bare else frozenset())


def _count(column: pa.ChunkedArray, word: str) -> int:
    """Count how often a word is in a column."""
    return int(pc.sum(pc.equal(column, word)).as_py() or 0)
