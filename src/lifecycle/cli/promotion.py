"""The commands about the champion: promote, roll back, shadow, history."""

from __future__ import annotations

import sys

import click

from lifecycle.cli._shared import open_registry
from lifecycle.core.paths import open_project


@click.command()
@click.argument("version", required=False)
@click.option(
    "--if-blessed", is_flag=True, help="Succeed also when the candidate is not blessed; nothing is promoted then."
)
def promote(version: str | None, *, if_blessed: bool) -> int:
    """Register the blessed candidate; promote it when it is better.

    The first blessed candidate is always promoted. With VERSION, a registered version or the first digits of a release's hash, that model becomes the champion.
    """
    project, name = open_registry()
    from lifecycle.promotion.registry import promote_candidate, promote_version

    done = promote_version(project, name, version) if version else promote_candidate(project, name)
    if done.version is None:
        print(f"promote: the champion stays: {done.because}", file=sys.stderr)
        return 0 if if_blessed else 1
    state = "is now the champion" if done.moved else "is registered, the champion stays"
    print(f"promote: version {done.version} of {name!r} {state}: {done.because}")
    return 0


@click.command()
def rollback() -> None:
    """Make the model before the champion the champion again."""
    project, name = open_registry()
    from lifecycle.promotion import registry

    done = registry.rollback(project, name)
    print(f"rollback: version {done.version} of {name!r}, model {done.model[:12]}, is the champion: {done.because}")


@click.command()
@click.argument("version", metavar="{candidate|VERSION|off}")
def shadow(version: str) -> None:
    """Also score each request with a second model.

    Its answers are logged and never returned.
    """
    project, name = open_registry()
    from lifecycle.promotion.registry import put_in_shadow

    model = put_in_shadow(project, name, None if version == "off" else version)
    print(f"shadow: {f'model {model[:12]} is in the shadow' if model else 'no model is in the shadow'}")


@click.command()
def history() -> None:
    """Show which model was live when, who moved it, and why."""
    from lifecycle.promotion.releases import tabulate_history

    for row in tabulate_history(open_project(write=True).root):
        print("  ".join(row).rstrip())


COMMANDS = (promote, rollback, shadow, history)
