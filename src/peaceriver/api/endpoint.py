"""The way through: from a request to the page that answers it, and from whatever goes wrong there to a problem."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.operations import Operation
from peaceriver.api.origins import refuse_strangers
from peaceriver.api.parameters import Parameters
from peaceriver.api.passing import passed_on
from peaceriver.errors import (
    Failed,
    KeptElsewhere,
    LedElsewhere,
    MethodNotAllowed,
    NotFound,
    Refused,
    Unavailable,
    Withheld,
)
from peaceriver.postgres import PageCorrupted, Unreachable

log = structlog.get_logger()
_RETRY_AFTER_S = 1.0


class Endpoint:
    """One path with its operations, as an ASGI application; without operations, the path that is not there."""

    def __init__(self, path: str, operations: Sequence[Operation], context: Context) -> None:
        self.path = path
        self._context = context
        self._operations = {each.method: each for each in operations}
        self._known = {each.method: frozenset(each.parameters) for each in operations}
        if "GET" in self._operations:
            self._operations["HEAD"], self._known["HEAD"] = self._operations["GET"], self._known["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        answer = await self._answer(scope, receive)
        if scope["method"] == "HEAD":
            answer = answers.headless(answer)
        try:
            await answer(scope, receive, send)
        finally:
            seconds = time.perf_counter() - started
            self._context.metrics.answered(scope["method"], self.path, answer.status_code, seconds)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        method: str = scope["method"]
        try:
            return await self._page(scope, receive, method)
        except MethodNotAllowed as refusal:
            return answers.problem(refusal, {"Allow": ", ".join(sorted(self._operations))})
        except Refused as refusal:
            return answers.problem(refusal)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Unreachable as error:
            log.warning("the database is away", method=method, route=self.path, reason=repr(error))
            return answers.problem(
                Unavailable("the node's database does not answer; ask again in a moment", retry_after_s=_RETRY_AFTER_S)
            )
        except PageCorrupted as error:
            log.warning("the database cannot read something", method=method, route=self.path, reason=str(error))
            return answers.problem(
                Withheld(
                    "this node's database cannot read some of that from its disk; what is damaged is being looked for "
                    "and repaired: ask again in a moment, or ask another node",
                    retry_after_s=_RETRY_AFTER_S,
                )
            )
        except Exception:  # outermost: the failure is logged with its place, and the client learns of it
            log.exception("a request failed", method=method, route=self.path)
            return answers.problem(
                Failed(
                    "the node met something that it has no answer for; its log says what, and this is not your fault"
                )
            )

    async def _page(self, scope: Scope, receive: Receive, method: str) -> Response:
        """The page's answer; that of another node where only that one can give it. Raises Refused."""
        refuse_strangers(method, scope["headers"])
        operation = self._operation(method, scope["path"])
        parameters = Parameters.read(scope["query_string"], self._known[method], fields=operation.fields)
        asked = Asked(scope, receive, parameters)
        try:
            return await operation.page(self._context, asked)
        except (LedElsewhere, KeptElsewhere) as refusal:
            answer = await passed_on(self._context, asked, refusal)
            if answer is None:
                raise
            return answer

    def _operation(self, method: str, path: str) -> Operation:
        if not self._operations:
            raise NotFound(f"there is nothing at {path[:200]}; GET / lists what there is")
        operation = self._operations.get(method)
        if operation is None:
            raise MethodNotAllowed(f"{self.path} does not know {method[:20]}; it knows {', '.join(self._operations)}")
        return operation
