"""Host variables of named views, as a request's parameters give them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from peaceriver.errors import Invalid
from peaceriver.query.named import Variable, View, given

VIEW = View(name="top", sql="select :top::numeric", variables=(Variable(name="top", kind="numeric"),))


@pytest.mark.parametrize("text", ["1", "-2.5", "+3", "1e3", "1E-3", ".5", "5."])
def test_a_number_is_read_exactly(text: str) -> None:
    assert given(VIEW, [("top", text)]) == {"top": Decimal(text)}


@pytest.mark.parametrize("text", ["1_0", "\u0663", " 3", "NaN", "Infinity", "", "1e", "0x1", "1,5", "9" * 5_000])
def test_nothing_else_is_taken_for_one(text: str) -> None:
    with pytest.raises(Invalid, match=r"top .* is no number"):
        given(VIEW, [("top", text)])
