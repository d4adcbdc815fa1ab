"""Feast on a Redis server: reads commands from stdin, one a line, and answers each with JSON. It runs in Feast's own environment.

`one ID ...` looks up each entity alone and answers with the seconds of each call. `many ID ...` looks up all in one call and answers with
its seconds. `read ID` answers with the features of one entity.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

KINDS = {"float64": Float64, "int64": Int64}


def open_store(folder: Path, address: str) -> tuple[FeatureStore, list[str]]:
    """Fill a store with the table in the folder and return it with the names of its features."""
    path = folder / "table.parquet"
    table = pd.read_parquet(path)
    names = [name for name in table if name not in ("id", "at")]
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)
    fields = [Field(name=name, dtype=KINDS.get(str(table[name].dtype), String)) for name in names]
    source = FileSource(name="rows", path=str(path), timestamp_field="at")
    view = FeatureView(name="view", entities=[entity], schema=fields, source=source, online=True)
    store = FeatureStore(config=RepoConfig(
        project="benchmark", provider="local", registry=str(folder / "registry.db"), entity_key_serialization_version=3,
        online_store={"type": "redis", "connection_string": address}, offline_store={"type": "file"},
    ))  # fmt: skip
    store.apply([entity, view])
    store.write_to_online_store("view", table)
    return store, [f"view:{name}" for name in names]


def main() -> None:
    """Answer commands until stdin ends."""
    store, names = open_store(Path(sys.argv[1]), sys.argv[2])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        word, *ids = line.split()
        rows = [{"id": int(identity)} for identity in ids]
        if word == "read":
            answer = {name: values[0] for name, values in store.get_online_features(names, rows).to_dict().items()}
        elif word == "many":
            began = time.perf_counter()
            store.get_online_features(names, rows).to_dict()
            answer = time.perf_counter() - began
        else:
            answer = []
            for row in rows:
                began = time.perf_counter()
                store.get_online_features(names, [row]).to_dict()
                answer.append(time.perf_counter() - began)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
