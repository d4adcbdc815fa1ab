"""Signed request ids: they carry when, by which model and what was predicted, so that any replica can take the truth."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from itertools import count
from pathlib import Path

LAYOUT = struct.Struct(">Q6sB5s")  # microseconds since 1970, the model's first six bytes, what was predicted, chance
SIGNATURE = 10  # bytes
URL_SAFE = bytes.maketrans(b"+/", b"-_")  # as base64.urlsafe_b64encode does, which takes longer (RFC 4648, 5)
UNDECIDED = 2  # where no threshold was known


@dataclass(frozen=True)
class Prediction:
    """What a request id says: microseconds since 1970, the model's short name, and the class (None where undecided)."""

    at: int
    model: str
    positive: bool | None


class Signer:
    """Makes and reads request ids with a secret key."""

    def __init__(self, key: bytes) -> None:
        self.begun = blake2b(digest_size=SIGNATURE, key=blake2b(key, digest_size=32).digest())
        self.chance = count(
            int.from_bytes(os.urandom(5))
        )  # from a random start: asking the system each time takes longer

    def sign(self, at: int, model: str, positive: bool | None) -> str:
        """The id of a prediction: 40 letters that are safe in addresses."""
        code = UNDECIDED if positive is None else int(positive)
        told = LAYOUT.pack(at, bytes.fromhex(model), code, (next(self.chance) % 2**40).to_bytes(5))
        return binascii.b2a_base64(told + self.digest(told), newline=False).translate(URL_SAFE).decode()

    def read(self, token: str) -> Prediction:
        """What an id says; raises ValueError for one that this key did not sign."""
        try:
            whole = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise ValueError("no request id") from None
        told, signature = whole[: LAYOUT.size], whole[LAYOUT.size :]
        if base64.urlsafe_b64encode(whole).decode() != token:  # another spelling of an id would count as another
            raise ValueError("no request id")
        if len(told) != LAYOUT.size or not compare_digest(self.digest(told), signature):
            raise ValueError("no request id of this service")
        at, model, code, _ = LAYOUT.unpack(told)
        return Prediction(at, model.hex(), None if code == UNDECIDED else bool(code))

    def digest(self, told: bytes) -> bytes:
        """BLAKE2b keyed with the secret (RFC 7693)."""
        hashed = self.begun.copy()  # half the time of keying anew
        hashed.update(told)
        return hashed.digest()


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def find_key(folder: Path) -> bytes:
    """The key kept beside the log, made by whichever process comes first; only its owner may read it.

    Raises OSError when the disk refuses.
    """
    path = folder / "key"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder / f".key.{secrets.token_hex(8)}"  # in containers that share the folder process ids are the same
    if not path.exists():
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another was first
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return path.read_bytes()
