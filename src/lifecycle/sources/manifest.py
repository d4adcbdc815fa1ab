"""The manifest of the raw table: its source, version, content hash and columns."""

from __future__ import annotations

from lifecycle.core.records import Frozen


class RawManifest(Frozen):
    """The content of data/raw/manifest.json; `columns` maps each column to its type in the raw file."""

    source: str
    version: str
    sha256: str
    rows: int
    columns: dict[str, str]
