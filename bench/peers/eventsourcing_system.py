"""The `eventsourcing` package as a system of two applications: every order placed in one makes an invoice in the other.

Its single-threaded runners are the fastest correct way that it has: the follower runs in the very thread that saves.
The follower's events are saved with the tracking record that makes them happen once, which its functions in the
database leave out; so the follower inserts by statements, and only the leader by functions.
Usage: HOST PORT USER DATABASE.
"""

from __future__ import annotations

import statistics
import sys
import time
from uuid import UUID

from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.system import NewSingleThreadedRunner, ProcessApplication, Runner, SingleThreadedRunner, System

from bench.children import serve
from bench.peers.aggregates import BATCH, Order, environment, placed


class Invoice(Aggregate):
    """What follows from an order."""

    @event("Made")
    def __init__(self, order: str, amount: float) -> None:
        self.order, self.amount = order, amount


#: How many notifications the follower pulls at once; the fewer, the more often it asks.
_SECTION_EVENTS = 500


class Orders(Application):
    """Where orders are placed."""

    log_section_size = _SECTION_EVENTS


class Invoices(ProcessApplication[UUID]):
    """Makes an invoice for each order."""

    pull_section_size = _SECTION_EVENTS

    @singledispatchmethod
    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        """Follow an event; others than those below need nothing."""

    @policy.register
    def _(self, domain_event: Order.Placed, processing_event: ProcessingEvent[UUID]) -> None:
        processing_event.collect_events(Invoice(order=str(domain_event.originator_id), amount=domain_event.total))


SYSTEM = System(pipes=[[Orders, Invoices]])


def invoices(runner: Runner) -> int:
    """How many invoices there are."""
    return runner.get(Invoices).recorder.max_notification_id() or 0


def main() -> None:
    connection = sys.argv[1:]
    env = environment(*connection, functions=False) | {"ORDERS_POSTGRES_ENABLE_DB_FUNCTIONS": "yes"}
    orders = Orders(env=env)
    pulling, pushing = SingleThreadedRunner(SYSTEM, env=env), NewSingleThreadedRunner(SYSTEM, env=env)
    pulling.start()
    pushing.start()

    def backlog(count: int) -> float:
        """Orders saved beforehand; answers how many of them per second the follower acts on."""
        for first in range(0, count, BATCH):
            orders.save(*(placed(number) for number in range(first, min(first + BATCH, count))))
        before, began = invoices(pulling), time.perf_counter()
        pulling.get(Invoices).pull_and_process(Orders.name)
        took = time.perf_counter() - began
        _check(invoices(pulling) - before, count)
        return count / took

    def follow_up(count: int, pushed: bool) -> float:
        """One order at a time; answers the median time from before its save to after its invoice's, in ms."""
        runner = pushing if pushed else pulling
        before, times = invoices(runner), []
        for number in range(count):
            order = placed(number)
            began = time.perf_counter()
            runner.get(Orders).save(order)
            times.append(time.perf_counter() - began)
        _check(invoices(runner) - before, count)
        return statistics.median(times) * 1000

    serve({"backlog": backlog, "follow_up": follow_up})
    pulling.stop()
    pushing.stop()
    orders.close()


def _check(made: int, asked: int) -> None:
    if made != asked:
        raise RuntimeError(f"{asked} orders made {made} invoices; the measurement would be of something else")


if __name__ == "__main__":
    main()
