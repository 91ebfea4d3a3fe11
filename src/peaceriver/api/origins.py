"""Whom this node answers: programs on this machine, and pages that it served itself.

Until authentication is configured whoever reaches the node is believed. It listens on loopback only, but a browser on
this machine visits other places too: their pages may post to a loopback address without asking first, and a name of
theirs may resolve to one (DNS rebinding). The first shows by ``Origin``, the second by ``Host``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from peaceriver.errors import Forbidden

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


def refuse_strangers(method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Forbidden for a request that a page of another origin makes, or that comes by a name not ours."""
    host = origin = None
    for name, value in headers:
        if name == b"host":
            host = value
        elif name == b"origin":
            origin = value
    if host is not None and not is_loopback(host):
        raise Forbidden(
            f"this node answers under loopback names only, and not as {host.decode('latin-1')[:80]!r}; "
            "ask 127.0.0.1 or localhost"
        )
    if origin is not None and method not in _SAFE and origin.partition(b"://")[2].lower() != (host or b"").lower():
        raise Forbidden(
            f"pages of {origin.decode('latin-1')[:80]!r} may not send here; only programs and this node's own pages may"
        )


@lru_cache(maxsize=256)
def is_loopback(host: bytes) -> bool:
    """Whether a Host header, with or without a port, names this machine and nothing else."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":") if bracket else "?"
    else:
        name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
