"""The commands about data: ingest a growing source, profile a table, fill the feature store."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.core.paths import CONTRACT, PROFILE, RAW_TABLE, open_project
from lifecycle.core.progress import report_slowly


@click.command()
@click.option("--follow", is_flag=True, help="Keep running until SIGTERM.")
@click.option("--compact", is_flag=True, help="Merge small files afterwards.")
@click.option("--accept-loss", is_flag=True, help="Continue when the topic has lost messages that were not landed yet.")
def ingest(*, follow: bool, compact: bool, accept_loss: bool) -> None:
    """Land the new rows of a Kafka topic or a database table."""
    from lifecycle.sources.ingest import follow as follow_source
    from lifecycle.sources.ingest import ingest as land

    if follow and compact:
        raise click.UsageError("--follow and --compact exclude each other.")
    project = open_project(write=True)
    if follow:
        lines = follow_source(project, accept_loss=accept_loss)
    else:
        lines = land(project, accept_loss=accept_loss, compact=compact)
    for line in lines:
        print(f"ingest: {line}", flush=True)


@click.command()
def profile() -> None:
    """Write the profile that later tables are compared with.

    The profile holds the distributions of the raw table's columns.
    """
    from lifecycle.stages.validate import describe_reference

    project = open_project(write=True)
    contract = load_contract(project.read(CONTRACT))
    path = project.write(PROFILE)
    with TemporaryDirectory(dir=path.parent) as folder:
        described = describe_reference(project.read(RAW_TABLE), contract, Path(folder))
    write_json(described, path)
    print(f"profile: {PROFILE} now holds the distributions of {RAW_TABLE}")


@click.command()
@click.option("--since", metavar="MOMENT", help="Only rows from this moment on (ISO 8601, UTC).")
@click.option("--check", is_flag=True, help="Compare online with offline instead; exit with status 1 when they differ.")
@click.option("--sample", type=int, metavar="N", help="With --check: compare N entities. Default: all.")
def materialize(since: str | None, sample: int | None, *, check: bool) -> int:
    """Fill the online feature store, or compare it with offline."""
    from lifecycle.features import materialize as store

    project = open_project(write=True)
    if not check:
        if sample is not None:
            raise ProjectError("--sample needs --check.")
        moment = None if since is None else store.parse_moment(since)
        print(store.describe_filled(store.materialize(project, moment, report_slowly("materialize"))))
        return 0
    if since is not None or (sample is not None and sample < 1):
        raise ProjectError("--check takes --sample with a number of at least 1, and not --since.")
    found = store.compare_stores(project, sample)
    print(*store.describe_comparison(found), sep="\n")
    return 0 if found.agrees else 1


COMMANDS = (ingest, profile, materialize)
