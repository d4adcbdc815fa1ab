"""The command `lifecycle`."""

from __future__ import annotations

import argparse
import sys

from lifecycle.paths import ProjectError
from lifecycle.run import STAGES, StageError


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="lifecycle", description="Run a stage, or move the champion.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a stage's notebook and render its report (what dvc.yaml calls)")
    run.add_argument("stage", choices=STAGES)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 where the user has something to mend, or 130 after Ctrl-C."""
    chosen = build_parser().parse_args(arguments)
    try:
        if chosen.command == "run":
            from lifecycle.run import run_stage

            run_stage(chosen.stage)
    except (ProjectError, StageError) as error:
        print(f"lifecycle {chosen.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lifecycle {chosen.command}: interrupted; the next `dvc repro` goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
