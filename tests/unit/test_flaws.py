"""What is damaged is told apart, and nothing of it passes for sound."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Withheld
from peaceriver.record import CHAIN_START, Record, Tip
from peaceriver.shard.damage import Damage, Finding, Known, Range, flaws_of
from peaceriver.shard.mending import Ends, Fit, fit
from peaceriver.shard.rows import Fault, tip_of
from peaceriver.shard.walking import START, doubtful
from tests.records import history, rows_of

PLAIN = Record(100, 1, 1, 1, 16, "received", actor_type="Order", actor_id="SO-1", body='{"total":0.10}')
ROWS = rows_of(history([msgspec.structs.replace(PLAIN, body=f'{{"n":{n}}}') for n in range(9)]))
OTHER = rows_of(history([msgspec.structs.replace(PLAIN, body=f'{{"m":{n}}}') for n in range(9)]))


def of_journal(first: int, last: int) -> Finding:
    return Finding(100, "journal", str(last), "it was altered", (first, last))


def known(part: str = "journal", extent: Range | None = None, key: str = "") -> Known:
    return Known(
        id=uuid4(),
        part=part,
        place="",
        key=key,
        detail="",
        found_at=datetime.now(UTC),
        range=extent,  # type: ignore[arg-type]  # one of the parts
    )


def test_ranges_that_touch_are_one_and_what_is_folded_is_repaired_by_table_and_type() -> None:
    flaws = flaws_of(
        [
            of_journal(8, 9),
            of_journal(1, 2),
            of_journal(3, 3),
            Finding(100, "view", "Item/7 version 1", "a row was altered", ("Item", "7")),
            Finding(100, "view", "Item/8 version 1", "a row was altered", ("Item", "8")),
            Finding(100, "view", "Order/7 version 1", "a row is missing", ("Order", "7")),
            Finding(100, "mark", "delivery of 110", "a row is missing", ("delivery", 110)),
        ]
    )
    assert [(each.part, each.place, len(each.findings)) for each in flaws] == [
        ("journal", "1 to 3", 2),
        ("journal", "8 to 9", 1),
        ("view", "Item", 2),
        ("view", "Order/7 version 1", 1),
        ("mark", "delivery of 110", 1),
    ]
    assert flaws[2].detail == "Item/7 version 1: a row was altered and 1 more"


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=5), st.integers(0, 45), st.integers(0, 45))
def test_what_is_served_ends_before_the_first_damaged_position(
    ranges: list[tuple[int, int]], after: int, until: int
) -> None:
    damage = Damage(100, [known(extent=Range(first, first + more)) for first, more in ranges])
    bad = {position for first, more in ranges for position in range(first, first + more + 1)}
    sound = after
    while sound < until and sound + 1 not in bad:
        sound += 1
    found = damage.sound_until(after, until)
    assert min(found, until) == min(sound, until) or until <= after
    if until > after and bad & set(range(after + 1, until + 1)):
        with pytest.raises(Withheld, match=r"positions .* of its journal are not as recorded"):
            damage.check(after, until)
    else:
        damage.check(after, until)


def test_a_cutoff_right_before_a_damaged_range_may_be_there_only_for_what_is_lost() -> None:
    damage = Damage(100, [known(extent=Range(5, 7))])
    damage.check_cutoff(3)
    for position in (4, 5, 9):
        with pytest.raises(Withheld):
            damage.check_cutoff(position)


def test_views_and_the_standing_are_withheld_apart() -> None:
    damage = Damage(100, [known("view", key="Item")])
    damage.check_view("Order")
    damage.check_standing()
    damage.check(0, 100)
    with pytest.raises(Withheld, match="the view of Item"):
        damage.check_view("Item")
    damage.become([known("actor")])
    damage.check_view("Item")
    with pytest.raises(Withheld):
        damage.check_standing()
    damage.become([])
    damage.check_standing()


def test_a_fault_puts_the_row_before_it_and_the_row_after_a_gap_in_doubt() -> None:
    assert doubtful(Fault(9, "altered"), 9) == (8, 9)
    assert doubtful(Fault(1, "altered"), 1) == (1, 1)
    assert doubtful(Fault(5, "5 to 8 are missing"), 9) == (4, 9)


def before(position: int, rows: list[bytes] = ROWS) -> Tip:
    return tip_of(rows[position - 1]) if position else START


@pytest.mark.parametrize(
    ("taken", "extent", "ends", "fits"),
    [
        (ROWS[2:5], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.FITS),
        (ROWS[0:5], Range(1, 5), Ends(before(0), ROWS[5], None), Fit.FITS),
        (ROWS[6:9], Range(7, 9), Ends(before(6), None, before(9).chain), Fit.FITS),
        ([], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.NOT),
        (ROWS[2:4], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.NOT),
        (ROWS[2:3] + ROWS[4:5], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.NOT),
        (ROWS[2:3] + OTHER[3:5], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.NOT),
        (OTHER[2:5], Range(3, 5), Ends(before(2), ROWS[5], None), Fit.WIDER),
        (ROWS[2:5], Range(3, 5), Ends(None, ROWS[5], None), Fit.WIDER),
        (ROWS[2:5], Range(3, 5), Ends(before(2), None, None), Fit.WIDER),
        (ROWS[2:5], Range(3, 5), Ends(before(2), OTHER[5], None), Fit.WIDER),
        (ROWS[6:9], Range(7, 9), Ends(before(6), None, CHAIN_START), Fit.NOT),
    ],
)
def test_only_rows_that_lead_from_what_is_before_to_what_is_after_fit(
    taken: list[bytes], extent: Range, ends: Ends, fits: Fit
) -> None:
    assert fit(taken, 100, extent, ends) is fits
