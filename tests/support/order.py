"""The order of the test files: the longest first, so that no worker waits for another at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

# Files that take more than ten seconds, the longest first. pytest-xdist gives files to its workers in this order.
LONGEST = (
    "project/test_pipeline.py",
    "adoption/test_odd_tables.py",
    "retraining/test_retraining.py",
    "retraining/test_replay.py",
    "project/test_notebooks.py",
    "project/test_dvc.py",
    "project/test_ops.py",
    "project/test_dag.py",
    "serving/test_server.py",
    "serving/test_openapi_conformance.py",
    "monitoring/test_alerting.py",
    "adoption/test_adopt.py",
    "serving/test_app.py",
)


def order_items(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; all others stay as they were collected."""
    tests = Path(__file__).resolve().parent.parent
    places = {tests / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
