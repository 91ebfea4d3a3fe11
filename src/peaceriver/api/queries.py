"""``POST /query``: SQL for administrators and notebooks. One SELECT, read-only, limited."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from peaceriver import jsontext
from peaceriver.api import tables
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.parameters import FRESH, Parameters, freshness
from peaceriver.errors import Invalid, Offence
from peaceriver.limits import BODY_BYTES_MAX, QUERY_TIMEOUT_S
from peaceriver.node.questions import Question

#: Parameters of every query, beside those of every read.
SCOPE = ("shards", "allow_partial")
_PARAMETERS = (*FRESH, *SCOPE)
_MEMBERS = frozenset(("sql", "variables", "types", *_PARAMETERS))


async def post(context: Context, asked: Asked) -> Response:
    """``POST /query``: what is a parameter of other reads may stand in the body as well."""
    body = jsontext.read(await asked.body(BODY_BYTES_MAX))
    if not isinstance(body, dict):
        raise Invalid("a query is a JSON object with sql", errors=(Offence("", "not an object"),))
    errors = tuple(_offences(body))
    if errors:
        raise Invalid("; ".join(f"{each.pointer} {each.detail}" for each in errors), errors=errors)
    question = scoped(body["sql"], asked, _joined(asked.parameters, body))
    return await tables.answered(
        context, question, asked, variables=body.get("variables", {}), kinds=body.get("types", {})
    )


def _offences(body: dict[str, Any]) -> Iterator[Offence]:
    for name in body:
        if name not in _MEMBERS:
            yield Offence(jsontext.pointer(name), "is not known here")
    if not isinstance(body.get("sql"), str):
        yield Offence("/sql", "must be text: one SELECT")
    for name in ("variables", "types"):
        if not isinstance(body.get(name, {}), dict):
            yield Offence(f"/{name}", "must be an object")
    kinds = body.get("types", {})
    for name, kind in kinds.items() if isinstance(kinds, dict) else ():
        if not isinstance(kind, str):
            yield Offence(jsontext.pointer("types", name), "must be the name of a type")
    for name in _PARAMETERS:
        if not isinstance(body.get(name, ""), str | int | Decimal | list):
            yield Offence(f"/{name}", "must be text, a number, or a list of sharding codes")


def _joined(parameters: Parameters, body: dict[str, Any]) -> Parameters:
    """The request's parameters with those that stand in its body; raises Invalid for one that stands in both."""
    given = dict(parameters.pairs)
    for name in _PARAMETERS:
        if body.get(name) is not None:
            if name in given:
                raise Invalid(f"{name} is given twice", errors=(Offence(f"/{name}", "is given twice"),))
            given[name] = _written(body[name])
    return Parameters(tuple(given.items()))


def _written(value: Any) -> str:
    """A member as the parameter would be written."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def scoped(sql: str, asked: Asked, parameters: Parameters) -> Question:
    """A question with the cutoff, the departments and the deadline that a request asks for; raises Invalid."""
    return Question(
        sql=sql,
        shards=parameters.codes("shards"),
        freshness=freshness(parameters, asked.header(b"peaceriver-after"), after=parameters.text("after")),
        timeout_s=parameters.seconds("timeout", QUERY_TIMEOUT_S),
        allow_partial=parameters.flag("allow_partial"),
    )
