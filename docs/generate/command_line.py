"""The command `lifecycle`, from its own parser."""

# ruff: noqa: SLF001 - argparse has no public way to list the arguments of a parser
from __future__ import annotations

import argparse

from generate.markdown import code, finish, write_table
from generate.schemas import refuse_missing


def describe_commands() -> str:
    """Describe each command: what it does, how it is typed, and its arguments."""
    from lifecycle.cli.main import build_parser

    parser = build_parser()
    text, missing = [], []
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, command in sorted(action.choices.items()):
            if not helps.get(name):
                missing.append(f"the command {name}")
            usage = command.format_usage().removeprefix("usage: ")
            usage = " ".join(usage.split())
            text.append(
                f"(command-{name})=\n## `lifecycle {name}`\n\n{finish(helps.get(name) or '')}\n\n```text\n{usage}\n```\n"
            )
            rows = []
            for argument in command._actions:
                if isinstance(argument, argparse._HelpAction):
                    continue
                shown = ", ".join(argument.option_strings) or str(argument.metavar or argument.dest)
                if argument.option_strings and argument.nargs != 0:
                    shown += f" {argument.metavar or argument.dest.upper()}"
                choices = f" One of {', '.join(map(code, argument.choices))}." if argument.choices else ""
                if not argument.help and not choices:
                    missing.append(f"{name} {shown}")
                rows.append([code(shown), finish(argument.help or "") + choices])
            if rows:
                text.append(write_table(["argument", "meaning"], rows) + "\n")
    refuse_missing(missing)
    return "\n".join(text)
