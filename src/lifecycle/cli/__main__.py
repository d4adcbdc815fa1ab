"""The command `lifecycle`: by the warm parent where there is one, else in this process."""

from __future__ import annotations

import os
import sys

from lifecycle.pipeline.forkserver import VARIABLE, run_command


def main() -> int:
    """Run the command line's command and return its exit status."""
    arguments = sys.argv[1:]
    if VARIABLE in os.environ and arguments[:1] in (["run"], ["report"], ["promote"]):
        status = run_command(arguments)
        if status is not None:
            return status
    from lifecycle.cli.main import main as run_here  # imports more than a client of the parent needs

    return run_here(arguments)


if __name__ == "__main__":
    sys.exit(main())
