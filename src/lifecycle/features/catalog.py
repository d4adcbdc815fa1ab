"""The registry of features: what each is, who answers for it, and how its values are spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.contract import Contract
from lifecycle.features.store import hash_feature

Record = dict[str, Any]
QUANTILES = {"min": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "max": 1.0}
LEVELS = 12  # that are told of a categorical feature, the commonest first
DIGITS = 6  # significant ones of a statistic: the last bits of a sum differ from processor to processor


def describe_features(features: list[Record], contract: Contract, table: Path) -> list[Record]:
    """A record for each feature of features.json: its definition, version, owner and statistics.

    table: the feature table (Parquet) of the training part, of which one column is in memory at a time. version: the hash of
    what the values follow from, as in the online store's keys.
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
            "owner": find_owner(feature, contract),
            "version": hash_feature(feature),
            "statistics": summarise_column(pq.read_table(table, columns=[feature["name"]])[0], feature["kind"]),
        }
        for feature in features
    ]


def find_owner(feature: Record, contract: Contract) -> str:
    """Who answers for the columns that a feature reads: each column's owner, else the contract's; empty where none is named."""
    owners = [contract.columns[name].owner or contract.owner for name in feature["columns"]]
    return ", ".join(dict.fromkeys(filter(None, owners)))


def summarise_column(column: pa.ChunkedArray, kind: str) -> Record:
    """Rows, missing values, and mean, standard deviation and quantiles of numbers, or the commonest levels."""
    rows = len(column)
    if kind == "categorical":
        counted = pc.value_counts(pc.drop_null(column.cast(pa.string())))
        levels = sorted(
            zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True),
            key=lambda level: (-level[1], level[0]),
        )
        told = [{"category": level, "count": count} for level, count in levels[:LEVELS]]
        return {"rows": rows, "missing": column.null_count, "distinct": len(levels), "categories": told}
    values = column.cast(pa.float64()).to_numpy()
    values = values[np.isfinite(values)]
    summary: Record = {"rows": rows, "missing": rows - len(values), "distinct": len(np.unique(values))}
    if len(values):
        quantiles = np.quantile(values, list(QUANTILES.values()))
        summary |= {"mean": shorten(values.mean()), "sd": shorten(values.std())}
        summary |= {name: shorten(value) for name, value in zip(QUANTILES, quantiles, strict=True)}
    return summary


def shorten(value: float) -> float:
    """A number to DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")
