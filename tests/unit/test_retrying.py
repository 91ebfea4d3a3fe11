"""What cannot be kept is tried again by itself, less and less often."""

from __future__ import annotations

import pytest

from peaceriver.limits import KEPT_RETRY_PAUSE_MAX_S, KEPT_RETRY_PAUSE_S, KEPT_WAIT_S
from peaceriver.node.retrying import Retries
from peaceriver.query.guard import checked
from peaceriver.query.kept import Kept, definition


class Clock:
    """The time, as a test has it."""

    #: A power of two: halves of pauses are added to it to the bit.
    now_s = 1024.0

    def __call__(self) -> float:
        return self.now_s


def kept(name: str = "orders", actor_type: str = "Order") -> Kept:
    return definition(name, checked(f'select count(*) as n from "{actor_type}"').tree)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retries(clock: Clock) -> Retries:
    return Retries(clock)


def pauses(retries: Retries, clock: Clock, times: int) -> list[float]:
    """How long a view waits, that fails whenever it is tried."""
    waited: list[float] = []
    for _ in range(times):
        retries.failed(kept(), "too slow")
        pause_s = retries.next_s()
        assert pause_s is not None
        clock.now_s += pause_s / 2
        assert not retries.is_due(kept())
        clock.now_s += pause_s / 2
        assert retries.is_due(kept())
        waited.append(pause_s)
    return waited


def test_the_pauses_double_up_to_the_longest(retries: Retries, clock: Clock) -> None:
    first = KEPT_RETRY_PAUSE_S
    assert pauses(retries, clock, 4) == [first, 2 * first, 4 * first, 8 * first]
    assert pauses(retries, clock, 20)[-2:] == [KEPT_RETRY_PAUSE_MAX_S] * 2


def test_what_is_lost_soon_after_it_was_kept_waits_longer_than_what_was_kept_for_long(
    retries: Retries, clock: Clock
) -> None:
    pauses(retries, clock, 3)
    retries.is_kept(kept())
    assert retries.next_s() is None
    clock.now_s += KEPT_RETRY_PAUSE_MAX_S / 2
    retries.is_lost(kept(), "too slow")
    assert retries.next_s() == 8 * KEPT_RETRY_PAUSE_S
    clock.now_s += 8 * KEPT_RETRY_PAUSE_S
    retries.is_kept(kept())
    retries.is_kept(kept())
    clock.now_s += KEPT_RETRY_PAUSE_MAX_S
    retries.is_lost(kept(), "too slow")
    assert retries.next_s() == KEPT_RETRY_PAUSE_S


def test_a_loss_that_is_known_already_is_not_another_one(retries: Retries, clock: Clock) -> None:
    retries.is_lost(kept(), "too slow")
    clock.now_s += KEPT_RETRY_PAUSE_S
    retries.is_lost(kept(), "too slow")
    assert retries.is_due(kept())


def test_what_is_away_is_waited_for_without_growing_pauses(retries: Retries, clock: Clock) -> None:
    pauses(retries, clock, 2)
    for _ in range(5):
        retries.waits(kept(), "the database is away")
        assert retries.next_s() == KEPT_WAIT_S
        clock.now_s += KEPT_WAIT_S
    retries.failed(kept(), "too slow")
    assert retries.next_s() == 4 * KEPT_RETRY_PAUSE_S


def test_who_asks_for_it_has_it_tried_at_once(retries: Retries, clock: Clock) -> None:
    pauses(retries, clock, 5)
    retries.failed(kept(), "too slow")
    retries.failed(kept("others", "Other"), "too slow")
    retries.again(lambda each: each.actor_type == "Order")
    assert retries.is_due(kept())
    assert not retries.is_due(kept("others", "Other"))
    assert retries.next_s() == 0.0
    retries.failed(kept(), "too slow")
    assert retries.next_s() == KEPT_RETRY_PAUSE_S


def test_another_definition_of_the_same_name_is_new(retries: Retries) -> None:
    retries.failed(kept(), "too slow")
    assert retries.is_due(kept("orders", "Other"))
    assert retries.reason(kept("orders", "Other")) is None
    assert retries.reason(kept()) == "too slow"


def test_what_is_not_to_be_kept_any_more_is_forgotten(retries: Retries) -> None:
    retries.failed(kept(), "too slow")
    retries.only(["others"])
    assert retries.next_s() is None
    assert retries.reason(kept()) is None
