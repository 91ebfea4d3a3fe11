"""A request as the pages of this API see it: path decoded, parameters known, body on demand and within its limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from peaceriver.api.parameters import Parameters, freshness
from peaceriver.errors import Invalid, Malformed, NotFound, Offence, TooLarge
from peaceriver.limits import CODE_MAX, NAME_LETTERS_MAX, SEND_TIMEOUT_S
from peaceriver.message import ACTOR_TYPE
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.sending import Sender

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*", re.ASCII)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


class Asked:
    """One request."""

    __slots__ = ("_body", "_headers", "_path", "_receive", "method", "parameters", "target")

    def __init__(self, scope: Scope, receive: Receive, parameters: Parameters) -> None:
        self.method: str = scope["method"]
        self.parameters = parameters
        query = scope["query_string"].decode("latin-1")
        #: The path and the query, as they came.
        self.target: str = scope["path"] + (f"?{query}" if query else "")
        self._headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._path: Mapping[str, str] = scope.get("path_params", {})
        self._receive = receive
        #: Read once: whoever passes the request on needs it again.
        self._body: bytes | None = None

    def header(self, name: bytes) -> str | None:
        """A header by its name in small letters."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def headers(self, names: Collection[bytes]) -> dict[str, str]:
        """Those of some headers that there are."""
        return {
            each.decode("latin-1"): self._headers[each].decode("latin-1") for each in names if each in self._headers
        }

    def media_type(self) -> str:
        """What the body says it is, in small letters and without parameters; empty where it says nothing."""
        return (self.header(b"content-type") or "").partition(";")[0].strip().lower()

    def accepts(self, media_type: str) -> bool:
        """Whether the client names this very type; ``*/*`` is no wish for it."""
        ranges = (self.header(b"accept") or "").lower().split(",")
        return any(each.partition(";")[0].strip() == media_type for each in ranges)

    def part(self, name: str) -> str:
        """A part of the path, decoded; raises Malformed or Invalid."""
        try:
            text = unquote_to_bytes(self._path[name]).decode()
        except UnicodeDecodeError as error:
            raise Malformed("the path is not UTF-8 in percent encoding") from error
        if "\x00" in text:
            raise Invalid("the path must not hold \\u0000", errors=(Offence(name, "must not hold \\u0000"),))
        return text

    def code(self) -> int:
        """The sharding code in the path; raises NotFound for what cannot be one."""
        text = self.part("code")
        if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > CODE_MAX:
            raise NotFound(f"there is no department {text[:40]}: a sharding code lies between 0 and {CODE_MAX}")
        return int(text)

    def actor_type(self) -> str:
        """The actor type in the path; raises NotFound for what cannot be one."""
        text = self.part("type")
        if not ACTOR_TYPE.fullmatch(text):
            raise NotFound(f"{text[:80]!r} cannot be an actor type: letters, digits and _, at most 63")
        return text

    def uuid(self) -> UUID:
        """The id in the path; raises Invalid."""
        return uuid_of(self.part("id"), "id")

    def freshness(self, *, after: bool = True) -> Freshness:
        """What every read may ask for. ``after``: whether the parameter of that name means this here."""
        wanted = self.parameters.text("after") if after else None
        return freshness(self.parameters, self.header(b"peaceriver-after") if after else None, after=wanted)

    def sender(self) -> Sender:
        """Who sends, and how long they wait; raises Invalid."""
        trace = self.header(b"traceparent")
        return Sender(
            principal=self._principal(),
            # W3C Trace Context: a header that does not fit is ignored, and never the reason to refuse a request.
            trace=trace if trace is not None and _TRACEPARENT.fullmatch(trace) and len(trace) <= 255 else None,
            timeout_s=self.parameters.seconds("timeout", SEND_TIMEOUT_S),
            concern=self.parameters.concern(),
            spool=self.parameters.flag("spool"),
        )

    def _principal(self) -> str | None:
        raw = self._headers.get(b"peaceriver-principal")
        if not raw:
            return None
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            name = ""
        if not 0 < len(name) <= NAME_LETTERS_MAX or _CONTROL_CHARACTER.search(name):
            detail = f"must be UTF-8 without control characters, of at most {NAME_LETTERS_MAX} letters"
            raise Invalid(
                f"the header Peaceriver-Principal {detail}", errors=(Offence("Peaceriver-Principal", detail),)
            )
        return name

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body; raises TooLarge as soon as it is known to be. May be asked for again."""
        if self._body is not None:
            return self._body
        encoding = self.header(b"content-encoding")
        if encoding is not None and encoding.lower() != "identity":
            raise Malformed(f"the body comes as {encoding[:40]!r}; send it without a Content-Encoding")
        declared = self._headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            chunks.append(chunk)
            if not message.get("more_body", False):
                self._body = b"".join(chunks) if len(chunks) > 1 else chunk
                return self._body

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Cancel the block once the client is gone, and raise ClientDisconnect: for what only reads.

        The body must have been read, where it is needed. The block stays in the task that it is in, as deadlines that
        it sets may outlast it: those of streams.
        """
        reader = asyncio.current_task()
        assert reader is not None
        cancelled_before = reader.cancelling()
        watching = asyncio.create_task(self._cancel_once_gone(reader), name="is the client gone")
        try:
            yield
        except asyncio.CancelledError:
            if watching.done() and reader.uncancel() <= cancelled_before:
                raise ClientDisconnect from None
            raise
        finally:
            watching.cancel()

    async def _cancel_once_gone(self, reader: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] == "http.request":
            pass  # a body that nobody asks for
        reader.cancel()


def uuid_of(text: str, pointer: str) -> UUID:
    """Raises Invalid, naming ``pointer``, where ``text`` is no UUID as RFC 9562 writes it."""
    if len(text) == 36 and text.count("-") == 4:
        try:
            return UUID(text)
        except ValueError:
            pass
    raise Invalid(f"{text[:60]!r} is not a UUID", errors=(Offence(pointer, "not a UUID"),))


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"the body has more than {limit_bytes:,} bytes: send less, or in parts")
