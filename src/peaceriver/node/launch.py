"""Bringing a node up: from a PostgreSQL server or a DSN to a running node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from peaceriver.application import Application, load
from peaceriver.embedded import Server
from peaceriver.errors import OutcomeUnknown, Unavailable
from peaceriver.limits import CONTROL
from peaceriver.migrating import migrate, prepare
from peaceriver.model import definition, model_of
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.replication import Company
from peaceriver.node.room import Room
from peaceriver.node.sending import Sender
from peaceriver.postgres import DATABASE, OWNER, RUNNER, Database

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5

#: No application: a node that serves whatever is in its directory.
NONE = load(None)


async def node_on_server(
    name: str, server: Server, application: Application = NONE, company: Company | None = None
) -> Node:
    """A started node on a server that we own: roles, database and schema are made or brought up to date first."""
    await prepare(server.connection("postgres"))
    await migrate(server.connection(OWNER, DATABASE))
    return await _started(name, server.connection(RUNNER, DATABASE), application, Room(server.directory), company)


async def node_on_dsn(name: str, dsn: str, application: Application = NONE, company: Company | None = None) -> Node:
    """A started node on a database that was given to us. Its role must own the database and may make roles."""
    await prepare({"dsn": dsn}, database=None)
    await migrate({"dsn": dsn})
    # The session begins as the running role, so that append-only holds here as it does on a server of our own.
    connection = {"dsn": dsn, "server_settings": {"role": RUNNER}}
    return await _started(name, connection, application, Room(None), company)


async def publish(node: Node, application: Application, url: str | None = None) -> None:
    """Bring an application's models, departments, views and rules into the directory; returns when rules are active.

    ``url``: where the node is served, for the others of its cluster to know.

    What stands there already is left alone; a rule that the application no longer has becomes inactive. Where nobody
    leads a department, this waits.
    """
    while True:
        try:
            await _publish(node, application, url)
            return
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("the application waits", application=application.name, reason=str(error))
            await asyncio.sleep(_RETRY_PAUSE_S)


async def _publish(node: Node, application: Application, url: str | None) -> None:
    publishing, sender = Publishing(node), Sender(principal=f"app:{application.name}")
    # What stands there is to be known first; a directory that is damaged here is repaired meanwhile.
    await node.directory.applied.reached(node.shards[CONTROL].complete.value)
    if url is not None and not node.alone:
        await publishing.node(node.name, {"url": url}, Sender(principal=f"node:{node.name}"))
    for actor in application.models.values():
        await publishing.model(actor.__name__, definition(model_of(actor)), sender)
    for department in application.departments:
        page: dict[str, Any] = {"name": department.name}
        if department.actor_types is not None:
            page["receives"] = list(department.actor_types)
        await publishing.department(department.code, page, sender)
    await publishing.views(application.views, application.name, sender)
    await publishing.rules(application.rules, application.name, sender)


async def _started(
    name: str, connection: Mapping[str, Any], application: Application, room: Room, company: Company | None
) -> Node:
    database = await Database.open(connection)
    node = Node(name, database, company=company, python=application.models, rules=application.rules, room=room)
    try:
        await node.start()
    except BaseException:
        await node.stop()
        raise
    return node
