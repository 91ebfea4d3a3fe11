"""Where rules run: whatever a rule does to its process, its record is to blame, and everyone else goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from peaceriver import Envelope, Event, Refuse, rule
from peaceriver.errors import Unavailable
from peaceriver.evaluation import evaluator, worker
from peaceriver.evaluation.evaluator import Evaluator
from peaceriver.limits import RULE_PROCESSES_MAX, STEP_FOLLOW_UPS_MAX
from peaceriver.verdict import NOTHING, Verdict
from tests.unit.triggers import trigger

TIME_S = 0.2
MEMORY = 64 * 1024 * 1024


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluator, worker):
        monkeypatch.setattr(module, "RULE_TIME_S", TIME_S)
        monkeypatch.setattr(module, "RULE_MEMORY_BYTES_MAX", MEMORY)


def gone(pid: int) -> bool:
    """Whether nothing is left of a process, not even its entry in the table."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@asynccontextmanager
async def asking(action: Callable[[Event], Any], **more: Any) -> AsyncIterator[Evaluator]:
    """Where one rule, "tell", runs; afterwards nothing is left of it."""
    made = rule(**{"on": "Parcel.create", "at": 100, "name": "tell"} | more)(lambda event: action(event))
    asked = Evaluator({"tell": made}, {})
    seen: set[int] = set()
    try:
        yield asked
        seen.update(asked.pids)
    finally:
        asked.close()
        assert not asked.pids
        assert all(gone(pid) for pid in seen)


def note(event: Event) -> Envelope:
    return Envelope(to=110, actor_type="Note", actor_id=event.id, action="create")


def records(*names: str) -> list[Any]:
    return [trigger(f"Parcel/{name}", position=number) for number, name in enumerate(names, start=1)]


async def told(asked: Evaluator, *names: str) -> list[Verdict]:
    """Verdicts about all of them, however many questions it takes, as an agent asks."""
    waiting: Sequence[Any] = records(*names)
    verdicts: list[Verdict] = []
    while waiting:
        found = await asked.verdicts("tell", 1, waiting)
        assert found, "at least one"
        verdicts += found
        waiting = waiting[len(found) :]
    return verdicts


# --- what a rule may do to its process


def sleeps(event: Event) -> None:
    time.sleep(60)


def switches_its_alarm_off(event: Event) -> None:
    signal.alarm(0)
    time.sleep(60)


def ignores_its_alarm(event: Event) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(60)


def counts(event: Event) -> None:
    sum(range(10**12))  # one call into C that looks at no signal


def backtracks(event: Event) -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def spins_and_catches_everything(event: Event) -> None:
    while True:
        try:
            time.sleep(0.001)
        except BaseException:  # what a rule may do wrong: swallow whatever would end it
            continue


def leaves(event: Event) -> None:
    os._exit(7)


def leaves_in_order(event: Event) -> None:
    sys.exit(0)


def interrupts(event: Event) -> None:
    raise KeyboardInterrupt


def kills_itself(event: Event) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def closes_everything(event: Event) -> None:
    os.closerange(3, 1_000)
    time.sleep(60)


def raises(event: Event) -> None:
    raise ValueError("no")


def recurses(event: Event) -> None:
    recurses(event)


def answers_nonsense(event: Event) -> object:
    return object()


def answers_what_nobody_reads(event: Event) -> Envelope:
    unheard_of: Any = "delete"
    return Envelope(to=110, actor_type="Note", actor_id="n", action=unheard_of)


def takes_all_memory(event: Event) -> None:
    taken = []
    while True:
        taken.append(b"x" * 1024 * 1024)


def wants_too_much_memory(event: Event) -> None:
    bytearray(100 * MEMORY)


MISDEEDS: list[tuple[Callable[[Event], Any], str]] = [
    (sleeps, "tell took longer than 0.2 s for one record and was ended"),
    (switches_its_alarm_off, "tell took longer than 0.2 s for one record and was ended"),
    (ignores_its_alarm, "tell took longer than 0.2 s for one record and was ended"),
    (counts, "tell took longer than 0.2 s for one record and was ended"),
    (backtracks, "tell took longer than 0.2 s for one record and was ended"),
    (spins_and_catches_everything, "tell took longer than 0.2 s for one record and was ended"),
    (leaves, "tell ended its process with status 7"),
    (leaves_in_order, "tell ended its process with status 1"),
    (interrupts, "tell ended its process with status 1"),
    (kills_itself, "tell ended its process by signal 9"),
    (closes_everything, "tell ended its process by signal 9"),
    (raises, "tell raised ValueError: no (in raises, line "),
    (recurses, "tell raised RecursionError: "),
    (answers_nonsense, "tell yielded object: yield messages"),
    (answers_what_nobody_reads, "tell answered what cannot be passed on: Invalid enum value 'delete'"),
    (takes_all_memory, "tell needed more than 67,108,864 bytes of memory and was ended"),
    (wants_too_much_memory, "tell needed more than 67,108,864 bytes of memory and was ended"),
]


@pytest.mark.parametrize(("misdeed", "detail"), MISDEEDS, ids=[each.__name__ for each, _ in MISDEEDS])
async def test_whatever_a_rule_does_only_its_record_is_to_blame(misdeed: Callable[[Event], Any], detail: str) -> None:
    def mixed(event: Event) -> Any:
        return misdeed(event) if event.id.startswith("bad") else note(event)

    async with asking(mixed) as asked:
        verdicts = await told(asked, "a", "bad", "b", "c")
        assert [each.failure is None for each in verdicts] == [True, False, True, True]
        assert verdicts[1].failure is not None
        assert verdicts[1].failure.detail.startswith(detail)
        assert [[each.actor_id for each in verdict.follow_ups] for verdict in verdicts] == [["a"], [], ["b"], ["c"]]


async def test_one_bad_record_after_the_other_is_blamed_for_itself() -> None:
    def mixed(event: Event) -> Any:
        return leaves(event) if event.id == "bad" else note(event)

    async with asking(mixed) as asked:
        verdicts = await told(asked, "bad", "bad", "a", "bad")
        assert [each.failure is None for each in verdicts] == [False, False, True, False]


async def test_others_are_answered_while_a_rule_hangs() -> None:
    def mixed(event: Event) -> Any:
        return sleeps(event) if event.id == "bad" else note(event)

    async with asking(mixed) as asked:
        hanging = asyncio.create_task(told(asked, "bad"))
        for _ in range(20):
            assert (await told(asked, "a"))[0].failure is None
        assert not hanging.done()
        assert (await hanging)[0].failure is not None


async def test_a_validation_that_hangs_is_ended_as_well() -> None:
    def judge(event: Event) -> Any:
        return sleeps(event) if event.id == "bad" else Refuse("no")

    async with asking(judge, kind="validation") as asked:
        good, bad = await told(asked, "a", "bad")
        assert [each.detail for each in good.offences] == ["no"]
        assert bad.failure is not None


# --- what a rule leaves behind


async def test_a_rule_that_closes_its_output_does_not_go_on_as_the_node(tmp_path: Path) -> None:
    # In a process of its own: a child that got away would run the rest of the test, and say so as well.
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "ends")]
    ran = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    assert await ran.wait() == 0
    assert (tmp_path / "ends").read_text() == "tell ended its process with status 1\n"


SCRIPT = """
import asyncio, os, sys
from peaceriver import rule
from peaceriver.evaluation.evaluator import Evaluator
from tests.unit.triggers import trigger

@rule(on="Parcel.create", at=100)
def tell(event):
    sys.stdout.close()
    sys.stderr.close()
    sys.exit()

async def main():
    asked = Evaluator({"tell": tell}, {})
    try:
        (verdict,) = await asked.verdicts("tell", 1, [trigger()])
        return verdict.failure.detail
    finally:
        asked.close()

detail = "it got away"
try:
    detail = asyncio.run(main())
finally:
    with open(sys.argv[1], "a") as ends:
        print(detail, file=ends)
"""


async def test_what_a_rule_keeps_stays_in_its_process_until_it_is_asked_anew() -> None:
    seen: list[str] = []

    def counted(event: Event) -> Envelope:
        seen.append(event.id)
        return Envelope(to=110, actor_type="Note", actor_id=str(len(seen)), action="create")

    async with asking(counted) as asked:
        assert [each.follow_ups[0].actor_id for each in await told(asked, "a", "b")] == ["1", "2"]
        assert not seen
        seen.append("as the node has it now")
        (anew,) = await asked.verdicts("tell", 1, records("c"), anew=True)
        assert anew.follow_ups[0].actor_id == "2"
        assert len(asked.pids) == 1


async def test_memory_that_a_rule_fills_up_over_time_is_given_back() -> None:
    kept: list[bytes] = []

    def leaks(event: Event) -> Envelope:
        kept.append(b"x" * (MEMORY // 4))
        return note(event)

    async with asking(leaks) as asked:
        verdicts = await told(asked, *map(str, range(12)))
        assert sum(each.failure is None for each in verdicts) >= 6, "a new process begins without"


# --- how much at a time


async def test_a_step_that_would_be_too_large_is_answered_in_parts() -> None:
    def many(event: Event) -> Iterator[Envelope]:
        for _ in range(STEP_FOLLOW_UPS_MAX // 2):
            yield note(event)

    async with asking(many) as asked:
        first = await asked.verdicts("tell", 1, records(*"abcde"))
        assert len(first) == 2
        assert sum(len(each.follow_ups) for each in await told(asked, *"abcde")) == 5 * STEP_FOLLOW_UPS_MAX // 2


async def test_large_records_are_asked_about_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "RULE_QUESTION_BYTES_MAX", 10)
    async with asking(lambda event: None) as asked:
        assert await asked.verdicts("tell", 1, records(*"abcdef")) == [NOTHING] * 2
        assert await asked.verdicts("tell", 1, [trigger(document='{"a":"much more than ten"}')]) == [NOTHING]
        assert await told(asked, *"abcdef") == [NOTHING] * 6


async def test_there_are_so_many_processes_and_no_more() -> None:
    async with asking(lambda event: [time.sleep(0.02), note(event)][1]) as asked:
        waiting = [asyncio.create_task(told(asked, str(number))) for number in range(4 * RULE_PROCESSES_MAX)]
        most = 0
        while not all(each.done() for each in waiting):
            most = max(most, len(asked.pids))
            await asyncio.sleep(0)
        assert most == RULE_PROCESSES_MAX
        assert {(await each)[0].follow_ups[0].actor_id for each in waiting} == {str(number) for number in range(16)}


# --- nobody is left


async def test_whoever_stops_waiting_takes_the_process_along_and_others_are_unharmed() -> None:
    def mixed(event: Event) -> Any:
        return time.sleep(TIME_S / 2) if event.id == "slow" else note(event)

    async with asking(mixed) as asked:
        waiting = asyncio.create_task(told(asked, "slow"))
        while not asked.pids:  # noqa: ASYNC110  # the process is there as soon as it is listed
            await asyncio.sleep(0)
        (pid,) = asked.pids
        await cancelled(waiting)
        assert gone(pid)
        assert not asked.pids
        verdicts = await told(asked, "a", "b")
        assert [each.follow_ups[0].actor_id for each in verdicts] == ["a", "b"], "nobody gets another one's answer"


@pytest.mark.parametrize("turns", range(12))
async def test_whenever_somebody_stops_waiting_no_process_is_left(turns: int) -> None:
    before = children()
    async with asking(note) as asked:
        waiting = asyncio.create_task(told(asked, *"abc"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(waiting)
        assert children() - before == set(asked.pids)
        assert (await told(asked, "a"))[0].failure is None
    assert children() == before


async def test_closed_while_a_rule_is_busy_it_blames_no_rule(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def busy(event: Event) -> None:
        begun.touch()
        time.sleep(60)

    async with asking(busy) as asked:
        waiting = asyncio.create_task(told(asked, "a"))
        while not begun.exists():  # noqa: ASYNC110  # what the other process has done tells
            await asyncio.sleep(0.001)
        asked.close()
        with pytest.raises(Unavailable, match="the node is stopping"):
            await waiting


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 8])
async def test_closed_in_the_middle_it_answers_that_it_is_stopping_and_leaves_nobody(turns: int) -> None:
    before = children()
    async with asking(sleeps) as asked:
        waiting = asyncio.create_task(told(asked, "a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.close()
        asked.close()
        with pytest.raises(Unavailable, match="the node is stopping"):
            await waiting
        assert children() == before
        with pytest.raises(Unavailable, match="the node is stopping"):
            await told(asked, "b")
    assert children() == before


async def test_a_process_that_was_ended_between_two_records_is_replaced() -> None:
    async with asking(note) as asked:
        await told(asked, "a")
        for _ in range(3):
            (pid,) = asked.pids
            os.kill(pid, signal.SIGKILL)
            (verdict,) = await told(asked, "b")
            assert verdict.failure is None
            assert gone(pid)


async def test_without_room_for_a_process_rules_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError("no more processes")

    async with asking(note) as asked:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", full)
            for _ in range(2 * RULE_PROCESSES_MAX):
                with pytest.raises(Unavailable, match="no room for a process"):
                    await told(asked, "a")
        assert (await told(asked, "a"))[0].failure is None


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def children() -> set[int]:
    """The processes that this one has started and not laid to rest."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found
