"""What a terminal shows: however narrow it is, what people copy is whole."""

from __future__ import annotations

from io import StringIO
from uuid import uuid4

import pytest
from rich.console import Console

from peaceriver.cli.terminal import table


@pytest.mark.parametrize("width", [60, 80, 160])
def test_an_id_is_never_cut(width: int) -> None:
    exception, actor, out = str(uuid4()), f"Order/{uuid4()}", StringIO()
    shown = table("exception", "shard", "actor", "rule", "state", "why", ids=("exception",))
    shown.add_row(exception, "100", actor, "ask_credit", "open", "a reason that does not fit " * 5)
    Console(file=out, width=width).print(shown)
    assert exception in out.getvalue()
