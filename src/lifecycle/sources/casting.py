"""Cast a table of text to the types of its contract while it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core.contract import Column, Role
from lifecycle.core.parsing import TYPES, parse_text


class Caster:
    """Casts the text columns of a table's batches as the contract says.

    A column in which a cell cannot be cast stays text as a whole, so that the quarantine shows the cell as it was. That is
    known only at the end: `unfit` then names such columns, and the table is read again with them in `kept`.
    """

    def __init__(self, schema: pa.Schema, columns: Mapping[str, Column], kept: Collection[str] = ()) -> None:
        self.columns = {
            field.name: columns[field.name]
            for field in schema
            if pa.types.is_string(field.type) and field.name in columns and _is_read(columns[field.name])
        }
        self.kept = frozenset(kept)
        self.schema = pa.schema(
            [
                pa.field(field.name, TYPES[self.columns[field.name].dtype])
                if field.name in self.columns and field.name not in self.kept
                else field
                for field in schema
            ]
        )
        self.unfit: dict[str, str] = {}  # column: the first cell that could not be cast

    def cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Cast a batch; cells that cannot be cast are null, and their columns are noted."""
        arrays = []
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self.columns.get(name)
            if column is None or name in self.kept:
                arrays.append(array)
                continue
            values, failed = parse_text(array, column.dtype, column.format, column.null_values)
            if name not in self.unfit and pc.any(failed).as_py():
                self.unfit[name] = str(array.filter(failed)[0])
            arrays.append(values)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _is_read(column: Column) -> bool:
    """Return whether a column is cast: text stays text, and what is dropped is not looked at."""
    dropped = column.role is Role.IGNORED or (column.role is Role.PII and column.pii == "drop")
    return not dropped and (column.dtype != "string" or bool(column.null_values))
