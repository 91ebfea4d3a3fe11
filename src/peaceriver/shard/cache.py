"""What admission remembers of actors: a bounded memory of documents, the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from peaceriver.limits import ACTORS_CACHED_BYTES_MAX, ACTORS_CACHED_MAX
from peaceriver.shard.journal import ActorState, type_and_id

_OVERHEAD_BYTES = 300


class ActorCache(Mapping[type_and_id, ActorState]):
    """Actors by type and id. What is not here may exist all the same: the database knows."""

    def __init__(self, actors_max: int = ACTORS_CACHED_MAX, bytes_max: int = ACTORS_CACHED_BYTES_MAX) -> None:
        self._actors: OrderedDict[type_and_id, ActorState] = OrderedDict()
        self._actors_max = actors_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def __getitem__(self, key: type_and_id) -> ActorState:
        state = self._actors[key]
        self._actors.move_to_end(key)
        return state

    def get(self, key: type_and_id, default: ActorState | None = None) -> ActorState | None:  # type: ignore[override]  # narrower than Mapping's: no other default
        state = self._actors.get(key)
        if state is None:
            return default
        self._actors.move_to_end(key)
        return state

    def __contains__(self, key: object) -> bool:
        return key in self._actors

    def __iter__(self) -> Iterator[type_and_id]:
        return iter(self._actors)

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
