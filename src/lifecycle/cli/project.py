"""The commands about the project as a whole: adopt a table, assess the readiness for production."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from lifecycle.cli._shared import find_log
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import find_root, open_project


@click.command()
@click.argument("source", metavar="[FILE_OR_ADDRESS]", required=False)
@click.option("--target", metavar="COLUMN", help="The column to predict.")
@click.option("--time", metavar="COLUMN", help="When each row happened; the newest rows are held out.")
@click.option("--id", "identity", metavar="COLUMN", help="Whose row it is; rows of one id stay together in the split.")
@click.option("--positive", metavar="VALUE", help="The class whose probability is predicted. Default: the rarer one.")
@click.option("--name", metavar="NAME", help="The project's name. Default: the file's name.")
@click.option("--option", multiple=True, metavar="KEY=VALUE", help="One of `collect.options`, such as table=visits.")
@click.option("--force", is_flag=True, help="Overwrite a contract that was edited after an earlier adopt.")
@click.option("--undo", is_flag=True, help="Restore the project as it was before adopt.")
def adopt(
    source: str | None, target: str | None, time: str | None, identity: str | None, positive: str | None, name: str | None,
    option: tuple[str, ...], *, force: bool, undo: bool,
) -> None:  # fmt: skip
    """Adopt your own table: infer its contract and parameters."""
    from lifecycle.adoption.adopt import adopt_table
    from lifecycle.adoption.backup import undo_adoption

    project = open_project(write=True)
    if undo:
        lines = undo_adoption(project)
    elif not source or not target:
        raise ProjectError("expected FILE_OR_ADDRESS and --target COLUMN, or --undo.")
    else:
        lines = adopt_table(
            project, source, target=target, time=time, identity=identity, positive=positive, name=name,
            options=_parse_options(option), force=force,
        )  # fmt: skip
    print(*(f"adopt: {line}" for line in lines), sep="\n")


def _parse_options(pairs: tuple[str, ...]) -> dict[str, object]:
    """Read KEY=VALUE pairs; each value is YAML, so that numbers and lists keep their types."""
    from ruamel.yaml import YAML

    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ProjectError(f"--option {wrong[0]}: expected KEY=VALUE.")
    split = (pair.split("=", 1) for pair in pairs)
    return {key: YAML(typ="safe", pure=True).load(value) for key, value in split}


@click.command()
@click.option(
    "--least", type=float, metavar="N", help="Exit with status 1 when the lowest of the four sums is below N."
)
def readiness(least: float | None) -> None:
    """Show the ML Test Score and the evidence for each row."""
    from lifecycle.cli.readiness import assess_project, sum_sections, tabulate_assessment

    assessed = assess_project(find_root(), datetime.now(UTC))
    print("\n".join(tabulate_assessment(assessed)))
    lowest = min(sum_sections(assessed).values())
    if least is not None and not lowest >= least:
        raise ProjectError(f"the lowest of the four sums is {lowest:g}; at least {least:g} is required.")


@click.command()
def upgrade() -> None:
    """Bring the files of an earlier version up to date.

    The parameters, the contract, the champion with its releases and the prediction log are upgraded; `dvc repro` rebuilds
    the outputs of the stages.
    """
    from lifecycle.adoption.upgrade import upgrade_project

    project = open_project(write=True)
    lines = upgrade_project(project, find_log(None, project))
    print(*(f"upgrade: {line}" for line in lines or ["every file has this version's format already"]), sep="\n")


COMMANDS = (adopt, readiness, upgrade)
