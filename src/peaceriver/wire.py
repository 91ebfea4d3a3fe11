"""The wire to one node: requests with whole answers, and answers that are read as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import httpx

from peaceriver.answers import refusal_of
from peaceriver.asking import is_url
from peaceriver.errors import Unreachable
from peaceriver.limits import SEND_TIMEOUT_S

DEFAULT_URL = "http://127.0.0.1:7400"
CONNECT_TIMEOUT_S = 5.0
#: How much longer than a node's own time limit the client waits for its answer.
ANSWER_MARGIN_S = 10.0
CONNECTIONS_MAX = 64

Pairs: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...]


class Stream:
    """An answer whose parts are read as they come; each part is in memory once."""

    def __init__(self, response: httpx.Response, url: str) -> None:
        self._response = response
        self._url = url

    def head(self, name: str) -> str | None:
        """A header of the answer."""
        value: str | None = self._response.headers.get(name)
        return value

    async def parts(self) -> AsyncIterator[bytes]:
        """All of it, in parts; raises Unreachable where it breaks off: then what came is not all that there is."""
        try:
            async for part in self._response.aiter_bytes():
                yield part
        except httpx.TransportError as error:
            raise Unreachable(
                f"the answer of {self._url} broke off ({str(error) or type(error).__name__}): what came is incomplete; "
                "ask again"
            ) from error

    async def lines(self) -> AsyncIterator[bytes]:
        """Its lines, without their ends; raises Unreachable where it breaks off."""
        rest = b""
        async for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line
        if rest:
            yield rest


class Wire:
    """One node's HTTP; every method raises the Refused that the node answered with, or Unreachable where none does."""

    def __init__(self, url: str, principal: str | None) -> None:
        self.url = url
        if not is_url(url):
            raise Unreachable(f"{url!r} is not the URL of a node: it looks like {DEFAULT_URL}")
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={} if principal is None else {b"Peaceriver-Principal": principal.encode()},
            timeout=httpx.Timeout(SEND_TIMEOUT_S + ANSWER_MARGIN_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
            trust_env=False,  # nodes are spoken to directly, whatever proxy the environment names
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        parameters: Pairs | None = None,
        *,
        content: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        margin_s: float = ANSWER_MARGIN_S,
    ) -> bytes:
        """One request; its answer as it came. Raises the refusal that it was answered with, or Unreachable.

        ``wait_s``: how long the node itself may take before it answers; ``margin_s``: how much longer it is waited for.
        """
        heads = dict(headers or {}) | ({"Content-Type": content_type} if content is not None else {})
        with self._told():
            response = await self._http.request(
                method, path, params=parameters, content=content, headers=heads, timeout=_timeout(wait_s + margin_s)
            )
        self._check(response)
        return response.content

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        parameters: Pairs | None = None,
        *,
        accept: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> AsyncIterator[Stream]:
        """One request whose answer is read while the block lasts. Raises as ``request`` does.

        ``wait_s``: how long the node itself may take before it answers, and between two parts of the answer.
        """
        heads = {"Accept": accept, **(headers or {})}
        heads |= {"Content-Type": "application/json"} if content is not None else {}
        asked = self._http.build_request(
            method, path, params=parameters, content=content, headers=heads, timeout=_timeout(wait_s + ANSWER_MARGIN_S)
        )
        with self._told():
            response = await self._http.send(asked, stream=True)
        try:
            if not response.is_success:
                with self._told():
                    await response.aread()
                self._check(response)
            yield Stream(response, self.url)
        finally:
            await response.aclose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell of a node that does not answer in words of ours."""
        try:
            yield
        except httpx.ReadTimeout as error:
            raise Unreachable(
                f"the node at {self.url} takes the connection and says nothing: its process or its machine hangs; "
                "name another one with --url"
            ) from error
        # AttributeError: httpcore 1.0 asks a connection that broke off when it was just made for its socket.
        except (httpx.TransportError, AttributeError) as error:
            raise Unreachable(
                f"no node answers at {self.url} ({str(error) or type(error).__name__}); "
                "start one with `peaceriver up`, or name another with --url"
            ) from error

    def _check(self, response: httpx.Response) -> None:
        """Raise what a request was refused with."""
        if response.is_success:
            return
        refusal = refusal_of(response.content, response.status_code, response.headers.get("Retry-After"))
        if refusal is None:
            raise Unreachable(f"{self.url} answered {response.status_code} and is not a node of Peace River")
        raise refusal


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=CONNECT_TIMEOUT_S)
