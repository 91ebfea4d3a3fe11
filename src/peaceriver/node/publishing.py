"""Publishing: changing the directory.

Each change is a message to shard 0; the answer comes when it counts on this node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from peaceriver import jsontext
from peaceriver.compatibility import breaks
from peaceriver.directory.pages import DEPARTMENTS, MODELS, NODES, RULES, VIEWS
from peaceriver.errors import Conflict, NotFound, Offence, Refused, StartFailed
from peaceriver.limits import CONTROL
from peaceriver.message import Envelope
from peaceriver.model import Model, definition
from peaceriver.node.node import Node
from peaceriver.node.sending import Sender
from peaceriver.query.named import View
from peaceriver.rule import Rule, Start
from peaceriver.shard.proposal import Receipt

_TRIES_MAX = 10
#: How long a change by somebody else may take to be known here.
_CHANGE_S = 0.2
#: How long a new department, or a view, may take to count at other nodes, and how often to look.
_EVERYWHERE_S = 1.0
_LOOK_S = 0.02


class Published(msgspec.Struct, frozen=True):
    """A directory page after a change. No receipt: the page said the same already, and nothing was recorded."""

    page: dict[str, Any]
    receipt: Receipt | None


class Publishing:
    """Changes of the directory."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def department(self, code: int, page: dict[str, Any], sender: Sender) -> Published:
        """Make or replace a department's page; returns when the department takes messages, at any node that answers.

        Whoever is further behind than a moment is not waited for. Raises Refused.
        """
        is_new = code not in self._node.directory.departments
        receipt = await self._put(DEPARTMENTS, str(code), page, sender)
        # A page that said the same already may still be on its way to being served.
        await self._node.directory.applied.reached(self._node.shards[CONTROL].complete.value)
        shard = self._node.shards[code]
        while shard.leader is None:
            await shard.turns.passed(shard.turns.value)
        if is_new:
            await self._everywhere(sender)
        return Published({"code": code} | page, receipt)

    async def _everywhere(self, sender: Sender) -> None:
        """Wait until what counts here counts at every node that answers, or for a moment.

        Who is told of a change and asks another node sees the change there.
        """
        position = self._node.directory.applied.value
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_EVERYWHERE_S, sender.timeout_s / 2)):
                while not await self._node.overview.is_applied(position):  # noqa: ASYNC110 - others tell nobody of it
                    await asyncio.sleep(_LOOK_S)

    async def node(self, name: str, page: dict[str, Any], sender: Sender) -> Published:
        """Make or replace a node's page. Raises Refused; Conflict for the name of one that was removed."""
        if name in self._node.directory.gone:
            raise Conflict(
                f"the node {name} was removed, and its name is not used again: what it promised is kept under it; "
                "give the node another name and an empty directory"
            )
        before = self._page(NODES, name)
        receipt = await self._put(NODES, name, before | page, sender)
        return Published({"name": name} | before | page, receipt)

    async def model(self, actor_type: str, wanted: dict[str, Any], sender: Sender) -> tuple[Model, tuple[Offence, ...]]:
        """Publish a model by its definition (see model.definition).

        Answers the version that counts now and why it is not compatible with the one before; an equal definition
        makes no new version. Raises Refused.
        """
        before = self._node.directory.newest(actor_type)
        if before is None or definition(before) != wanted:
            await self._put(MODELS, actor_type, {"definition": jsontext.write(wanted)}, sender)
        model = self._node.directory.newest(actor_type)
        assert model is not None
        broken = () if before is None or before is model else breaks(before.schema, model.schema)
        return model, broken

    async def rules(self, rules: Mapping[str, Rule], app: str, sender: Sender) -> None:
        """Publish an application's rules, and retire those that it had; returns when they are active. Raises Refused.

        A rule of the same name that another application published is taken over: it goes on from its mark. Raises
        StartFailed for a rule at a department that is not there.
        """
        directory = self._node.directory
        for name, rule in rules.items():
            if rule.at not in directory.departments:
                raise StartFailed(f"the rule {name} is at department {rule.at}, which is not there; define it as well")
            await self._put(RULES, name, rule.page() | {"app": app, "active": True}, sender)
        for name in list(directory.rules):
            page = self._page(RULES, name)
            if name not in rules and page["app"] == app and page["active"]:
                await self._put(RULES, name, page | {"active": False}, sender)
        await self._node.agents.active()

    async def view(self, view: View, app: str, sender: Sender) -> Published:
        """Make or replace a named view, once it is sure that it can be asked; returns when it counts everywhere.

        At any node that answers, and is not further behind than a moment. Where it says the same as before, and could
        not be kept, that is tried again here. Raises Refused.
        """
        published = await self._put_view(view, app, sender)
        if published.receipt is None:
            self._node.kept.again(view.name)
        await self._everywhere(sender)
        return published

    async def remove_view(self, name: str, sender: Sender) -> None:
        """Let a named view be no more, at any node that answers as well; raises NotFound."""
        page = self._node.directory.views.get(name)
        if page is None or not page.active:
            raise NotFound(f"there is no view {name}; GET /views lists those that there are")
        await self._retire_view(name, sender)
        await self._everywhere(sender)

    async def views(self, views: Mapping[str, View], app: str, sender: Sender) -> None:
        """Publish an application's named views, and retire those that it had; returns as ``view``. Raises Refused."""
        before = self._node.directory.applied.value
        for view in views.values():
            await self._put_view(view, app, sender)
        for name, page in list(self._node.directory.views.items()):
            if name not in views and page.app == app and page.active:
                await self._retire_view(name, sender)
        if self._node.directory.applied.value > before:
            await self._everywhere(sender)

    async def _put_view(self, view: View, app: str, sender: Sender) -> Published:
        await self._node.querying.check(view)
        await self._node.kept.check(view)
        page = {"definition": jsontext.write(view.public()), "app": app, "active": True}
        receipt = await self._put(VIEWS, view.name, page, sender)
        return Published({"name": view.name} | view.public(), receipt)

    async def _retire_view(self, name: str, sender: Sender) -> None:
        await self._put(VIEWS, name, self._page(VIEWS, name) | {"active": False}, sender)

    async def replay(self, rule: str, start: Start) -> int:
        """Let an active rule act anew: from "start", from a position, or from "now"; answers the position.

        Records that it acted on before lead to nothing new, for their follow-ups have the ids that they had. Raises
        NotFound.
        """
        return await self._node.agents.replay(rule, start)

    def _page(self, section: str, key: str) -> dict[str, Any]:
        """What a page says now; nothing where there is none."""
        document = self._node.directory.document(section, key)
        return {} if document is None else jsontext.read(document.encode())

    async def schema(
        self, actor_type: str, schema: dict[str, Any], sender: Sender
    ) -> tuple[Model, tuple[Offence, ...]]:
        """Publish a model as a JSON Schema; the message types that the type has stay. See ``model``."""
        before = self._node.directory.newest(actor_type)
        kept = {"messages": {}, "fold_digest": None} if before is None else definition(before)
        return await self.model(actor_type, kept | {"schema": schema}, sender)

    async def _put(self, section: str, key: str, page: dict[str, Any], sender: Sender) -> Receipt | None:
        """Create a page or turn it into ``page``, whoever else changes it meanwhile."""
        for _ in range(_TRIES_MAX):
            at = self._node.directory.applied.value
            before = self._node.directory.document(section, key)
            if before is None:
                envelope = Envelope(
                    to=CONTROL, actor_type=section, actor_id=key, action="create", body=jsontext.write(page)
                )
            else:
                patch = difference(jsontext.read(before.encode()), page)
                if not patch:
                    return None
                envelope = Envelope(
                    to=CONTROL, actor_type=section, actor_id=key, action="modify", body=jsontext.write(patch)
                )
            outcome = (await self._node.sending.send([envelope], sender))[0]
            if isinstance(outcome, Conflict):
                # Another one was faster; decide again on what stands there now, once this node knows of it.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHANGE_S):
                        await self._node.directory.applied.passed(at)
                continue
            if isinstance(outcome, Refused):
                raise outcome
            await self._node.directory.applied.reached(outcome.position)
            return outcome
        raise Conflict(f"{section}/{key} is being changed by others; look at it and try again")

    def model_page(self, actor_type: str, version: int | None = None) -> dict[str, Any]:
        """A Blue Page; raises NotFound."""
        versions = self._node.directory.versions(actor_type)
        if not versions or (version is not None and not 1 <= version <= len(versions)):
            at = "" if version is None else f" at version {version}"
            raise NotFound(f"there is no model {actor_type}{at}")
        model = versions[-1 if version is None else version - 1]
        return {"type": actor_type, "version": model.version} | definition(model)


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that turns one flat page into another; neither holds null."""
    patch: dict[str, Any] = {name: value for name, value in after.items() if before.get(name) != value}
    return patch | dict.fromkeys(before.keys() - after.keys())
