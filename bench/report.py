"""The report: what was measured, as text for a person and as JSON for later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.goals import Measured, Verdict
from bench.rounds import Figures

_NAME_LETTERS = 54


def table(case: str, figures: Mapping[str, Figures]) -> str:
    """One case: each contestant's median and range, and its ratio to the first of its unit."""
    lines = [f"{case}:"]
    bases: dict[str, float] = {}
    for name, each in figures.items():
        base = bases.setdefault(each.unit, each.median)
        spread = f"{_figure(min(each.rounds))} to {_figure(max(each.rounds))}"
        median = f"{_figure(each.median):>9} {each.unit:<6}"
        lines.append(f"  {name:<{_NAME_LETTERS}} {median}  {each.median / base:>7.2f}  ({spread})")
    return "\n".join(lines)


def goal_table(verdicts: Iterable[Verdict]) -> str:
    """Each goal, its ratio or figure, and whether it holds."""
    return "\n".join(["goals:", *(f"  {_verdict(each)}" for each in verdicts)])


def result(measured: Measured, verdicts: Iterable[Verdict], circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, to be kept as JSON."""
    return {
        **circumstances,
        "cases": {
            case: {
                name: {"unit": each.unit, "median": round(each.median, 3), "rounds": [round(x, 3) for x in each.rounds]}
                for name, each in figures.items()
            }
            for case, figures in measured.items()
        },
        "goals": [
            {
                "goal": f"{each.goal.says} {each.goal.sense} {each.goal.bound:.3g}",
                "value": None if each.value is None else round(each.value, 3),
                "holds": each.holds,
            }
            for each in verdicts
        ],
    }


def _verdict(verdict: Verdict) -> str:
    goal = verdict.goal
    asked = f"{goal.says}: {goal.sense} {goal.bound:.3g}"
    if verdict.value is None:
        return f"not measured  {'':>7}  {asked}"
    return f"{'holds' if verdict.holds else 'MISSED':<12}  {verdict.value:>7.2f}  {asked}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
