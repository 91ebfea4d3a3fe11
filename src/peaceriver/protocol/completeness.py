"""When a record is complete: held by a majority of the shard's voters. A decision, without I/O.

Raft's commit rule (Ongaro and Ousterhout 2014, section 5.4.2): a leader counts replicas only for records of its own
epoch; earlier ones become complete with them.
"""

from __future__ import annotations

from collections.abc import Iterable


def complete_position(voters: Iterable[int], epoch_start: int, complete: int) -> int:
    """How far the journal is complete.

    ``voters`` is each voter's position, the leader's own among them; ``epoch_start`` is the first position of the
    leader's epoch; ``complete`` is what was known before, and is never taken back.
    """
    positions = sorted(voters, reverse=True)
    majority = positions[len(positions) // 2]
    return max(complete, majority) if majority >= epoch_start else complete
