"""``peaceriver demo``: a cluster of its own, a generated log, and one case now and as it was."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import msgspec
import typer
from rich.live import Live
from rich.table import Table

from peaceriver import demo_log
from peaceriver.answers import ActorRead
from peaceriver.cli.loading import Load, Summary
from peaceriver.cli.terminal import JsonOption, complain, console, finish, say, say_json, table
from peaceriver.cli.up import Cluster, stop_on_signals
from peaceriver.client import Client
from peaceriver.imports import ImportPlan, plan_import
from peaceriver.imports.plan import ACTOR_TYPE

#: How long the loading takes at speed 1, where somebody looks on.
STORY_S = 10.0
#: Where nobody does, the departments are shown so many times.
PICTURES = 5
BAR_LETTERS = 40


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a case."""

    stamp: str
    shard: int
    activity: str
    valid_at: str
    #: The department that it was handed over by.
    sender: int | None


def demo(
    exit_at_end: Annotated[bool, typer.Option("--exit", help="End with the story, also on a terminal.")] = False,
    speed: Annotated[float | None, typer.Option(min=0.01, help="1: the loading takes ten seconds; 2: five.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster, load a generated log, and show one case now and as it was."""
    looked_at = sys.stdout.isatty() and not as_json
    if speed is None and looked_at:
        speed = 1.0
    teller = Teller(complain if as_json else say, live=looked_at, speed=speed)
    finish(_run(teller, stays=looked_at and not exit_at_end, as_json=as_json), as_json=as_json)


async def _run(teller: Teller, *, stays: bool, as_json: bool) -> int:
    with TemporaryDirectory(prefix="peaceriver-demo-") as folder:
        cluster = Cluster(Path(folder), port=0, app=None, say=complain)
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
    return 0


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration has shown."""

    summary: Summary
    case: str
    now: tuple[ActorRead, ...]
    #: The moment half-way, and what the case was then.
    moment: str
    then: tuple[ActorRead, ...]

    def public(self) -> dict[str, Any]:
        held = {"now": self.now, "then": self.then}
        files = {
            when: [{"shard": each.shard, "version": each.version, "document": each.document} for each in actors]
            for when, actors in held.items()
        }
        return {"summary": self.summary.public(), "case": self.case, "moment": self.moment} | files


class Teller:
    """Who tells the story: in lines, or on a terminal that is looked at."""

    def __init__(self, tell: Callable[[str], None], *, live: bool, speed: float | None) -> None:
        self.tell = tell
        self.live = live
        self._speed = speed

    def pause_s(self, waves: int) -> float:
        """How long to rest after each of so many waves."""
        return 0.0 if self._speed is None else STORY_S / self._speed / waves


async def _tell(cluster: Cluster, teller: Teller, *, stays: bool) -> Story:
    tell = teller.tell
    tell("Starting a node with a PostgreSQL server of its own ...")
    url = await cluster.start()
    tell(f"{url} takes messages.")
    plan = plan_import(demo_log.generate(), {}, default_department="Sales")
    async with Client(url) as client:
        tell(f"Loading {plan.events:,} events of {plan.cases} orders, each sent to the department that does the work:")
        summary = await _load(client, plan, teller)
        tell(
            f"{summary.events:,} events are received in {summary.departments} departments, with {summary.hand_overs:,} "
            f"hand-overs, in {summary.seconds:.1f} s."
        )
        story = await _case(client, plan, summary, tell)
    if stays:
        tell(f"\nThe node stays up until Ctrl-C. On another terminal: export PEACERIVER_URL={url}")
        tell(f"  peaceriver status; peaceriver get {story.case}; peaceriver get {story.case} --as-of {story.moment}")
    return story


async def _load(client: Client, plan: ImportPlan, teller: Teller) -> Summary:
    """Load the log while the departments are seen to fill."""
    load = Load(client, plan)
    pause_s = teller.pause_s(len(plan.waves))
    if not teller.live:
        load.between = _pictures(client, plan, load, pause_s, teller.tell)
        return await load.run()
    with Live(console=console, auto_refresh=False) as live:

        async def show() -> None:
            live.update(_departments(await client.cluster(), plan), refresh=True)
            await asyncio.sleep(pause_s)

        load.between = show
        summary = await load.run()
        live.update(_departments(await client.cluster(), plan), refresh=True)
        return summary


def _pictures(
    client: Client, plan: ImportPlan, load: Load, pause_s: float, tell: Callable[[str], None]
) -> Callable[[], Awaitable[None]]:
    """Show the departments in lines, some times in all."""
    shown = 0

    async def show() -> None:
        nonlocal shown
        if load.recorded * PICTURES // plan.events > shown:
            shown = load.recorded * PICTURES // plan.events
            filled = _positions(await client.cluster())
            parts = (f"{name} {filled.get(code, 0)}" for name, code in plan.departments.items())
            tell(f"  {load.recorded:,} events; records: {', '.join(parts)}")
        await asyncio.sleep(pause_s)

    return show


def _positions(cluster: Mapping[str, Any]) -> dict[int, int]:
    return {each["shard"]: each["complete"] for each in cluster["shards"]}


def _departments(cluster: Mapping[str, Any], plan: ImportPlan) -> Table:
    positions = _positions(cluster)
    most = max([1, *(positions.get(code, 0) for code in plan.departments.values())])
    shown = table("shard", "department", "records", "", right=("shard", "records"))
    for name, code in plan.departments.items():
        records = positions.get(code, 0)
        shown.add_row(str(code), name, f"{records:,}", "█" * (BAR_LETTERS * records // most))
    return shown


async def _case(client: Client, plan: ImportPlan, summary: Summary, tell: Callable[[str], None]) -> Story:
    """Show the case that has seen most departments: its way, what it is now, and what it was half-way."""
    names = {code: name for name, code in plan.departments.items()}
    case = _widest(plan)
    now = (await client.find(ACTOR_TYPE, case)).items
    steps = await _steps(client, case, [each.shard for each in now])
    tell(f"\nOne of them, {ACTOR_TYPE}/{case}, went this way:")
    for step in steps:
        way = names[step.shard] if step.sender is None else f"{names[step.sender]} → {names[step.shard]}"
        tell(f"  {step.valid_at[:16].replace('T', ' ')}  {step.activity:<22} {way}")
    half = steps[len(steps) // 2]
    then = (await client.find(ACTOR_TYPE, case, as_of=half.stamp)).items
    tell("\nNow it is held by:")
    for line in _holders(now, names):
        tell(line)
    tell(f"\nAs of {half.stamp}, when {names[half.shard]} recorded {half.activity!r}, it was held by:")
    for line in _holders(then, names):
        tell(line)
    return Story(summary=summary, case=f"{ACTOR_TYPE}/{case}", now=now, moment=half.stamp, then=then)


def _widest(plan: ImportPlan) -> str:
    """The case with most departments, and of these the one with most events."""
    ways: dict[str, list[int]] = {}
    for message in plan.messages:
        ways.setdefault(message.envelope.actor_id or "", []).append(message.envelope.to)
    return max(ways, key=lambda case: (len(set(ways[case])), len(ways[case])))


async def _steps(client: Client, case: str, shards: Sequence[int]) -> list[Step]:
    """A case's records in all departments, in the order of their stamps."""
    found = [each for shard in shards for each in await client.records(shard, ACTOR_TYPE, case)]
    steps = [
        Step(
            stamp=each["stamp"],
            shard=each["shard"],
            activity=each["type"],
            valid_at=each["valid_at"],
            sender=each["from"],
        )
        for each in found
    ]
    return sorted(steps, key=lambda step: step.stamp)


def _holders(actors: Sequence[ActorRead], names: Mapping[int, str]) -> Iterator[str]:
    for each in actors:
        activity, resource = (each.document[column] for column in ("concept:name", "org:resource"))
        yield f"  {names[each.shard]:<10} version {each.version}: {activity}, {resource}"
