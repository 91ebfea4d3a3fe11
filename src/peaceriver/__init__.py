"""Peace River: an active database cluster on PostgreSQL.

Departments are shards, business objects are actors, and actors change only by messages. What this package names here is
its public interface; everything else may change.
"""

from peaceriver.actor import Actor, Message
from peaceriver.client import Client
from peaceriver.cluster import Cluster
from peaceriver.department import Department
from peaceriver.errors import PeaceRiverError, Refused
from peaceriver.event import Event
from peaceriver.message import Envelope
from peaceriver.rule import Refuse, Rule, exceptions, rule
from peaceriver.shard.proposal import Receipt
from peaceriver.stamp import Stamp

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
    "exceptions",
    "rule",
]
