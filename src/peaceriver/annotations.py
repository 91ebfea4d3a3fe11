"""The JSON Schema of a Python class: what its plain annotations say about its documents.

Every value that the schema accepts can be read into the class, and every instance is written as such a value. So types
that JSON cannot hold in one way only (sets have no order, bytes and durations no agreed form) are refused.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import inspect

from peaceriver import jsontext
from peaceriver.schema import Schema

_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def schema_of(cls: type) -> Schema:
    """The schema of a Struct, with the class itself at the root and the classes that it uses under ``$defs``.

    Raises ``TypeError`` for an annotation that no document can hold.
    """
    writer = _Writer(cls)
    kind = inspect.type_info(cls)
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"{cls.__name__} is not a Struct, and only Structs have documents.")
    schema = writer.members(kind, kind.forbid_unknown_fields)
    return schema | {"$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    """Writes schemas of types, and collects those of the classes that they use."""

    def __init__(self, root: type) -> None:
        self.definitions: dict[str, Schema] = {}
        self._references: dict[type, str] = {root: "#"}
        self._root = root

    def schema(self, kind: inspect.Type) -> Schema:
        match kind:
            case inspect.Metadata(type=inner, extra_json_schema=extra):
                return self.schema(inner) | (extra or {})
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
                return self._reference(kind)
            case inspect.UnionType(types=kinds):
                return {"anyOf": [self.schema(each) for each in kinds]}
            case inspect.ListType() | inspect.VarTupleType() | inspect.TupleType():
                return self._array(kind)
            case inspect.DictType():
                return self._object(kind)
            case _:
                return self._scalar(kind)

    def _scalar(self, kind: inspect.Type) -> Schema:
        match kind:
            case inspect.AnyType():
                return {}
            case inspect.NoneType():
                return {"type": "null"}
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.IntType():
                return {"type": "integer"} | _bounds(kind)
            case inspect.FloatType():
                return {"type": "number"} | _bounds(kind)
            case inspect.DecimalType():
                return {"type": "number"}
            case inspect.StrType():
                return {"type": "string"} | _lengths(kind, "minLength", "maxLength") | _given(pattern=kind.pattern)
            case inspect.DateTimeType():
                return {"type": "string", "format": "date-time"}
            case inspect.DateType():
                return {"type": "string", "format": "date"}
            case inspect.UUIDType():
                return {"type": "string", "format": "uuid"}
            case inspect.EnumType(cls=cls):
                return {"enum": [member.value for member in cls]}
            case inspect.LiteralType(values=values):
                return {"enum": list(values)}
            case _:
                raise self._refusal(type(kind).__name__.removesuffix("Type").lower())

    def _array(self, kind: inspect.ListType | inspect.VarTupleType | inspect.TupleType) -> Schema:
        if isinstance(kind, inspect.TupleType):
            count = len(kind.item_types)
            items = [self.schema(each) for each in kind.item_types]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": count, "maxItems": count}
        item = self.schema(kind.item_type)
        return {"type": "array"} | ({"items": item} if item else {}) | _lengths(kind, "minItems", "maxItems")

    def _object(self, kind: inspect.DictType) -> Schema:
        match kind.key_type:
            case inspect.AnyType():
                names: Schema = {}
            case inspect.StrType() | inspect.EnumType() | inspect.LiteralType():
                names = self.schema(kind.key_type)
            case _:
                raise self._refusal("dict with keys that are no strings")
        if any(not isinstance(each, str) for each in names.get("enum", ())):
            raise self._refusal("dict with keys that are no strings")
        value = self.schema(kind.value_type)
        return (
            {"type": "object"}
            | ({"propertyNames": names} if names.keys() - {"type"} else {})
            | ({"additionalProperties": value} if value else {})
            | _lengths(kind, "minProperties", "maxProperties")
        )

    def _reference(self, kind: inspect.StructType | inspect.DataclassType | inspect.TypedDictType) -> Schema:
        if kind.cls not in self._references:
            name = kind.cls.__name__
            while name in self.definitions:
                name += "_"
            self._references[kind.cls] = "#/$defs" + jsontext.pointer(name)
            # Its place is taken before its members are written: a class may refer to itself.
            self.definitions[name] = {}
            is_closed = isinstance(kind, inspect.StructType) and kind.forbid_unknown_fields
            self.definitions[name] = self.members(kind, is_closed)
        return {"$ref": self._references[kind.cls]}

    def members(
        self, kind: inspect.StructType | inspect.DataclassType | inspect.TypedDictType, is_closed: bool
    ) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        if isinstance(kind, inspect.StructType):
            if kind.array_like:
                raise self._refusal(f"{kind.cls.__name__}, which is written as an array")
            if kind.tag_field is not None:
                properties[kind.tag_field] = {"const": kind.tag}
                required.append(kind.tag_field)
        for field in kind.fields:
            properties[field.encode_name] = self.schema(field.type) | _default(field)
            if field.required:
                required.append(field.encode_name)
        return (
            {"title": kind.cls.__name__, "type": "object", "properties": properties}
            | ({"required": required} if required else {})
            | ({"additionalProperties": False} if is_closed else {})
        )

    def _refusal(self, what: str) -> TypeError:
        return TypeError(
            f"{self._root.__name__} has a field of type {what}, which has no one form in JSON: use str, int, Decimal, "
            "float, bool, datetime, date, UUID, Literal, Enum, list, tuple, dict, or a class of these."
        )


def _default(field: inspect.Field) -> Schema:
    if field.default_factory in (list, dict):
        return {"default": field.default_factory()}
    if field.default is msgspec.NODEFAULT:
        return {}
    return {"default": jsontext.read(jsontext.encode(field.default))}


def _bounds(kind: inspect.IntType | inspect.FloatType) -> Schema:
    return _given(**{keyword: getattr(kind, name) for name, keyword in _BOUNDS.items()})


def _lengths(kind: Any, at_least: str, at_most: str) -> Schema:
    return _given(**{at_least: kind.min_length, at_most: kind.max_length})


def _given(**keywords: Any) -> Schema:
    return {keyword: value for keyword, value in keywords.items() if value is not None}
