"""What a lookup of features costs: our store on Redis and on SQLite, against Feast and a bare HMGET.

    python -m benchmarks.feature_store [--calls 400] [--rounds 5] [--entities 10000] [--no-environments]

The stores hold 10 features (6 floats, 2 integers, 2 strings) of 10,000 entities, all cached beforehand. One entity a call: the
seconds of each call of all rounds, as p50 and p99. 1,000 entities a call: entities a second, the median of the rounds; a bare
HMGET is pipelined then. In every round each contender looks up the same entities in turn, and the first round is not counted.
Each contender must first return the table's values. All use one Redis server. Feast runs as it is installed (with hiredis, which
we do not have), in an environment of its own.

Limits, one entity a call: at most a fifth of Feast's p50 and p99, and at most twice the p50 of a bare HMGET. Each call waits once
for Redis and so for a core: on a busy machine p99 measures the scheduler, unless root runs this with `chrt -f 10`.

Needs redis-server, and for Feast's environment a package index, once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.environments import FOLDER, make_environment
from benchmarks.figures import Figure, at_most
from lifecycle.core.errors import ProjectError
from lifecycle.features.cache import open_cache
from lifecycle.features.store import FeatureStore, pack, write_rows
from tests.support.servers import start_redis

HERE = Path(__file__).parent
TOGETHER = 1000  # entities of a call of many
FEAST, BARE, REDIS, SQLITE = "Feast on Redis", "bare HMGET", "ours on Redis", "ours on SQLite"
MOST_OF_FEAST = 0.2  # of its p50 and p99
MOST_OF_BARE = 2.0  # of the p50 of a bare HMGET
Contender = Callable[[str, list[int]], Any]  # `one`: seconds of each call; `many`: seconds of the call; `read`: values


def make_table(entities: int) -> pd.DataFrame:
    """Return the entities and their features."""
    rng = np.random.default_rng(0)
    floats = {f"float_{place}": np.round(rng.normal(100, 30, entities), 2) for place in range(6)}
    wholes = {f"whole_{place}": rng.integers(0, 1000, entities) for place in range(2)}
    words = {f"word_{place}": rng.choice(["Month-to-month", "One year", "Two year"], entities) for place in range(2)}
    return pd.DataFrame({"id": np.arange(entities), **floats, **wholes, **words})


def clock(look_up: Callable[[list[int]], Any], read: Callable[[int], dict[str, Any]]) -> Contender:
    """Return a contender of this process; `look_up` looks up one entity or many."""

    def answer(word: str, ids: list[int]) -> Any:
        if word == "read":
            return read(ids[0])
        seconds = []
        for part in [ids] if word == "many" else [[identity] for identity in ids]:
            began = time.perf_counter()
            look_up(part)
            seconds.append(time.perf_counter() - began)
        return seconds[0] if word == "many" else seconds

    return answer


def open_ours(table: pd.DataFrame, folder: Path, url: str) -> Contender:
    """Fill our store and return it as a contender."""
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

    def look_up(ids: list[int]) -> Any:
        if len(ids) == 1:
            return store.get_features(ids[0], names)
        return store.get_many(ids, names)

    if store.get_features(1, names).origin != "cached":
        raise ProjectError(f"{url}: entity 1 was not cached")
    return clock(look_up, lambda identity: dict(store.get_features(identity, names)))


def open_bare(table: pd.DataFrame, url: str) -> Contender:
    """Store a hash for each entity and return a contender that reads it with redis-py; its values are bytes."""
    import redis

    client, names = redis.Redis.from_url(url), [name for name in table if name != "id"]
    filling = client.pipeline(transaction=False)
    for row in table.to_dict("records"):
        filling.hset(f"bare:{row['id']}", mapping={name: row[name] for name in names})
    filling.execute()

    def look_up(ids: list[int]) -> Any:
        if len(ids) == 1:
            return client.hmget(f"bare:{ids[0]}", names)
        pipeline = client.pipeline(transaction=False)
        for identity in ids:
            pipeline.hmget(f"bare:{identity}", names)
        return pipeline.execute()

    def read(identity: int) -> dict[str, Any]:
        texts = [value.decode() for value in look_up([identity])]
        return {name: text if name.startswith("word") else float(text) for name, text in zip(names, texts, strict=True)}

    return clock(look_up, read)


@contextmanager
def open_feast(table: pd.DataFrame, folder: Path, url: str) -> Iterator[Contender]:
    """Start Feast in a process of its own environment, fill it, and yield it as a contender."""
    programs = make_environment("Feast", HERE / "feast.txt")
    table.assign(at=pd.Timestamp.now("UTC").floor("s")).to_parquet(folder / "table.parquet")
    words = [f"{programs}/python", str(HERE / "feast_worker.py"), str(folder), url.partition("//")[2].partition("/")[0]]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "feast.log").open("w"), text=True,
        env={"PATH": str(programs), "HOME": str(folder), "FEAST_USAGE": "False"}, cwd=folder,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def read_answer() -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and not line.startswith(("[", '"', "{")) and not line[0].isdigit():
            line = process.stdout.readline()  # Feast prints about itself
        if not line:
            raise ProjectError(f"Feast stopped: {(folder / 'feast.log').read_text()[-1000:].strip()}")
        return json.loads(line)

    def answer(word: str, ids: list[int]) -> Any:
        assert process.stdin is not None
        process.stdin.write(f"{word} {' '.join(map(str, ids))}\n")
        process.stdin.flush()
        return read_answer()

    try:
        read_answer()
        yield answer
    finally:
        process.kill()
        process.wait()


def check_values(name: str, contender: Contender, table: pd.DataFrame) -> None:
    """Raise ProjectError unless a contender returns the table's values."""
    for identity in (0, 17, len(table) - 1):
        found = contender("read", [identity])
        for column in table.columns.drop("id"):
            expected = table[column].iloc[identity]
            if found[column] != expected:
                raise ProjectError(f"{name}: {column} of {identity} is {found[column]!r}, expected {expected!r}.")


def compare(
    contenders: dict[str, Contender], entities: int, calls: int, rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the seconds of all single calls, and the entities a second of calls of many, by contender."""
    rng = np.random.default_rng(1)
    one: dict[str, list[float]] = {name: [] for name in contenders}
    many: dict[str, list[float]] = {name: [] for name in contenders}
    progress, size = Progress(rounds + 1, "rounds"), min(TOGETHER, entities)
    for number in range(rounds + 1):
        alone = rng.integers(0, entities, calls).tolist()
        together = rng.choice(entities, size, replace=False).tolist()
        for name, contender in contenders.items():
            seconds, rate = contender("one", alone), size / contender("many", together)
            if number:
                one[name] += seconds
                many[name].append(rate)
        progress.advance()
    return {name: np.array(seconds) for name, seconds in one.items()}, {name: median(many[name]) for name in many}


def list_figures(one: dict[str, np.ndarray], many: dict[str, float]) -> Iterator[Figure]:
    """Return p50, p99 and rate of ours on Redis against every other contender, with the limits."""
    for name in one:
        if name == REDIS:
            continue
        for share in (50, 99):
            ours, peer = (float(np.percentile(one[each], share)) * 1e6 for each in (REDIS, name))
            limit = None
            if name == FEAST:
                limit = at_most(ours / peer, MOST_OF_FEAST)
            elif name == BARE and share == 50:
                limit = at_most(ours / peer, MOST_OF_BARE)
            yield Figure.of(f"one entity a call: p{share}, µs", ours, peer, name, limit)
        yield Figure.of(f"{TOGETHER:,} entities a call: entities a second", many[REDIS], many[name], name)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Fill every store, check what it returns, and time it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = make_table(options.entities)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(start_redis(folder / "redis"))
        contenders: dict[str, Contender] = {
            REDIS: open_ours(table, folder, url),
            SQLITE: open_ours(table, folder, "sqlite:///cache.db"),
            BARE: open_bare(table, url),
        }
        if "feast" in options.peers:
            contenders[FEAST] = stack.enter_context(open_feast(table, folder, url))
        for title, contender in contenders.items():
            check_values(title, contender, table)
        return list(list_figures(*compare(contenders, options.entities, options.calls, options.rounds)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--calls", type=int, default=400, help="of one entity, in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entities", type=int, default=10_000)


BENCHMARK = Benchmark(
    "feature_store", measure, add_options, small={"calls": 20, "rounds": 2, "entities": 1000, "peers": []}
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
