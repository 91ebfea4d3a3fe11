"""The directory as a node has it in memory: folded from shard 0's journal, record by record, as every view is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import structlog

from peaceriver import fold, jsontext
from peaceriver.actor import Actor
from peaceriver.compatibility import breaks
from peaceriver.directory import pages
from peaceriver.directory.pages import (
    BUILT_IN,
    DEPARTMENTS,
    INCIDENTS,
    MODELS,
    NODES,
    RULES,
    VIEWS,
    Department,
    NodePage,
    RulePage,
    ViewPage,
)
from peaceriver.errors import Invalid, Offence, StartFailed
from peaceriver.model import Model, model_of_definition
from peaceriver.query.named import View
from peaceriver.record import Record
from peaceriver.shard.admission import Rules
from peaceriver.shard.proposal import Wish
from peaceriver.shard.watermark import Watermark

log = structlog.get_logger()


class _Edition(msgspec.Struct, frozen=True):
    """One version of a model. Versions of one generation are compatible: what was valid stays valid."""

    model: Model
    generation: int


class Directory:
    """Departments, models and rules, as of the last record of shard 0 that was applied."""

    def __init__(self, python: Mapping[str, type[Actor]] | None = None) -> None:
        self.departments: dict[int, Department] = {}
        #: The nodes of the cluster, those that are leaving among them.
        self.nodes: dict[str, NodePage] = {}
        #: Nodes that are no part of it any more.
        self.gone: set[str] = set()
        self.rules: dict[str, RulePage] = {}
        #: Named views, those that are no more among them.
        self.views: dict[str, ViewPage] = {}
        #: What is damaged on some node and not repaired yet, by id.
        self.incidents: dict[str, dict[str, Any]] = {}
        #: The active rules by department: those that validate, and those that follow up.
        self.validating: dict[int, list[RulePage]] = {}
        self.acting: dict[int, list[RulePage]] = {}
        #: How far it is: a position of shard 0.
        self.applied = Watermark()
        #: Where in shard 0 each department came to be, in that order.
        self.born: dict[int, int] = {}
        self._editions: dict[str, list[_Edition]] = {}
        self._documents: dict[tuple[str, str], str] = {}
        self._python = python or {}
        #: Versions of views that cannot be read any more, as far as somebody was told.
        self._unreadable: set[tuple[str, int]] = set()
        #: Why the application of this process does not fit a model that is published: fatal at start.
        self.unfit: dict[str, StartFailed] = {}

    def apply(self, record: Record) -> None:
        """Take in the next received record of shard 0."""
        actor_type, key = record.actor_type, record.actor_id
        assert actor_type is not None
        assert key is not None
        assert record.action is not None
        assert record.message_type is not None
        assert record.actor_version is not None
        before = self._documents.get((actor_type, key))
        document = fold.apply(BUILT_IN[actor_type], record.action, record.message_type, before, record.body)
        assert document is not None
        self._documents[actor_type, key] = document
        if actor_type == DEPARTMENTS:
            since = self.departments[int(key)].since if int(key) in self.departments else record.stamp
            self.born.setdefault(int(key), record.position)
            self.departments[int(key)] = pages.department(key, document, since)
        elif actor_type == NODES:
            if record.action == "cancel":
                self.nodes.pop(key, None)
                self.gone.add(key)
            else:
                self.nodes[key] = pages.node(key, document)
        elif actor_type == MODELS:
            self._publish(key, document, record.actor_version)
        elif actor_type == RULES:
            self.rules[key] = pages.rule(key, document, record.actor_version)
            self.validating = _by_department(self.rules.values(), "validation")
            self.acting = _by_department(self.rules.values(), "follow-up")
        elif actor_type == VIEWS:
            self.views[key] = pages.view(key, document, record.actor_version)
        elif actor_type == INCIDENTS:
            self._keep_incident(key, document)

    def _keep_incident(self, key: str, document: str) -> None:
        page = jsontext.read(document.encode())
        if page["state"] == "open":
            self.incidents[key] = {"id": key} | page
        else:
            # It is history, and may be one of very many: whoever asks for it reads shard 0.
            self.incidents.pop(key, None)

    def _publish(self, actor_type: str, document: str, version: int) -> None:
        definition = jsontext.read(jsontext.read(document.encode())["definition"].encode())
        try:
            model = model_of_definition(actor_type, definition, version, self._python.get(actor_type))
        except StartFailed as error:
            # Somebody published folds that this process does not have: their messages are refused here until it does.
            self.unfit[actor_type] = error
            model = model_of_definition(actor_type, definition, version)
        editions = self._editions.setdefault(actor_type, [])
        generation = 1
        if editions:
            last = editions[-1]
            generation = last.generation + bool(breaks(last.model.schema, model.schema))
        editions.append(_Edition(model, generation))

    def newest(self, actor_type: str) -> Model | None:
        """The newest version of a type's model; None for a schema-free type."""
        editions = self._editions.get(actor_type)
        return editions[-1].model if editions else BUILT_IN.get(actor_type)

    def version(self, actor_type: str, version: int | None) -> Model | None:
        """One version of a type's model; None where there is none such, and for None."""
        if version is None:
            return None
        if actor_type in BUILT_IN:
            return BUILT_IN[actor_type]
        editions = self._editions.get(actor_type, [])
        return editions[version - 1].model if 0 < version <= len(editions) else None

    def judging(self, actor_type: str, version: int | None, *, exists: bool) -> Model | None:
        """The model that judges an actor's next message.

        A new actor is judged by the newest version. One that exists is judged by the newest version that is
        compatible with the one it was last folded with: an incompatible model stands beside the old and leaves the
        old actors alone.
        """
        if not exists or actor_type in BUILT_IN:
            return self.newest(actor_type)
        if version is None:
            return None
        editions = self._editions[actor_type]
        generation = editions[version - 1].generation
        return next(each.model for each in reversed(editions) if each.generation == generation)

    def versions(self, actor_type: str) -> list[Model]:
        """All versions of a type's model, oldest first; none for a schema-free type."""
        built_in = BUILT_IN.get(actor_type)
        return [each.model for each in self._editions.get(actor_type, [])] if built_in is None else [built_in]

    @property
    def models(self) -> dict[str, Model]:
        """The newest version of every published model."""
        return {name: editions[-1].model for name, editions in self._editions.items()}

    def readable_views(self) -> list[View]:
        """The named views that there are; one whose definition cannot be read any more is left out, and logged once."""
        found: list[View] = []
        for name, page in sorted(self.views.items()):
            try:
                found += [page.view] if page.active else []
            except Invalid as refusal:
                if (name, page.version) not in self._unreadable:
                    self._unreadable.add((name, page.version))
                    log.warning("a view cannot be read any more", view=name, reason=refusal.detail)
        return found

    def rules_for(self, code: int) -> Rules:
        """What a department lets in; asks the directory anew for each message, so changes count at once."""
        if code == 0:
            return Rules(model_for=self.judging, receives=lambda: frozenset(BUILT_IN), check=_check)
        return Rules(model_for=self.judging, receives=lambda: self._receives(code))

    def _receives(self, code: int) -> frozenset[str] | None:
        department = self.departments.get(code)
        return None if department is None else department.receives

    def document(self, section: str, key: str) -> str | None:
        """A page's document as it is now."""
        return self._documents.get((section, key))


def _by_department(rules: Iterable[RulePage], kind: str) -> dict[int, list[RulePage]]:
    found: dict[int, list[RulePage]] = {}
    for each in rules:
        if each.active and each.kind == kind:
            found.setdefault(each.at, []).append(each)
    return found


def _check(wish: Wish, document: str) -> Iterable[Offence]:
    actor_type, key = wish.key
    return pages.offences(actor_type, key, wish.envelope.action, document)
