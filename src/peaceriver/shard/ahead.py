"""Reading ahead for one follower: the chunk that it will ask for next is read while it takes in the last one."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from peaceriver.limits import CHUNK_BYTES_MAX
from peaceriver.protocol.messages import Place
from peaceriver.shard.rows import fill_a_chunk
from peaceriver.shard.shard import Shard


class _Chunk(NamedTuple):
    """What follows a place, and is being read."""

    shard: Shard
    after: Place
    #: How often the journal had not been what it was before; what was read then may be void by now.
    voids: int
    reading: asyncio.Task[tuple[list[bytes], Place]]


class ReadAhead:
    """Holds one chunk at most, whatever the number of departments."""

    def __init__(self) -> None:
        self._chunk: _Chunk | None = None

    async def rows_after(self, shard: Shard, after: Place) -> tuple[list[bytes], Place]:
        """A chunk of rows after a place, and the place they end at; see ``Shard.rows_after``."""
        chunk, self._chunk = self._chunk, None
        if chunk is not None and (chunk.shard, chunk.after, chunk.voids) == (shard, after, shard.voids):
            taken, end = await chunk.reading
        else:
            _give_up(chunk)
            taken, end = await shard.rows_after(after, CHUNK_BYTES_MAX)
        if fill_a_chunk(taken) and end.position < shard.tip.position:
            reading = asyncio.create_task(shard.rows_after(end, CHUNK_BYTES_MAX), name=f"read ahead {shard.code}")
            # Whoever asks is told what went wrong; perhaps nobody does.
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            _give_up(self._chunk)
            self._chunk = _Chunk(shard, end, shard.voids, reading)
        return taken, end

    def close(self) -> None:
        """Read no further."""
        _give_up(self._chunk)


def _give_up(chunk: _Chunk | None) -> None:
    if chunk is not None:
        chunk.reading.cancel()
