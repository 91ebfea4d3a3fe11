"""The story that the demonstration tells: some days of order to cash, and what can be seen of them afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from peaceriver.cli.filling import Teller
from peaceriver.cli.lanes import lines
from peaceriver.cli.patience import patiently
from peaceriver.cli.standing import Held, held_by
from peaceriver.cli.trading import Trading, documents, read_books
from peaceriver.client import Client
from peaceriver.moments import vector
from peaceriver.order_to_cash import Order, billing, credit, sales, shipping, warehouse
from peaceriver.order_to_cash.books import Books, ends, faults, goods, money
from peaceriver.order_to_cash.load import Day, Load
from peaceriver.order_to_cash.models import Postpone

DEPARTMENTS = {each.code: each.name for each in (sales, credit, warehouse, shipping, billing)}


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """An exception, and what became of it."""

    exception: dict[str, Any]
    #: Orders that waited behind it.
    behind: tuple[str, ...]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One order's way, and what the departments held of it on the way and in the end."""

    order: str
    lanes: tuple[str, ...]
    #: A moment on its way, when it waited for goods.
    moment: str
    then: tuple[Held, ...]
    now: tuple[Held, ...]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What was told."""

    refused: int
    exception: Resolved
    past: Past
    cutoff: str
    books: Books
    faults: tuple[str, ...]

    def public(self) -> dict[str, Any]:
        """The story as JSON."""
        return {
            "orders": ends(self.books),
            "refused": self.refused,
            "exception": self.exception.exception | {"behind": self.exception.behind},
            "past": self.past,
            "books": {
                "cutoff": self.cutoff,
                "goods": goods(self.books),
                "money": money(self.books),
                "faults": self.faults,
                "balance": not self.faults,
            },
        }


async def tell(client: Client, load: Load, teller: Teller) -> Story:
    """Play a load, and tell what happens; raises Refused or Unreachable where the cluster does not play along."""
    trading = Trading(client, load)
    steps = sum(len(day.groups) + 3 for day in load.days)

    async def rest() -> None:
        await teller.rest(steps)

    trading.between = rest
    last = load.days[-1]
    async with teller.filling(client, DEPARTMENTS):
        await trading.open()
        for number, day in enumerate(load.days[:-1], start=1):
            await _morning(client, trading, day, number, teller)
            await _evening(client, trading, day, teller)
        await _morning(client, trading, last, len(load.days), teller)
    resolved = await _resolve(client, load, trading, teller)
    async with teller.filling(client, DEPARTMENTS):
        await _evening(client, trading, last, teller)
    past = await _past(client, teller)
    return await _close(client, trading, resolved, past, teller)


async def _morning(client: Client, trading: Trading, day: Day, number: int, teller: Teller) -> None:
    await trading.morning(day)
    cancelled = sum(map(len, day.groups)) - len(day.orders)
    states = await _states(client)
    teller.tell(f"Day {number}: {len(day.orders)} orders, {cancelled} of them cancelled while under way. Now {states}.")


async def _evening(client: Client, trading: Trading, day: Day, teller: Teller) -> None:
    await trading.evening(day)
    late = f"{len(day.cancellations)} customers want orders of the day before cancelled, " if day.cancellations else ""
    teller.tell(
        f"  Evening: {late}goods for {len(day.replenishments)} articles, payments. Now {await _states(client)}."
    )


async def _states(client: Client) -> str:
    orders = await patiently(partial(documents, client, Order))
    return in_words(Counter(each.state for each in orders.values()))


def in_words(states: Mapping[str, int]) -> str:
    """How many orders are in which state, most first."""
    return ", ".join(f"{number} {state}" for state, number in Counter(states).most_common())


async def _resolve(client: Client, load: Load, trading: Trading, teller: Teller) -> Resolved:
    """Show what a rule failed at and what waits behind it, try again, and answer it by hand."""
    keys = {each.id: each.actor_id or "" for each in load.days[-1].orders}
    held_up = {keys[each]: exception for each, exception in trading.tally.held_up.items()}
    exception = held_up.pop(load.poison)
    behind = tuple(sorted(held_up))
    where = f"{DEPARTMENTS[exception['shard']]}, rule {exception['rule']}, {exception['actor']}"
    teller.tell(f"\nOne thing could not be done: order {load.poison}. Exception {exception['id']} ({where}):")
    teller.tell(f"  {exception['detail']}")
    teller.tell(f"Behind it wait, in order, later orders of the same customer: {', '.join(behind)}.")
    teller.tell("Everybody else's went on.")
    again = await patiently(partial(client.resolve, exception["id"], "retry"))
    teller.tell(f"Somebody tries again: attempt {again['attempt']} fails as well, for a record never changes.")
    answered = await patiently(partial(client.resolve, exception["id"], "answer", load.approval()))
    await trading.resolved()
    teller.tell(
        f"Somebody reads the order and answers with an approval of his own: the exception is {answered['state']}."
    )
    teller.tell(f"The {len(behind)} orders behind it went on. Now {await _states(client)}.\n")
    return Resolved(exception=answered, behind=behind)


async def _past(client: Client, teller: Teller) -> Past:
    """Show the way of the order that has the longest, what it is now, and what it was while it waited for goods."""
    key, records = await patiently(partial(longest_path, client))
    lanes = lines(records, DEPARTMENTS)
    teller.tell(f"\nThe longest way of those that had to wait for goods is that of order {key}:\n")
    for line in lanes:
        teller.tell(f"  {line}".rstrip())
    moment = next(str(each["stamp"]) for each in records if _is_told_to_wait(each))
    then = await patiently(partial(held_by, client, key, as_of=moment))
    now = await patiently(partial(held_by, client, key))
    teller.tell(f"\nAs of {moment}, while it waited, the departments held of it:")
    _tell_held(then, teller)
    teller.tell("\nNow they hold:")
    _tell_held(now, teller)
    return Past(order=key, lanes=tuple(lanes), moment=moment, then=then, now=now)


def _tell_held(held: Sequence[Held], teller: Teller) -> None:
    for each in held:
        teller.tell(f"  {each.department:<10} {each.text}")


async def longest_path(client: Client) -> tuple[str, list[dict[str, Any]]]:
    """Of the orders that were postponed, the one that most records are about; and these in the order of their stamps.

    Raises ``ValueError`` where no order was.
    """
    paths: dict[str, list[dict[str, Any]]] = {}
    after: Any = 0
    while (page := await client.journal(None, after=after)).records:
        for record in page.records:
            if record["correlation"] is not None:
                paths.setdefault(record["correlation"], []).append(record)
        after = page.next
    postponed = {key: path for key, path in paths.items() if any(map(_is_told_to_wait, path))}
    return max(postponed.items(), key=lambda each: (len(each[1]), each[0]))


def _is_told_to_wait(record: Mapping[str, Any]) -> bool:
    return bool(record["kind"] == "received" and record["type"] == Postpone.__name__)


async def _close(client: Client, trading: Trading, resolved: Resolved, past: Past, teller: Teller) -> Story:
    """Check the books, and say so."""
    cutoff, books = await patiently(partial(read_books, client))
    found = tuple(faults(books))
    teller.tell(f"\nThe books of all departments at one cutoff, {vector(cutoff)}:")
    for line in told(books):
        teller.tell(f"  {line}")
    for fault in found:
        teller.tell(f"  WRONG: {fault}.")
    teller.tell("The books do not balance." if found else "The books balance.")
    return Story(
        refused=trading.tally.refused,
        exception=resolved,
        past=past,
        cutoff=vector(cutoff),
        books=books,
        faults=found,
    )


def told(books: Books) -> Iterable[str]:
    """The figures, as lines."""
    yield "article      initial + replenished = on hand + reserved + shipped"
    for each in goods(books):
        yield (
            f"{each.article:<10} {each.initial:>9} + {each.replenished:>11} = "
            f"{each.on_hand:>7} + {each.reserved:>8} + {each.shipped:>7}"
        )
    sums = money(books)
    yield f"invoiced {sums.invoiced:,} - credited {sums.credited:,} = {sums.invoiced - sums.credited:,}"
    yield (
        f"paid {sums.paid:,} - refunded {sums.refunded:,} + outstanding {sums.outstanding:,} = "
        f"{sums.paid - sums.refunded + sums.outstanding:,}"
    )
    yield f"{len(books.orders)} orders, each in one end: {in_words(ends(books))}"
