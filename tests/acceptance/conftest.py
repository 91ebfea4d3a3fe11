"""A node on a real PostgreSQL server, served over real HTTP from a thread of the test's process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.door import Door, Served
from tests.acceptance.serving import serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node that all tests of a worker share; each makes departments of its own."""
    with serving(tmp_path_factory.mktemp("served") / "postgres") as node:
        yield node


@pytest.fixture(scope="session")
def door(served: Served) -> Iterator[Door]:
    """A client of the served node."""
    with Door(served) as opened:
        yield opened
