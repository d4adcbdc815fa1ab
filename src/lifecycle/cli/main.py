"""The command `lifecycle`: its subcommands, and how errors and exit statuses reach the shell."""

from __future__ import annotations

import sys

import click

from lifecycle.cli import data, monitoring, pipeline, project, promotion, serving
from lifecycle.core.errors import ProjectError
from lifecycle.pipeline.runner import StageError

_GROUPS = (pipeline, project, data, promotion, serving, monitoring)


class _InOrder(click.Group):
    """A group that lists its commands in the order in which a model's life goes, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they were added."""
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def lifecycle() -> None:
    """Run the stages of a model's life, and manage the model that is live."""


for _group in _GROUPS:
    for _command in _group.COMMANDS:
        lifecycle.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: success. 1: an error that the user can fix, printed as one sentence. 2: wrong usage. 130: after Ctrl-C. Some
    commands document further statuses.
    """
    words = sys.argv[1:] if arguments is None else arguments
    name = next((word for word in words if not word.startswith("-")), "")
    try:
        status = lifecycle.main(args=words, prog_name="lifecycle", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return 2
    except (ProjectError, StageError) as error:
        print(f"lifecycle {name}: {error}", file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        print(f"lifecycle {name}: interrupted; the next `dvc repro` continues from here.", file=sys.stderr)
        return 130
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
