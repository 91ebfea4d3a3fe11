"""How long nothing becomes complete after a leader's crash, in the simulation: in leases."""

from __future__ import annotations

from tests.protocol.clients import Client
from tests.protocol.machine import LEASE_S
from tests.protocol.network import Weather
from tests.protocol.simulation import Simulation


def fail_over(seed: int, *, nodes: int = 3) -> float:
    """From the crash of a leader, for ever and at any moment, to the next leader's first complete record."""
    sim = Simulation(seed, nodes=nodes, founded_knowing=True)
    sim.first = sim.random.choice(sim.founded.voters)
    sim.network.weather = Weather(least_s=0.0005, most_s=0.01)
    sim.start()
    Client(sim, "m", every_s=0.2)
    sim.run(3.0 + 2 * sim.random.random())
    leader = sim.leader
    assert leader is not None
    leader.crash()
    since = sim.t
    sim.run_while(lambda: sim.completions[-1][0] <= since, 20 * LEASE_S)
    return (next(at for at, _ in sim.completions if at > since) - since) / LEASE_S


def described(leases: list[float]) -> str:
    """The distribution in one line."""
    ordered = sorted(leases)
    at = {percent: ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] for percent in (5, 50, 95, 99)}
    parts = ", ".join(f"p{percent} {value:.2f}" for percent, value in at.items())
    return f"{len(ordered)} fail-overs in leases: {parts}, longest {ordered[-1]:.2f}"
