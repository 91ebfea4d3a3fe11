"""The agents of a node: one for each active rule in each department that this node leads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import RulePage
from peaceriver.errors import Conflict, LedElsewhere, NotFound, Refused
from peaceriver.evaluation.evaluator import Evaluator
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.rule import Start
from peaceriver.shard import journal
from peaceriver.shard.agent import Agent
from peaceriver.shard.attempt import MarkMoved
from peaceriver.shard.journal import Batch, Mark
from peaceriver.shard.proposal import Proposal
from peaceriver.shard.shard import Shard
from peaceriver.shard.steps import anew, reader_of
from peaceriver.shard.validation import Validating, Validations
from peaceriver.shard.views import Views
from peaceriver.shard.watermark import Watermark

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_LOOK_AGAIN_S = 0.1
_TRIES_MAX = 5
#: Kinds of records that rules look at: marks and ticks wake nobody.
_LOOKED_AT = frozenset(("received", "exception"))


class Agents:
    """Keeps the agents as the directory wants them."""

    def __init__(self, directory: Directory, shards: Mapping[int, Shard], views: Views, evaluator: Evaluator) -> None:
        self._directory = directory
        self._shards = shards
        self._views = views
        self._evaluator = evaluator
        #: By department, and there by rule.
        self._agents: dict[int, dict[str, Agent]] = {}
        self._followed: set[int] = set()
        self._levelling = asyncio.Lock()
        self._moving: set[asyncio.Task[int]] = set()
        self._levellings: set[asyncio.Task[None]] = set()
        self._stopped = False
        #: Counts how often agents were brought level with the directory: for those who wait for a rule.
        self.levelled = Watermark()

    def at(self, code: int) -> list[Agent]:
        """The agents of a department."""
        return list(self._agents.get(code, {}).values())

    def of(self, rule: str) -> Agent | None:
        """A rule's agent; None where the rule is not active here."""
        return next((each[rule] for each in self._agents.values() if rule in each), None)

    @property
    def processes(self) -> list[int]:
        """The processes that rules run in now, by their ids."""
        return self._evaluator.pids

    def validations_for(self, code: int) -> Validations:
        """What a department asks before it admits a message; asks the directory anew each time."""
        return Validations(code, lambda: self._validating(code), self._evaluator)

    def _validating(self, code: int) -> Sequence[Validating]:
        pages = self._directory.validating.get(code)
        if not pages:
            return ()
        return [Validating(each.name, each.version, each.on, self.runs(each)) for each in pages]

    def runs(self, page: RulePage) -> bool:
        """Whether this node has the code that a page speaks of."""
        own = self._evaluator.rules.get(page.name)
        return page.active and own is not None and own.digest == page.digest and str(own.on) == str(page.on)

    @property
    def waiting(self) -> list[str]:
        """Rules of this node's application that do not act yet."""
        return sorted(
            name
            for name, own in self._evaluator.rules.items()
            if (page := self._directory.rules.get(name)) is None
            or not self.runs(page)
            or (own.kind == "follow-up" and not self._acts(page))
        )

    def _acts(self, page: RulePage) -> bool:
        """Whether a rule acts: here, or where its department is led; its first mark says that it has begun to."""
        shard = self._shards.get(page.at)
        if shard is None or shard.serving:
            return self.of(page.name) is not None
        return (reader_of(page.name), page.at) in shard.marks

    def _is_elsewhere(self, page: RulePage) -> bool:
        """Whether another node lets an active rule act, or one will when it leads."""
        shard = self._shards.get(page.at)
        return page.active and shard is not None and not shard.serving

    async def active(self) -> None:
        """Wait until all rules of this node's application act, wherever their departments are led."""
        while self.waiting:
            # Of those that act elsewhere nobody tells: their marks are copied some time.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self.levelled.passed(self.levelled.value)

    async def level(self) -> None:
        """Start agents of rules that became active, stop those of rules that are no longer; tries until it is done."""
        async with self._levelling:
            for page in list(self._directory.rules.values()):
                await self._level(page)
        self.levelled.advance(self.levelled.value + 1)

    async def _level(self, page: RulePage) -> None:
        while True:
            try:
                await self._level_once(page)
                return
            except LedElsewhere:
                return  # whoever leads the department lets the rule act
            except (*Unreachable, DatabaseError, Refused, MarkMoved) as error:
                log.warning("a rule waits to become active", rule=page.name, shard=page.at, reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)

    async def _level_once(self, page: RulePage) -> None:
        running = self.of(page.name)
        wanted = page.kind == "follow-up" and self.runs(page)
        if running is not None and not (wanted and _suits(running, page)):
            self._drop(running)
            await running.stop()
            running = None
        shard = self._shards.get(page.at)
        if not wanted or shard is None or not shard.serving:
            return
        if running is not None:
            running.version = page.version
        else:
            await self._start(shard, page)

    async def _start(self, shard: Shard, page: RulePage) -> None:
        if (reader_of(page.name), shard.code) not in shard.marks:
            await _activate(shard, page.name, page.start)
        await self._run(shard, page)

    async def _run(self, shard: Shard, page: RulePage) -> None:
        if shard.code not in self._followed:
            self._followed.add(shard.code)
            shard.followers.append(self._follow)
        agent = Agent(
            shard,
            page.name,
            page.version,
            page.on,
            asks=self._evaluator,
            tables=self._views.tables,
            departments=self._directory.departments,
        )
        # Followed from here on, so that nothing falls between what it reads and what it is told.
        self._agents.setdefault(shard.code, {})[page.name] = agent
        try:
            await agent.start()
        except BaseException:
            # It does not act, so it must not be taken for one that does.
            self._drop(agent)
            raise
        if self.of(page.name) is not agent:
            await agent.stop()  # the reign ended meanwhile, and it was left

    def _drop(self, agent: Agent) -> None:
        acting = self._agents.get(agent.shard.code, {})
        if acting.get(agent.rule) is agent:
            del acting[agent.rule]
        agent.replaced()

    def _follow(self, shard: Shard, batch: Batch) -> None:
        agents = self.at(shard.code)
        if not agents:
            return
        by_type: dict[str | None, list[Agent]] = {}
        for agent in agents:
            by_type.setdefault(agent.subscription.actor_type, []).append(agent)
        of_any_type = by_type.get(None, [])
        for record, documents, chain in zip(batch.records, batch.documents, batch.chains, strict=True):
            if record.kind in _LOOKED_AT:
                for agent in (*by_type.get(record.actor_type, ()), *of_any_type):
                    agent.offer(record, documents, chain)
        for agent in agents:
            agent.follow(batch)

    async def replay(self, rule: str, start: Start) -> int:
        """Let a rule act anew from a position, from the start, or from now; answers the position.

        What it made before has the same ids and is not recorded a second time. Raises NotFound where it is not active.
        """
        # Begun, it is brought to its end, also where nobody waits any more: a rule that is stopped must act again.
        moving = asyncio.create_task(self._replay(rule, start), name=f"replay {rule}")
        self._moving.add(moving)
        moving.add_done_callback(self._moved)
        return await asyncio.shield(moving)

    def _moved(self, task: asyncio.Task[int]) -> None:
        self._moving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a rule does not act anew", reason=str(error))

    async def _replay(self, rule: str, start: Start) -> int:
        async with self._levelling:
            agent = self.of(rule)
            if agent is None and (page := self._directory.rules.get(rule)) is not None and self._is_elsewhere(page):
                raise LedElsewhere(
                    f"department {page.at}, where the rule {rule} acts, is not led by this node; ask again in a moment",
                    shard=page.at,
                )
            if agent is None:
                raise NotFound(f"the rule {rule} is not active here; GET /directory/rules lists those that there are")
            try:
                return await _move(agent, start)
            finally:
                if not self._stopped:
                    self._drop(agent)
                    await self._level(self._directory.rules[rule])

    def take_up(self, shard: Shard) -> None:
        """A department is led here from now on: let its rules act."""
        levelling = asyncio.create_task(self.level(), name=f"rules of {shard.code}")
        self._levellings.add(levelling)
        levelling.add_done_callback(self._levellings.discard)

    async def leave(self, shard: Shard) -> None:
        """A department is led here no longer: its rules act elsewhere."""
        for agent in self.at(shard.code):
            self._drop(agent)
            await agent.stop()

    async def stop(self) -> None:
        """Stop all agents, each with its mark written."""
        self._stopped = True
        moving = [*self._moving, *self._levellings]
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)
        agents = [agent for each in self._agents.values() for agent in each.values()]
        self._agents.clear()
        stopped = await asyncio.gather(*(each.stop() for each in agents), return_exceptions=True)
        for agent, result in zip(agents, stopped, strict=True):
            if isinstance(result, BaseException):
                # Without its mark it looks again at records that led to nothing.
                log.warning("a rule's mark was not written", rule=agent.rule, reason=repr(result))

    def close(self) -> None:
        """End the processes that rules run in."""
        self._evaluator.close()


def _suits(agent: Agent, page: RulePage) -> bool:
    """Whether an agent does what a page says, in the reign that there is."""
    return agent.is_current and agent.shard.code == page.at and agent.subscription == page.on


async def _move(agent: Agent, start: Start) -> int:
    """Stop an agent and move its mark; answers where to. What it was appending may still move the mark once."""
    for _ in range(_TRIES_MAX):
        try:
            await agent.stop()
            await _activate(agent.shard, agent.rule, start, expecting=agent.mark)
            # Only now is it known who is free: whatever it was appending has come through or never will.
            plan = anew(agent.stand, agent.parked.free())
            if plan.marks:
                own = reader_of(agent.rule), agent.shard.code, agent.mark
                await agent.shard.append(plan.proposal(own), bounded=False)
        except MarkMoved:
            continue
        return agent.mark
    raise Conflict(f"the mark of the rule {agent.rule} is being moved by others; look at it and try again")


async def _activate(shard: Shard, rule: str, start: Start, *, expecting: int = 0) -> None:
    """Record where a rule starts: from then on, "now" never moves."""
    tip = shard.tip
    position = tip.position if start == "now" else 0 if start == "start" else min(start, tip.position)
    if position == tip.position:
        chain = tip.chain
    else:
        async with shard.database.connection() as tx:
            chain = await journal.sql.chain_at.value(tx, shard=shard.code, position=position) or b""
    reader = reader_of(rule)
    mark = Mark(reader, shard.code, position, chain)
    await shard.append(Proposal(marks=(mark,), expecting=((reader, shard.code, expecting),)), bounded=False)
