"""Departments that fill, as the demonstration shows them: a table that lives on a terminal, or lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from rich.live import Live
from rich.table import Table

from peaceriver.cli.terminal import console, table
from peaceriver.client import Client
from peaceriver.errors import PeaceRiverError

#: How long the story rests in all at speed 1, where somebody looks on.
STORY_S = 10.0
PICTURE_PAUSE_S = 0.2
BAR_LETTERS = 40


class Teller:
    """Who tells the story, and how fast: on a terminal that is looked at, or in lines."""

    def __init__(self, tell: Callable[[str], None], *, live: bool, speed: float | None) -> None:
        self._tell = tell
        self._live = live
        self._speed = speed

    def tell(self, line: str = "") -> None:
        if self._live:
            # Above the table, where there is one.
            console.print(line, markup=False, soft_wrap=True)
        else:
            self._tell(line)

    async def rest(self, steps: int) -> None:
        """Rest for one of so many steps of the story."""
        if self._speed is not None:
            await asyncio.sleep(STORY_S / self._speed / steps)

    @asynccontextmanager
    async def filling(self, client: Client, departments: Mapping[int, str]) -> AsyncIterator[None]:
        """Show the departments while they fill, for as long as the block lasts."""
        if not self._live:
            yield
            self.tell(f"  records: {_in_words(await client.cluster(), departments)}")
            return
        with Live(console=console, auto_refresh=False) as live:
            pictures = asyncio.create_task(_pictures(live, client, departments))
            try:
                yield
            finally:
                pictures.cancel()
                await asyncio.gather(pictures, return_exceptions=True)
            live.update(picture(await client.cluster(), departments), refresh=True)


async def _pictures(live: Live, client: Client, departments: Mapping[int, str]) -> None:
    while True:
        with suppress(PeaceRiverError):  # the node is away: whoever sends says so, and a later picture shows it again
            live.update(picture(await client.cluster(), departments), refresh=True)
        await asyncio.sleep(PICTURE_PAUSE_S)


def picture(cluster: Mapping[str, Any], departments: Mapping[int, str]) -> Table:
    """How many records each department has, in numbers and as bars."""
    filled = _filled(cluster)
    most = max([1, *(filled.get(code, 0) for code in departments)])
    shown = table("shard", "department", "records", "", right=("shard", "records"))
    for code, name in departments.items():
        records = filled.get(code, 0)
        shown.add_row(str(code), name, f"{records:,}", "█" * (BAR_LETTERS * records // most))
    return shown


def _in_words(cluster: Mapping[str, Any], departments: Mapping[int, str]) -> str:
    filled = _filled(cluster)
    return ", ".join(f"{name} {filled.get(code, 0):,}" for code, name in departments.items())


def _filled(cluster: Mapping[str, Any]) -> dict[int, int]:
    return {each["shard"]: each["complete"] for each in cluster["shards"]}
