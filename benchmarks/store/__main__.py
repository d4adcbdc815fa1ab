"""What a lookup of features costs: our store on Redis and on SQLite, beside Feast and a bare HMGET on the same Redis.

    python -m benchmarks.store [--calls 400] [--rounds 5] [--skip-feast]

10 features (6 floats, 2 whole numbers, 2 strings) of 10,000 entities, all cached beforehand. One entity a call: the seconds of
each call, of all rounds, p50 and p99. 1,000 entities a call: entities a second, the rounds' median; a bare HMGET is pipelined
then. In every round each is asked in turn, for the same entities; the first round is not counted. Each must first give the
table's values. Feast comes as it is (with hiredis, which we do not have), in an environment of its own.

Limits, one entity a call: a fifth of Feast's p50 and p99 on Redis, twice the p50 of a bare HMGET. Each call waits once for Redis,
and so for a core: where others use them all, p99 is theirs, unless root asks with `chrt -f 10 python -m benchmarks.store`.

Needs redis-server, and for Feast's environment a package index, once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.environments import FOLDER, make_environment
from benchmarks.limits import describe_limits_text
from lifecycle.core.errors import ProjectError
from lifecycle.features.cache import open_cache
from lifecycle.features.store import FeatureStore, pack, write_rows
from tests.support.servers import start_redis

HERE = Path(__file__).parent
ENTITIES, TOGETHER = 10_000, 1000
FEAST, BARE, REDIS, SQLITE = "Feast on Redis", "bare HMGET", "ours on Redis", "ours on SQLite"
LEAST_TIMES = 5.0  # Feast's p50 and p99, of ours
MOST_OF_BARE = 2.0  # of a bare HMGET's p50
Contender = Callable[[str, list[int]], Any]  # `one`: seconds of each call; `many`: seconds of the call; `read`: values


def make_table() -> pd.DataFrame:
    """The entities and their features, seeded."""
    rng = np.random.default_rng(0)
    floats = {f"float_{place}": np.round(rng.normal(100, 30, ENTITIES), 2) for place in range(6)}
    wholes = {f"whole_{place}": rng.integers(0, 1000, ENTITIES) for place in range(2)}
    words = {f"word_{place}": rng.choice(["Month-to-month", "One year", "Two year"], ENTITIES) for place in range(2)}
    return pd.DataFrame({"id": np.arange(ENTITIES), **floats, **wholes, **words})


def clock(ask: Callable[[list[int]], Any], read: Callable[[int], dict[str, Any]]) -> Contender:
    """A contender of this process: `ask` looks entities up, one or many."""

    def answer(word: str, ids: list[int]) -> Any:
        if word == "read":
            return read(ids[0])
        seconds = []
        for part in [ids] if word == "many" else [[identity] for identity in ids]:
            began = time.perf_counter()
            ask(part)
            seconds.append(time.perf_counter() - began)
        return seconds[0] if word == "many" else seconds

    return answer


def open_ours(table: pd.DataFrame, folder: Path, url: str) -> Contender:
    """Our store, filled."""
    names = [name for name in table if name != "id"]
    kinds = {"float64": "float64", "int64": "int64"}
    dtypes = {name: kinds.get(str(table[name].dtype), "string") for name in names}
    features = [
        {"name": name, "kind": "numeric", "expression": None, "columns": [name], "values": None} for name in names
    ]
    path = folder / "rows.db"
    if not path.exists():
        rows = table[names].to_dict("split")["data"]
        part = [(identity, 0, pack(row)) for identity, row in zip(table["id"].tolist(), rows, strict=True)]
        write_rows(path, [part], {"entity": {"name": "id", "dtype": "int64"}, "columns": dtypes, "features": features})
    store = FeatureStore(path, open_cache(url, folder, timeout=5))
    for _ in store.fill():
        pass

    def ask(ids: list[int]) -> Any:
        if len(ids) == 1:
            return store.get_features(ids[0], names)
        return store.get_many(ids, names)

    if store.get_features(1, names).origin != "cached":
        raise ProjectError(f"{url}: entity 1 was not cached")
    return clock(ask, lambda identity: dict(store.get_features(identity, names)))


def open_bare(table: pd.DataFrame, url: str) -> Contender:
    """A hash an entity, read with redis-py as it comes; what it gives are bytes."""
    import redis

    client, names = redis.Redis.from_url(url), [name for name in table if name != "id"]
    filling = client.pipeline(transaction=False)
    for row in table.to_dict("records"):
        filling.hset(f"bare:{row['id']}", mapping={name: row[name] for name in names})
    filling.execute()

    def ask(ids: list[int]) -> Any:
        if len(ids) == 1:
            return client.hmget(f"bare:{ids[0]}", names)
        pipeline = client.pipeline(transaction=False)
        for identity in ids:
            pipeline.hmget(f"bare:{identity}", names)
        return pipeline.execute()

    def read(identity: int) -> dict[str, Any]:
        texts = [value.decode() for value in ask([identity])]
        return {name: text if name.startswith("word") else float(text) for name, text in zip(names, texts, strict=True)}

    return clock(ask, read)


@contextmanager
def open_feast(table: pd.DataFrame, folder: Path, url: str) -> Iterator[Contender]:
    """Feast, in a process of its own environment, filled."""
    programs = make_environment("Feast", HERE / "feast.txt")
    table.assign(at=pd.Timestamp.now("UTC").floor("s")).to_parquet(folder / "table.parquet")
    words = [f"{programs}/python", str(HERE / "feast_worker.py"), str(folder), url.partition("//")[2].partition("/")[0]]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "feast.log").open("w"), text=True,
        env={"PATH": str(programs), "HOME": str(folder), "FEAST_USAGE": "False"}, cwd=folder,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def hear() -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and not line.startswith(("[", '"', "{")) and not line[0].isdigit():
            line = process.stdout.readline()  # what Feast says of itself
        if not line:
            raise ProjectError(f"Feast stopped: {(folder / 'feast.log').read_text()[-1000:].strip()}")
        return json.loads(line)

    def answer(word: str, ids: list[int]) -> Any:
        assert process.stdin is not None
        process.stdin.write(f"{word} {' '.join(map(str, ids))}\n")
        process.stdin.flush()
        return hear()

    try:
        hear()
        yield answer
    finally:
        process.kill()
        process.wait()


def check_values(name: str, contender: Contender, table: pd.DataFrame) -> None:
    """Raise ProjectError unless a contender gives the table's values."""
    for identity in (0, 17, ENTITIES - 1):
        given = contender("read", [identity])
        for column in table.columns.drop("id"):
            expected = table[column].iloc[identity]
            if given[column] != expected:
                raise ProjectError(f"{name}: {column} of {identity} is {given[column]!r}, expected {expected!r}.")


def compare(
    contenders: dict[str, Contender], calls: int, rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Seconds of all single calls, and entities a second of calls of many, by contender."""
    rng = np.random.default_rng(1)
    one: dict[str, list[float]] = {name: [] for name in contenders}
    many: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        alone = rng.integers(0, ENTITIES, calls).tolist()
        together = rng.choice(ENTITIES, TOGETHER, replace=False).tolist()
        for name, contender in contenders.items():
            seconds, rate = contender("one", alone), TOGETHER / contender("many", together)
            if number:
                one[name] += seconds
                many[name].append(rate)
    return {name: np.array(seconds) for name, seconds in one.items()}, {name: median(many[name]) for name in many}


def show(one: dict[str, np.ndarray], many: dict[str, float]) -> None:
    """Print a line for each contender, with its p50, p99 and rate as multiples of ours on Redis."""
    print(f"{'':16s}{'p50 µs':>10s}{'':>8s}{'p99 µs':>10s}{'':>8s}{'entities/s':>14s}")
    ours = one[REDIS]
    for name, seconds in one.items():
        cells = ""
        for share in (50, 99):
            value = np.percentile(seconds, share)
            cells += f"{value * 1e6:10,.0f}{value / np.percentile(ours, share):7.2f}×"
        print(f"{name:16s}{cells}{many[name]:14,.0f}{many[name] / many[REDIS]:7.2f}×")


def judge(one: dict[str, np.ndarray]) -> Sequence[tuple[bool, str]]:
    """The limits: whether each is kept, and what was measured."""
    limits = []
    if FEAST in one:
        for share in (50, 99):
            times = float(np.percentile(one[FEAST], share) / np.percentile(one[REDIS], share))
            limits.append(
                (times >= LEAST_TIMES, f"Feast's p{share} is {times:.1f} times ours (at least {LEAST_TIMES:g})")
            )
    times = float(np.median(one[REDIS]) / np.median(one[BARE]))
    limits.append((times <= MOST_OF_BARE, f"{times:.2f} times the p50 of a bare HMGET (at most {MOST_OF_BARE:g})"))
    return limits


def main() -> int:
    """Measure and print; the exit status says whether the limits hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="of one entity, in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-feast", action="store_true")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = make_table()
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER) as name, ExitStack() as stack:
            folder = Path(name)
            url = stack.enter_context(start_redis(folder / "redis"))
            contenders: dict[str, Contender] = {
                REDIS: open_ours(table, folder, url),
                SQLITE: open_ours(table, folder, "sqlite:///cache.db"),
                BARE: open_bare(table, url),
            }
            if not options.skip_feast:
                contenders[FEAST] = stack.enter_context(open_feast(table, folder, url))
            for title, contender in contenders.items():
                check_values(title, contender, table)
            one, many = compare(contenders, options.calls, options.rounds)
    except (ProjectError, OSError) as error:
        print(f"store: {error}", file=sys.stderr)
        return 1
    show(one, many)
    return describe_limits_text(judge(one))


if __name__ == "__main__":
    sys.exit(main())
