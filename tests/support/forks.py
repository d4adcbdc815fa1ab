"""Processes that begin with what is slow to import: a server imports it once, and forks.

A process of Python has one such server, so that what the tests of all files need is named here.
"""

from __future__ import annotations

import multiprocessing

from lifecycle.pipeline.runner import STAGES

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    *(f"lifecycle.stages.{stage}" for stage in STAGES),
    "mlflow.sklearn",
    "sqlalchemy.dialects.sqlite",
    "tests.promotion.test_registry",  # whose functions run in them
    "tests.sources.test_ingest",
    "tests.support.stages",
])  # fmt: skip
