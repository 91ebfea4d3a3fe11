"""An operation: one method of one path, what it takes, and what the API's description says of it."""

from __future__ import annotations

from dataclasses import dataclass

from peaceriver.api.context import Page
from peaceriver.api.parameters import FRESH

#: Parameters of lists.
PAGED = ("limit", "offset")
LISTED = ("order", *PAGED, *FRESH)
#: Headers of what is sent, and of what is read.
SENDING = ("Peaceriver-Principal", "traceparent")
FRESHENED = ("Peaceriver-After",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. ``path`` is a template such as ``/shards/{code}/{type}``."""

    method: str
    path: str
    page: Page
    summary: str
    #: The query parameters that it knows.
    parameters: tuple[str, ...] = ()
    #: Whether other parameters name fields of documents.
    fields: bool = False
    #: The request headers that mean something to it.
    headers: tuple[str, ...] = ()
    #: Components of the description (see openapi): what is sent, and what comes back.
    body: str | None = None
    answer: str | None = None
    status: int = 200
    #: Besides ``status``: statuses that are no errors either.
    statuses: tuple[int, ...] = ()
    media: str = "application/json"
    #: Whether it answers with a table, which comes as CSV or as one object a line as well.
    tables: bool = False
