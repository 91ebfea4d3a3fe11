"""What a run of many schedules says: a line for each schedule, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.history import Told
from tests.faults.schedule import Result

#: How a violation is counted in the table, by what its text says.
_COUNTED = ("lost", "twice", "old epoch")
_UNEQUAL = ("same_prefix", "foldable", "converged", "as_of_stays")


@dataclass
class Report:
    """What came of all schedules so far."""

    results: list[Result] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(each.violations for each in self.results)

    def line(self, result: Result) -> str:
        """One schedule in a line, and what was wrong with it below."""
        self.results.append(result)
        history = result.history
        faults = ", ".join(each.text.split(" (")[0] for each in history.faults if not each.text.endswith("over"))
        head = (
            f"seed {result.seed}: {result.took_s:4.1f} s, {history.count('ok'):5} acknowledged, "
            f"{history.count('unknown'):3} unknown, {history.count('refused'):3} refused, up in {result.up_s:4.1f} s, "
            f"equal in {result.converged_s:4.2f} s; {faults}"
        )
        return "\n".join([head, *(f"    VIOLATION {each}" for each in result.violations)])

    def table(self) -> str:
        """The whole run."""
        violations = [each for result in self.results for each in result.violations]
        count = {word: sum(f": {word}" in each for each in violations) for word in _COUNTED}
        rows: list[tuple[str, object]] = [
            ("schedules", len(self.results)),
            ("of them with a violation", sum(bool(each.violations) for each in self.results)),
            ("messages acknowledged", self._sum("ok")),
            ("messages unknown", self._sum("unknown")),
            ("messages refused", self._sum("refused")),
            ("lost", count["lost"]),
            ("twice", count["twice"]),
            ("acknowledged in an old epoch", count["old epoch"]),
            ("replicas, views or answers unequal", sum(each.startswith(_UNEQUAL) for each in violations)),
            ("answers as of a moment asked again", sum(each.repeated for each in self.results)),
            ("slowest to be equal after healing", f"{max(each.converged_s for each in self.results):.2f} s"),
            ("slowest to be up again", f"{max(each.up_s for each in self.results):.1f} s"),
            ("seconds a schedule", f"{sum(each.took_s for each in self.results) / len(self.results):.1f}"),
        ]
        return table(rows)

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
