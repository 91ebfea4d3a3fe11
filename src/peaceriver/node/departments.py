"""The departments that a node serves, by sharding code, beside those that the directory names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable

from peaceriver.directory.directory import Directory
from peaceriver.errors import Behind, NotFound, Offence, Unavailable
from peaceriver.limits import CONTROL
from peaceriver.record import Record
from peaceriver.shard.shard import Shard

#: How often to look whether the copying, or the bringing up, is over.
_LOOK_S = 0.02
#: How long a read waits for a department that is being brought up, at most.
_UP_WAIT_S = 2.0


class Departments(dict[int, Shard]):
    """The shards that are served here."""

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self._directory = directory
        #: Whether the directory has come as far as this node was once told, since its start.
        self._is_known = False
        #: When each was taken up, by the steady clock.
        self._since: dict[int, float] = {}

    def __setitem__(self, code: int, shard: Shard) -> None:
        self._since[code] = time.monotonic()
        super().__setitem__(code, shard)

    def at(self, code: int, pointer: str | None = None) -> Shard:
        """A department's shard; raises NotFound where there is none such, Unavailable while it is brought up."""
        shard = self.get(code)
        if shard is not None:
            return shard
        if code in self._directory.departments:
            raise Unavailable(_coming(code), retry_after_s=1.0)
        self._check_known()
        errors = () if pointer is None else (Offence(pointer, "no such department"),)
        raise NotFound(f"there is no department {code}", errors=errors)

    async def up(self, codes: Collection[int], timeout_s: float) -> None:
        """Wait, for a moment, until none of some departments is being brought up any more; raises Behind.

        The directory names a department before its shard is there: whoever asks just then is not to be refused.
        """
        if not any(map(self._is_coming, codes)):
            return
        deadline = time.monotonic() + min(timeout_s, _UP_WAIT_S)
        while coming := [code for code in codes if self._is_coming(code)]:
            if time.monotonic() > deadline:
                raise Behind(_coming(coming[0]))
            await asyncio.sleep(_LOOK_S)

    def _is_coming(self, code: int) -> bool:
        """Whether a department is to be here in a moment.

        One that is copied for longer than that is not waited for: it may take minutes, and other nodes have it.
        """
        shard = self.get(code)
        if shard is None:
            return code in self._directory.departments
        return shard.recovering and time.monotonic() < self._since[code] + _UP_WAIT_S

    def _check_known(self) -> None:
        """Raise Unavailable where there may be departments that this node does not know of: it lost its disk, say."""
        self._is_known = self._is_known or self._is_applied()
        if not self._is_known:
            raise Unavailable(
                "this node does not know all departments yet; ask again in a moment, or ask another node",
                retry_after_s=1.0,
            )

    async def whole(self) -> None:
        """Return once nothing is being copied to this node that it may have held before: it answers for all it has."""
        while not self._is_whole():  # noqa: ASYNC110 - replicas tell nobody of it
            await asyncio.sleep(_LOOK_S)

    def _is_whole(self) -> bool:
        is_copied = not any(each.recovering for each in self.values())
        return is_copied and self._is_applied() and self._directory.departments.keys() <= self.keys()

    def _is_applied(self) -> bool:
        """Whether the directory is what shard 0 makes of it, as far as that is known here."""
        control = self.get(CONTROL)
        return (
            control is not None and not control.recovering and self._directory.applied.value >= control.complete.value
        )

    def complete(self) -> dict[int, int]:
        """How far each is complete now, by code. Taken before a look at the journals, it bounds what of that is shown.

        What lies beyond it may be taken back while somebody looks, and another record may then be complete there.
        """
        return {code: shard.complete.value for code, shard in self.items()}

    def check_journals(self) -> None:
        """Raise Withheld where the journal of any department is damaged here."""
        for shard in self.values():
            shard.damage.check(0, shard.tip.position)

    def check_records(self, found: Iterable[Record]) -> None:
        """Raise Withheld where one of some records is damaged here; or where none was found, and may be lost."""
        records = list(found)
        if not records:
            self.check_journals()
        for each in records:
            self[each.shard].damage.check(each.position - 1, each.position)

    def data(self, since: int | None = None) -> list[int]:
        """The codes of all data departments; of those only that the directory had at a logical time."""
        return sorted(
            code for code, each in self._directory.departments.items() if since is None or each.since <= since
        )


def _coming(code: int) -> str:
    return f"department {code} is being brought up; ask again in a moment"
