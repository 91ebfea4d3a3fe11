"""What the documentation shows works as it stands."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from peaceriver import Cluster, Refused
from peaceriver.application import load

DOCS = Path(__file__).parents[2] / "docs"


def program(page: str) -> str:
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_rules_of_the_how_to_do_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "shop_with_rules.py"
    path.write_text(program("how-to/write-rules.md"))
    application = load(path)
    order, sales = application.models["Order"], application.departments[0]
    async with Cluster.embedded(path) as cluster:
        for total, state in ((500, "open"), (2500, "approved"), (25_000, "rejected")):
            receipt = await cluster.send(sales.create(order(customer="Ada", total=Decimal(total)), id=f"SO-{total}"))
            assert (await cluster.settled(receipt)).settled
            read = await cluster.get(order, f"SO-{total}")
            assert read.document == order(customer="Ada", total=Decimal(total), state=state)
        with pytest.raises(Refused) as refusal:
            await cluster.send(sales.create(order(customer="Ada", total=Decimal(0)), id="SO-0"))
        assert [(each.pointer, each.detail) for each in refusal.value.errors] == [
            ("/body/total", "an order is worth something")
        ]


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link
