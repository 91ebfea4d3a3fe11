"""What a node answers to what was sent: a receipt, that it is spooled, or a refusal."""

from __future__ import annotations

from uuid import uuid4

from peaceriver.answers import outcome_of
from peaceriver.errors import Busy
from peaceriver.jsontext import encode
from peaceriver.shard.proposal import Receipt, Spooled
from peaceriver.stamp import Stamp


def test_each_comes_back_as_it_was() -> None:
    receipt = Receipt(id=uuid4(), actor="A/1", shard=100, position=3, stamp=Stamp(7, 100), version=None, complete=False)
    spooled = Spooled(id=uuid4(), actor="A/2", shard=100)
    assert outcome_of(encode(receipt.public())) == receipt
    assert outcome_of(encode(spooled.public())) == spooled
    refused = outcome_of(encode({"error": Busy("full", message_id=str(receipt.id)).problem()}))
    assert isinstance(refused, Busy)
    assert refused.message_id == str(receipt.id)
