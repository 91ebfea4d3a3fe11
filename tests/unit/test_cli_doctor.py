"""The doctor's findings: each says what is well, or what to do."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peaceriver.cli import doctor
from peaceriver.cli.doctor import check_clock, check_directory, check_disk, check_port, check_postgres, check_python
from peaceriver.cli.supervision import free_ports
from peaceriver.embedded.binaries import ENVIRONMENT
from peaceriver.errors import StartFailed
from peaceriver.stamp import Stamp, logical

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_a_clock_is_judged_by_what_was_recorded() -> None:
    assert check_clock(NOW, None).ok
    assert check_clock(NOW, Stamp(logical(NOW), 0)).ok
    assert check_clock(NOW, Stamp(logical(NOW + timedelta(seconds=4)), 0)).ok
    set_back = check_clock(NOW, Stamp(logical(NOW + timedelta(hours=1)), 0))
    assert not set_back.ok
    assert "is before the last record, of 2026-01-05T09:00:00+00:00" in set_back.detail
    unset = check_clock(datetime(1970, 1, 1, tzinfo=UTC), None)
    assert not unset.ok
    assert unset.todo is not None


def test_a_data_directory_is_one_or_can_be_made(tmp_path: Path) -> None:
    assert check_directory(tmp_path).ok
    assert check_directory(tmp_path / "deep" / "new").detail.endswith("can be made")
    (tmp_path / "file").write_text("")
    assert not check_directory(tmp_path / "file").ok
    assert not check_directory(tmp_path / "file" / "below").ok


def test_a_full_disk_is_named_before_messages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_disk(tmp_path).ok
    monkeypatch.setattr(doctor, "DISK_FREE_BYTES_MIN", 2**80)
    found = check_disk(tmp_path / "new")
    assert not found.ok
    assert found.todo is not None
    assert "messages are refused" in found.todo


def test_a_port_is_free_or_the_nodes_or_somebody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert check_port(url, served=True).ok
        assert check_port(url, served=False).detail == f"{port} is taken by another program"
        with pytest.raises(StartFailed, match=f"port {port} is taken"):
            free_ports(port, 1)
    assert check_port(url, served=False).detail == f"{port} is free"
    assert free_ports(port, 1) == [port]
    assert len(set(free_ports(0, 3))) == 3
    with pytest.raises(StartFailed, match="3 ports from 65534 on go beyond 65535"):
        free_ports(65_534, 3)


def test_programs_are_found_or_it_is_said_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_python().ok
    assert check_postgres().ok
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    missing = check_postgres()
    assert not missing.ok
    assert missing.todo is not None
    assert str(tmp_path) in missing.todo
    monkeypatch.setattr(doctor, "PYTHON_MIN", (99, 0))
    assert check_python().todo == "install Python 99.0 or later"
