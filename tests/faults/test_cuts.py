"""What is done to a cluster is felt: a checker that finds nothing under faults that do nothing proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, running
from tests.faults.links import Way

#: However slow the machine is: this only keeps a cut that cuts nothing from waiting for ever.
_PATIENCE_S = 90.0


def _said_by(cluster: Cluster, name: str) -> Iterator[Way]:
    """The ways that what a node says goes, to whomever."""
    for (one, other), link in cluster.links.items():
        if name == one:
            yield link.requests
        if name == other:
            yield link.answers


def _heard_by(cluster: Cluster, name: str) -> Iterator[Way]:
    for (one, other), link in cluster.links.items():
        if name == one:
            yield link.answers
        if name == other:
            yield link.requests


def _asking(cluster: Cluster, name: str, *, silenced: bool, deafened: bool) -> list[Way]:
    """The ways of requests from and to a node that are open still; there are no answers where nobody was asked."""
    pairs = cluster.links.items()
    asks = [link.requests for (one, _), link in pairs if name == one and not silenced]
    return asks + [link.requests for (_, other), link in pairs if name == other and not deafened]


async def _until_seen(cluster: Cluster, name: str, seen: set[str]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while await cluster.sees(name) != seen:  # noqa: ASYNC110 - other processes can only be asked
            await asyncio.sleep(0.05)


async def _until_all_see(cluster: Cluster) -> None:
    for name in cluster.names:
        await _until_seen(cluster, name, set(cluster.names))
    await cluster.all_count()


def _mute(cluster: Cluster, name: str) -> None:
    for other in cluster.names:
        if other != name:
            cluster.block(name, other)


def _deaf(cluster: Cluster, name: str) -> None:
    for other in cluster.names:
        if other != name:
            cluster.block(other, name)


async def _leads(cluster: Cluster, name: str) -> bool:
    standing = await cluster.standing(name)
    return standing is None or standing[0].state == "leader"


#: How a node is cut off, and whether what it says, and what is said to it, is stopped.
CUTS: dict[str, tuple[Callable[[Cluster, str], None], bool, bool]] = {
    "isolate": (Cluster.isolate, True, True),
    "split": (lambda cluster, name: cluster.split([name]), True, True),
    "refuse": (Cluster.refuse, True, True),
    "mute": (_mute, True, False),
    "deaf": (_deaf, False, True),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_of_a_node_that_is_cut_off_nothing_gets_through(place: Path) -> None:
    """Nodes that could reach each other past the proxies would go on seeing each other."""
    async with running(place, app=None) as cluster:
        for number, (how, (cut, silenced, deafened)) in enumerate(CUTS.items()):
            await _until_all_see(cluster)
            victim = cluster.names[number % len(cluster.names)]
            others = set(cluster.names) - {victim}
            cut(cluster, victim)
            stopped = [each for each in _said_by(cluster, victim) if silenced]
            stopped += [each for each in _heard_by(cluster, victim) if deafened]
            open_still = _asking(cluster, victim, silenced=silenced, deafened=deafened)
            before, passed = [each.bytes for each in stopped], [each.bytes for each in open_still]
            assert all(before), f"{how}: the nodes have not talked through the proxies before"
            # Each of these asks anew: nobody is said to be away who could be reached.
            await _until_seen(cluster, victim, {victim})
            for each in others:
                await _until_seen(cluster, each, others)
            assert [each.bytes for each in stopped] == before, f"{how}: something got through"
            moved = [each.bytes > earlier for each, earlier in zip(open_still, passed, strict=True)]
            assert all(moved), f"{how}: it stopped more than it should"
            cluster.clear_weather()
        await _until_all_see(cluster)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_whoever_is_cut_off_leads_no_longer_and_the_others_go_on(place: Path) -> None:
    async with running(place, app=None) as cluster:
        await cluster.all_count()
        first = await cluster.leader(0)
        assert first is not None
        cluster.isolate(first)
        async with asyncio.timeout(_PATIENCE_S):
            # Both are asked past the proxies, as clients are: the one that is cut off can only give up.
            while await cluster.leader(0) in (first, None):  # noqa: ASYNC110 - other processes can only be asked
                await asyncio.sleep(0.05)
            while await _leads(cluster, first):  # noqa: ASYNC110 - other processes can only be asked
                await asyncio.sleep(0.05)
        cluster.clear_weather()
        await cluster.all_count()
