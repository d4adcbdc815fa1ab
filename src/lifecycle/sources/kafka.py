"""Land Kafka topics: each message once, in files of offset ranges, whatever crashes on either side."""

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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa
from pydantic import Field

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict, parse_strictly
from lifecycle.core.paths import OPTIONS
from lifecycle.sources.landing import Commit, Landing, Rejected, UnavailableError, find_dates
from lifecycle.sources.typing import (
    EXACT,
    TYPES,
    convert_values,
    describe_type,
    format_value,
    infer_type,
    parse_json,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

_SCHEME = "kafka://"
_VARIABLE_PREFIX = "LIFECYCLE_KAFKA_"  # and a librdkafka property: LIFECYCLE_KAFKA_SASL_PASSWORD is sasl.password
_REGISTRY_USER = "LIFECYCLE_SCHEMA_REGISTRY_USER"
_REGISTRY_PASSWORD = "LIFECYCLE_SCHEMA_REGISTRY_PASSWORD"  # noqa: S105 the name of a variable
_REQUEST_TIMEOUT = 10.0  # seconds that a request to a broker may take
_IDLE_TIMEOUT = 60.0  # seconds without an expected message; a broker restarts in less
_COLLECT_SECONDS = 0.2  # seconds to collect messages for a chunk
_CHUNK_MESSAGES = 10_000  # messages requested at once
_COLUMN_TYPES = {type(None), str, datetime, Decimal, *TYPES}  # types that become a column unchanged

_PASSING = (  # errors while a broker starts, or while a group or a partition moves to another broker: over within seconds
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
)

_Decoder = Callable[[bytes], Any]
_Answer = TypeVar("_Answer")


class TopicOptions(Strict):
    """The options of a Kafka topic in `collect.options`; the documentation describes each."""

    group: str = "lifecycle"  # the consumer group
    format: Literal["json", "avro", "json_schema"] = "json"  # how messages are written
    schema_registry: str | None = None  # the address of the schema registry
    schema_file: str | None = Field(None, alias="schema")  # the file with the schema
    time: str | None = None  # the field whose date decides the partition
    batch: int = Field(50_000, ge=1)  # rows of a commit at most
    start: Literal["earliest", "latest"] = "earliest"  # where a topic that has not been landed yet begins


@dataclass
class _Reader:
    """Reads one partition at a time; messages beyond a range wait for the next range."""

    consumer: Consumer
    topic: str
    waiting: deque[Message] = field(default_factory=deque)
    place: tuple[int, int] = (-1, -1)

    def seek(self, partition: int, offset: int) -> None:
        """Move to a partition's offset unless already there, as moving discards prefetched messages."""
        from confluent_kafka import TopicPartition

        if self.place == (partition, offset):
            return
        self.waiting.clear()
        self.consumer.assign([TopicPartition(self.topic, partition, offset)])
        self.place = partition, offset

    def read_range(self, first: int, end: int) -> list[Message]:
        """Read the messages with offsets from `first` to below `end`; there are fewer messages than offsets when there are gaps.

        Raises UnavailableError when no message comes for long, ProjectError for a permanent error.
        """
        partition = self.place[0]
        self.place = partition, end
        messages: list[Message] = []
        heard, bottom = time.monotonic(), first  # the end of the partition, once it has been reached
        while True:
            while self.waiting:
                offset = self.waiting[0].offset()
                assert offset is not None
                if offset >= end:  # the range ends with a gap
                    return messages
                messages.append(self.waiting.popleft())
                first = offset + 1
            first = max(first, bottom)
            if first >= end:
                return messages
            for message in self.consumer.consume(min(_CHUNK_MESSAGES, end - first), _COLLECT_SECONDS):
                error = message.error()
                if error is None and message.partition() == partition:
                    self.waiting.append(message)
                    heard = time.monotonic()
                elif error is not None:
                    bottom = max(bottom, self.judge(error, message))
            if time.monotonic() - heard > _IDLE_TIMEOUT:
                raise UnavailableError(
                    f"Topic {self.topic!r} has sent no message for {_IDLE_TIMEOUT:.0f} seconds, {end - first:,} offsets before its end."
                )

    def judge(self, error: KafkaError, message: Message) -> int:
        """Return the partition's end when the error reports just that, 0 for a passing error; raise for a permanent one."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
            return (message.offset() or 0) if message.partition() == self.place[0] else 0
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise ProjectError(f"Topic {self.topic!r} removed messages while they were being read: run it again.")
        if not error.retriable():
            raise UnavailableError(f"Topic {self.topic!r} cannot be read: {error.str()}.")
        return 0


def is_topic(source: str) -> bool:
    """Return whether a source is a Kafka topic."""
    return source.startswith(_SCHEME)


def read_options(options: Mapping[str, Any]) -> TopicOptions:
    """Parse a topic's options; raise ProjectError naming the wrong one."""
    return parse_strictly(TopicOptions, options, OPTIONS)


def split_address(source: str) -> tuple[str, str]:
    """Split `kafka://host:port[,host:port]/topic` into brokers and topic; raise ProjectError for another address."""
    brokers, _, topic = source.removeprefix(_SCHEME).partition("/")
    if not is_topic(source) or not brokers or not topic or "/" in topic or "@" in brokers:
        raise ProjectError(f"collect.source is not a Kafka address: expected {_SCHEME}host:port[,host:port]/topic.")
    return brokers, topic


def name_topic(source: str) -> str:
    """Return the topic's name in commit records, without brokers, as these may move."""
    return f"the Kafka topic {split_address(source)[1]}"


def land_topic(
    source: str, root: Path, options: TopicOptions, landing: Landing, *, accept_loss: bool = False
) -> Iterator[Commit]:
    """Land each partition from its landed position up to its high watermark at the start; yield a commit for each range.

    Without a landed position, the group's committed offset is used, else `start`. Ranges end at multiples of `batch`.
    Offsets are committed for the group after they are landed, for tools that show its lag. Raises ProjectError for an
    unknown topic and, unless `accept_loss`, when unread messages are gone; UnavailableError when no broker answers.
    """
    try:
        from confluent_kafka import KafkaException
    except ModuleNotFoundError as error:
        raise ProjectError(f"{_SCHEME} needs the package confluent-kafka, which is not installed.") from error

    brokers, topic = split_address(source)
    decode = _open_decoder(options, topic, root)
    with closing(_open_consumer(brokers, options.group)) as consumer:
        try:
            ranges, epoch = _find_ranges(consumer, topic, options, landing.position, accept_loss=accept_loss)
            offsets = {str(partition): first for partition, (first, _) in ranges.items()}
            if offsets != landing.position.get("offsets"):  # a new partition, or one that begins at its end
                landing.commit([], [], {"offsets": offsets, "epoch": epoch})
            _report_offsets(consumer, topic, offsets)
            reader = _Reader(consumer, topic)
            for partition, first, end in _cut_ranges(ranges, options.batch):
                reader.seek(partition, first)
                messages = reader.read_range(first, end)
                offsets = {**offsets, str(partition): end}
                table, dates, rejected = _tabulate_messages(messages, decode, landing, options.time, topic)
                yield landing.land(
                        f"{topic}-{partition}" if not epoch else f"{topic}-e{epoch}-{partition}",
                        first, end - 1, table, {"offsets": offsets, "epoch": epoch}, dates=dates, rejected=rejected,
                    )  # fmt: skip
                _report_offsets(consumer, topic, {str(partition): end})
        except KafkaException as error:
            raise UnavailableError(f"Topic {topic!r} at {brokers} cannot be read: {error.args[0].str()}.") from error


def _cut_ranges(ranges: Mapping[int, tuple[int, int]], batch: int) -> Iterator[tuple[int, int, int]]:
    """Cut each partition's range at multiples of `batch`; yield partition, first offset and end."""
    for partition, (first, high) in ranges.items():
        for end in [*range((first // batch + 1) * batch, high, batch), high]:
            if first < end:
                yield partition, first, end
            first = end  # noqa: PLW2901


def _open_consumer(brokers: str, group: str) -> Consumer:
    """Open a consumer that reads committed messages only and does not commit by itself; the environment holds the secrets."""
    from confluent_kafka import Consumer, KafkaException

    secrets = {
        name.removeprefix(_VARIABLE_PREFIX).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith(_VARIABLE_PREFIX)
    }
    silent = logging.getLogger("lifecycle.kafka")  # librdkafka's own log lines; errors that matter are raised
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
        raise ProjectError(f"A variable {_VARIABLE_PREFIX}... is not a setting of librdkafka: {text}.") from error


def _find_ranges(
    consumer: Consumer, topic: str, options: TopicOptions, position: Mapping[str, Any], *, accept_loss: bool
) -> tuple[dict[int, tuple[int, int]], int]:
    """Return each partition's range to land, and how often the topic was recreated. Raises as land_topic does."""
    from confluent_kafka import TopicPartition

    found = consumer.list_topics(topic, timeout=_REQUEST_TIMEOUT).topics[topic]
    if found.error is not None or not found.partitions:
        others = sorted(
            name for name in consumer.list_topics(timeout=_REQUEST_TIMEOUT).topics if not name.startswith("__")
        )
        raise ProjectError(f"There is no Kafka topic {topic!r}; the topics are: {', '.join(others) or 'none'}.")
    partitions = sorted(found.partitions)
    landed: dict[str, int] = position.get("offsets", {})
    epoch: int = position.get("epoch", 0)
    places = [TopicPartition(topic, partition) for partition in partitions]
    marks = {
        place.partition: _ask(partial(consumer.get_watermark_offsets, place, timeout=_REQUEST_TIMEOUT))
        for place in places
    }
    anew = sorted({int(name) for name in landed} - set(partitions)) or [
        partition for partition in partitions if landed.get(str(partition), 0) > marks[partition][1]
    ]
    if anew:
        if not accept_loss:
            raise ProjectError(
                f"Topic {topic!r} was recreated: partition {anew[0]} ends at offset {marks.get(anew[0], (0, 0))[1]:,}, but "
                f"{landed[str(anew[0])]:,} were landed; --accept-loss lands it from its beginning, in addition to the landed rows."
            )
        landed, epoch = {}, epoch + 1
    committed = {} if landed or anew else _ask(partial(_find_committed, consumer, places))
    ranges = {}
    for partition, (low, high) in marks.items():
        latest = (
            options.start == "latest" and not landed and not anew
        )  # a partition that was added later is read from its beginning
        begin = committed.get(partition, -1)
        if not 0 <= begin <= high:  # the group has committed no offset, or one of a deleted topic
            begin = high if latest else low
        ranges[partition] = (landed.get(str(partition), begin), high)
    lost = {partition: marks[partition][0] - first for partition, (first, _) in ranges.items()}
    lost = {partition: count for partition, count in lost.items() if count > 0}
    if lost and not accept_loss:
        raise ProjectError(
            f"Topic {topic!r} has removed {sum(lost.values()):,} offsets that were not landed yet "
            f"({', '.join(f'{count:,} of partition {partition}' for partition, count in lost.items())}); "
            "--accept-loss continues after them."
        )
    return {partition: (max(first, marks[partition][0]), high) for partition, (first, high) in ranges.items()}, epoch


def _find_committed(consumer: Consumer, places: list[TopicPartition]) -> dict[int, int]:
    """Return the group's committed offset of each partition, -1001 for none; raise KafkaException for a partition's error."""
    from confluent_kafka import KafkaException

    found = consumer.committed(places, _REQUEST_TIMEOUT)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return {place.partition: place.offset for place in found}


def _ask(request: Callable[[], _Answer]) -> _Answer:
    """Return a request's answer, and send it again while its error is one of _PASSING, for as long as a broker may restart."""
    from confluent_kafka import KafkaError, KafkaException
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

    codes = {getattr(KafkaError, name) for name in _PASSING}
    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, KafkaException) and error.args[0].code() in codes),
        stop=stop_after_delay(_IDLE_TIMEOUT),
        wait=wait_exponential(0.1, max=2),
        reraise=True,
    )
    return attempts(request)


def _report_offsets(consumer: Consumer, topic: str, offsets: Mapping[str, int]) -> None:
    """Commit landed offsets for the group; a failure loses nothing, as the landed position decides."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        places = [TopicPartition(topic, int(partition), offset) for partition, offset in offsets.items()]
        _ask(partial(consumer.commit, offsets=places, asynchronous=False))
    except KafkaException as error:
        logging.getLogger("lifecycle").warning("the group's offsets could not be committed: %s", error.args[0].str())


def _open_decoder(options: TopicOptions, topic: str, root: Path) -> _Decoder:
    """Return the function that decodes a message's bytes to a mapping, and raises ValueError for invalid bytes.

    Raises ProjectError when a schema is missing or wrong.
    """
    if options.format == "json":
        return parse_json
    text = None
    if options.schema_file is not None:
        try:
            text = (root / options.schema_file).read_text(encoding="utf-8")
        except OSError as error:
            raise ProjectError(
                f"{options.schema_file}, the option schema, is not readable: {error.strerror}."
            ) from error
    if options.schema_registry is not None:
        return _open_registry(options, topic, text)
    if options.format == "avro" and text is not None:
        return _open_avro(text, str(options.schema_file))
    raise ProjectError(f"The format {options.format} needs the option schema_registry (or, for avro, schema: a file).")


def _open_avro(text: str, name: str) -> _Decoder:
    """Return a decoder of plain Avro values of one schema."""
    import io

    import orjson
    from fastavro import parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        schema = parse_schema(orjson.loads(text))
    except (ValueError, SchemaParseException, UnknownType) as error:
        raise ProjectError(f"{name} is not an Avro schema: {error}.") from error

    def decode(value: bytes) -> Any:
        stream = io.BytesIO(value)
        row = schemaless_reader(stream, schema, None)
        if stream.read(1):
            raise ValueError("more bytes than the schema describes")
        return row

    return _refuse_errors(decode)


def _open_registry(options: TopicOptions, topic: str, text: str | None) -> _Decoder:
    """Return a decoder of values in Confluent's wire format, whose schemas are in a schema registry."""
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
    if _REGISTRY_USER in os.environ:
        settings["basic.auth.user.info"] = f"{os.environ[_REGISTRY_USER]}:{os.environ.get(_REGISTRY_PASSWORD, '')}"
    client = SchemaRegistryClient(settings)
    plain = {
        "subject.name.strategy": topic_subject_name_strategy
    }  # the number alone identifies the schema: no further requests
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
        except Exception as error:  # exceptions of its HTTP library, which differs between versions
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

    return _refuse_errors(decode)


def _refuse_errors(decode: _Decoder) -> _Decoder:
    """Wrap the decoder so that all errors caused by invalid bytes are ValueError."""
    from confluent_kafka.serialization import SerializationError

    def refuse(value: bytes) -> Any:
        try:
            return decode(value)
        except (SerializationError, EOFError, LookupError, TypeError, OverflowError, struct.error) as error:
            raise ValueError(str(error) or type(error).__name__) from error

    return refuse


def _decode_values(values: Sequence[bytes | None], decode: _Decoder) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Decode values to mappings; return them with the reasons of those that failed, which are empty."""
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


def _choose_type(name: str, column: Sequence[Any], landing: Landing) -> pa.DataType:
    """Return the type of a column: that of most values, or the landed one, which widens if that alters no whole number."""
    found = infer_type(column)
    if found == pa.float64() and any(type(value) is int and abs(value) > EXACT for value in column):
        known = pa.schema([]) if landing.schema is None else landing.schema
        if name in known.names and known.field(name).type == pa.int64():
            return pa.int64()
    return landing.widen(name, found)


def _tabulate_messages(
    messages: Sequence[Message], decode: _Decoder, landing: Landing, event_time: str | None, topic: str
) -> tuple[pa.Table, pa.Array | None, list[Rejected]]:
    """Convert messages to rows with types that fit the landed ones; return also their dates and the rejected messages.

    A message with a value that its column's type does not hold exactly is rejected, and alters no other row. Nested values
    become JSON text. Raises ProjectError when no row has the event-time field.
    """
    values = [message.value() for message in messages]
    rows, reasons = _decode_values(values, decode)
    columns = {}
    names = dict.fromkeys([] if landing.schema is None else landing.schema.names)
    for row in rows:
        names.update(dict.fromkeys(row))
    for name in names:
        column = [row.get(name) for row in rows]
        if not set(map(type, column)) <= _COLUMN_TYPES:
            column = [value if type(value) in _COLUMN_TYPES else format_value(value) for value in column]
        kind = _choose_type(name, column, landing)
        columns[name], wrong = convert_values(column, kind)
        for place in wrong:
            reasons.setdefault(place, f"{name} is {column[place]!r:.80}, expected {describe_type(kind)}")
    dates = None
    if event_time is not None and len(reasons) < len(rows):
        if event_time not in columns:
            raise ProjectError(f"Option time is {event_time!r}, but topic {topic!r} has the fields {', '.join(names)}.")
        dates, wrong = find_dates(columns[event_time])
        for place in wrong:
            reasons.setdefault(place, f"{event_time} is not a time: expected ISO 8601, or a number since 1970")
    kept = [place for place in range(len(rows)) if place not in reasons]
    table = pa.table(columns if kept else {})  # rejected rows alone define no columns
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
