"""Folding: what a message makes of an actor's document.

Documents and bodies stay text. Only the objects that a patch opens are decoded, and only by one level at a time
(``dict[str, msgspec.Raw]``), so numbers and untouched members keep the bytes they came with.
"""

from __future__ import annotations

import decimal
from typing import Any, Final, TypeAlias

import msgspec

from peaceriver import jsontext
from peaceriver.actor import read_document, write_document
from peaceriver.errors import Invalid, Malformed, Offence, TooLarge, Unavailable
from peaceriver.jsontext import DEPTH_MAX, DOCUMENT_BYTES_MAX, is_too_deep
from peaceriver.model import MessageType, Model

#: A fold's Decimals are exact to so many digits, whatever the process that it runs in has set.
DECIMAL_DIGITS: Final = 100

#: What tells a JSON value: its first byte.
_NULL: Final = ord("n")
_OBJECT: Final = ord("{")

_Members: TypeAlias = dict[str, msgspec.Raw]

_members: Final = msgspec.json.Decoder(_Members).decode
_encode: Final = msgspec.json.Encoder().encode
_context: Final = decimal.Context(
    prec=DECIMAL_DIGITS, traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
)


def merge_patch(document: str | None, patch: str) -> str:
    """The document with a JSON Merge Patch (RFC 7396) applied; no document counts as an empty one.

    Both are well-formed JSON text. Members keep their place, new ones come last, and what the patch does not name keeps
    its bytes. Raises ``Invalid`` for a patch that is no object, ``TooLarge`` above ``DOCUMENT_BYTES_MAX``, and
    ``Malformed`` above ``DEPTH_MAX``.
    """
    try:
        return _checked(_merged(None if document is None else document.encode(), patch.encode()))
    except msgspec.ValidationError as error:
        raise Invalid(
            "A merge patch that is not a JSON object would replace the whole document: send an object.",
            errors=(Offence("/body", "must be a JSON object"),),
        ) from error


def apply(
    model: Model | None, action: str, message_type: str | None, document_text: str | None, body_text: str
) -> str | None:
    """The document after one message: a create's body, a modify's merge or own fold, and for a cancel what it was.

    ``model`` is None for a schema-free type. ``message_type`` is looked up among the model's own; a name that it does
    not know is only a name. The same arguments give the same bytes, on every replica and in every rebuild.
    Raises ``Invalid`` where a message type comes with another action than its own or its fold fails, ``Unavailable``
    where this process lacks the fold's code, and what ``merge_patch`` raises. The result is not validated against the
    model.
    """
    kind = None if model is None or message_type is None else model.message_types.get(message_type)
    if kind is not None and kind.action != action:
        raise Invalid(
            f"{kind.name} is a {kind.action} and came as a {action}: send it with its own action.",
            errors=(Offence("/action", f"must be {kind.action} for a {kind.name}"),),
        )
    if action == "cancel":
        return document_text
    if model is not None and kind is not None and kind.folded:
        return _folded_by_hand(model, kind, document_text or "{}", body_text)
    body = body_text if kind is None else _with_defaults(kind.defaults, body_text)
    return body if action == "create" else merge_patch(document_text, body)


def _with_defaults(defaults: str, body: str) -> str:
    given = _members(body)
    missing = {name: value for name, value in _members(defaults).items() if name not in given}
    return _encode(given | missing).decode() if missing else body


def _folded_by_hand(model: Model, kind: MessageType, document: str, body: str) -> str:
    if kind.fold is None or kind.python is None or model.python is None:
        raise Unavailable(
            f"{kind.name} has a fold of its own, and this node does not have its code: start it with the application."
        )
    actor = read_document(model.python, document)
    message = read_document(kind.python, body)
    before = write_document(actor)
    try:
        with decimal.localcontext(_context):
            result = kind.fold(message, actor)
            after = write_document(_instance_of(model.python, result))
    except Exception as error:
        # The fold is the application's code, and whatever it raises is its word that it refuses this message.
        reason = str(error) or type(error).__name__
        raise Invalid(
            f"{kind.name} cannot be folded into this {model.type}: {reason}",
            errors=(Offence("/type", f"{kind.name}: {reason}"[: jsontext.DETAIL_CHARACTERS_MAX]),),
        ) from error
    text = _checked(_rebased(document.encode(), before.encode(), after.encode()))
    jsontext.read(text.encode(), pointer_prefix="/body")
    return text


def _instance_of(cls: type[Any], result: Any) -> Any:
    if type(result) is not cls:
        raise TypeError(f"its fold returned {type(result).__name__} where it must return {cls.__name__}")
    return result


def _rebased(document: bytes | msgspec.Raw, before: bytes | msgspec.Raw, after: bytes | msgspec.Raw) -> bytes:
    """The document with what changed from ``before`` to ``after``: what a class does not declare, and the bytes of what
    did not change, stay as they were. Lists change as a whole."""
    members, was, now = _members(document), _members(before), _members(after)
    for key in was.keys() - now.keys():
        members.pop(key, None)
    for key, value in now.items():
        old, own = was.get(key), members.get(key)
        if old is not None and bytes(old) == bytes(value):
            continue
        if old is not None and own is not None and _first(old) == _first(own) == _first(value) == _OBJECT:
            value = msgspec.Raw(_rebased(own, old, value))
        members[key] = value
    return _encode(members)


def _merged(target: bytes | msgspec.Raw | None, patch: bytes | msgspec.Raw) -> bytes:
    members = _members(target) if target is not None else {}
    if patch.find(b"{", 1) < 0 and b"null" not in patch:
        # A flat patch that removes nothing, which is what most are.
        return _encode(members | _members(patch))
    for key, value in _members(patch).items():
        first = _first(value)
        if first == _NULL:
            members.pop(key, None)
        elif first == _OBJECT:
            members[key] = _merged_member(members.get(key), value)
        else:
            members[key] = value
    return _encode(members)


def _merged_member(target: msgspec.Raw | None, patch: msgspec.Raw) -> msgspec.Raw:
    if target is not None and _first(target) == _OBJECT:
        return msgspec.Raw(_merged(target, bytes(patch)))
    # Nothing to merge with: the patch itself, without the members that it would remove.
    return msgspec.Raw(_merged(None, bytes(patch))) if b"null" in bytes(patch) else patch


def _first(value: msgspec.Raw) -> int:
    return memoryview(value)[0]


def _checked(document: bytes) -> str:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise TooLarge(
            f"The document would have {len(document):,} bytes and the limit is {DOCUMENT_BYTES_MAX:,}: "
            "keep parts of it in actors of their own."
        )
    text = document.decode()
    if is_too_deep(text):
        raise Malformed(f"The document would be nested deeper than {DEPTH_MAX} levels: flatten it.")
    return text
