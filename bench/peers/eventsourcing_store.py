"""The `eventsourcing` package as a store of events: saves, alone and in batches, and rebuilds.

What is timed begins when the events have been triggered and ends when they are durable; its aggregates stay in memory,
so that it never reads before it writes. Usage: HOST PORT USER DATABASE.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

from eventsourcing.application import Application

from bench.children import serve
from bench.load import ACTORS, fields
from bench.peers.aggregates import BATCH, Order, environment, placed


class Piped(Application):
    """Inserts by statements in pipeline mode, as it does by default."""


class Functions(Application):
    """Inserts by functions in the database."""


class Store:
    """One application, the aggregates that it keeps, and how far they have got."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._orders: list[Order] = []
        self._next = 0

    def changed(self, count: int) -> list[Order]:
        """Aggregates with one new event each; there are no more than ACTORS."""
        if not self._orders:
            self._orders = [placed(number) for number in range(ACTORS)]
            self.save(self._orders, BATCH)
        first, self._next = self._next, self._next + count
        chosen = [self._orders[number % ACTORS] for number in range(first, self._next)]
        for number, order in enumerate(chosen, start=first):
            order.change(**fields(number))
        return chosen

    def save(self, orders: Sequence[Order], batch: int) -> None:
        for first in range(0, len(orders), batch):
            self.application.save(*orders[first : first + batch])

    def save_in_threads(self, orders: Sequence[Order], threads: int) -> None:
        workers = [threading.Thread(target=self.save, args=(orders[each::threads], 1)) for each in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


class Rebuilding:
    """Aggregates with a history of a given length, got from the repository again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: list[object] = []

    def fill(self, actors: int, events: int) -> float:
        """Give each of so many aggregates so many events; answers how many there are in all."""
        orders = [placed(number) for number in range(actors)]
        self._store.save(orders, BATCH)
        for number in range(1, events):
            for order in orders:
                order.change(**fields(number))
            self._store.save(orders, BATCH)
        self._ids = [order.id for order in orders]
        return actors * events

    def rebuild(self, events: int) -> float:
        """Rebuild aggregates until at least so many events have been read; answers events per second."""
        seen, began = 0, time.perf_counter()
        while seen < events:
            for each in self._ids:
                seen += self._store.application.repository.get(each).version
                if seen >= events:
                    break
        return seen / (time.perf_counter() - began)


def main() -> None:
    connection = sys.argv[1:]
    stores = {
        functions: Store(kind(env=environment(*connection, functions=functions)))
        for functions, kind in ((False, Piped), (True, Functions))
    }
    rebuilding = Rebuilding(stores[True])

    def save(count: int, functions: bool, batch: int, threads: int) -> float:
        store = stores[functions]
        orders = store.changed(count)
        began = time.perf_counter()
        if threads > 1:
            store.save_in_threads(orders, threads)
        else:
            store.save(orders, batch)
        return count / (time.perf_counter() - began)

    serve({"save": save, "fill": rebuilding.fill, "rebuild": rebuilding.rebuild})
    for store in stores.values():
        store.application.close()


if __name__ == "__main__":
    main()
