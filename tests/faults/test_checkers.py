"""The checkers bite: each finds what it is for in a small made-up history, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults import checkers
from tests.faults.checkers import judge
from tests.faults.evidence import Evidence
from tests.faults.history import Attempt, Claim, History, Message, Operation, Reading, Sighting
from tests.faults.replicas import Copy, Entry, Tip

CODE, OTHER = 100, 101
START = 500


def entry(position: int, **members: Any) -> Entry:
    usual: dict[str, Any] = {"shard": CODE, "position": position, "group_end": position, "epoch": 1}
    usual |= {"stamp": 10 * position, "chain": bytes([position]), "id": f"m{position}"}
    usual |= {"actor_type": "Item", "actor_id": str(position), "action": "create", "type": "Item.create", "version": 1}
    return Entry(**(usual | members))


def opening(position: int = 1, **members: Any) -> Entry:
    nothing = {"id": None, "actor_type": None, "actor_id": None, "action": None, "type": None}
    return entry(position, kind="epoch", **(nothing | members))


def sound() -> list[Entry]:
    """A journal of two epochs, with a group of two."""
    return [
        opening(),
        entry(2),
        entry(3, group_end=4),
        entry(4),
        opening(5, epoch=2),
        entry(6, epoch=2),
    ]


def copy(node: str, entries: list[Entry], more: dict[int, list[Entry]] | None = None) -> Copy:
    journals = {CODE: entries, **(more or {})}
    views: dict[str, list[tuple[Any, ...]]] = {}
    for code, each in journals.items():
        for row in each:
            if row.kind == "received" and row.actor_type:
                views.setdefault(row.actor_type, []).append((code, row.actor_id, row.stamp, 0, row.version))
    tips = {
        code: Tip(promised=each[-1].epoch, epoch=each[-1].epoch, position=len(each), chain=each[-1].chain)
        for code, each in journals.items()
    }
    return Copy(node, tips, journals, views=views, actors={code: [] for code in journals})


def acknowledged(message_id: str, position: int, at: float = 0.0, **receipt: Any) -> Operation:
    told = {"position": position, "complete": True, "duplicate": False, "version": 1, "stamp": ""} | receipt
    return Operation(
        "append", 0, "quorum", False, [Message(message_id, CODE, "Item/1", {}, told, 0)], [attempt("ok", at)]
    )


def attempt(told: Any, at: float = 0.0) -> Attempt:
    return Attempt("n1", at, at + 0.5, told, "201")


def evidence(
    entries: list[Entry] | None = None, *, history: History | None = None, more: dict[int, list[Entry]] | None = None
) -> Evidence:
    entries = sound() if entries is None else entries
    return Evidence(history or History(1), [copy(node, list(entries), more) for node in ("n1", "n2", "n3")])


def at(place: int, **members: Any) -> list[Entry]:
    """The sound journal with one entry changed."""
    entries = sound()
    entries[place - 1] = replace(entries[place - 1], **members)
    return entries


def told(*operations: Operation, **more: Any) -> Evidence:
    return evidence(history=History(1, operations=list(operations), **more))


def differing() -> Evidence:
    found = evidence()
    found.copies[1].journals[CODE][1] = entry(2, body="another")
    return found


def rewritten() -> Evidence:
    found = evidence()
    found.before = {"n1": {CODE: Tip(promised=1, position=3, chain=b"another")}}
    return found


def forgotten() -> Evidence:
    found = evidence()
    found.before = {"n2": {CODE: Tip(promised=7)}}
    return found


def unfolded() -> Evidence:
    found = evidence()
    for each in found.copies:
        del each.views["Item"][0]
    return found


def unlike_views() -> Evidence:
    found = evidence()
    found.copies[2].views["Item"].append((CODE, "99", 0, 0, 1))
    return found


def reading(node: str = "n1", items: list[Any] | None = None, position: int = 2) -> Reading:
    return Reading(node, "/actors/Account", "then", 0.0, {str(CODE): position}, items or [])


def changed() -> Evidence:
    found = evidence()
    found.repeated = [(reading(), reading("n2", [{"id": "1"}]))]
    return found


def bank(balance: int) -> Evidence:
    """An account that sent 20 of its money away: it is on its way."""
    account = {"actor_type": "Account", "actor_id": "main", "action": "modify", "body": '{"amount":"20"}'}
    entries = [
        opening(),
        entry(2, **(account | {"action": "create"})),
        entry(3, group_end=4, type="Withdraw", **(account | {"version": 2})),
        entry(4, kind="sent", type="Deposit", receiver=999, **account),
    ]
    found = evidence(entries)
    found.banks, found.money = (CODE,), START
    found.history.readings = [reading(items=[{"document": {"balance": str(balance)}}], position=4)]
    return found


def delivered(**members: Any) -> Evidence:
    """Something sent at position 2, and received elsewhere."""
    there = [opening(shard=OTHER), entry(2, shard=OTHER, sender=CODE, source_position=2, stamp=30, **members)]
    return evidence([opening(), entry(2, kind="sent", receiver=OTHER)], more={OTHER: there})


def acted(times: int) -> Evidence:
    order = entry(2, actor_type="Transfer")
    made = [entry(3 + number, kind="sent", rule="pay", cause_time=20, receiver=999) for number in range(times)]
    found = evidence([opening(), order, *made])
    found.banks = (CODE,)
    return found


def group(ids: list[str]) -> Operation:
    return Operation(
        "group", 0, "quorum", True, [Message(each, CODE, "Item/1", {}) for each in ids], [attempt("unknown")]
    )


def refused(message_id: str) -> Operation:
    return Operation(
        "append", 0, "quorum", False, [Message(message_id, CODE, "Item/1", {}, refusal="409")], [attempt("refused")]
    )


def spooled(message_id: str, at: float = 0.0) -> Operation:
    kept = Message(message_id, CODE, "Item/1", {}, kept_by="n1")
    return Operation("spool", 0, "quorum", False, [kept], [attempt("ok", at)], spooled_at="n1")


CASES: list[tuple[str, Callable[[], Evidence]]] = [
    ("one_writer", lambda: told(claims=[Claim("n1", CODE, 1, 0.0), Claim("n2", CODE, 1, 1.0)])),
    ("one_writer", lambda: evidence(at(6, epoch=1))),
    ("one_writer", lambda: evidence(at(5, kind="received", id="m5"))),
    ("one_writer", forgotten),
    ("same_prefix", differing),
    ("same_prefix", rewritten),
    ("complete_stays", lambda: told(acknowledged("m9", 9))),
    ("complete_stays", lambda: told(acknowledged("m9", 3))),
    ("complete_stays", lambda: told(sightings=[Sighting("n1", CODE, {6: ("m9", "")})])),
    ("dense_and_rising", lambda: evidence(at(3, position=7))),
    ("dense_and_rising", lambda: evidence(at(3, stamp=20))),
    ("dense_and_rising", lambda: evidence(at(3, cause_time=30))),
    ("recorded_once", lambda: evidence(at(6, id="m2"))),
    ("recorded_once", lambda: evidence(at(6, actor_id="2"))),
    ("acted_once", lambda: acted(0)),
    ("acted_once", lambda: acted(2)),
    ("acted_once", lambda: evidence([opening(), entry(2, kind="sent", receiver=OTHER)], more={OTHER: [opening()]})),
    ("nothing_early", lambda: delivered(id="m9")),
    ("nothing_lost", lambda: told(acknowledged("m9", 9, complete=False))),
    ("refused_is_absent", lambda: told(refused("m2"))),
    ("foldable", unfolded),
    ("foldable", unlike_views),
    ("as_of_stays", changed),
    ("groups_whole", lambda: evidence(sound()[:3])),
    ("groups_whole", lambda: told(group(["m3", "m9"]))),
    ("groups_whole", lambda: told(readings=[reading(position=3)])),
    ("no_old_epoch", lambda: told(acknowledged("m6", 6, at=1.0), acknowledged("m2", 2, at=2.0))),
    ("own_writes_read", lambda: told(unread=["n1 answers 404"])),
    ("sums_constant", lambda: bank(START)),
    ("one_writer", lambda: told(lowered=[("n1", "n1 had promised more")])),
    ("spooled_once", lambda: told(spooled("m9"))),
    ("spooled_once", lambda: told(spooled("m6", at=1.0), spooled("m3", at=2.0))),
    ("undamaged", lambda: told(damaged=["n1 finds something"])),
]


@pytest.mark.parametrize(("checker", "made"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_a_checker_finds_what_it_is_for(checker: str, made: Callable[[], Evidence]) -> None:
    assert list(getattr(checkers, checker)(made())), f"{checker} found nothing"


def test_every_checker_has_a_case_that_it_bites_in() -> None:
    assert {each.__name__ for each in checkers.CHECKERS} == {name for name, _ in CASES}


SOUND: dict[str, Callable[[], Evidence]] = {
    "nothing happened": evidence,
    "acknowledged": lambda: told(
        acknowledged("m2", 2, at=1.0), acknowledged("m6", 6, at=2.0), group(["m3", "m4"]), group(["m9"])
    ),
    "asked again in a later epoch": lambda: told(
        acknowledged("m6", 6, at=1.0), acknowledged("m2", 2, at=2.0, duplicate=True)
    ),
    "read": lambda: told(sightings=[Sighting("n1", CODE, {2: ("m2", "")})], readings=[reading(position=4)]),
    "delivered": delivered,
    "acted": lambda: acted(1),
    "on its way": lambda: bank(START - 20),
    "spooled": lambda: told(spooled("m3", at=1.0), spooled("m6", at=2.0)),
}


@pytest.mark.parametrize("made", SOUND.values(), ids=SOUND)
def test_where_all_is_well_nobody_objects(made: Callable[[], Evidence]) -> None:
    assert [each for each in judge(made()) if "999" not in each] == []


def test_a_message_taken_back_may_wait_to_be_offered_again() -> None:
    found = told(acknowledged("m9", 9, complete=False))
    found.copies[1].pending = {CODE: {"m9"}}
    assert judge(found) == []
