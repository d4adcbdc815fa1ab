"""Land the new rows of a growing source, each once; the stage `collect` reads the landed rows."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Collect, load_params
from lifecycle.core.paths import LANDED, PARAMS, Project
from lifecycle.sources import kafka, sql_landing
from lifecycle.sources.landing import Commit, Landing, UnavailableError, open_landing
from lifecycle.sources.sql import is_database, name_rows, read_options

_POLL_SECONDS = 1.0  # seconds between two polls of a source that is followed

_Land = Callable[[Landing], Iterator[Commit]]


def ingest(
    project: Project, collect: Collect | None = None, *, accept_loss: bool = False, compact: bool = False
) -> Iterator[str]:
    """Land the rows of a source that are not landed yet; yield a line for each durable batch, then a summary.

    `collect` names the source; by default it is the section of params.yaml. With `compact`, small files are merged
    afterwards. Raises ProjectError for a source that does not grow, or that has lost rows before they were landed
    (unless `accept_loss`); UnavailableError when it does not answer.
    """
    collect = collect or load_params(project.root / PARAMS).collect
    name, land = _find_source(project.root, collect, accept_loss=accept_loss)
    with open_landing(project.root / LANDED, name) as landing:
        yield from _land_new(landing, land)
        if compact:
            yield f"compact: {landing.compact():,} files were merged away, {len(landing.files):,} remain"


def follow(project: Project, *, accept_loss: bool = False) -> Iterator[str]:
    """Repeat `ingest` until SIGTERM, which ends the process with status 0; wait for a source that does not answer."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # as harmless as a crash: rows that are not durable yet are read again
    name, land = _find_source(project.root, load_params(project.root / PARAMS).collect, accept_loss=accept_loss)
    trouble = ""
    with open_landing(project.root / LANDED, name) as landing:
        while True:
            try:
                yield from _land_new(landing, land, quiet=True)
                trouble = ""
            except UnavailableError as error:
                if not trouble:
                    yield f"{error} Trying again."
                trouble = str(error)
            time.sleep(_POLL_SECONDS)


def _find_source(root: Path, collect: Collect, *, accept_loss: bool) -> tuple[str, _Land]:
    """Return the name of a growing source, and the function that lands its rows."""
    source = collect.source
    if kafka.is_topic(source):
        topic = kafka.read_options(collect.options)
        return kafka.name_topic(source), lambda landing: kafka.land_topic(
            source, root, topic, landing, accept_loss=accept_loss
        )
    if is_database(source) and "watermark" in collect.options:
        rows = read_options(collect.options)
        return name_rows(rows), lambda landing: sql_landing.land_rows(source, root, rows, landing)
    raise ProjectError(
        f"{PARAMS}: collect.source is not a growing source: expected kafka://host:port/topic, or a database with the option watermark; "
        "`dvc repro` reads any other source as a whole."
    )


def _land_new(landing: Landing, land: _Land, *, quiet: bool = False) -> Iterator[str]:
    """Land the rows that there are now; with `quiet`, print nothing when there are none."""
    partitions: Counter[str] = Counter()
    rejected = 0
    for commit in _keep_disk_errors(land(landing)):
        first = (*commit.files, *commit.quarantine)[:1]
        span = Path(first[0].path).stem.rsplit("-", 2) if first else None
        rejected += commit.rejected
        for file in commit.files:
            partitions[Path(file.path).parent.name or "one partition"] += file.rows
        if span:
            yield f"{span[0]} {int(span[1]):,} to {int(span[2]):,}: {_describe_new_rows(commit.rows, commit.rejected)}"
    if partitions or rejected or not quiet:
        days = ", ".join(f"{name} {rows:,}" for name, rows in sorted(partitions.items())[-10:])
        more = f"{len(partitions) - 10} earlier ones, " if len(partitions) > 10 else ""
        yield (
            f"{_describe_new_rows(partitions.total(), rejected)} of {landing.source} landed in {LANDED}"
            f"{f' ({more}{days})' if days else ''}"
        )


def _keep_disk_errors(commits: Iterator[Commit]) -> Iterator[Commit]:
    """Yield the commits; raise ProjectError when the disk refuses."""
    try:
        yield from commits
    except OSError as error:
        raise ProjectError(f"{LANDED} cannot be written: {error}. The landed rows are kept; run it again.") from error


def _describe_new_rows(rows: int, rejected: int) -> str:
    """Describe how many rows were landed and how many records were quarantined."""
    return f"{rows:,} rows" + (f", {rejected:,} quarantined" if rejected else "")
