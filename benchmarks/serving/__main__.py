"""What a prediction costs: `lifecycle serve` against other servers of the same fitted model.

    python -m benchmarks.serving [--peers flask,gunicorn,mlflow,bentoml] [--no-environments] [--seconds 4] [--rounds 5]

The champion of this checkout answers single rows (the golden requests of its bundle, in turn): our server with one worker
and its prediction log; Flask's own server with joblib, and the same application on gunicorn; `mlflow models serve`; BentoML; and an
ASGI application that only reads the body and answers with as many bytes as we do. Each must first return our probability
for every row. A server has one core and wrk (16 connections) another. All servers run at once and are measured one after another, round
by round; the median of the rounds counts.

In bulk: one connection sends our server a list of 1,000 rows again and again, from JSON to JSON, with request ids and the prediction
log; a process on the same core calls `predict_proba` of the fitted classifier on a DataFrame of these rows that was made
beforehand; both compute the derived features. Afterwards: the seconds from start to /ready, and the resident memory of our worker.

Limits: at least 40 times the requests a second of Flask's own server and of MLflow, below a tenth of their p99, at least a quarter
of the requests a second of the bare application; in bulk at least as fast as in process; no record dropped by the prediction
log, which would be work left out; ready within 2 s; at most 150 MB.

Needs Linux, two cores, wrk and taskset (Debian: wrk, util-linux), and for BentoML's environment a package index, once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.command import Benchmark, Progress, run_benchmark
from benchmarks.environments import FOLDER
from benchmarks.figures import Figure, Limit, at_least, at_most, none_of
from benchmarks.project import CHECKOUT
from benchmarks.serving.peers import PEERS, Server, count_dropped, describe_echo, describe_ours, start
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.promotion.records import Champion
from lifecycle.promotion.releases import read_champion
from lifecycle.serving.bundle import find_bundle_folder, load_bundle
from lifecycle.stages.deploy import describe_champion

Record = dict[str, Any]
TOLERANCE = 1e-6  # between the fitted model's probability and an answer: XGBoost computes in float32
OURS, ECHO = "ours", "echo"
CONNECTIONS = 16
ROWS = 1000  # of a request in bulk
TEXTBOOK = ("flask", "mlflow")  # the peers that limits are about
LEAST_TIMES = 40.0  # the requests a second of these
MOST_OF_P99 = 0.1  # of theirs
LEAST_OF_ECHO = 0.25  # of its requests a second
LEAST_IN_BULK = 1.0  # the rows a second of the fitted classifier in process
MOST_SECONDS = 2.0  # from start to ready
MOST_MEGABYTES = 150.0


@dataclass(frozen=True)
class Load:
    """What wrk saw of a server: requests a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


def choose_cores() -> tuple[int, int]:
    """Return a core for the server and one for the client; raises ProjectError where one, or a program, is missing."""
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            raise ProjectError(f"{program} is not installed; Debian has it (wrk, util-linux).")
    cores = sorted(psutil.Process().cpu_affinity())
    if len(cores) < 2:
        raise ProjectError("One core is not enough: the server and its client need one each.")
    return cores[0], cores[1]


def put_load(server: Server, bodies: Path, core: int, connections: int, seconds: float) -> Load:
    """Send requests for so long; raises ProjectError when one was refused or lost."""
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
    """Raise ProjectError unless a server returns the fitted model's probability for every row."""
    assert server.peer.read is not None
    for number, record in enumerate(golden):
        found = server.peer.read(json.loads(server.post(server.peer.wrap(record["request"]))))
        if not abs(found - record["probability"]) <= TOLERANCE:
            raise ProjectError(
                f"{server.peer.title}: row {number} has the probability {found!r}, expected {record['probability']!r}."
            )


def write_bodies(path: Path, contents: Iterator[Any]) -> Path:
    """Write request bodies, one a line."""
    path.write_text("".join(json.dumps(content) + "\n" for content in contents), encoding="utf-8")
    return path


def compare_servers(
    servers: dict[str, Server], golden: list[Record], core: int, options: argparse.Namespace, folder: Path
) -> dict[str, list[Load]]:
    """Return what wrk saw of each server in each round, by name."""
    bodies = {
        name: write_bodies(folder / f"{name}.jsonl", (server.peer.wrap(record["request"]) for record in golden))
        for name, server in servers.items()
    }
    for name, server in servers.items():
        put_load(server, bodies[name], core, CONNECTIONS, 1)
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    progress = Progress(options.rounds * len(servers), "measurements of single rows")
    for _ in range(options.rounds):
        for name, server in servers.items():
            loads[name].append(put_load(server, bodies[name], core, CONNECTIONS, options.seconds))
            progress.advance()
    return loads


def compare_bulk(
    ours: Server, golden: list[Record], release: Path, cores: tuple[int, int], options: argparse.Namespace, folder: Path
) -> tuple[list[float], list[float]]:
    """Return the rows a second of our server and of the classifier in process, for each round."""
    records = [golden[number % len(golden)] for number in range(ROWS)]
    rows = [record["request"] for record in records]
    answers = json.loads(ours.post(rows))["predictions"]
    for number, (answer, record) in enumerate(zip(answers, records, strict=True)):
        if not abs(answer["probability"] - record["probability"]) <= TOLERANCE:
            raise ProjectError(f"Row {number} of a list has another probability than alone.")
    bodies, table = write_bodies(folder / "bulk.jsonl", iter([rows])), folder / "rows.json"
    write_json(rows, table)
    command = [sys.executable, "-m", "benchmarks.serving.in_process", str(release), str(table), str(options.seconds)]
    served, computed = [], []
    progress = Progress(options.rounds, "rounds in bulk")
    put_load(ours, bodies, cores[1], 1, 1)
    for _ in range(options.rounds):
        served.append(put_load(ours, bodies, cores[1], 1, options.seconds).rate * ROWS)
        done = subprocess.run(
            ["taskset", "-c", str(cores[0]), *command], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
        computed.append(float(done.stdout))
        progress.advance()
    return served, computed


def show_loads(loads: dict[str, list[Load]], servers: dict[str, Server]) -> None:
    """Print a line for each server: the median of the rounds, the least and the most."""
    print(f"{'':20s}{'requests/s':>25s}{'p50 ms':>26s}{'p99 ms':>28s}{'MB':>5s}")
    for name, rounds in loads.items():
        print(
            f"{servers[name].peer.title:20s}{format_spread(rounds, 'rate', ',.0f'):>25s}{format_spread(rounds, 'p50', '.2f'):>26s}"
            f"{format_spread(rounds, 'p99', '.2f'):>28s}{servers[name].memory / 1e6:5.0f}",
            flush=True,
        )


def format_spread(loads: list[Load], name: str, form: str) -> str:
    """Return the median of the rounds, the least and the most, as text."""
    values = [getattr(load, name) for load in loads]
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def compute_median(loads: list[Load], name: str) -> float:
    """Return the median of the rounds."""
    return median(getattr(load, name) for load in loads)


def list_load_figures(loads: dict[str, list[Load]], servers: dict[str, Server]) -> Iterator[Figure]:
    """Return the figures of single rows: ours against every other server."""
    for name, rounds in loads.items():
        if name == OURS:
            continue
        rate, p50, p99 = (
            (compute_median(loads[OURS], field), compute_median(rounds, field)) for field in ("rate", "p50", "p99")
        )
        limits: tuple[Limit | None, Limit | None] = None, None
        if name in TEXTBOOK:
            limits = at_least(rate[0] / rate[1], LEAST_TIMES), at_most(p99[0] / p99[1], MOST_OF_P99)
        elif name == ECHO:
            limits = at_least(rate[0] / rate[1], LEAST_OF_ECHO), None
        title = servers[name].peer.title
        yield Figure.of("single rows: requests a second", *rate, title, limits[0])
        yield Figure.of("single rows: p50, ms", *p50, title)
        yield Figure.of("single rows: p99, ms", *p99, title, limits[1])
        yield Figure.of("single rows: resident MB", servers[OURS].memory / 1e6, servers[name].memory / 1e6, title)


def find_champion() -> tuple[Path, Champion]:
    """Return the folder of the champion's release and its record in champion.json."""
    champion = read_champion(CHECKOUT)
    if champion.model is None:
        raise ProjectError(f"{paths.CHAMPION} names no model: promote one, or measure the candidate with --candidate.")
    folder = find_bundle_folder(CHECKOUT, champion.model).parent
    return folder, champion.model_copy(update={"previous": None})


def find_candidate() -> tuple[Path, Champion]:
    """Return the folder of the current project's candidate and the record that champion.json would have."""
    folder = paths.open_project().read(paths.CANDIDATE)
    return folder, describe_champion(load_bundle(folder / "bundle"))


def compare_single(
    ours: Server, release: Path, golden: list[Record], cores: tuple[int, int], options: argparse.Namespace, folder: Path
) -> list[Figure]:
    """Start the peers, send single rows to all of them, and return the figures."""
    with ExitStack() as stack:
        servers = {OURS: ours}
        size = round(median(len(ours.post(record["request"])) for record in golden))
        peers = {**{name: PEERS[name](release, folder) for name in options.peers}, ECHO: describe_echo(size)}
        for name, peer in peers.items():
            servers[name] = stack.enter_context(start(peer, golden[0]["request"], cores[0], folder))
            if name != ECHO:
                check_answers(servers[name], golden)
        loads = compare_servers(servers, golden, cores[1], options, folder)
        show_loads(loads, servers)
        return list(list_load_figures(loads, servers))


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure single rows, lists, memory and starts."""
    cores = choose_cores()
    release, champion = find_candidate() if options.candidate else find_champion()
    golden = read_json(release / "bundle/golden.json")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        peer = describe_ours(release, champion, folder)
        with start(peer, golden[0]["request"], cores[0], folder) as ours:
            check_answers(ours, golden)
            figures = compare_single(ours, release, golden, cores, options, folder)
            served, computed = (median(rates) for rates in compare_bulk(ours, golden, release, cores, options, folder))
            memory, dropped = ours.memory / 1e6, count_dropped(ours)
        starts = []
        for _ in range(options.starts):
            with start(peer, golden[0]["request"], cores[0], folder) as again:
                starts.append(again.seconds)
    seconds = median(starts)
    bulk = at_least(served / computed, LEAST_IN_BULK)
    return [
        *figures,
        Figure.of(f"lists of {ROWS:,} rows: rows a second", served, computed, "predict_proba in process", bulk),
        Figure.of("seconds from start to ready", seconds, limit=at_most(seconds, MOST_SECONDS, "ours")),
        Figure.of("records dropped by the prediction log", dropped, limit=none_of(dropped)),
        Figure.of("resident MB after the load", memory, limit=at_most(memory, MOST_MEGABYTES, "ours")),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=5, help="how often the start is timed")
    parser.add_argument("--candidate", action="store_true", help="serve the candidate in place of the champion")


BENCHMARK = Benchmark(
    "serving", measure, add_options,
    small={"seconds": 1, "rounds": 1, "starts": 1, "candidate": True, "peers": ["flask"]},
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
