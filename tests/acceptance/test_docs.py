"""What the documentation shows works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import httpx
import pytest

from peaceriver import Cluster, Refused
from peaceriver.application import load
from tests.acceptance.serving import serving

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


@pytest.mark.slow
def test_the_commands_of_the_how_to_on_exports_do_what_it_says(tmp_path: Path) -> None:
    page = (DOCS / "how-to/export.md").read_text("utf-8")
    model = {"type": "object", "properties": {"customer": {"type": "string"}, "total": {"type": "number"}}}
    largest = {
        "sql": 'select actor_id, total from "Order" order by total desc limit :top',
        "variables": {"top": "integer"},
    }
    with serving(tmp_path / "node") as served, httpx.Client(base_url=served.url, timeout=60) as http:
        http.put("/directory/departments/100", json={"name": "Sales"}).raise_for_status()
        http.put("/directory/models/Order", json=model).raise_for_status()
        http.put("/views/largest", json=largest).raise_for_status()
        for customer, total in (("Ada", 99.5), ("Ada", 0.5), ("Grace", 2500)):
            http.post("/shards/100/Order", json={"customer": customer, "total": total}).raise_for_status()
        environment = {"PEACERIVER_URL": served.url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        (tmp_path / "here").mkdir()
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
            done = subprocess.run(
                ["sh", "-e", "-c", block], cwd=tmp_path / "here", env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
    assert {each.name for each in (tmp_path / "here").iterdir()} == {"large.csv", "river"}
    assert (tmp_path / "here/large.csv").read_text().splitlines()[1].endswith(",2500")
    statement = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[0].replace("'river/", f"'{tmp_path}/here/river/")
    assert duckdb.sql(statement).fetchall() == [(100, "Ada", Decimal(100), 2), (100, "Grace", Decimal(2500), 1)]


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link
