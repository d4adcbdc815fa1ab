"""Signed request ids: they hold the time, the model and the predicted class, so that any replica can take the label."""

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

_LAYOUT = struct.Struct(">Q6sB5s")  # microseconds since 1970, the model's first six bytes, the class, a random part
_SIGNATURE_BYTES = 10
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # faster than base64.urlsafe_b64encode (RFC 4648, section 5)
_UNDECIDED = 2  # no class was predicted


@dataclass(frozen=True)
class Prediction:
    """The content of a request id: microseconds since 1970, the model's short name, the class (None: no class)."""

    at: int
    model: str
    positive: bool | None


class Signer:
    """Creates and reads request ids with a secret key."""

    def __init__(self, key: bytes) -> None:
        self.keyed = blake2b(digest_size=_SIGNATURE_BYTES, key=blake2b(key, digest_size=32).digest())
        self.numbers = count(int.from_bytes(os.urandom(5)))  # a random start: a system call for each id takes longer

    def sign(self, at: int, model: str, positive: bool | None) -> str:
        """Return the id of a prediction: 40 letters that are safe in URLs."""
        code = _UNDECIDED if positive is None else int(positive)
        content = _LAYOUT.pack(at, bytes.fromhex(model), code, (next(self.numbers) % 2**40).to_bytes(5))
        return binascii.b2a_base64(content + self.digest(content), newline=False).translate(_URL_SAFE).decode()

    def read(self, token: str) -> Prediction:
        """Return the content of an id; raise ValueError for an id that this key did not sign."""
        try:
            whole = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise ValueError("not a request id") from None
        content, signature = whole[: _LAYOUT.size], whole[_LAYOUT.size :]
        if base64.urlsafe_b64encode(whole).decode() != token:  # a second spelling of an id would count as another id
            raise ValueError("not a request id")
        if len(content) != _LAYOUT.size or not compare_digest(self.digest(content), signature):
            raise ValueError("not a request id of this service")
        at, model, code, _ = _LAYOUT.unpack(content)
        return Prediction(at, model.hex(), None if code == _UNDECIDED else bool(code))

    def digest(self, content: bytes) -> bytes:
        """Return BLAKE2b keyed with the secret (RFC 7693)."""
        hashed = self.keyed.copy()  # takes half the time of a new one
        hashed.update(content)
        return hashed.digest()


def now() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1000


def find_key(folder: Path) -> bytes:
    """Return the key in the log's folder, which the first process creates; only its owner may read it.

    Raises OSError when it cannot be written or read.
    """
    path = folder / "key"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = folder / f".key.{secrets.token_hex(8)}"  # process ids repeat in containers that share the folder
    if not path.exists():
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path.read_bytes()
