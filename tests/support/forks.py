"""Processes that begin with what is slow to import: a server imports it once, and forks.

A process of Python has one such server, so that what the tests of all files need is named here.
"""

from __future__ import annotations

import multiprocessing

from lifecycle.pipeline.runner import STAGES

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    *(f"lifecycle.stages.{stage}" for stage in STAGES),
    "lifecycle.promotion.registry",
    "lifecycle.sources.ingest",
    "mlflow.sklearn",
    "sqlalchemy.dialects.sqlite",
])  # fmt: skip
