"""Kafka topics on librdkafka's mock cluster, and on Apache Kafka where Java and Maven are."""

from __future__ import annotations

import base64
import http.server
import json
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.sources import kafka as topics
from lifecycle.sources.kafka import land_topic, name_topic, read_options
from lifecycle.sources.landing import UnavailableError, open_landed, open_landing
from tests.support.servers import find_port, install_kafka, start_kafka

QUIET = {"log_level": 0}
AVRO = {
    "type": "record", "name": "visit", "fields": [
        {"name": "id", "type": "long"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    ],
}  # fmt: skip
JSON_SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


def open_cluster() -> tuple[Producer, str]:
    """A mock cluster, which lives as long as its producer, and its address."""
    producer = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1, **QUIET})
    broker = next(iter(producer.list_topics(timeout=30).brokers.values()))
    return producer, f"{broker.host}:{broker.port}"


@pytest.fixture(scope="module")
def cluster() -> tuple[Producer, str]:
    return open_cluster()


@pytest.fixture
def topic(cluster: tuple[Producer, str], request: pytest.FixtureRequest) -> str:
    """The address of a topic of the test's own."""
    return f"kafka://{cluster[1]}/{abs(hash(request.node.nodeid))}"


def send(producer: Producer, topic: str, values: list[bytes | None], partition: int = 0) -> None:
    for value in values:
        producer.produce(topic.rpartition("/")[2], value, partition=partition)
    assert producer.flush(30) == 0


def visit(number: int, **fields: Any) -> bytes:
    return json.dumps({"id": number, "at": f"2026-11-{number % 28 + 1:02d}T10:00:00Z", **fields}).encode()


def land(root: Path, source: str, *, accept_loss: bool = False, **options: Any) -> tuple[int, int]:
    """Rows landed and rejected by a run."""
    with open_landing(root / "landed", name_topic(source)) as landing:
        commits = list(land_topic(source, root, read_options(options), landing, accept_loss=accept_loss))
    return sum(commit.rows for commit in commits), sum(commit.rejected for commit in commits)


def read(root: Path) -> pa.Table:
    with open_landed(root / "landed") as stream:
        return pa.Table.from_batches(list(stream), stream.schema)


def read_quarantine(root: Path) -> list[dict[str, Any]]:
    paths = sorted((root / "landed/_quarantine").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def list_files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (root / "landed").rglob("*") if path.is_file()}


def test_every_message_lands_once_in_files_of_its_offsets(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    for partition in range(4):
        send(cluster[0], topic, [visit(number) for number in range(partition, 100, 4)], partition)
    assert land(tmp_path, topic, batch=10) == (100, 0)
    name = topic.rpartition("/")[2]
    spans = sorted(path.stem.split("-")[1:] for path in (tmp_path / "landed").glob(f"{name}-*.parquet"))
    assert spans == [[f"{p}", f"{a:020d}", f"{b:020d}"] for p in range(4) for a, b in ((0, 9), (10, 19), (20, 24))]
    before = list_files(tmp_path)
    assert land(tmp_path, topic, batch=10) == (0, 0)
    assert list_files(tmp_path) == before
    send(cluster[0], topic, [visit(number) for number in range(100, 110)], 3)
    assert land(tmp_path, topic, batch=10) == (10, 0)
    assert sorted(read(tmp_path)["id"].to_pylist()) == list(range(110))


def test_the_same_topic_gives_the_same_bytes(cluster: tuple[Producer, str], topic: str, tmp_path: Path) -> None:
    for partition in range(3):
        send(cluster[0], topic, [visit(number, x=number / 3) for number in range(50)], partition)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        land(tmp_path / name, topic, batch=20, time="at", group=name)
    one, two = list_files(tmp_path / "one"), list_files(tmp_path / "two")
    assert {path.relative_to(tmp_path / "one"): data for path, data in one.items()} == {
        path.relative_to(tmp_path / "two"): data for path, data in two.items()
    }


def test_poison_goes_to_quarantine_and_holds_nothing_up(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    poison = [
        b'{"broken',
        None,
        b"[1, 2]",
        b"{}",
        b"\xff",
        visit(1, size="large"),
        b'{"id": 9, "at": "soon"}',
        visit(2**63),
    ]
    values: list[bytes | None] = [visit(0, size=1), visit(1, size=2), *poison, visit(2, size=0.5)]
    send(cluster[0], topic, values)
    assert land(tmp_path, topic, time="at") == (3, 8)
    assert read(tmp_path)["size"].to_pylist() == [1.0, 2.0, 0.5]
    found = read_quarantine(tmp_path)
    assert [line["offset"] for line in found] == list(range(2, 10)) and {line["partition"] for line in found} == {0}
    assert [None if line["value"] is None else base64.b64decode(line["value"]) for line in found] == poison
    reasons = [line["reason"] for line in found]
    assert reasons[1:4] == ["no value (a tombstone)", "not an object with fields", "not an object with fields"]
    assert reasons[5] == "size is 'large', expected a number (double)" and reasons[6].startswith("at is not a time")
    assert reasons[7] == "id is 9223372036854775808, expected a whole number (int64)"
    assert land(tmp_path, topic, time="at") == (0, 0)


def test_a_float_among_whole_numbers_alters_no_row(cluster: tuple[Producer, str], topic: str, tmp_path: Path) -> None:
    big = 2**53 + 1
    send(cluster[0], topic, [visit(big), b'{"id": 5.0}', visit(6), b'{"id": 1e3}'])
    assert land(tmp_path, topic) == (4, 0)
    send(cluster[0], topic, [b'{"id": 5.5}', b'{"id": 7.0}', visit(2**63 - 1), b'{"id": 9007199254740994.0}'])
    assert land(tmp_path, topic) == (2, 2), "a float beyond 2^53 may be a rounded number"
    table = read(tmp_path)
    assert table["id"].to_pylist() == [big, 5, 6, 1000, 7, 2**63 - 1] and table.schema.field("id").type == pa.int64()
    reasons = [line["reason"] for line in read_quarantine(tmp_path)]
    assert reasons[0] == "id is 5.5, expected a whole number (int64)"


def test_fractions_widen_whole_numbers_only_where_all_are_exact(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [b'{"k": 1, "n": 1, "m": 1}', b'{"k": 2, "n": 9007199254740992, "m": 9007199254740993}'])
    assert land(tmp_path, topic) == (2, 0)
    send(cluster[0], topic, [b'{"n": 0.5}', b'{"m": 0.5}', b'{"k": 0.5}', b'{"k": 9007199254740993}'])
    assert land(tmp_path, topic) == (2, 2), "a whole number that float64 would alter keeps the column whole"
    send(cluster[0], topic, [b'{"k": 3, "n": 3, "m": 3}', b'{"n": 9007199254740993}', b'{"m": 0.5}', b'{"k": 0.5}'])
    assert land(tmp_path, topic) == (1, 3)
    table = read(tmp_path)
    assert table["n"].to_pylist() == [1, 2**53, 0.5, None, 3]
    assert table["m"].to_pylist() == [1, 2**53 + 1, None, None, 3]
    assert table["k"].to_pylist() == [1, 2, None, 2**53 + 1, 3]


def test_whole_numbers_beyond_64_bits_keep_their_digits(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    numbers = [18446744073709551617, 1, -18446744073709551617, 12345678901234567890123456789]
    values = [b'{"id": %d, "in": {"id": [%d, 1.5]}, "t": "%d"}' % (number, number, number) for number in numbers]
    send(cluster[0], topic, [*values, b'{"id": %s}' % (b"9" * 39), b'{"id": %s}' % (b"9" * 5000)])
    assert land(tmp_path, topic) == (4, 2)
    table = read(tmp_path)
    assert [int(value) for value in table["id"].to_pylist()] == numbers
    assert table["in"].to_pylist() == [f'{{"id":[{number},1.5]}}' for number in numbers]
    assert table["t"].to_pylist() == [str(number) for number in numbers]


LANDED = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([5.0, 0.5, 2.0**53, 2.0**63, 1e300]), st.text(st.characters(codec="utf-8"), max_size=3),
    st.lists(st.integers(-(2**70), 2**70), max_size=2), st.dictionaries(st.text("ab"), st.none(), max_size=1),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(LANDED, min_size=1, max_size=6), min_size=1, max_size=5))
def test_whatever_types_a_field_has_a_row_is_landed_as_it_is_or_quarantined_whole(batches: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, open_landing(Path(name), "visits") as landing:
        first, landed = 0, []
        for batch in batches:
            messages = [_Sent(json.dumps({"k": first + place, "x": value})) for place, value in enumerate(batch)]
            table, _, rejected = topics._tabulate_messages(messages, topics.parse_json, landing, None, "visits")
            landed += table["k"].to_pylist() if table.num_columns else []
            commit = landing.land("visits", first, first + len(batch) - 1, table, {}, rejected=rejected)
            assert commit.rows + commit.rejected == len(batch)
            first += len(batch)
        sent = dict(enumerate(value for batch in batches for value in batch))
        if not landed:
            return
        with open_landed(Path(name)) as stream:
            found = pa.Table.from_batches(list(stream), stream.schema).to_pylist()
    assert [row["k"] for row in found] == landed
    for row in found:
        value = row.get("x")
        before = sent[row["k"]]
        assert value == (json.dumps(before, separators=(",", ":")) if isinstance(before, (list, dict)) else before)
        assert isinstance(value, str) == isinstance(before, (str, list, dict))
        assert isinstance(value, bool) == isinstance(before, bool)


@dataclass
class _Sent:
    """A message of a topic."""

    text: str

    def value(self) -> bytes:
        return self.text.encode()

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0


def test_a_topic_of_nothing_but_poison_is_no_error(cluster: tuple[Producer, str], topic: str, tmp_path: Path) -> None:
    send(cluster[0], topic, [b"x", None])
    assert land(tmp_path, topic, time="at") == (0, 2)
    send(cluster[0], topic, [visit(1)])
    assert land(tmp_path, topic, time="at") == (1, 0)


def test_fields_that_come_later_and_nested_ones_are_columns(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [visit(1), visit(2, basket=[{"b": 1}], size=None)])
    land(tmp_path, topic)
    send(cluster[0], topic, [visit(3, size=4, open=True), visit(4, basket=["x"])])
    land(tmp_path, topic)
    table = read(tmp_path)
    assert table["basket"].to_pylist() == [None, '[{"b":1}]', None, '["x"]']
    assert table["size"].to_pylist() == [None, None, 4, None] and table["open"].to_pylist()[2] is True


def test_the_landed_position_counts_and_the_groups_offsets_follow_it(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [visit(number) for number in range(10)])
    land(tmp_path, topic, group="readers")
    place = TopicPartition(topic.rpartition("/")[2], 0)
    consumer = Consumer({"bootstrap.servers": cluster[1], "group.id": "readers", **QUIET})
    assert consumer.committed([place], 10)[0].offset == 10
    consumer.commit(offsets=[TopicPartition(place.topic, 0, 2)], asynchronous=False)  # as a crash before it leaves it
    assert land(tmp_path, topic, group="readers") == (0, 0)
    assert consumer.committed([place], 10)[0].offset == 10
    consumer.commit(offsets=[TopicPartition(place.topic, 0, 7)], asynchronous=False)
    (tmp_path / "anew").mkdir()
    assert land(tmp_path / "anew", topic, group="readers") == (3, 0), "without landed files the group's offset counts"


@pytest.mark.parametrize("request_name", ["committed", "get_watermark_offsets", "commit"])
def test_a_group_that_moves_to_another_broker_is_asked_again(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_name: str
) -> None:
    send(cluster[0], topic, [visit(number) for number in range(10)])
    errors = [KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS), KafkaError(KafkaError.NOT_COORDINATOR)]

    def fail_twice(self: Consumer, *arguments: Any, **options: Any) -> Any:
        if errors:
            raise KafkaException(errors.pop())
        return getattr(super(Moving, self), request_name)(*arguments, **options)

    Moving = type("Moving", (Consumer,), {request_name: fail_twice})
    monkeypatch.setattr("confluent_kafka.Consumer", Moving)
    assert land(tmp_path, topic, group="movers") == (10, 0) and not errors
    monkeypatch.undo()
    place = TopicPartition(topic.rpartition("/")[2], 0)
    consumer = Consumer({"bootstrap.servers": cluster[1], "group.id": "movers", **QUIET})
    assert consumer.committed([place], 10)[0].offset == 10


def test_another_error_is_not_asked_again(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(cluster[0], topic, [visit(1)])

    class Forbidden(Consumer):
        def committed(self, *_arguments: Any, **_options: Any) -> Any:
            raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    monkeypatch.setattr("confluent_kafka.Consumer", Forbidden)
    with pytest.raises(ProjectError, match="Group authorization failed"):
        land(tmp_path, topic)


def test_latest_begins_at_the_end_and_loses_nothing_after_that(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [visit(number) for number in range(5)])
    assert land(tmp_path, topic, start="latest") == (0, 0)
    send(cluster[0], topic, [visit(number) for number in range(5, 8)])
    assert land(tmp_path, topic, start="latest") == (3, 0)


def test_messages_that_were_removed_unread_are_counted(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [visit(0), visit(1)])
    land(tmp_path, topic)
    large = [visit(number, text="x" * 500_000) for number in range(2, 20)]  # the mock cluster keeps 5 MB of a partition
    send(cluster[0], topic, list(large))
    consumer = Consumer({"bootstrap.servers": cluster[1], "group.id": "x", **QUIET})
    low, high = consumer.get_watermark_offsets(TopicPartition(topic.rpartition("/")[2], 0), 10)
    assert low > 2
    with pytest.raises(
        ProjectError, match=rf"removed {low - 2} offsets that were not landed yet \({low - 2} of partition 0\)"
    ):
        land(tmp_path, topic)
    assert land(tmp_path, topic, accept_loss=True) == (high - low, 0)
    assert land(tmp_path, topic) == (0, 0)


def test_a_topic_that_was_made_anew_is_told_and_landed_beside_the_old_one(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path
) -> None:
    send(cluster[0], topic, [visit(number) for number in range(10)])
    land(tmp_path, topic)
    producer, address = open_cluster()
    anew = f"kafka://{address}/{topic.rpartition('/')[2]}"
    send(producer, anew, [visit(number) for number in range(100, 104)])
    with pytest.raises(ProjectError, match="was recreated: partition 0 ends at offset 4, but 10 were landed"):
        land(tmp_path, anew)
    assert land(tmp_path, anew, accept_loss=True) == (4, 0)
    send(producer, anew, [visit(104)])
    assert land(tmp_path, anew) == (1, 0)
    assert sorted(read(tmp_path)["id"].to_pylist()) == [*range(10), *range(100, 105)]


class Registry(http.server.BaseHTTPRequestHandler):
    """A schema registry with two schemas."""

    schemas: ClassVar = {1: {"schema": json.dumps(AVRO)}, 2: {"schema": json.dumps(JSON_SCHEMA), "schemaType": "JSON"}}

    def do_GET(self) -> None:
        number = self.path.partition("?")[0].rpartition("/")[2]
        found = self.schemas.get(int(number)) if number.isdecimal() else None
        broken = number == "500"
        answer = found or {"error_code": 50001 if broken else 40403, "message": "no"}
        data = json.dumps(answer).encode()
        self.send_response(200 if found else 500 if broken else 404)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def encode_avro(number: int) -> bytes:
    out = BytesIO()
    row = {"id": number, "at": datetime(2026, 11, 24, 10, tzinfo=UTC), "price": Decimal("1.25"), "tags": ["a"]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), row)
    return out.getvalue()


def frame(number: int, data: bytes) -> bytes:
    """Confluent's wire format."""
    return struct.pack(">bI", 0, number) + data


@pytest.mark.parametrize("framed", [False, True])
def test_avro_comes_typed(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, registry: str, framed: bool
) -> None:
    (tmp_path / "visit.avsc").write_text(json.dumps(AVRO))
    options = {"schema_registry": registry} if framed else {"schema": "visit.avsc"}
    values = [frame(1, encode_avro(number)) if framed else encode_avro(number) for number in range(5)]
    poison = [b"", b"\x00", b"\x00\x00\x00\x00\x01", frame(77, encode_avro(1)), values[0][:-3], b"\x05" * 40, None]
    send(cluster[0], topic, [*values[:3], *poison, *values[3:]])
    assert land(tmp_path, topic, format="avro", time="at", **options) == (5, 7)
    table = read(tmp_path)
    assert [str(kind) for kind in table.schema.types] == [
        "int64",
        "timestamp[us, tz=UTC]",
        "decimal128(38, 2)",
        "string",
    ]
    assert table["id"].to_pylist() == list(range(5)) and table["tags"][0].as_py() == '["a"]'
    assert [path.name for path in (tmp_path / "landed").glob("date=*")] == ["date=2026-11-24"]


def test_json_is_held_against_its_schema(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, registry: str
) -> None:
    values = [frame(2, b'{"id": 1}'), frame(2, b'{"id": "x"}'), b'{"id": 1}', frame(2, b"{"), frame(9, b'{"id": 1}')]
    send(cluster[0], topic, list(values))
    assert land(tmp_path, topic, format="json_schema", schema_registry=registry) == (1, 4)


def test_a_registry_that_does_not_answer_is_no_poison(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, registry: str
) -> None:
    send(cluster[0], topic, [frame(1, encode_avro(1))])
    gone = f"http://user:secret@127.0.0.1:{find_port()}"
    with pytest.raises(UnavailableError, match=r"schema registry 127\.0\.0\.1:\d+ does not answer") as caught:
        land(tmp_path, topic, format="avro", schema_registry=gone)
    assert "secret" not in str(caught.value)
    assert land(tmp_path, topic, format="avro", schema_registry=registry) == (1, 0)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("kafka://h:1", {}, "expected kafka://host:port"),
        ("kafka://user:secret@h:1/t", {}, "expected kafka://host:port"),
        ("{cluster}/nowhere", {}, "There is no Kafka topic 'nowhere'; the topics are: "),
        ("{topic}", {"time": "when"}, "Option time is 'when', but topic .* has the fields id, at"),
        ("{topic}", {"format": "xml"}, "collect.options: format: Input should be 'json', 'avro' or 'json_schema'"),
        ("{topic}", {"groop": "x"}, "collect.options: groop: is not a known key"),
        ("{topic}", {"format": "avro"}, "format avro needs the option schema_registry"),
        ("{topic}", {"format": "avro", "schema": "no.avsc"}, "no.avsc, the option schema, is not readable"),
        ("{topic}", {"format": "avro", "schema": "bad.avsc"}, "bad.avsc is not an Avro schema"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    cluster: tuple[Producer, str], topic: str, tmp_path: Path, source: str, options: dict[str, Any], message: str
) -> None:
    send(cluster[0], topic, [visit(1)])
    (tmp_path / "bad.avsc").write_text('{"type": "no"}')
    with pytest.raises(ProjectError, match=message) as caught:
        land(tmp_path, source.format(cluster=f"kafka://{cluster[1]}", topic=topic), **options)
    assert "secret" not in str(caught.value)


def test_a_broker_that_is_not_there_and_settings_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_REQUEST_TIMEOUT", 0.5)
    with pytest.raises(UnavailableError, match="cannot be read"):
        land(tmp_path, f"kafka://127.0.0.1:{find_port()}/t")
    monkeypatch.setenv("LIFECYCLE_KAFKA_SASL_PASSWORD", "top-secret")
    monkeypatch.setenv("LIFECYCLE_KAFKA_SECURITY_PROTOCOL", "top-secret")
    with pytest.raises(ProjectError, match=r"is not a setting of librdkafka: .*security\.protocol") as caught:
        land(tmp_path, "kafka://127.0.0.1:1/t")
    assert "top-secret" not in str(caught.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ProjectError, match="kafka:// needs the package confluent-kafka, which is not installed"):
        land(tmp_path, "kafka://127.0.0.1:1/t")


@pytest.fixture
def kafka(checkout: Path, tmp_path: Path, require_program: Callable[[str, str], str]) -> Callable[[int | None], Any]:
    """Starts Apache Kafka, or starts it again on the port where it was."""
    java = require_program("java", "openjdk-17-jre-headless")
    jars = install_kafka(checkout, require_program("mvn", "maven"))
    return lambda port=None: start_kafka(tmp_path / "kafka", jars, java, port)


@pytest.mark.integration
def test_apache_kafka_gives_committed_messages_once_across_restarts_new_partitions_and_a_new_topic(
    kafka: Callable[..., Any], tmp_path: Path
) -> None:
    with kafka() as address:
        port, topic = int(address.rpartition(":")[2]), f"kafka://{address}/visits"
        admin = AdminClient({"bootstrap.servers": address, **QUIET})
        admin.create_topics([NewTopic("visits", 2, 1)])["visits"].result(30)
        producer = Producer({"bootstrap.servers": address, "transactional.id": "test", **QUIET})
        producer.init_transactions(30)
        for first, ends in ((0, "commit"), (1000, "abort"), (100, "commit")):
            producer.begin_transaction()
            send(producer, topic, [visit(number) for number in range(first, first + 50)])
            producer.commit_transaction(30) if ends == "commit" else producer.abort_transaction(30)
        producer.begin_transaction()
        send(producer, topic, [visit(number) for number in range(200, 250)], 1)
        assert land(tmp_path, topic, batch=30, time="at") == (100, 0), "neither the aborted ones nor the open ones"
        producer.commit_transaction(30)
        with open_landing(tmp_path / "landed", name_topic(topic)) as landing:
            commits = land_topic(topic, tmp_path, read_options({"batch": 30, "time": "at"}), landing)
            assert next(commits).rows == 30
            began = threading.Event()
            rest: list[int] = []
            follower = threading.Thread(target=lambda: (began.set(), rest.extend(commit.rows for commit in commits)))
            producer.begin_transaction()
            producer.abort_transaction(30)
    follower.start()  # the broker has crashed in the middle of the range
    with kafka(port):
        began.wait()
        follower.join(60)
        assert sum(rest) == 20
        admin.create_partitions([NewPartitions("visits", 3)])["visits"].result(30)
        plain = Producer({"bootstrap.servers": address, **QUIET})
        send(plain, topic, [visit(300)], 2)
        assert land(tmp_path, topic, time="at") == (1, 0)
        assert sorted(read(tmp_path)["id"].to_pylist()) == [*range(50), *range(100, 150), *range(200, 250), 300]
        admin.delete_topics(["visits"])["visits"].result(30)
        admin.create_topics([NewTopic("visits", 3, 1)])["visits"].result(30)
        with pytest.raises(ProjectError, match="was recreated"):
            land(tmp_path, topic, time="at")
