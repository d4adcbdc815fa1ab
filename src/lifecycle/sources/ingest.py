"""Land what is new in a growing source, each row once: `collect` then reads what is landed."""

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

PAUSE = 1.0  # seconds between two looks at a source that is followed

Land = Callable[[Landing], Iterator[Commit]]


def ingest(
    project: Project, collect: Collect | None = None, *, accept_loss: bool = False, compact: bool = False
) -> Iterator[str]:
    """Land what a source has that is not landed yet; gives a line for each batch as it is durable, then a sum.

    `collect` says which source; by default the section of params.yaml. With `compact`, small files are joined afterwards. Raises ProjectError for a source that does not grow, or that has lost
    what was not landed (`accept_loss` goes on); UnavailableError where it does not answer.
    """
    collect = collect or load_params(project.root / PARAMS).collect
    name, land = find_source(project.root, collect, accept_loss=accept_loss)
    with open_landing(project.root / LANDED, name) as landing:
        yield from land_new(landing, land)
        if compact:
            yield f"compact: {landing.compact():,} files fewer, {len(landing.files):,} now"


def follow(project: Project, *, accept_loss: bool = False) -> Iterator[str]:
    """As ingest, again and again until SIGTERM, which ends the process with 0; a source that does not answer is waited for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as harmless as a crash: what is not durable yet comes again
    name, land = find_source(project.root, load_params(project.root / PARAMS).collect, accept_loss=accept_loss)
    trouble = ""
    with open_landing(project.root / LANDED, name) as landing:
        while True:
            try:
                yield from land_new(landing, land, quiet=True)
                trouble = ""
            except UnavailableError as error:
                if not trouble:
                    yield f"{error} Trying again."
                trouble = str(error)
            time.sleep(PAUSE)


def find_source(root: Path, collect: Collect, *, accept_loss: bool) -> tuple[str, Land]:
    """What a growing source is called, and what lands it."""
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
        f"{PARAMS}: collect.source does not grow: expected kafka://host:port/topic, or a database with the option watermark; "
        "any other source is read whole by `dvc repro`."
    )


def land_new(landing: Landing, land: Land, *, quiet: bool = False) -> Iterator[str]:
    """Land what there is now; `quiet` says nothing of nothing."""
    partitions: Counter[str] = Counter()
    rejected = 0
    for commit in keep_disk_errors(land(landing)):
        first = (*commit.files, *commit.quarantine)[:1]
        span = Path(first[0].path).stem.rsplit("-", 2) if first else None
        rejected += commit.rejected
        for file in commit.files:
            partitions[Path(file.path).parent.name or "one partition"] += file.rows
        if span:
            yield f"{span[0]} {int(span[1]):,} to {int(span[2]):,}: {describe_new_rows(commit.rows, commit.rejected)}"
    if partitions or rejected or not quiet:
        days = ", ".join(f"{name} {rows:,}" for name, rows in sorted(partitions.items())[-10:])
        more = f"{len(partitions) - 10} earlier ones, " if len(partitions) > 10 else ""
        yield (
            f"{describe_new_rows(partitions.total(), rejected)} of {landing.source} landed in {LANDED}"
            f"{f' ({more}{days})' if days else ''}"
        )


def keep_disk_errors(commits: Iterator[Commit]) -> Iterator[Commit]:
    """The commits; raises ProjectError where the disk refuses."""
    try:
        yield from commits
    except OSError as error:
        raise ProjectError(f"{LANDED} cannot be written: {error}. What is landed stays; run it again.") from error


def describe_new_rows(rows: int, rejected: int) -> str:
    """How many rows, and how many that were none."""
    return f"{rows:,} rows" + (f", {rejected:,} quarantined" if rejected else "")
