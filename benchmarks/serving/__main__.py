"""What a prediction costs: `lifecycle serve` beside what else one would serve the same fitted model with.

    python -m benchmarks.serving [--peers flask,gunicorn,mlflow,bentoml] [--seconds 4] [--rounds 5]

The champion of this checkout answers single rows (the golden requests of its bundle, in turn): our server with one worker
and its prediction log, Flask's own server with joblib (the same on gunicorn), `mlflow models serve`, BentoML, and an ASGI
application that only reads the body and answers as many bytes as we do. Each must first give our probability for every row.
A server has a core, wrk (16 connections) another. All run at once, asked one after the other, round by round; medians count.

In bulk: wrk's one connection sends ours a list of 1,000 rows again and again, from JSON to JSON, ids and log included; a
process on the server's core calls the fitted classifier's predict_proba on the DataFrame of these rows, which was made
before; both compute the derived features. Then: seconds from start to /ready, resident memory of our worker after all this.

Limits: 40 times Flask's own server and MLflow in requests a second, a tenth of their p99, a quarter of the bare application,
in bulk not slower than in process, no record lost by the log (which would be work left out), ready within 2 s, 150 MB.

Needs Linux, two cores, wrk and taskset (Debian: wrk, util-linux), and for BentoML's environment a package index, once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import FOLDER
from benchmarks.project import CHECKOUT
from benchmarks.serving.peers import PEERS, Peer, Server, count_dropped, describe_echo, describe_ours, start
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.serving.bundle import TOLERANCE
from lifecycle.serving.fallback import find_release

Record = dict[str, Any]
OURS, ECHO = "ours", "echo"
CONNECTIONS = 16
ROWS = 1000  # of a request in bulk
STARTS = 5
TEXTBOOK = ("flask", "mlflow")  # the peers that have limits
LEAST_TIMES = 40.0  # requests a second, of theirs
MOST_P99 = 0.1  # of theirs
LEAST_OF_ECHO = 0.25  # requests a second
LEAST_IN_BULK = 1.0  # rows a second, of the fitted classifier's in process
MOST_SECONDS = 2.0  # from start to ready
MOST_MEGABYTES = 150.0


@dataclass(frozen=True)
class Load:
    """What wrk saw of a server: requests a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Limit:
    """A limit and whether it was kept; `text` says what was measured."""

    kept: bool
    text: str


def read_arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=",".join(PEERS), help="of flask, gunicorn, mlflow, bentoml; '' for none")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    chosen.peers = [name for name in chosen.peers.split(",") if name]
    if unknown := set(chosen.peers) - PEERS.keys():
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return chosen


def choose_cores() -> tuple[int, int]:
    """A core for the server and one for who asks; raises ProjectError where that, or a program, is missing."""
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            raise ProjectError(f"{program} is not installed; Debian has it (wrk, util-linux).")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise ProjectError("one core is not enough: the server and who asks it need one each.")
    return cores[0], cores[1]


def put_load(server: Server, bodies: Path, core: int, connections: int, seconds: float) -> Load:
    """Ask for so long; raises ProjectError when a request was not answered well."""
    done = subprocess.run(
        ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s",
         "--latency", "--timeout", "30s", "-s", str(Path(__file__).with_name("rotate.lua")), server.address, str(bodies)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ProjectError(f"wrk: {(done.stderr or done.stdout).strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["refused"] or found["lost"] or not found["requests"]:
        raise ProjectError(
            f"{server.peer.title}: of {found['requests']:,} requests {found['refused']:,} were refused, "
            f"{found['lost']:,} lost."
        )
    return Load(found["requests"] / found["seconds"], found["p50"], found["p99"])


def check_answers(server: Server, golden: list[Record]) -> None:
    """Raise ProjectError unless a server gives the fitted model's probability for every row."""
    assert server.peer.read is not None
    for number, record in enumerate(golden):
        given = server.peer.read(json.loads(server.ask(server.peer.wrap(record["request"]))))
        if not abs(given - record["probability"]) <= TOLERANCE:
            raise ProjectError(
                f"{server.peer.title}: row {number} has the probability {given!r}, expected {record['probability']!r}."
            )


def write_bodies(path: Path, contents: Iterator[Any]) -> Path:
    """Write request bodies, one a line."""
    path.write_text("".join(json.dumps(content) + "\n" for content in contents), encoding="utf-8")
    return path


def compare_servers(
    servers: dict[str, Server], golden: list[Record], core: int, options: argparse.Namespace, folder: Path
) -> dict[str, list[Load]]:
    """What wrk saw of each server in each round, by name."""
    bodies = {
        name: write_bodies(folder / f"{name}.jsonl", (server.peer.wrap(record["request"]) for record in golden))
        for name, server in servers.items()
    }
    for name, server in servers.items():
        put_load(server, bodies[name], core, CONNECTIONS, 1)
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, server in servers.items():
            loads[name].append(put_load(server, bodies[name], core, CONNECTIONS, options.seconds))
    return loads


def compare_bulk(
    ours: Server, golden: list[Record], release: Path, cores: tuple[int, int], options: argparse.Namespace, folder: Path
) -> tuple[list[float], list[float]]:
    """Rows a second of our server and of the classifier in process, round by round."""
    records = [golden[number % len(golden)] for number in range(ROWS)]
    rows = [record["request"] for record in records]
    told = json.loads(ours.ask(rows))["predictions"]
    for number, (answer, record) in enumerate(zip(told, records, strict=True)):
        if not abs(answer["probability"] - record["probability"]) <= TOLERANCE:
            raise ProjectError(f"row {number} of a list has another probability than alone.")
    bodies, table = write_bodies(folder / "bulk.jsonl", iter([rows])), folder / "rows.json"
    write_json(rows, table)
    command = [sys.executable, "-m", "benchmarks.serving.in_process", str(release), str(table), str(options.seconds)]
    served, computed = [], []
    put_load(ours, bodies, cores[1], 1, 1)
    for _ in range(options.rounds):
        served.append(put_load(ours, bodies, cores[1], 1, options.seconds).rate * ROWS)
        done = subprocess.run(
            ["taskset", "-c", str(cores[0]), *command], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
        computed.append(float(done.stdout))
    return served, computed


def show_loads(loads: dict[str, list[Load]], servers: dict[str, Server]) -> None:
    """Print a line for each server: the rounds' median, least and most."""
    print(f"{'':20s}{'requests/s':>25s}{'p50 ms':>26s}{'p99 ms':>28s}{'MB':>5s}{'ours is':>14s}")
    for name, rounds in loads.items():
        times = "" if name == OURS else f"{middle(loads[OURS], 'rate') / middle(rounds, 'rate'):.2f} times"
        print(
            f"{servers[name].peer.title:20s}{describe_spread(rounds, 'rate', ',.0f'):>25s}{describe_spread(rounds, 'p50', '.2f'):>26s}"
            f"{describe_spread(rounds, 'p99', '.2f'):>28s}{servers[name].memory / 1e6:5.0f}{times:>14s}",
            flush=True,
        )


def describe_spread(loads: list[Load], name: str, form: str) -> str:
    """The median of what the rounds measured, the least and the most."""
    values = [getattr(load, name) for load in loads]
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def middle(loads: list[Load], name: str) -> float:
    """The median of what the rounds measured."""
    return median(getattr(load, name) for load in loads)


def judge_loads(loads: dict[str, list[Load]], servers: dict[str, Server]) -> Iterator[Limit]:
    """The limits of single rows."""
    ours = loads[OURS]
    for name in [name for name in TEXTBOOK if name in loads]:
        title = servers[name].peer.title
        times = middle(ours, "rate") / middle(loads[name], "rate")
        share = middle(ours, "p99") / middle(loads[name], "p99")
        yield Limit(times >= LEAST_TIMES, f"{times:.1f} times the requests/s of {title} (at least {LEAST_TIMES:g})")
        yield Limit(share < MOST_P99, f"{share:.3f} of the p99 of {title} (below {MOST_P99:g})")
    share = middle(ours, "rate") / middle(loads[ECHO], "rate")
    yield Limit(
        share >= LEAST_OF_ECHO, f"{share:.2f} of the bare application's requests/s (at least {LEAST_OF_ECHO:g})"
    )


def measure(options: argparse.Namespace, folder: Path) -> list[Limit]:
    """Measure and print; the limits."""
    cores = choose_cores()
    release = find_release(CHECKOUT, read_json(CHECKOUT / paths.CHAMPION)["model"]).parent
    golden = read_json(release / "bundle/golden.json")

    def run(peer: Peer) -> Any:
        return start(peer, golden[0]["request"], cores[0], folder)

    with run(describe_ours(release, folder)) as ours:
        check_answers(ours, golden)
        with ExitStack() as stack:
            servers = {OURS: ours}
            for name in options.peers:
                servers[name] = stack.enter_context(run(PEERS[name](release, folder)))
                check_answers(servers[name], golden)
            size = round(median(len(ours.ask(record["request"])) for record in golden))
            servers[ECHO] = stack.enter_context(run(describe_echo(size)))
            loads = compare_servers(servers, golden, cores[1], options, folder)
            show_loads(loads, servers)
            limits = list(judge_loads(loads, servers))
        served, computed = compare_bulk(ours, golden, release, cores, options, folder)
        memory, dropped = ours.memory / 1e6, count_dropped(ours)
    starts = []
    for _ in range(STARTS):
        with run(ours.peer) as again:
            starts.append(again.seconds)
    print(
        f"lists of {ROWS:,} rows: {median(served):,.0f} rows/s ({min(served):,.0f} to {max(served):,.0f}); predict_proba in "
        f"process {median(computed):,.0f} ({min(computed):,.0f} to {max(computed):,.0f})"
    )
    share = median(served) / median(computed)
    return [
        *limits,
        Limit(share >= LEAST_IN_BULK, f"{share:.2f} times predict_proba in process (at least {LEAST_IN_BULK:g})"),
        Limit(
            median(starts) <= MOST_SECONDS,
            f"{median(starts):.2f} s from start to ready ({min(starts):.2f} to {max(starts):.2f}; at most {MOST_SECONDS:g})",
        ),
        Limit(dropped == 0, f"{dropped:,} records that the prediction log had no room for (none)"),
        Limit(memory <= MOST_MEGABYTES, f"{memory:.0f} MB resident after the load (at most {MOST_MEGABYTES:g})"),
    ]  # fmt: skip


def main() -> int:
    """Measure and print; the exit status says whether the limits hold."""
    options = read_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            limits = measure(options, Path(folder))
    except ProjectError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for limit in limits:
        print(f"{'kept' if limit.kept else 'missed':7s} {limit.text}")
    return int(not all(limit.kept for limit in limits))


if __name__ == "__main__":
    sys.exit(main())
