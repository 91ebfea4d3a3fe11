"""The API's description: made from the operations and the directory, and true to both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from peaceriver.api.description import PREFIX, component
from peaceriver.api.routes import OPERATIONS
from tests.acceptance.door import Door

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def shop(door: Door) -> tuple[int, str]:
    """A department that receives one modelled type, and the type."""
    name = f"Basket_{door.unused()}"
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/basket",
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "inside": {"$ref": "#"},
            "odd": {"const": {"$ref": "#/$defs/line"}},
        },
        "$defs": {"line": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}},
    }
    assert door.http.put(f"/directory/models/{name}", json=schema).status_code == 201
    return door.department(name="Shop", receives=[name]), name


def described(door: Door) -> dict[str, Any]:
    document: dict[str, Any] = door.get("/openapi.json")
    return document


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for name, each in value.items():
            if name != "const":
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def looked_up(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def test_every_operation_is_described_and_nothing_else_is(door: Door) -> None:
    document = described(door)
    told = {(method.upper(), path) for path, item in document["paths"].items() for method in METHODS & item.keys()}
    general = {(method, path) for method, path in told if not re.search(r"/shards/\d|/views/\w", path)}
    assert general == {(each.method, each.path) for each in OPERATIONS}


def test_every_operation_is_routed(door: Door) -> None:
    for each in OPERATIONS:
        filled = re.sub(r"\{\w+\}", "x", each.path)
        answer = door.http.request("OPTIONS", filled)
        assert answer.status_code == 405, each.path
        assert each.method in answer.headers["Allow"].split(", "), each.path


def test_what_is_called_like_a_path_of_the_system_is_not_hidden_by_it() -> None:
    paths = [each.path for each in OPERATIONS]
    for path in set(paths):
        fixed = re.sub(r"\{\w+\}", "0", path)
        first = next(each for each in paths if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(each)), fixed))
        assert first == path, f"{path} is hidden by {first}"


def test_the_document_holds_together(door: Door, shop: tuple[int, str]) -> None:
    document = described(door)
    assert document["openapi"] == "3.1.0"
    assert document["info"].keys() >= {"title", "version"}
    for reference in references(document):
        looked_up(document, reference)
    operations = [
        (path, item[method]) for path, item in document["paths"].items() for method in sorted(METHODS & item.keys())
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for path, operation in operations:
        places = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert sorted(places) == sorted(re.findall(r"\{(\w+)\}", path)), path
        keys = [(each["in"], each["name"].lower()) for each in operation["parameters"]]
        assert len(set(keys)) == len(keys), path
        assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}
        assert operation["summary"]


def test_every_schema_is_one(door: Door, shop: tuple[int, str]) -> None:
    document = described(door)
    root = {"components": document["components"]}
    for name in document["components"]["schemas"]:
        jsonschema_rs.Draft202012Validator(root | {"$ref": f"#/components/schemas/{name}"})


def test_a_department_has_paths_for_what_it_receives(door: Door, shop: tuple[int, str]) -> None:
    code, name = shop
    document = described(door)
    places = [f"/shards/{code}/{name}", f"/shards/{code}/{name}/{{id}}", f"/shards/{code}/{name}/{{id}}/records"]
    assert [path for path in document["paths"] if path.startswith(f"/shards/{code}/")] == places
    made = document["paths"][places[0]]["post"]
    assert made["requestBody"]["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert document["paths"][places[1]]["get"]["responses"]["200"]["content"]["application/json"]


def test_a_models_own_references_lead_to_its_component(door: Door, shop: tuple[int, str]) -> None:
    _, name = shop
    document = described(door)
    schema = document["components"]["schemas"][name]
    assert "$id" not in schema
    assert schema["properties"]["odd"] == {"const": {"$ref": "#/$defs/line"}}, "a value is no reference"
    root = {"components": document["components"], "$ref": f"#/components/schemas/{name}"}
    validator = jsonschema_rs.Draft202012Validator(root)
    assert validator.is_valid({"lines": [{"price": 1}], "inside": {"lines": []}})
    assert not validator.is_valid({"lines": [{}]})
    assert not validator.is_valid({"inside": {"lines": [{}]}})


def test_answers_are_as_described(door: Door, shop: tuple[int, str]) -> None:
    code, name = shop
    receipt = door.create(code, f"{name}/1", {"lines": []})
    document = described(door)
    for path, asked in {
        "/messages/{id}": f"/messages/{receipt['id']}",
        "/shards/{code}/{type}/{id}": f"/shards/{code}/{name}/1?after={receipt['stamp']}",
        "/shards/{code}/{type}": f"/shards/{code}/{name}",
        "/shards/{code}/{type}/{id}/records": f"/shards/{code}/{name}/1/records",
        "/shards/{code}/journal": f"/shards/{code}/journal",
        "/journal": "/journal",
        "/actors/{type}": f"/actors/{name}",
        "/actors/{type}/{id}": f"/actors/{name}/1",
        "/drafts": "/drafts",
        "/exceptions": "/exceptions",
        "/directory/{section}": "/directory/departments",
        "/directory/models/{type}": f"/directory/models/{name}",
        "/cluster": "/cluster",
    }.items():
        answer = door.get(asked)
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        root = {"components": document["components"]} | schema
        errors = list(jsonschema_rs.Draft202012Validator(root).iter_errors(answer))
        assert not errors, (path, errors[0].message, errors[0].instance_path)
    told = door.http.get("/nothing").json()
    root = {"components": document["components"], "$ref": f"#/components/schemas/{PREFIX}Problem"}
    assert jsonschema_rs.Draft202012Validator(root).is_valid(told)


def test_a_component_leaves_the_model_as_it_was() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}}
    before = repr(schema)
    assert component("A", schema)["properties"]["a"] == {"$ref": "#/components/schemas/A/$defs/b"}
    assert repr(schema) == before
