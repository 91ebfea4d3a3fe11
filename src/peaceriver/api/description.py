"""``GET /openapi.json``: this API in OpenAPI 3.1, made from its operations and from the directory as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.components import COMPONENTS, HEADERS, PARAMETERS
from peaceriver.api.context import Context
from peaceriver.api.operations import Operation
from peaceriver.api.tables import CSV, LINES
from peaceriver.directory.pages import Department
from peaceriver.model import Model
from peaceriver.query.named import Variable, View
from peaceriver.schema import Schema, subschemas

#: Our own components carry it; an actor type cannot, so no model is ever called as they are.
PREFIX = "peaceriver."
_PLACE = re.compile(r"\{(\w+)\}")
_RESOURCE = "/shards/{code}/{type}"
_SENT_AS = {
    "Messages": ("application/json", "application/x-ndjson"),
    "Patch": ("application/merge-patch+json", "application/json"),
}
_NOT_REPEATED = frozenset(("$id", "$schema"))


async def get(context: Context, asked: Asked) -> Response:
    """``GET /openapi.json``."""
    directory = context.node.directory
    departments, models = tuple(directory.departments.values()), dict(directory.models)

    def made() -> Response:
        views = directory.readable_views()
        return answers.answered(described(context.operations, departments, models, views, context.url))

    # In a thread: a long text takes long to read, and hundreds of departments take long to describe.
    return await asyncio.to_thread(made)


def described(
    operations: Sequence[Operation],
    departments: Iterable[Department],
    models: Mapping[str, Model],
    views: Iterable[View],
    url: str,
) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    for department in sorted(departments, key=lambda each: each.code):
        for name in sorted(models):
            if department.receives is None or name in department.receives:
                paths |= dict(_resources(operations, department, name))
    asked = next(each for each in operations if each.path == "/views/{name}" and each.method == "GET")
    for view in views:
        paths[f"/views/{view.name}"] = {"get": _view(asked, view)}
    schemas = {f"{PREFIX}{name}": each for name, each in COMPONENTS.items()}
    schemas |= {name: component(name, model.schema) for name, model in models.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Peace River",
            "version": version("peaceriver"),
            "summary": "Messages between departments, recorded once, read as of any moment",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url or "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(
    operation: Operation, place: Mapping[str, str] | None = None, model: str | None = None
) -> dict[str, Any]:
    """One operation; ``place`` fills parts of its path, ``model`` is what its documents are."""
    filled = place or {}
    described: dict[str, Any] = {
        "operationId": _name(operation, filled),
        "summary": operation.summary,
        "parameters": [
            *(_in_path(name) for name in _PLACE.findall(operation.path) if name not in filled),
            *(_in_query(name) for name in operation.parameters),
            *(_in_header(name) for name in operation.headers),
        ],
        "responses": {
            **{str(each): _answer(operation, model) for each in (operation.status, *operation.statuses)},
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {answers.PROBLEM: {"schema": _ours("Problem")}},
            },
        },
    }
    if operation.fields:
        described["parameters"].append(_FIELDS)
    if operation.body is not None:
        schema = _ours(operation.body) if model is None or operation.body != "Document" else _model(model)
        media = _SENT_AS.get(operation.body, ("application/json",))
        described["requestBody"] = {"required": True, "content": {each: {"schema": schema} for each in media}}
    return described


def _answer(operation: Operation, model: str | None) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": "Done"}
    schema = _ours(operation.answer)
    if model is not None and operation.answer == "Actor":
        schema = {"allOf": [schema, {"type": "object", "properties": {"document": _model(model)}}]}
    content = {operation.media: {"schema": schema}}
    if operation.tables:
        content |= {each: {"schema": {"type": "string"}} for each in (CSV, LINES)}
    if "Last-Event-ID" in operation.headers:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": operation.summary, "content": content}


def _resources(
    operations: Iterable[Operation], department: Department, actor_type: str
) -> Iterable[tuple[str, dict[str, Any]]]:
    """The paths of one model's actors in one department that takes them."""
    place = {"code": str(department.code), "type": actor_type}
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        if each.path.startswith(_RESOURCE):
            path = each.path.format_map(place | {"id": "{id}"})
            item = paths.setdefault(path, {"summary": f"{actor_type} in {department.name}"})
            item[each.method.lower()] = _operation(each, place, actor_type)
    return paths.items()


def _view(operation: Operation, view: View) -> dict[str, Any]:
    """A named view as an operation of its own, its host variables as typed parameters."""
    described = _operation(replace(operation, fields=False), {"name": view.name})
    if view.description:
        described["description"] = view.description
    described["parameters"] += [_host_variable(each) for each in view.variables]
    return described


def _host_variable(variable: Variable) -> dict[str, Any]:
    schema: dict[str, Any] = dict(_KINDS[variable.kind.removesuffix("[]")])
    if variable.many:
        schema = {"type": "array", "items": schema}
    if variable.optional and variable.default is not None:
        schema["default"] = variable.default
    told: dict[str, Any] = {"name": variable.name, "in": "query", "required": not variable.optional, "schema": schema}
    return told | ({"description": variable.description} if variable.description else {})


_KINDS: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "numeric": {"type": "number"},
    "boolean": {"type": "boolean"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
}


def component(name: str, schema: Schema) -> Schema:
    """A model's schema as a component: what it refers to by its own root is now reached through the document's."""
    root = f"#/components/schemas/{name}"
    copy: Schema = _copied({key: value for key, value in schema.items() if key not in _NOT_REPEATED})
    for _, each in subschemas(copy):
        if isinstance(each.get("$ref"), str):
            each["$ref"] = root + each["$ref"].removeprefix("#")
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _name(operation: Operation, place: Mapping[str, str]) -> str:
    words = operation.path.format_map({name: "{" + name + "}" for name in _PLACE.findall(operation.path)} | dict(place))
    return "_".join([operation.method.lower(), *re.findall(r"\w+", words)])


def _ours(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{PREFIX}{name}"}


def _model(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _in_path(name: str) -> dict[str, Any]:
    described, schema = PARAMETERS[f"{{{name}}}"]
    return {"name": name, "in": "path", "required": True, "description": described, "schema": schema}


def _in_query(name: str) -> dict[str, Any]:
    described, schema = PARAMETERS[name]
    return {"name": name, "in": "query", "description": described, "schema": schema}


def _in_header(name: str) -> dict[str, Any]:
    described, schema = HEADERS[name]
    return {"name": name, "in": "header", "description": described, "schema": schema}


_FIELDS = {
    "name": "fields",
    "in": "query",
    "description": (
        "Any other parameter filters by a field: total=gt.100. Operators: eq (also a bare value), ne, gt, gte, lt, "
        "lte, like (with *), in, is. actor_id, actor_shard, actor_version and actor_status are fields too; "
        "document.NAME always names one of the document."
    ),
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}
