"""The feature catalog: the definition, the owner and the statistics of each feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.contract import Contract
from lifecycle.core.records import Record
from lifecycle.features.store import hash_feature

_QUANTILES = {"min": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "max": 1.0}
_SHOWN_CATEGORIES = 12  # categories listed for a feature, the most common first
_DIGITS = 6  # significant digits of a statistic, as the last bits of a sum differ between processors


def describe_features(features: list[Record], contract: Contract, table: Path) -> list[Record]:
    """Return a record for each feature of features.json: its definition, version, owner and statistics.

    table: the training part's feature table (Parquet), of which one column is in memory at a time. version: the hash of
    everything that the values depend on, as in the online store's keys.
    """
    return [
        {
            "name": feature["name"],
            "kind": feature["kind"],
            "dtype": contract.columns[feature["name"]].dtype if feature["source"] == "column" else "float64",
            "source": feature["source"],
            "definition": feature["expression"] or feature["name"],
            "columns": feature["columns"],
            "values": feature["values"],
            "unit": feature["unit"],
            "description": feature["description"],
            "owner": _find_owner(feature, contract),
            "version": hash_feature(feature),
            "statistics": _summarise_column(pq.read_table(table, columns=[feature["name"]])[0], feature["kind"]),
        }
        for feature in features
    ]


def _find_owner(feature: Record, contract: Contract) -> str:
    """Return the owners of the columns that a feature reads, else the contract's owner; empty without one."""
    owners = [contract.columns[name].owner or contract.owner for name in feature["columns"]]
    return ", ".join(dict.fromkeys(filter(None, owners)))


def _summarise_column(column: pa.ChunkedArray, kind: str) -> Record:
    """Return rows, missing values, and the mean, standard deviation and quantiles of numbers or the common categories; of texts none."""
    rows = len(column)
    if kind == "text":
        return {
            "rows": rows,
            "missing": column.null_count,
            "distinct": pc.count_distinct(column.cast(pa.string()), mode="only_valid").as_py(),
        }
    if kind == "categorical":
        counted = pc.value_counts(pc.drop_null(column.cast(pa.string())))
        counted = sorted(
            zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True),
            key=lambda category: (-category[1], category[0]),
        )
        shown = [{"category": category, "count": count} for category, count in counted[:_SHOWN_CATEGORIES]]
        return {"rows": rows, "missing": column.null_count, "distinct": len(counted), "categories": shown}
    values = column.cast(pa.float64()).to_numpy()
    values = values[np.isfinite(values)]
    summary: Record = {"rows": rows, "missing": rows - len(values), "distinct": len(np.unique(values))}
    if len(values):
        quantiles = np.quantile(values, list(_QUANTILES.values()))
        summary |= {"mean": _shorten(values.mean()), "sd": _shorten(values.std())}
        summary |= {name: _shorten(value) for name, value in zip(_QUANTILES, quantiles, strict=True)}
    return summary


def _shorten(value: float) -> float:
    """Round a number to DIGITS significant digits."""
    return float(f"{value:.{_DIGITS}g}")
