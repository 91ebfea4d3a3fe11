"""Answers: JSON as bytes, and problems as RFC 9457 has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from peaceriver.errors import Refused
from peaceriver.jsontext import encode

JSON = "application/json"
PROBLEM = "application/problem+json"


def answered(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; numbers are written as exactly as they were read."""
    return Response(encode(value), status, headers, JSON)


def problem(refusal: Refused, headers: Mapping[str, str] | None = None, *, status: int | None = None) -> Response:
    """A refusal as a problem. ``status`` replaces its own where HTTP has a better one for this request (412)."""
    members = refusal.problem()
    if status is not None:
        members["status"] = status
    heads = dict(headers or {})
    if refusal.retry_after_s is not None:
        heads["Retry-After"] = str(math.ceil(refusal.retry_after_s))
    return Response(encode(members), members["status"], heads, PROBLEM)


def entity_tag(version: int) -> str:
    """The ETag of an actor at a version (RFC 9110, section 8.8.3)."""
    return f'"{version}"'


def headless(answer: Response) -> Response:
    """The answer to HEAD: what GET would say of itself, without the content; a stream is not begun."""
    bare = Response(status_code=answer.status_code)
    bare.raw_headers = answer.raw_headers
    return bare
