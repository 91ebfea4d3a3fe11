"""What tests of whole clusters need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign import directory


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for a cluster: in memory where that can be had, and gone afterwards."""
    found = directory()
    yield found
    shutil.rmtree(found, ignore_errors=True)
