"""Every planted mistake still has its place: one that does not fit the product any more would never be caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.faults.mutants import MUTANTS

#: Each in a process of its own, which is forked, for what one replaces another one may look for.
PLANT = """
import os, traceback
from tests.faults.mutants import MUTANTS

for name, mutant in MUTANTS.items():
    child = os.fork()
    if child == 0:
        try:
            mutant.apply()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


def test_every_mistake_can_be_planted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLANT], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout == "", done.stderr
    assert MUTANTS
