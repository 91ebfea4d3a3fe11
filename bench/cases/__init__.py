"""The cases: what is measured beside what. Each sets its contestants up in databases of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from bench.cases import (
    appends,
    catchup,
    cluster,
    growth,
    http,
    idle,
    kept,
    pull,
    queries,
    reads,
    recover,
    refold,
    rules,
)
from bench.place import Place
from bench.rounds import Contestant

Case = Callable[[Place], AbstractAsyncContextManager[Sequence[Contestant]]]


def cases(*, long_records: int) -> dict[str, Case]:
    """All cases by name, in the order in which they run. ``long_records``: how long the long journal is."""
    return {
        "bulk": appends.bulk,
        "singles": appends.singles,
        "http": http.http,
        "rules": rules.rules,
        "refold": refold.refold,
        "reads": reads.reads,
        "queries": queries.queries,
        "kept": kept.kept,
        "pull": pull.pull,
        "cluster": cluster.cluster,
        "catchup": catchup.catchup,
        "recover": recover.recover,
        "idle": idle.idle,
        "growth": partial(growth.growth, long_records=long_records),
    }
