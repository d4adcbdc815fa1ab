"""Atomic replacement, exclusive locks and hashes of files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lifecycle.core.errors import ProjectError


@contextmanager
def replace_file(
    path: Path, *, mode: int = 0o644, durable: bool = False, temporary: Path | None = None
) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` and rename it over `path` when the block succeeds.

    Readers see the old file or the new one, never a part. `mode` is that of the new file. With `durable`, its bytes and
    its name are on the disk before the context manager returns. A crash leaves the temporary file behind; with a fixed
    name (`temporary`) the next attempt overwrites it.
    """
    if temporary is None:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        temporary = Path(name)
    else:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(handle)
    try:
        yield temporary
        temporary.chmod(mode)
        if durable:
            _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder (those added, renamed and removed) are on the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    """Wait until the disk has a file or a folder."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock_file(path: Path, *, mode: str = "a", blocking: bool = True) -> Iterator[IO[Any]]:
    """Open `path` in `mode` and hold an exclusive lock on it until the block ends; yield the open file.

    The operating system releases the lock however the process ends. Raises BlockingIOError when another process holds the
    lock and `blocking` is false, FileNotFoundError when the mode does not create the file.
    """
    with path.open(mode) as file:
        lock_handle(file.fileno(), blocking=blocking)
        yield file


def lock_handle(handle: int, *, blocking: bool = True) -> None:
    """Lock an open file or folder until its handle is closed; raise BlockingIOError as `lock_file` does."""
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))


def write_json(value: Any, path: Path) -> None:
    """Write `value` as JSON, the same bytes for the same value; raise ValueError for NaN and infinities."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with replace_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file; raise ProjectError naming the file when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProjectError(f"{path} is not JSON ({error}).") from error
