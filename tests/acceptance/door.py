"""A served node as tests knock at it, and short words for what they ask."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from peaceriver.embedded import Server
from peaceriver.node.node import Node

T = TypeVar("T")
_codes = itertools.count(100)


@dataclass(frozen=True, slots=True)
class Served:
    """A node in a thread of its own."""

    node: Node
    server: Server
    url: str
    loop: asyncio.AbstractEventLoop
    #: Set to end it.
    over: asyncio.Event

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something where the node runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)


class Door:
    """A client, and what tests say to it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.url = served.url
        self.http = httpx.Client(base_url=served.url, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def department(self, **page: Any) -> int:
        """A new department, which no other test uses."""
        code = next(_codes)
        answer = self.http.put(f"/directory/departments/{code}", json={"name": f"Department {code}"} | page)
        assert answer.status_code == 201, answer.text
        return code

    def unused(self) -> int:
        """A sharding code that no department has."""
        return next(_codes) + 1_000_000

    def send(self, message: dict[str, Any] | list[Any] | str | bytes, **parameters: str) -> httpx.Response:
        """One message or an array, as a value or as text."""
        content = message if isinstance(message, str | bytes) else json.dumps(message)
        return self.http.post(
            "/messages", content=content, params=parameters, headers={"Content-Type": "application/json"}
        )

    def create(self, code: int, actor: str = "Thing", body: Any = None, **more: Any) -> dict[str, Any]:
        """The receipt of a create that is accepted."""
        return self.receipt({"to": code, "actor": actor, "action": "create", "body": body or {}} | more)

    def modify(self, code: int, actor: str, body: Any, **more: Any) -> dict[str, Any]:
        """The receipt of a modify that is accepted."""
        return self.receipt({"to": code, "actor": actor, "action": "modify", "body": body} | more)

    def receipt(self, message: dict[str, Any]) -> dict[str, Any]:
        answer = self.send(message)
        assert answer.status_code in (200, 201), answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    def get(self, path: str, **parameters: str) -> Any:
        """The value of an answer that is 200."""
        answer = self.http.get(path, params=parameters or None)  # an empty one would cut a query off the path
        assert answer.status_code == 200, answer.text
        return answer.json()

    def history(self, code: int) -> list[dict[str, Any]]:
        """What a department's journal holds, but for what the system itself writes at its own time."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.get(f"/shards/{code}/journal", after=str(after), limit="1000")
            found += [each for each in page["records"] if each["kind"] not in ("tick", "mark", "epoch")]
            if page["next"] == after:
                return found
            after = page["next"]


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """A problem as RFC 9457 has it, with a page behind its type."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"/problems/{slug}"
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    return told


def pointers(told: dict[str, Any]) -> set[str]:
    """The places that a problem names."""
    return {each["pointer"] for each in told.get("errors", [])}
