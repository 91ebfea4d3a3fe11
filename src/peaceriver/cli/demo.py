"""``peaceriver demo``: a cluster of its own that runs order to cash, and the story of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from peaceriver.cli.filling import Teller
from peaceriver.cli.story import Story, tell
from peaceriver.cli.terminal import EXIT_REFUSED, JsonOption, complain, finish, say, say_json
from peaceriver.cli.up import Cluster, stop_on_signals
from peaceriver.client import Client
from peaceriver.order_to_cash.load import generate

APPLICATION = "peaceriver.order_to_cash"


def demo(
    exit_at_end: Annotated[bool, typer.Option("--exit", help="End with the story, also on a terminal.")] = False,
    speed: Annotated[float | None, typer.Option(min=0.01, help="1: rests for ten seconds in all; 2: five.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster that takes orders from the wish to the money, and check its books; 1 if they do not balance."""
    looked_at = sys.stdout.isatty() and not as_json
    if speed is None and looked_at:
        speed = 1.0
    teller = Teller(complain if as_json else say, live=looked_at, speed=speed)
    finish(_run(teller, stays=looked_at and not exit_at_end, as_json=as_json), as_json=as_json)


async def _run(teller: Teller, *, stays: bool, as_json: bool) -> int:
    with TemporaryDirectory(prefix="peaceriver-demo-") as folder:
        cluster = Cluster(Path(folder), port=0, app=APPLICATION, say=complain)
        stopping = stop_on_signals(cluster)
        telling = asyncio.create_task(_tell(cluster, teller, stays=stays))
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({telling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
                return 0
            story = telling.result()
            if as_json:
                say_json(story.public())
            if stays:
                await stopped
        finally:
            stopped.cancel()
            await cluster.stop()
    return EXIT_REFUSED if story.faults else 0


async def _tell(cluster: Cluster, teller: Teller, *, stays: bool) -> Story:
    teller.tell("Starting three nodes, each with a PostgreSQL server of its own ...")
    url = (await cluster.start())[0]
    teller.tell(f"{url} takes orders.\n")
    async with Client(url) as client:
        story = await tell(client, generate(), teller)
    if stays:
        teller.tell(f"\nThe nodes stay up until Ctrl-C. On another terminal: export PEACERIVER_URL={url}")
        order = f"Order/{story.past.order}"
        teller.tell(f"  peaceriver status; peaceriver get {order}; peaceriver get {order} --as-of {story.past.moment}")
    return story
