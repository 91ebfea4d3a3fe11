"""How the replicas of a shard agree: elections, replication, recovery and transfers, decided without I/O."""

from peaceriver.protocol.replica import Replica

__all__ = ["Replica"]
