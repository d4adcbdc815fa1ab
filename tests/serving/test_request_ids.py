import base64
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.serving.request_ids import Prediction, Signer, find_key, now

MODEL = "0123456789ab"
SIGNER = Signer(b"secret")
IDS = st.builds(
    SIGNER.sign,
    st.integers(0, 2**64 - 1),
    st.binary(min_size=6, max_size=6).map(bytes.hex),
    st.sampled_from([True, False, None]),
)


@settings(deadline=None, max_examples=60)
@given(st.binary(), st.integers(0, 2**64 - 1), st.binary(min_size=6, max_size=6), st.sampled_from([True, False, None]))
def test_an_id_says_what_was_signed(key: bytes, at: int, model: bytes, positive: bool | None) -> None:
    token = Signer(key).sign(at, model.hex(), positive)
    assert len(token) == 40 and set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Signer(key).read(token) == Prediction(at, model.hex(), positive)


@settings(deadline=None, max_examples=60)
@given(IDS, st.data())
def test_an_altered_id_is_none(token: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters().filter(lambda letter: letter != token[place]))
    with pytest.raises(ValueError, match="not a request id"):
        SIGNER.read(token[:place] + letter + token[place + 1 :])


@settings(deadline=None, max_examples=60)
@given(IDS, st.integers(0, 39), st.text(min_size=1, max_size=5))
def test_a_cut_or_longer_id_is_none(token: str, length: int, more: str) -> None:
    for other in (token[:length], token + more, more + token):
        with pytest.raises(ValueError, match="not a request id"):
            SIGNER.read(other)


def test_an_id_is_spelled_in_one_way() -> None:
    """A truth is counted once for each id: another spelling of the same bytes would count twice."""
    token = next(
        token for token in (SIGNER.sign(number, MODEL, True) for number in range(1000)) if {"-", "_"} & {*token}
    )
    for other in (token.replace("-", "+").replace("_", "/"), token + "=", token + "==", token + "===="):
        assert base64.b64decode(other, altchars=b"-_") == base64.urlsafe_b64decode(token)
        with pytest.raises(ValueError, match="not a request id"):
            SIGNER.read(other)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=100), st.binary(max_size=100), st.integers(0, 2**64 - 1))
def test_another_key_reads_nothing(key: bytes, other: bytes, at: int) -> None:
    if key != other:
        with pytest.raises(ValueError, match="not a request id of this service"):
            Signer(other).read(Signer(key).sign(at, MODEL, True))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60) | st.text(st.characters(categories=["Cs", "Lo", "Zs"]), max_size=60))
def test_any_other_text_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a request id"):
        SIGNER.read(text)


def test_ids_of_one_moment_differ() -> None:
    """Within a process and between two that share a key."""
    at, signers = now(), (Signer(b"shared"), Signer(b"shared"))
    ids = [signer.sign(at, MODEL, False) for signer in signers for _ in range(5000)]
    assert len(set(ids)) == len(ids)


def test_now_is_in_microseconds() -> None:
    before = int(time.time() * 1e6)
    assert before - 1 <= now() <= time.time() * 1e6 + 1


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "predictions" / "log"
    mask = os.umask(0)
    try:
        key = find_key(folder)
    finally:
        os.umask(mask)
    assert len(key) == 32 and find_key(folder) == key
    assert find_key(tmp_path / "other") != key
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_processes_that_race_for_the_key_agree(tmp_path: Path) -> None:
    """Each waits at a gate, so that all look for the key at once."""
    code = (
        "import sys; from pathlib import Path; from lifecycle.serving.request_ids import find_key; "
        "print('here', flush=True); sys.stdin.readline(); print(find_key(Path(sys.argv[1])).hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=20)[0].strip() for process in processes}
    assert keys == {find_key(tmp_path).hex()}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_containers_that_race_for_the_key_agree(tmp_path: Path) -> None:
    """In each container the server has the same process id, as threads have here; they share the log's folder."""
    count = 8
    with ThreadPoolExecutor(count) as pool:
        for turn in range(25):
            folder, gate = tmp_path / str(turn), Barrier(count)

            def find(_: int, folder: Path = folder, gate: Barrier = gate) -> bytes:
                gate.wait(20)
                return find_key(folder)

            assert {*pool.map(find, range(count))} == {(folder / "key").read_bytes()}


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        find_key(tmp_path / "file")
