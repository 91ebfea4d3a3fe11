"""Peace River: an active database cluster on PostgreSQL.

Departments are shards, business objects are actors, and actors change only by messages. What this package names here is
its public interface; everything else may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from peaceriver.actor import Actor, Message
from peaceriver.department import Department
from peaceriver.errors import PeaceRiverError, Refused
from peaceriver.event import Event
from peaceriver.message import Envelope
from peaceriver.rule import Refuse, Rule, exceptions, rule
from peaceriver.stamp import Stamp

if TYPE_CHECKING:
    from sqlalchemy import bindparam, func

    from peaceriver.client import Client
    from peaceriver.cluster import Cluster
    from peaceriver.columns import aliased, col, relation
    from peaceriver.query.select import select
    from peaceriver.query.view import view
    from peaceriver.shard.proposal import Receipt
else:

    def __getattr__(name: str) -> Any:
        """What takes long to load, once somebody asks for it: SQLAlchemy alone takes as long as all of the rest."""
        if name not in _FROM:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_FROM[name]), name)


#: Where the names come from that are loaded when they are asked for: the client, and the query language.
_FROM = {
    "Client": "peaceriver.client",
    "Cluster": "peaceriver.cluster",
    "Receipt": "peaceriver.shard.proposal",
    "aliased": "peaceriver.columns",
    "bindparam": "sqlalchemy",
    "col": "peaceriver.columns",
    "func": "sqlalchemy",
    "relation": "peaceriver.columns",
    "select": "peaceriver.query.select",
    "view": "peaceriver.query.view",
}

__all__ = [
    "Actor",
    "Client",
    "Cluster",
    "Department",
    "Envelope",
    "Event",
    "Message",
    "PeaceRiverError",
    "Receipt",
    "Refuse",
    "Refused",
    "Rule",
    "Stamp",
    "aliased",
    "bindparam",
    "col",
    "exceptions",
    "func",
    "relation",
    "rule",
    "select",
    "view",
]
