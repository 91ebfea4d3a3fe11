"""One connection: what a request's head may cost in time, bytes and number, before any page is asked.

The server under it bounds neither the time that a head takes to arrive nor its size, so a client that sends a byte now
and then, or headers without end, would hold a connection and memory for ever. What it says of a bad request is text,
and ours are problems.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from peaceriver.errors import Malformed, Refused, Unavailable
from peaceriver.jsontext import encode

#: From the connection, or the first byte of a later request, to the end of its headers.
HEAD_TIMEOUT_S = 10.0
HEAD_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 1_000

_HEAD_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """HTTP/1.1 with limits on heads and on the number of connections."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_body = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(Unavailable(f"{CONNECTIONS_MAX} connections are open; close some, or try again later"))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data if self._in_body else without_upgrade(data))
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(Malformed(f"the head of the request has more than {HEAD_BYTES_MAX:,} bytes; send less"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed(f"this is not an HTTP/1.1 request: {msg}"))

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._refuse(Malformed(f"no request arrived within {HEAD_TIMEOUT_S:g} s; connect again when there is one"))

    def _refuse(self, refusal: Refused) -> None:
        """Answer without asking the application, and close."""
        self._head_arrived()
        if self.transport.is_closing():
            return
        body = encode(refusal.problem())
        self.transport.write(
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (refusal.status, len(body), body)
        )
        self.transport.close()


def without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without a wish for another protocol, which a server may pass over (RFC 9110, 7.8).

    The parser takes what follows such a head for that protocol, and a body that comes with it would be lost.
    """
    end = data.find(_HEAD_END)
    head = data if end < 0 else data[:end]
    if b"upgrade" not in head.lower():
        return data
    return _UPGRADE.sub(b"ignored", head) + data[len(head) :]
