"""The command `lifecycle`, from its own definition."""

from __future__ import annotations

import inspect

import click

from generate.markdown import code, finish, write_table
from generate.schemas import refuse_missing


def list_commands() -> dict[str, click.Command]:
    """Return the commands by name, in the order of `lifecycle --help`."""
    from lifecycle.cli.main import lifecycle

    return dict(lifecycle.commands)


def describe_commands() -> str:
    """Describe each command: what it does, how it is typed, and its arguments."""
    return "\n".join(describe_command(name, command) for name, command in list_commands().items())


def describe_command(name: str, command: click.Command) -> str:
    """Describe one command. Its help is plain text, in which a blank line begins a paragraph."""
    context = click.Context(command, info_name=f"lifecycle {name}")
    pieces = command.collect_usage_pieces(context)
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    rows, missing = [], [] if text else [f"the command {name}"]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            shown, meaning = ", ".join(parameter.opts), parameter.help or ""
            if not parameter.is_flag:
                shown += f" {parameter.make_metavar(context)}"
            if not meaning:
                missing.append(f"lifecycle {name} {shown}")
            rows.append([code(shown), finish(meaning)])
    refuse_missing(missing)
    usage = " ".join(["lifecycle", name, *(piece for piece in pieces if rows or piece != "[OPTIONS]")])
    text = f"(command-{name})=\n## `lifecycle {name}`\n\n{text}\n\n```none\n{usage}\n```\n"
    return text + (f"\n{write_table(['option', 'meaning'], rows)}\n" if rows else "")
