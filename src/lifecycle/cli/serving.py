"""The commands about serving: start the server, compact its prediction log."""

from __future__ import annotations

import os

import click

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import find_root


@click.command()
@click.option("--host", help="The address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, help="The port; 0 takes a free one. Default: 8000.")
@click.option("--workers", type=int, help="The number of processes that share the port. Default: 1.")
def serve(host: str | None, port: int | None, workers: int | None) -> int:
    """Serve the champion over HTTP."""
    from lifecycle.serving.server import serve as serve_champion
    from lifecycle.serving.settings import read_settings

    return serve_champion(find_root(), read_settings(os.environ, host=host, port=port, workers=workers))


@click.command()
@click.option("--keep-days", type=int, metavar="N", help="Also remove the days that ended N days ago or earlier.")
def compact(keep_days: int | None) -> None:
    """Compact the prediction log into Parquet files.

    There is one file for each kind of record and day.
    """
    from lifecycle.prediction_log.compaction import compact_segments, prune_log
    from lifecycle.serving.settings import read_settings

    folder = find_root() / read_settings(os.environ).log_folder
    try:
        done = compact_segments(folder)
        removed = 0 if keep_days is None else prune_log(folder, keep_days)
    except OSError as error:
        raise ProjectError(
            f"the prediction log cannot be compacted: {error}; the segments that were not compacted are kept."
        ) from error
    print(
        f"compact: {done.records:,} records of {done.segments} segments are now Parquet files in {folder}; "
        f"{done.damaged} damaged lines were set aside; {removed} old partitions were removed"
    )


COMMANDS = (serve, compact)
