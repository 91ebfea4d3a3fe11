"""Folding: what a message makes of an actor's document.

Documents and bodies stay text. Only the objects that a patch opens are decoded, and only by one level at a time
(``dict[str, msgspec.Raw]``), so numbers and untouched members keep the bytes they came with.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from peaceriver.errors import Invalid, Malformed, Offence, TooLarge
from peaceriver.jsontext import DEPTH_MAX, DOCUMENT_BYTES_MAX, is_too_deep

_Members: TypeAlias = dict[str, msgspec.Raw]

_members: Final = msgspec.json.Decoder(_Members).decode
_encode: Final = msgspec.json.Encoder().encode


def merge_patch(document: str | None, patch: str) -> str:
    """The document with a JSON Merge Patch (RFC 7396) applied; no document counts as an empty one.

    Both are well-formed JSON text. Members keep their place, new ones come last, and what the patch does not name keeps
    its bytes. Raises ``Invalid`` for a patch that is no object, ``TooLarge`` above ``DOCUMENT_BYTES_MAX``, and
    ``Malformed`` above ``DEPTH_MAX``.
    """
    if not patch.lstrip().startswith("{"):
        raise Invalid(
            "A merge patch that is not a JSON object would replace the whole document: send an object.",
            errors=(Offence("/body", "must be a JSON object"),),
        )
    return _checked(_merged(None if document is None else document.encode(), patch.encode()))


def _merged(target: bytes | msgspec.Raw | None, patch: bytes | msgspec.Raw) -> bytes:
    members = _members(target) if target is not None else {}
    for key, value in _members(patch).items():
        first = _first(value)
        if first == b"n":
            members.pop(key, None)
        elif first == b"{":
            members[key] = _merged_member(members.get(key), value)
        else:
            members[key] = value
    return _encode(members)


def _merged_member(target: msgspec.Raw | None, patch: msgspec.Raw) -> msgspec.Raw:
    if target is not None and _first(target) == b"{":
        return msgspec.Raw(_merged(target, patch))
    # Nothing to merge with: the patch itself, without the members that it would remove.
    return msgspec.Raw(_merged(None, patch)) if b"null" in bytes(patch) else patch


def _first(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:1])


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
