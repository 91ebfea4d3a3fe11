"""What a run of many schedules says: a line for each schedule, and a table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.history import Told
from tests.faults.nemesis import FAULTS
from tests.faults.replicas import CONVERGED_S
from tests.faults.schedule import Result

#: A run of so many schedules has goals.
GOAL_SCHEDULES = 200
_GOAL_ACKNOWLEDGED = 100_000
_GOAL_REPEATED = 1_000
_EQUAL_S = CONVERGED_S
#: How a violation is counted in the table, by what its text says.
_COUNTED = ("lost", "twice", "old epoch")
_UNEQUAL = ("same_prefix", "foldable", "converged", "as_of_stays", "undamaged")


@dataclass
class Report:
    """What came of all schedules so far."""

    results: list[Result] = field(default_factory=list)
    #: Faults that could not be done here, and why.
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return any(each.violations for each in self.results) or bool(self.missed)

    @property
    def missed(self) -> list[str]:
        """The goals of a whole run that it did not meet; a shorter one has none."""
        if len(self.results) < GOAL_SCHEDULES:
            return []
        found = {
            f"{_GOAL_ACKNOWLEDGED:,} messages acknowledged": self._sum("ok") >= _GOAL_ACKNOWLEDGED,
            f"{_GOAL_REPEATED:,} answers asked for again": self._repeated >= _GOAL_REPEATED,
            "some sums counted": self._sums > 0,
            f"equal within {_EQUAL_S:g} s": self._slowest_equal_s <= _EQUAL_S,
            "every fault done": not self.never_done,
        }
        return [goal for goal, met in found.items() if not met]

    @property
    def never_done(self) -> list[str]:
        return [kind for kind in FAULTS if kind not in self.left_out and not self.done[kind]]

    @property
    def done(self) -> Counter[str]:
        """How often each kind of fault was done."""
        return Counter(fault.kind for each in self.results for fault in each.history.faults if fault.kind)

    @property
    def _repeated(self) -> int:
        return sum(each.repeated for each in self.results)

    @property
    def _sums(self) -> int:
        return sum(each.sums for each in self.results)

    @property
    def _slowest_equal_s(self) -> float:
        return max(each.converged_s for each in self.results)

    def line(self, result: Result) -> str:
        """One schedule in a line, and what was wrong with it below."""
        self.results.append(result)
        history = result.history
        faults = ", ".join(f"{each.kind} {each.text.split(' ')[0]}" for each in history.faults if each.kind)
        head = (
            f"seed {result.seed}: {result.took_s:4.1f} s, {history.count('ok'):5} acknowledged, "
            f"{history.count('unknown'):3} unknown, {history.count('refused'):3} refused, "
            f"{history.kept:3} kept, up in {result.up_s:4.1f} s, "
            f"equal in {result.converged_s:4.2f} s; {faults}"
        )
        loud = [f"    unexpected: {each}" for each in history.loud]
        return "\n".join([head, *(f"    VIOLATION {each}" for each in result.violations), *loud])

    def table(self) -> str:
        """The whole run."""
        violations = [each for result in self.results for each in result.violations]
        count = {word: sum(f": {word}" in each for each in violations) for word in _COUNTED}
        rows: list[tuple[str, object]] = [(kind, f"{count} times") for kind, count in sorted(self.done.items())]
        rows += [(kind, why) for kind, why in self.left_out.items()]
        rows += [
            ("leadership handed over at a wish", f"{sum(each.history.transfers for each in self.results)} times"),
            ("everything verified at a wish", f"{sum(each.history.verifications for each in self.results)} times"),
            ("schedules", len(self.results)),
            ("of them with a violation", sum(bool(each.violations) for each in self.results)),
            ("messages acknowledged", f"{self._sum('ok'):,}{self._goal(_GOAL_ACKNOWLEDGED)}"),
            ("messages unknown", self._sum("unknown")),
            ("messages refused", self._sum("refused")),
            ("messages kept until somebody leads", sum(each.history.kept for each in self.results)),
            ("lost", count["lost"]),
            ("twice", count["twice"]),
            ("acknowledged in an old epoch", count["old epoch"]),
            ("replicas, views or answers unequal", sum(each.startswith(_UNEQUAL) for each in violations)),
            ("answers as of a moment asked again", f"{self._repeated:,}{self._goal(_GOAL_REPEATED)}"),
            ("sums counted", f"{self._sums:,}"),
            ("unexpected failures in logs", sum(len(each.history.loud) for each in self.results)),
            ("slowest to be equal after healing", f"{self._slowest_equal_s:.2f} s (goal: {_EQUAL_S:g} s)"),
            ("slowest to be up again", f"{max(each.up_s for each in self.results):.1f} s"),
            ("seconds a schedule", f"{sum(each.took_s for each in self.results) / len(self.results):.1f}"),
        ]
        rows += [("FAILED", f"not {goal}") for goal in self.missed]
        rows += [("FAILED", "promises were broken")] * any(each.violations for each in self.results)
        return table(rows)

    def _goal(self, goal: int) -> str:
        return f" (goal: {goal:,})" if len(self.results) >= GOAL_SCHEDULES else ""

    def _sum(self, told: Told) -> int:
        return sum(each.history.count(told) for each in self.results)


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values, one below the other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value!s:>12}" for name, value in rows)


def quantile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
