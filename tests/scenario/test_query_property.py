"""Random queries at random cutoffs of a random history: every node answers as the dumb twin does."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from peaceriver.jsontext import encode
from peaceriver.message import Envelope
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Answer, Question
from peaceriver.query.cutoff import AtPositions, AtTime, parse
from peaceriver.record import Record
from peaceriver.shard.proposal import Receipt
from tests.scenario.trio import ME, NAMES, Trio, trio
from tests.scenario.twin import MODELS, VALUES, Row, folded
from tests.scenario.twin_queries import Query, queries
from tests.scenario.words import cancel, create, modify

KINDS = {
    "text": {"type": "string"},
    "numeric": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
}
MESSAGES = 240
#: Answers after which the views are folded anew.
ROUND = 25
EXAMPLES = int(os.environ.get("QUERY_EXAMPLES", "150"))


class History:
    """A cluster with a history, and what its journals hold."""

    def __init__(self, three: Trio, records: dict[int, list[Record]], receipts: list[Receipt]) -> None:
        self.three = three
        self.codes = list(records)
        self.records = records
        self.receipts = receipts
        #: What was asked and answered: asked again later, it is the same.
        self.answered: list[tuple[Question, bytes]] = []

    def __repr__(self) -> str:
        return "a history"

    def models(self, positions: Mapping[int, int]) -> dict[str, list[Row]]:
        """The rows of every model after the records up to some positions."""
        cut = {
            code: [each for each in self.records[code] if each.position <= place] for code, place in positions.items()
        }
        return {name: [row for records in cut.values() for row in folded(records, name)] for name in MODELS}


@pytest.fixture(scope="module")
async def history(module_folder: Path, anyio_backend: Any) -> AsyncIterator[History]:
    async with trio(module_folder) as three:
        for name, columns in MODELS.items():
            schema = {"type": "object", "properties": {column: KINDS[kind] for column, kind in columns.items()}}
            await Publishing(three.any).schema(name, schema, ME)
        codes = [await three.department() for _ in range(3)]
        chance = random.Random(20_241)
        receipts = [each for envelopes in _batches(chance, codes) for each in await three.send(*envelopes)]
        for code in codes:
            await three.level(code)
        records = {code: await three.records("n1", code) for code in codes}
        yield History(three, records, [each for each in receipts if isinstance(each, Receipt)])


def _batches(chance: random.Random, codes: list[int]) -> list[list[Envelope]]:
    """Messages about a few actors; those that are not acceptable are simply refused."""
    return [[_message(chance, codes) for _ in range(8)] for _ in range(MESSAGES // 8)]


def _message(chance: random.Random, codes: list[int]) -> Envelope:
    name = chance.choice(["Order", "Order", "Customer"])
    actor = (
        f"{name}/{chance.choice('SO') if name == 'Order' else 'C'}-{chance.randint(1, 12 if name == 'Order' else 4)}"
    )
    to = chance.choice(codes)
    more = {"sender": chance.choice([each for each in codes if each != to])} if chance.random() < 0.2 else {}
    action = chance.choices([create, modify, cancel], [6, 5, 1])[0]
    body: dict[str, Any] = {}
    for column, kind in MODELS[name].items():
        if chance.random() < 0.7:
            value = chance.choice(VALUES[kind])
            body[column] = value.isoformat() if kind == "date" else value
        elif action is modify and chance.random() < 0.3:
            body[column] = None
    return action(to, actor, encode(body).decode(), **more)


async def ask(history: History, name: str, question: Question) -> Answer:
    return await history.three[name].querying.ask(question)


def in_bytes(answer: Answer) -> bytes:
    return encode(answer.public())


@st.composite
def cutoffs(draw: st.DrawFn) -> tuple[str, float]:
    """How a cutoff is said, and where in the history it lies."""
    return draw(st.sampled_from(("now", "stamp", "vector", "receipt"))), draw(st.floats(0, 1))


def freshness(history: History, kind: str, part: float) -> Freshness:
    records = sorted((each for code in history.codes for each in history.records[code]), key=lambda each: each.stamp)
    at = records[int(part * (len(records) - 1))]
    match kind:
        case "stamp":
            return Freshness(as_of=AtTime(at.stamp), timeout_s=20)
        case "vector":
            ends = {
                code: max((each.group_end for each in history.records[code] if each.stamp <= at.stamp), default=0)
                for code in history.codes
            }
            return Freshness(as_of=AtPositions(ends), timeout_s=20)
        case "receipt":
            receipt = history.receipts[int(part * (len(history.receipts) - 1))]
            return Freshness(after=(receipt.stamp,), timeout_s=20)
    return Freshness(timeout_s=20)


def same(query: Query, answer: Answer, expected: list[tuple[Any, ...]]) -> bool:
    found, wanted = list(map(_plain, answer.rows)), list(map(_plain, expected))
    return found == wanted if query.is_ordered else sorted(map(repr, found)) == sorted(map(repr, wanted))


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row in which numbers that are equal look alike, and dates are as they are written."""
    return tuple(each.normalize() if hasattr(each, "normalize") else each for each in map(_said, row))


def _said(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


@pytest.mark.slow
# Making a counterexample smaller would take minutes: each example is a dozen questions to a cluster.
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(query=queries(), cutoff=cutoffs(), whole=st.booleans())
async def test_a_query_is_answered_as_its_dumb_twin_does(
    history: History, query: Query, cutoff: tuple[str, float], whole: bool
) -> None:
    question = Question(
        sql=query.sql,
        variables=query.variables.given,
        kinds=query.variables.kinds,
        shards=tuple(history.codes if whole else history.codes[:2]),
        freshness=freshness(history, *cutoff),
    )
    if not whole and cutoff[0] == "vector":
        return
    answer = await ask(history, "n1", question)
    positions = {code: place.position for code, place in answer.cutoff.places.items()}
    expected = query.of(history.models(positions))
    assert same(query, answer, expected), f"{query.sql}\n{query.variables.given}\n{answer.rows}\n{expected}"
    if cutoff[0] == "stamp":
        at = question.freshness.as_of
        assert isinstance(at, AtTime)
        for code, position in positions.items():
            # What was recorded together is read together.
            inside = max((each.group_end for each in history.records[code] if each.stamp <= at.time), default=0)
            assert position == inside or position > history.records[code][-1].position
    again = Question(
        sql=query.sql,
        variables=query.variables.given,
        kinds=query.variables.kinds,
        shards=question.shards,
        freshness=Freshness(as_of=parse(answer.cutoff.vector(), "as_of"), timeout_s=20),
    )
    for name in NAMES:
        assert in_bytes(await ask(history, name, again)) == in_bytes(answer)
    history.answered.append((again, in_bytes(answer)))
    if len(history.answered) % ROUND == 0:
        await _ask_after_a_rebuild(history)


async def _ask_after_a_rebuild(history: History) -> None:
    """Every answer so far is the same to the byte from views that were folded anew."""
    for name in MODELS:
        await history.three["n2"].rebuild(name)
    for question, before in history.answered[-ROUND:]:
        assert in_bytes(await ask(history, "n2", question)) == before, question.sql
