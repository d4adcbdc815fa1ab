"""The order of the test files: the longest first, so that no worker waits for another at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

# Files that take more than ten seconds. pytest-xdist gives files to its workers in this order: the longest first, but those
# that need the built project after others, so that no worker waits until the first has built it.
LONGEST = (
    "project/test_pipeline.py",  # builds it
    "adoption/test_odd_tables.py",
    "project/test_notebooks.py",
    "project/test_guides.py",
    "project/test_ops.py",
    "retraining/test_replay.py",
    "retraining/test_challenger.py",
    "project/test_docs.py",
    "project/test_dvc.py",
    "project/test_dag.py",
    "serving/test_server.py",
    "monitoring/test_alerting.py",
    "monitoring/test_live.py",
    "serving/test_openapi_conformance.py",
    "adoption/test_adopt.py",
    "sources/test_ingest.py",
    "promotion/test_registry.py",
    "pipeline/test_forkserver.py",
    "pipeline/test_runner.py",
    "project/test_benchmarks.py",
    "sources/test_kafka.py",
    "stages/test_deploy.py",
    "serving/test_app.py",
)


def order_items(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; all others stay as they were collected."""
    tests = Path(__file__).resolve().parent.parent
    places = {tests / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
