"""Kafka topics, landed: every message once, in files of offset ranges, whatever crashes on either side."""

from __future__ import annotations

import logging
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pydantic import Field

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict, parse_strictly
from lifecycle.core.paths import OPTIONS
from lifecycle.sources.landing import Commit, Landing, Rejected, UnavailableError, find_dates
from lifecycle.sources.typing import TYPES, convert_values, infer_type, spell_value, widen_type

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

SCHEME = "kafka://"
SECRETS = "LIFECYCLE_KAFKA_"  # and a librdkafka property: LIFECYCLE_KAFKA_SASL_PASSWORD is sasl.password
REGISTRY_USER = "LIFECYCLE_SCHEMA_REGISTRY_USER"
REGISTRY_PASSWORD = "LIFECYCLE_SCHEMA_REGISTRY_PASSWORD"  # noqa: S105 the name of a variable
PATIENCE = 10.0  # seconds for one question to a broker
STILLNESS = 60.0  # seconds without a message where some are due: a broker that restarts takes less
PAUSE = 0.2  # seconds to gather messages in
CHUNK = 10_000  # messages asked for at once
PLAIN = {type(None), str, datetime, Decimal, *TYPES}  # what is a column as it is

Decoder = Callable[[bytes], Any]


class Options(Strict):
    """What `collect.options` may hold for a topic; each is told in the README."""

    group: str = "lifecycle"
    format: Literal["json", "avro", "json_schema"] = "json"
    schema_registry: str | None = None
    schema_file: str | None = Field(None, alias="schema")
    time: str | None = None
    batch: int = Field(50_000, ge=1)
    start: Literal["earliest", "latest"] = "earliest"


@dataclass
class Reader:
    """A consumer on one partition at a time; messages beyond a range wait for the next one."""

    consumer: Consumer
    topic: str
    waiting: deque[Message] = field(default_factory=deque)
    place: tuple[int, int] = (-1, -1)

    def seek(self, partition: int, offset: int) -> None:
        """Go to a partition's offset, if not there already: a move throws away what was fetched ahead."""
        from confluent_kafka import TopicPartition

        if self.place == (partition, offset):
            return
        self.waiting.clear()
        self.consumer.assign([TopicPartition(self.topic, partition, offset)])
        self.place = partition, offset

    def read_range(self, first: int, end: int) -> list[Message]:
        """The messages of the offsets from `first` on and below `end`: fewer than there are offsets where some are gaps.

        Raises UnavailableError where none comes for long, ProjectError for what does not mend.
        """
        partition = self.place[0]
        self.place = partition, end
        messages: list[Message] = []
        heard, bottom = time.monotonic(), first  # bottom: the end of the partition, where it has been seen
        while True:
            while self.waiting:
                offset = self.waiting[0].offset()
                assert offset is not None
                if offset >= end:  # the range ends in a gap
                    return messages
                messages.append(self.waiting.popleft())
                first = offset + 1
            first = max(first, bottom)
            if first >= end:
                return messages
            for message in self.consumer.consume(min(CHUNK, end - first), PAUSE):
                error = message.error()
                if error is None and message.partition() == partition:
                    self.waiting.append(message)
                    heard = time.monotonic()
                elif error is not None:
                    bottom = max(bottom, self.judge(error, message))
            if time.monotonic() - heard > STILLNESS:
                raise UnavailableError(
                    f"Topic {self.topic!r} has been still for {STILLNESS:.0f} seconds, {end - first:,} offsets before its end."
                )

    def judge(self, error: KafkaError, message: Message) -> int:
        """The partition's end, where the error says no more than that (else 0); raises for what does not pass."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
            return (message.offset() or 0) if message.partition() == self.place[0] else 0
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise ProjectError(f"Topic {self.topic!r} removed messages while they were read: run it again.")
        if not error.retriable():
            raise UnavailableError(f"Topic {self.topic!r} cannot be read: {error.str()}.")
        return 0


def is_topic(source: str) -> bool:
    """Whether a source is a Kafka topic."""
    return source.startswith(SCHEME)


def read_options(options: Mapping[str, Any]) -> Options:
    """Check a topic's options; raises ProjectError naming the wrong one."""
    return parse_strictly(Options, options, OPTIONS)


def split_address(source: str) -> tuple[str, str]:
    """The brokers and the topic of `kafka://host:port[,host:port]/topic`; raises ProjectError for anything else."""
    brokers, _, topic = source.removeprefix(SCHEME).partition("/")
    if not is_topic(source) or not brokers or not topic or "/" in topic or "@" in brokers:
        raise ProjectError(f"collect.source is no Kafka address: expected {SCHEME}host:port[,host:port]/topic.")
    return brokers, topic


def name_topic(source: str) -> str:
    """What commit records call the topic: brokers may move."""
    return f"the Kafka topic {split_address(source)[1]}"


def land_topic(
    source: str, root: Path, options: Options, landing: Landing, *, accept_loss: bool = False
) -> Iterator[Commit]:
    """Land what each partition has from where it was left up to its high watermark at the start; a commit a range.

    The landed position counts, else what the group committed, else `start`. Ranges end at multiples of `batch`; offsets are
    committed for the group after they are landed, for tools that show its lag. Raises ProjectError for an unknown topic,
    and, unless `accept_loss`, where messages that were not read are gone; UnavailableError where no broker answers.
    """
    try:
        from confluent_kafka import KafkaException
    except ModuleNotFoundError as error:
        raise ProjectError(f"{SCHEME} needs the package confluent-kafka, which is not installed.") from error

    brokers, topic = split_address(source)
    decode = open_decoder(options, topic, root)
    with closing(open_consumer(brokers, options.group)) as consumer:
        try:
            ranges, epoch = find_ranges(consumer, topic, options, landing.position, accept_loss=accept_loss)
            offsets = {str(partition): first for partition, (first, _) in ranges.items()}
            if offsets != landing.position.get("offsets"):  # a partition that is new, or begins at its end
                landing.commit([], [], {"offsets": offsets, "epoch": epoch})
            report_offsets(consumer, topic, offsets)
            reader = Reader(consumer, topic)
            for partition, first, end in cut_ranges(ranges, options.batch):
                reader.seek(partition, first)
                messages = reader.read_range(first, end)
                offsets = {**offsets, str(partition): end}
                table, dates, rejected = tabulate_messages(messages, decode, landing.schema, options.time, topic)
                yield landing.land(
                        f"{topic}-{partition}" if not epoch else f"{topic}-e{epoch}-{partition}",
                        first, end - 1, table, {"offsets": offsets, "epoch": epoch}, dates=dates, rejected=rejected,
                    )  # fmt: skip
                report_offsets(consumer, topic, {str(partition): end})
        except KafkaException as error:
            raise UnavailableError(f"Topic {topic!r} at {brokers} cannot be read: {error.args[0].str()}.") from error


def cut_ranges(ranges: Mapping[int, tuple[int, int]], batch: int) -> Iterator[tuple[int, int, int]]:
    """Each partition's range in pieces that end at multiples of `batch`: partition, first offset, end."""
    for partition, (first, high) in ranges.items():
        for end in [*range((first // batch + 1) * batch, high, batch), high]:
            if first < end:
                yield partition, first, end
            first = end  # noqa: PLW2901


def open_consumer(brokers: str, group: str) -> Consumer:
    """A consumer that reads committed messages only and moves by hand; secrets come from the environment."""
    from confluent_kafka import Consumer, KafkaException

    secrets = {
        name.removeprefix(SECRETS).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith(SECRETS)
    }
    silent = logging.getLogger("lifecycle.kafka")  # librdkafka's own lines; what matters is raised
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    settings = {
        "bootstrap.servers": brokers,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
    }
    try:
        return Consumer({**secrets, **settings}, logger=silent)
    except KafkaException as error:
        text = error.args[0].str()
        for secret in secrets.values():
            text = text.replace(secret, "***")
        raise ProjectError(f"A variable {SECRETS}... is no setting of librdkafka: {text}.") from error


def find_ranges(
    consumer: Consumer, topic: str, options: Options, position: Mapping[str, Any], *, accept_loss: bool
) -> tuple[dict[int, tuple[int, int]], int]:
    """Each partition's range still to land, and how often the topic was made anew. Raises as land_topic does."""
    from confluent_kafka import TopicPartition

    found = consumer.list_topics(topic, timeout=PATIENCE).topics[topic]
    if found.error is not None or not found.partitions:
        others = sorted(name for name in consumer.list_topics(timeout=PATIENCE).topics if not name.startswith("__"))
        raise ProjectError(f"There is no Kafka topic {topic!r}; there are: {', '.join(others) or 'none'}.")
    partitions = sorted(found.partitions)
    landed: dict[str, int] = position.get("offsets", {})
    epoch: int = position.get("epoch", 0)
    places = [TopicPartition(topic, partition) for partition in partitions]
    marks = {place.partition: consumer.get_watermark_offsets(place, timeout=PATIENCE) for place in places}
    anew = sorted({int(name) for name in landed} - set(partitions)) or [
        partition for partition in partitions if landed.get(str(partition), 0) > marks[partition][1]
    ]
    if anew:
        if not accept_loss:
            raise ProjectError(
                f"Topic {topic!r} was made anew: partition {anew[0]} ends at offset {marks.get(anew[0], (0, 0))[1]:,}, but "
                f"{landed[str(anew[0])]:,} were landed; --accept-loss lands it from its beginning, beside what was landed."
            )
        landed, epoch = {}, epoch + 1
    committed = (
        {} if landed or anew else {place.partition: place.offset for place in consumer.committed(places, PATIENCE)}
    )
    ranges = {}
    for partition, (low, high) in marks.items():
        latest = options.start == "latest" and not landed and not anew  # one that came later is read from its beginning
        begin = committed.get(partition, -1)
        if not 0 <= begin <= high:  # the group has committed nothing, or that of a topic that is gone
            begin = high if latest else low
        ranges[partition] = (landed.get(str(partition), begin), high)
    lost = {partition: marks[partition][0] - first for partition, (first, _) in ranges.items()}
    lost = {partition: count for partition, count in lost.items() if count > 0}
    if lost and not accept_loss:
        raise ProjectError(
            f"Topic {topic!r} has removed {sum(lost.values()):,} offsets that were not landed yet "
            f"({', '.join(f'{count:,} of partition {partition}' for partition, count in lost.items())}); "
            "--accept-loss goes on behind them."
        )
    return {partition: (max(first, marks[partition][0]), high) for partition, (first, high) in ranges.items()}, epoch


def report_offsets(consumer: Consumer, topic: str, offsets: Mapping[str, int]) -> None:
    """Commit landed offsets for the group; where that fails nothing is lost, for the landed position counts."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        consumer.commit(
            offsets=[TopicPartition(topic, int(partition), offset) for partition, offset in offsets.items()],
            asynchronous=False,
        )
    except KafkaException as error:
        logging.getLogger("lifecycle").warning("the group's offsets are not committed: %s", error.args[0].str())


def open_decoder(options: Options, topic: str, root: Path) -> Decoder:
    """What makes a message's bytes a mapping; it raises ValueError for bytes that are none.

    Raises ProjectError where a schema is missing or wrong.
    """
    if options.format == "json":
        import orjson

        return orjson.loads
    text = None
    if options.schema_file is not None:
        try:
            text = (root / options.schema_file).read_text(encoding="utf-8")
        except OSError as error:
            raise ProjectError(
                f"{options.schema_file}, the option schema, is not readable: {error.strerror}."
            ) from error
    if options.schema_registry is not None:
        return open_registry(options, topic, text)
    if options.format == "avro" and text is not None:
        return open_avro(text, str(options.schema_file))
    raise ProjectError(f"The format {options.format} needs the option schema_registry (or, for avro, schema: a file).")


def open_avro(text: str, name: str) -> Decoder:
    """A decoder of bare Avro values of one schema."""
    import io

    import orjson
    from fastavro import parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        schema = parse_schema(orjson.loads(text))
    except (ValueError, SchemaParseException, UnknownType) as error:
        raise ProjectError(f"{name} is no Avro schema: {error}.") from error

    def decode(value: bytes) -> Any:
        stream = io.BytesIO(value)
        row = schemaless_reader(stream, schema, None)
        if stream.read(1):
            raise ValueError("more bytes than the schema says")
        return row

    return refuse_errors(decode)


def open_registry(options: Options, topic: str, text: str | None) -> Decoder:
    """A decoder of values in Confluent's wire format, whose schemas the registry has."""
    from confluent_kafka.schema_registry import (
        SchemaRegistryClient,
        SchemaRegistryError,
        topic_subject_name_strategy,
    )
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    shown = str(options.schema_registry).rpartition("@")[2]
    settings: dict[str, Any] = {"url": options.schema_registry}
    if REGISTRY_USER in os.environ:
        settings["basic.auth.user.info"] = f"{os.environ[REGISTRY_USER]}:{os.environ.get(REGISTRY_PASSWORD, '')}"
    client = SchemaRegistryClient(settings)
    plain = {
        "subject.name.strategy": topic_subject_name_strategy
    }  # the number alone names the schema: no more questions
    context = SerializationContext(topic, MessageField.VALUE)
    if options.format == "avro":
        deserialize = AvroDeserializer(client, text, conf=plain)
    else:
        deserialize = JSONDeserializer(text, schema_registry_client=client, conf=plain)

    known: dict[int, bool] = {}

    def knows(number: int) -> bool:
        try:
            client.get_schema(number)
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise UnavailableError(f"The schema registry {shown} refuses: {error.error_message}.") from error
            return False
        except Exception as error:  # of its HTTP library, which is another in each version
            raise UnavailableError(f"The schema registry {shown} does not answer: {error}.") from error
        return True

    def decode(value: bytes) -> Any:
        if len(value) > 5 and value[0] == 0:  # Confluent's wire format: a zero, the schema's number, the value
            number = int.from_bytes(value[1:5], "big")
            if number not in known:
                known[number] = knows(number)
            if not known[number]:
                raise ValueError(f"the schema registry does not know schema {number}")
        return deserialize(value, context)

    return refuse_errors(decode)


def refuse_errors(decode: Decoder) -> Decoder:
    """The decoder, with all that wrong bytes make a library raise as ValueError."""
    from confluent_kafka.serialization import SerializationError

    def refuse(value: bytes) -> Any:
        try:
            return decode(value)
        except (SerializationError, EOFError, LookupError, TypeError, OverflowError, struct.error) as error:
            raise ValueError(str(error) or type(error).__name__) from error

    return refuse


def decode_values(values: Sequence[bytes | None], decode: Decoder) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The mappings that values say, and why some say none: those are empty."""
    rows: list[dict[str, Any]] = []
    reasons: dict[int, str] = {}
    for place, value in enumerate(values):
        row = None
        if value is None:
            reasons[place] = "no value (a tombstone)"
        else:
            try:
                row = decode(value)
            except ValueError as error:
                reasons[place] = " ".join(str(error).split())
        if type(row) is not dict or not row:
            reasons.setdefault(place, "not an object with fields")
            row = {}
        rows.append(row)
    return rows, reasons


def tabulate_messages(
    messages: Sequence[Message], decode: Decoder, known: pa.Schema | None, event_time: str | None, topic: str
) -> tuple[pa.Table, pa.Array | None, list[Rejected]]:
    """Messages as rows with types that fit the landed ones, the dates of their event time, and those that are no rows.

    Nested values become JSON text. Raises ProjectError where the rows have no event-time field of that name at all.
    """
    values = [message.value() for message in messages]
    rows, reasons = decode_values(values, decode)
    columns = {}
    types = {} if known is None else {column.name: column.type for column in known}
    names = dict.fromkeys(types)
    for row in rows:
        names.update(dict.fromkeys(row))
    for name in names:
        column = [row.get(name) for row in rows]
        if not set(map(type, column)) <= PLAIN:
            column = [value if type(value) in PLAIN else spell_value(value) for value in column]
        inferred = infer_type(column)
        before = types.get(name, inferred)
        kind = widen_type(before, inferred) or before
        columns[name], wrong = convert_values(column, kind)
        for place in wrong:
            reasons.setdefault(place, f"{name} is {type(column[place]).__name__}, expected {kind}")
    dates = None
    if event_time is not None and len(reasons) < len(rows):
        if event_time not in columns:
            raise ProjectError(f"Option time is {event_time!r}, but topic {topic!r} has the fields {', '.join(names)}.")
        dates, wrong = find_dates(columns[event_time])
        for place in wrong:
            reasons.setdefault(place, f"{event_time} is no time: expected ISO 8601, or a number since 1970")
    kept = [place for place in range(len(rows)) if place not in reasons]
    table = pa.table(columns if kept else {})  # rejected rows alone name no columns
    if reasons and kept:
        table = table.take(kept)
        dates = None if dates is None else dates.take(kept)
    rejected = [
        Rejected(
            {"topic": topic, "partition": messages[place].partition(), "offset": messages[place].offset()},
            values[place],
            reasons[place],
        )
        for place in sorted(reasons)
    ]
    return table, dates, rejected
