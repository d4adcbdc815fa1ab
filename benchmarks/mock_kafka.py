"""librdkafka's mock cluster: a Kafka broker inside a producer, for benchmarks that need no real one."""

from __future__ import annotations

from typing import Any


def start_mock() -> tuple[Any, str]:
    """Return a producer that carries a mock cluster, which lives as long as the producer, and the cluster's address."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=30).brokers.values()))
    return producer, f"{broker.host}:{broker.port}"
