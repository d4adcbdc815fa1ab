"""The commands about the project as a whole: adopt a table, assess the readiness for production."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
@click.option("--check", is_flag=True, help="Say what a new file of the adopted kind would change; write nothing.")
@click.option("--undo", is_flag=True, help="Restore the project as it was before adopt.")
def adopt(
    source: str | None, target: str | None, time: str | None, identity: str | None, positive: str | None, name: str | None,
    option: tuple[str, ...], *, force: bool, check: bool, undo: bool,
) -> None:  # fmt: skip
    """Adopt your own table: infer its contract and parameters."""
    from lifecycle.adoption.adopt import Request, adopt_table
    from lifecycle.adoption.backup import undo_adoption
    from lifecycle.adoption.check import check_table
    from lifecycle.sources.option_texts import read_option_texts

    project = open_project(write=True)
    if undo:
        lines = undo_adoption(project)
    elif source and check:
        lines = check_table(project, source, read_option_texts(source, _split_options(option)))
    elif source and target:
        request = Request(target, time, identity, positive, name)
        options = read_option_texts(source, _split_options(option))
        lines = adopt_table(project, source, request, options=options, force=force, ask=_find_asker())
    else:
        raise ProjectError("expected FILE_OR_ADDRESS and --target COLUMN, FILE_OR_ADDRESS and --check, or --undo.")
    print(*(f"adopt: {line}" for line in lines), sep="\n")


def _find_asker() -> Callable[[str, str], str] | None:
    """Return a function that puts a question to the person at the terminal; None where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return lambda question, default: str(click.prompt(question, default=default))


def _split_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """Split KEY=VALUE pairs; a value is what was typed."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ProjectError(f"--option {wrong[0]}: expected KEY=VALUE.")
    return dict(pair.split("=", 1) for pair in pairs)


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
