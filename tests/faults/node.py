"""A node as in production, but that its wall clock can be set, its links can be cut, and a mutant may live in it.

Usage: --config FILE --clock FILE [--mutant NAME]. Nothing of this is in the product: this process changes itself and
then runs the ordinary command line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from peaceriver.embedded.processes import follow_parent
from tests.faults.clock import ClockFile


def set_clock(clock: ClockFile) -> None:
    """Let this process tell its wall time by ``clock``; the steady clock stays what it is."""
    from peaceriver.node import identity

    # The one module that asks for the wall time of stamps, of cutoffs and of ids.
    identity.time = SimpleNamespace(time_ns=lambda: time.time_ns() + clock.offset_ns)


def keep_to_the_proxies() -> None:
    """Let this process reach the others as its configuration says, and not as the directory does: past the proxies."""
    from peaceriver.node.peers import Peers

    place = Peers.place

    def unless_configured(self: Peers, node: str, url: str) -> None:
        if self.url(node) is None:
            place(self, node, url)

    Peers.place = unless_configured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--clock", type=Path, required=True)
    parser.add_argument("--mutant")
    chosen = parser.parse_args()
    # Whoever torments it may be killed as well: then nobody is left to end it.
    follow_parent(os.getppid(), signal.SIGKILL)
    set_clock(ClockFile(chosen.clock))
    keep_to_the_proxies()
    if chosen.mutant:
        from tests.faults.mutants import MUTANTS

        MUTANTS[chosen.mutant].apply()
    from peaceriver.cli.main import run

    sys.argv = ["peaceriver", "node", "--json", "--config", str(chosen.config)]
    run()


if __name__ == "__main__":
    main()
