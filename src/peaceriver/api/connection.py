"""One connection: what a request may cost in time before a page has it whole, and its head in bytes and number.

The server under it bounds neither the time that a request takes to arrive nor the size of its head, so a client that
sends a byte now and then, or headers without end, would hold a connection and memory for ever. What it says of a bad
request is text, and ours are problems. Most requests come whole, and those cost no timer.
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
#: From the end of the headers to the end of the body.
BODY_TIMEOUT_S = 30.0
#: How long what still comes is thrown away after a refusal: a connection that is closed while there is more to read is
#: reset, and whoever is still sending would never see the answer (RFC 9112, 9.6).
LINGER_S = 2.0
HEAD_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 1_000
#: So many more, for the other nodes alone: clients must not keep them from each other.
NODES_CONNECTIONS_MAX = 100

_BETWEEN_NODES = b"/replication/"
_HEAD_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """HTTP/1.1 with limits on heads and on the number of connections."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: No request, or no more of one than a part of its head, has arrived since the last one.
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0
        #: Whether it is one of those that are there for the other nodes.
        self._is_spare = False
        self._is_refused = False
        #: Runs while a head, or a body, is being waited for; or the end, after a refusal.
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._is_spare = len(self.connections) > CONNECTIONS_MAX
        if len(self.connections) > CONNECTIONS_MAX + NODES_CONNECTIONS_MAX:
            self._too_many()
        else:
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._in_body:
            self._head_bytes += len(data)
            data = without_upgrade(data)
        super().data_received(data)
        if self._timer is None and (self._in_head or self._in_body):
            seconds = BODY_TIMEOUT_S if self._in_body else HEAD_TIMEOUT_S
            self._timer = self.loop.call_later(seconds, self._too_slow)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(Malformed(f"the head of the request has more than {HEAD_BYTES_MAX:,} bytes; send less"))

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._stop_timer()
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        if self._is_spare and not self.url.startswith(_BETWEEN_NODES):
            self._too_many()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        self._stop_timer()
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed(f"this is not an HTTP/1.1 request: {msg}"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_many(self) -> None:
        self._refuse(Unavailable(f"{CONNECTIONS_MAX} connections are open; close some, or try again later"))
        self.transport.close()  # it does not linger, in a place that others need

    def _too_slow(self) -> None:
        if not self._in_body:
            self._refuse(Malformed(f"no request arrived within {HEAD_TIMEOUT_S:g} s; connect again when there is one"))
        elif self.cycle.response_started:
            self.transport.close()  # it was answered without its body, which nobody waits for
        else:
            self._refuse(Malformed(f"the body did not arrive within {BODY_TIMEOUT_S:g} s; send it again"))

    def _refuse(self, refusal: Refused) -> None:
        """Answer without asking the application, and close, once the other side has, or has had the time to."""
        if self._is_refused or self.transport.is_closing():
            return
        self._stop_timer()
        self._is_refused = True
        body = encode(refusal.problem())
        self.transport.write(
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (refusal.status, len(body), body)
        )
        if self.pipeline:  # an answer to an earlier request may still be written
            self.transport.close()
            return
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)
        self.flow.resume_reading()
        if self.cycle is not None:
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()


def without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without a wish for another protocol, which a server may pass over (RFC 9110, 7.8).

    The parser takes what follows such a head for that protocol, and a body that comes with it would be lost.
    """
    end = data.find(_HEAD_END)
    head = data if end < 0 else data[:end]
    if b"upgrade" not in head.lower():
        return data
    return _UPGRADE.sub(b"ignored", head) + data[len(head) :]
