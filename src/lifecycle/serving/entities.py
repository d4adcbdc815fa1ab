"""Requests that name an entity: the feature store supplies its columns, and the row is validated like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Record
from lifecycle.features.cache import open_cache
from lifecycle.features.store import Entity, FeatureStore, StoreMetrics, UnknownEntityError
from lifecycle.serving.bundle import to_request
from lifecycle.serving.schema import Parsed, RequestError, Row, Schema, format_value
from lifecycle.serving.settings import Settings

FIELD = "entity_id"
_QUOTED_FIELD = b'"entity_id"'  # a cheap test for bodies that may name entities


def open_features(root: Path, settings: Settings, registry: CollectorRegistry) -> FeatureStore | None:
    """Return the store that the settings name, None when they name none; raise ProjectError for an invalid address."""
    url = settings.feature_store.get_secret_value()
    if not url:
        return None
    cache = open_cache(url, root, settings.store_timeout)
    return FeatureStore(root / paths.ONLINE_ROWS, cache, ttl=settings.store_ttl, metrics=StoreMetrics(registry))


def read_entities(body: bytes, schema: Schema) -> tuple[list[Row], bool] | None:
    """Return the rows of a body in which some name an entity, and whether it is a list; None for any other body.

    When a column of the model is called `entity_id`, no row names an entity.
    """
    if _QUOTED_FIELD not in body or FIELD in schema.columns:
        return None
    try:
        value = orjson.loads(body)
    except ValueError:
        return None
    rows = value if isinstance(value, list) else [value]
    if len(rows) > schema.rows or not any(map(_names_entity, rows)):
        return None
    return rows, isinstance(value, list)


def _names_entity(row: Any) -> bool:
    """Return whether a row (which may be any JSON value) names an entity."""
    return isinstance(row, dict) and FIELD in row


def complete_rows(rows: list[Row], listed: bool, schema: Schema, store: FeatureStore) -> tuple[Parsed, list[Record]]:
    """Return validated rows with the columns of the entities that they name, and what each answer says about its entity.

    Columns in the request take precedence over those of the store. Raises RequestError: 404 for an unknown entity, 422 for
    an invalid id or an invalid row, 503 when the store lacks the columns.
    """
    places = [place for place, row in enumerate(rows) if _names_entity(row)]
    entities = [_read_entity(rows[place][FIELD], place if listed else None) for place in places]
    supplied = set.intersection(*(set(rows[place]) for place in places))
    names = [name for name in schema.names if name not in supplied]
    try:
        found = store.get_many(entities, names)
    except UnknownEntityError as error:
        raise RequestError(404, f"{error}.") from None
    except ProjectError as error:
        raise RequestError(503, str(error)) from None
    completed, described = list(rows), [Record() for _ in rows]
    for place, features in zip(places, found, strict=True):
        row = dict(rows[place])
        described[place] = {FIELD: row.pop(FIELD), "features": features.origin}
        completed[place] = {**to_request(features), **row}
    parsed = schema.parse(orjson.dumps(completed if listed else completed[0]))
    return parsed._replace(entities=parsed.entities | dict(zip(places, entities, strict=True))), described


def _read_entity(value: Any, place: int | None) -> Entity:
    """Return the id that a row names; raise RequestError (422) for an invalid id. place: the row's index in a list."""
    if isinstance(value, float) and value.is_integer():  # 3.0 is an integer in JSON
        value = int(value)
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    expected = "an id: a whole number or a string"
    record: Record = {"field": FIELD, "got": format_value(value), "expected": expected}
    if place is not None:
        record["row"] = place
    raise RequestError(422, f"{FIELD}: got {record['got']}, expected {expected}.", [record])
