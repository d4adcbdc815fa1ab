"""Requests that name an entity: its columns come from the feature store, and the row goes the way of any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.features.cache import open_cache
from lifecycle.features.store import Entity, FeatureStore, StoreMetrics, UnknownEntityError
from lifecycle.serving.bundle import to_request
from lifecycle.serving.schema import RequestError, Row, Schema, format_value
from lifecycle.serving.settings import Settings

FIELD = "entity_id"
MARK = b'"entity_id"'  # in a body that may name entities: to look for it takes nothing beside reading the body
Record = dict[str, Any]


def open_features(root: Path, settings: Settings, registry: CollectorRegistry) -> FeatureStore | None:
    """The store that the settings name; None where they name none. Raises ProjectError for what is no address."""
    url = settings.store.get_secret_value()
    if not url:
        return None
    cache = open_cache(url, root, settings.store_timeout)
    return FeatureStore(root / paths.ONLINE_ROWS, cache, ttl=settings.store_ttl, metrics=StoreMetrics(registry))


def read_entities(body: bytes, schema: Schema) -> tuple[list[Row], bool] | None:
    """The rows of a body of which some name an entity, and whether it is a list; None for any other body.

    A column of the model that has the field's name keeps it: then no row names an entity.
    """
    if MARK not in body or FIELD in schema.columns:
        return None
    try:
        value = orjson.loads(body)
    except ValueError:
        return None
    rows = value if isinstance(value, list) else [value]
    if len(rows) > schema.rows or not any(map(names_entity, rows)):
        return None
    return rows, isinstance(value, list)


def names_entity(row: Any) -> bool:
    """Whether a row, or what stands in a row's place, names an entity."""
    return isinstance(row, dict) and FIELD in row


def complete_rows(rows: list[Row], listed: bool, schema: Schema, store: FeatureStore) -> tuple[list[Row], list[Record]]:
    """Rows with the columns of the entities that they name, checked as any others, and what the answer to each says of it.

    What stands beside an entity in a row goes before what the store has. Raises RequestError: 404 for entities that there are
    not, 422 for what no id can be and for what breaks the schema, 503 where the store has no rows of such columns.
    """
    places = [place for place, row in enumerate(rows) if names_entity(row)]
    entities = [read_entity(rows[place][FIELD], place if listed else None) for place in places]
    given = set.intersection(*(set(rows[place]) for place in places))
    names = [name for name in schema.names if name not in given]
    try:
        found = store.get_many(entities, names)
    except UnknownEntityError as error:
        raise RequestError(404, f"{error}.") from None
    except ProjectError as error:
        raise RequestError(503, str(error)) from None
    completed, told = list(rows), [Record() for _ in rows]
    for place, features in zip(places, found, strict=True):
        row = dict(rows[place])
        told[place] = {FIELD: row.pop(FIELD), "features": features.origin}
        completed[place] = {**to_request(features), **row}
    checked, _ = schema.parse(orjson.dumps(completed if listed else completed[0]))
    return checked, told


def read_entity(value: Any, place: int | None) -> Entity:
    """The id that a row names; raises RequestError (422) for what no id can be. place: the row's, in a list."""
    if isinstance(value, float) and value.is_integer():  # 3.0 is a whole number in JSON
        value = int(value)
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    expected = "an id: a whole number or a string"
    record: Record = {"field": FIELD, "got": format_value(value), "expected": expected}
    if place is not None:
        record["row"] = place
    raise RequestError(422, f"{FIELD}: got {record['got']}, expected {expected}.", [record])
