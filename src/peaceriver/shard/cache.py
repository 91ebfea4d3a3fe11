"""What admission remembers of actors: a bounded memory of documents, the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from peaceriver.limits import ACTORS_CACHED_BYTES_MAX, ACTORS_CACHED_MAX
from peaceriver.shard.journal import ActorState, type_and_id

_OVERHEAD_BYTES = 300


class ActorCache:
    """Actors by type and id. What is not here may exist all the same: the database knows."""

    def __init__(self, actors_max: int = ACTORS_CACHED_MAX, bytes_max: int = ACTORS_CACHED_BYTES_MAX) -> None:
        self._actors: OrderedDict[type_and_id, ActorState] = OrderedDict()
        self._actors_max = actors_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def get(self, key: type_and_id) -> ActorState | None:
        """An actor as it is now; None where it is not in memory."""
        state = self._actors.get(key)
        if state is not None:
            self._actors.move_to_end(key)
        return state

    def __contains__(self, key: type_and_id) -> bool:
        return key in self._actors

    def __len__(self) -> int:
        return len(self._actors)

    def update(self, actors: Mapping[type_and_id, ActorState]) -> None:
        """Remember actors as they are now; forgets nothing of what is needed to decide about ``actors`` themselves."""
        for key, state in actors.items():
            previous = self._actors.pop(key, None)
            if previous is not None:
                self._bytes -= len(previous.document) + _OVERHEAD_BYTES
            self._actors[key] = state
            self._bytes += len(state.document) + _OVERHEAD_BYTES

    def trim(self) -> None:
        """Forget the least recently used beyond the limits; called between batches, never within one."""
        while self._actors and (len(self._actors) > self._actors_max or self._bytes > self._bytes_max):
            _, state = self._actors.popitem(last=False)
            self._bytes -= len(state.document) + _OVERHEAD_BYTES

    def clear(self) -> None:
        self._actors.clear()
        self._bytes = 0
