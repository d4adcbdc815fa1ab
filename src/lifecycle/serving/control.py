"""The control group: a share of the entities, chosen at random, that should be predicted but not treated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from lifecycle.core.records import Record

_PURPOSE = b"control group"  # the signature of a request id with the same key says nothing about its group


class ControlGroup:
    """Assigns predictions to the control group by a keyed hash, so that an entity stays in its group and nobody can guess it.

    key: a secret that all workers and replicas share. share: of the entities that are in the group, from 0 to 1. A larger share
    keeps those that were in it before.
    """

    def __init__(self, key: bytes, share: float) -> None:
        self.keyed = blake2b(digest_size=8, key=blake2b(key, digest_size=32).digest(), person=_PURPOSE)
        self.limit = round(share * 2**64)

    def holds(self, name: str) -> bool:
        """Return whether a name, such as an entity's id as text, is in the control group."""
        hashed = self.keyed.copy()
        hashed.update(name.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hashed.digest()) < self.limit

    def mark(self, predictions: Sequence[Record], entities: Mapping[int, int | str]) -> None:
        """Add `control` to each prediction: by its entity, or by its request id where its row names none.

        entities: the id by row, for the rows that have one.
        """
        for number, record in enumerate(predictions):
            record["control"] = self.holds(str(entities.get(number, record["request_id"])))
