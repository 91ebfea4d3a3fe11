"""What the how-to of queries and views shows is done as it stands: its program, its Python and its commands."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peaceriver import Cluster
from peaceriver.application import load
from tests.acceptance.door import Door
from tests.acceptance.serving import serving

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGE = (ROOT / "docs" / "how-to" / "query-and-views.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
ORDERS = (
    (100, "SO-1", {"customer": "Ada", "total": 2500, "state": "open", "due": "2026-11-30"}),
    (100, "SO-2", {"customer": "Ada", "total": 80, "state": "open", "due": "2026-12-24"}),
    (110, "SO-3", {"customer": "Bob", "total": 300.50, "state": "approved"}),
)


@pytest.fixture(scope="module")
def door(module_folder: Path) -> Iterator[Door]:
    path = module_folder / "shop_with_views.py"
    path.write_text(PYTHON[0])
    with serving(module_folder / "postgres", load(path)) as served, Door(served) as opened:
        for code, key, body in ORDERS:
            opened.create(code, f"Order/{key}", body)
        yield opened


def asked(door: Door, command: str) -> httpx.Response:
    """The request of a curl command."""
    words = shlex.split(command)
    assert words.pop(0) == "curl"
    url, method, headers, content = "", "", {}, None
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            url = word
        elif word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, headers[name] = words.pop(0).partition(": ")
        else:
            assert word == "--json"
            content, headers["Content-Type"] = words.pop(0), "application/json"
    url = door.url + url.removeprefix("localhost:7400")
    return door.http.request(method or ("POST" if content else "GET"), url, headers=headers, content=content)


def test_the_python_and_then_the_commands_say_what_is_so(door: Door) -> None:
    scope: dict[str, Any] = dict(vars(sys.modules["shop_with_views"]))
    exec("async def told(cluster):\n" + textwrap.indent("\n".join(PYTHON[1:]), "    "), scope)

    async def run() -> None:
        async with Cluster.connect(door.url) as cluster:
            await scope["told"](cluster)

    door.served.run(run())
    answers = [asked(door, each) for each in COMMANDS]
    assert [each.status_code for each in answers] == [200, 200, 200, 201, 200, 200, 200, 200, 204, 201, 200]
    by_customer, as_csv, as_lines, _, listed, large, large_then, open_orders, _, _, by_state = answers
    assert by_state.json()["rows"] == [["approved", 1, 1], ["open", 2, 1290]]
    assert by_customer.json()["rows"] == [["SO-1", 2500], ["SO-2", 80]]
    assert as_csv.headers["Peaceriver-Cutoff"] == "100:3,110:2"
    assert list(csv.reader(io.StringIO(as_csv.text))) == [
        ["actor_id", "due"], ["SO-1", "2026-11-30"], ["SO-2", "2026-12-24"], ["SO-3", ""],
    ]  # fmt: skip
    assert [json.loads(each)["actor_id"] for each in as_lines.text.splitlines()] == ["SO-3"]
    assert {each["name"] for each in listed.json()["items"]} == {"large", "open_orders", "spent", "turnover"}
    assert large.json()["columns"] == ["customer", "total"]
    assert large_then.text == "customer,total\r\nAda,2500\r\nBob,300.5\r\nAda,80\r\n"
    assert open_orders.json()["rows"] == [["SO-1", "Ada", 2500]]


def test_a_view_is_an_operation_of_the_interface(door: Door) -> None:
    told = door.get("/openapi.json")["paths"]
    assert {"/views/open_orders", "/views/spent"} <= told.keys()
    described = {each["name"]: each for each in door.get("/views")["items"]}
    assert described["open_orders"]["description"] == "The largest open orders of a customer."


def test_the_view_and_the_query_of_the_readme_are_answered(door: Door) -> None:
    scope: dict[str, Any] = dict(vars(sys.modules["shop_with_views"]))
    exec(re.findall(r"```python\n(@view\n.*?)```", README, re.DOTALL)[0], scope)
    assert door.http.put("/views/largest", json=scope["largest"].public()).status_code == 201
    view, query = re.findall(r"^curl \S*localhost:7400/(?:views|query).*$", README, re.MULTILINE)
    assert asked(door, view).json()["rows"] == [["Ada", 2500]]
    assert ["Ada", 2580] in asked(door, query).json()["rows"]
    assert door.http.delete("/views/largest").status_code == 204
