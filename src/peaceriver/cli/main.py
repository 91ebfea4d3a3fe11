"""``peaceriver``: the entry point of the command line.

It loads nothing by itself: what the commands need takes half a second to load, and whoever presses Ctrl-C meanwhile
gets the same quiet end as later.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from peaceriver.cli import EXIT_INTERRUPTED


def run() -> None:
    """Run the command that the arguments say, and end the process with its exit code."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a name that a terminal cannot show is no reason to fail
        from peaceriver.cli.commands import app

        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    run()
