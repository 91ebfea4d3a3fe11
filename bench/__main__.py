"""`make bench`: every case, or some, and what became of the goals. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench.cases import Case, cases
from bench.cases.growth import LONG_RECORDS, SHORT_RECORDS
from bench.goals import GOALS, judged
from bench.place import place
from bench.report import goal_table, result, table
from bench.rounds import Contestant, Figures, Pace, interleaved

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("eventsourcing", "fastapi", "SQLAlchemy", "psycopg", "asyncpg", "uvicorn", "uvloop")


def main() -> None:
    asked = _arguments()
    pace = Pace(rounds=asked.rounds, seconds=asked.seconds)
    began = datetime.now(UTC)
    measured, postgres = uvloop.run(_measure(_chosen(asked), pace))
    verdicts = [judged(goal, measured) for goal in GOALS if goal.case in measured]
    kept = _keep(began, result(measured, verdicts, _circumstances(began, pace, postgres)))
    print(f"\n{goal_table(verdicts)}\n\nkept in {kept}")


async def _measure(chosen: Mapping[str, Case], pace: Pace) -> tuple[dict[str, dict[str, Figures]], int]:
    """The figures by case and contestant, and the major version of the PostgreSQL that all of them used."""
    measured: dict[str, dict[str, Figures]] = {}
    async with place() as here:
        for name, case in chosen.items():
            measured[name] = await _case(name, case(here), pace)
            print(table(name, measured[name]), flush=True)
        return measured, here.server.version


async def _case(name: str, case: AbstractAsyncContextManager[Sequence[Contestant]], pace: Pace) -> dict[str, Figures]:
    began = time.monotonic()

    def told(contestant: str, figure: float, unit: str) -> None:
        print(f"  {time.monotonic() - began:>5.0f} s  {contestant}: {figure:,.2f} {unit}", flush=True)

    print(f"\n{name}: setting up", flush=True)
    async with case as contestants:
        return await interleaved(contestants, pace, told)


def _circumstances(began: datetime, pace: Pace, postgres: int) -> dict[str, Any]:
    return {
        "at": began.isoformat(timespec="seconds"),
        "rounds": pace.rounds,
        "seconds": pace.seconds,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": postgres,
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _keep(began: datetime, found: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{began:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _chosen(asked: argparse.Namespace) -> dict[str, Case]:
    return {name: case for name, case in cases(long_records=asked.records).items() if name in asked.cases}


def _arguments() -> argparse.Namespace:
    there = list(cases(long_records=LONG_RECORDS))
    parser = argparse.ArgumentParser(prog="make bench", description="The product beside its peers, as ratios.")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(there)}; all of them if none is named")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each time (default 1)")
    parser.add_argument(
        "--records", type=int, default=LONG_RECORDS, help=f"of the long journal (default {LONG_RECORDS})"
    )
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(there):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    if asked.rounds < 1 or asked.seconds <= 0 or asked.records <= SHORT_RECORDS:
        parser.error(f"--rounds is at least 1, --seconds more than 0, --records more than {SHORT_RECORDS}")
    asked.cases = asked.cases or there
    return asked


if __name__ == "__main__":
    main()
