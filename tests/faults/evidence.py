"""What one schedule has left to be judged: the history of its clients, and what stands in every replica."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.faults.history import History, Message, Reading
from tests.faults.replicas import Copy, Entry, Tip

#: Where all accounts are read at one cutoff.
ACCOUNTS = "/actors/Account"


@dataclass
class Evidence:
    """What one schedule has left to be judged."""

    history: History
    #: All nodes' replicas, read after everything had healed.
    copies: list[Copy]
    #: The same answers asked for again, on every node: what was noted first, and what was answered now.
    repeated: list[tuple[Reading, Reading]] = field(default_factory=list)
    #: Replicas' places earlier: at the end of the last schedule.
    before: dict[str, dict[int, Tip]] = field(default_factory=dict)
    #: Nodes whose disk was lost or set back meanwhile.
    lost: set[str] = field(default_factory=set)
    #: Departments whose accounts hold a constant sum between them, and that sum.
    banks: tuple[int, ...] = ()
    money: int = 0
    #: Departments in which the rule acts, by its trigger's actor type.
    trigger: str = "Transfer"

    @cached_property
    def journals(self) -> dict[int, list[Entry]]:
        """Each department's journal where it goes furthest; ``same_prefix`` says whether the others are equal."""

        def place(copy: Copy, code: int) -> tuple[int, int]:
            entries = copy.journals[code]
            return (entries[-1].epoch, entries[-1].position) if entries else (0, 0)

        codes = self.copies[0].journals
        return {code: max(self.copies, key=lambda each: place(each, code)).journals[code] for code in codes}

    def by_id(self) -> dict[tuple[int, str], Entry]:
        return {(code, each.id): each for code, entries in self.journals.items() for each in entries if each.id}

    def sums(self) -> Iterator[Reading]:
        """The answers that show all accounts at once."""
        for reading in [*self.history.readings, *(now for _, now in self.repeated)]:
            is_whole = reading.path == ACCOUNTS and len(reading.items) == len(self.banks)
            if is_whole and all(str(code) in reading.positions for code in self.banks):
                yield reading

    def epoch_of(self, message: Message) -> int | None:
        entries = self.journals.get(message.shard, [])
        assert message.receipt is not None
        position = message.receipt["position"]
        return entries[position - 1].epoch if 0 < position <= len(entries) else None

    def refused(self, code: int) -> set[str]:
        """Messages that exception records of a department answer."""
        bodies = [json.loads(each.body) for each in self.journals.get(code, []) if each.kind == "exception"]
        return {each["message"]["id"] for each in bodies if "message" in each}
