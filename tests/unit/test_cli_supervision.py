"""What `up` keeps beside its nodes: a directory of its own, a log that does not grow for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peaceriver.cli import supervision
from peaceriver.cli.supervision import Held, end_orphan, opened_log
from peaceriver.embedded.processes import look
from peaceriver.errors import StartFailed


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    held = Held.take(tmp_path / "new" / "data")
    with pytest.raises(StartFailed, match=f"runs there as process {os.getpid()}"):
        Held.take(tmp_path / "new" / "data")
    held.release()
    Held.take(tmp_path / "new" / "data").release()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartFailed, match="name another with --data"):
        Held.take(tmp_path / "file" / "below")


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LOG_BYTES_MAX", 10)
    log = tmp_path / "n1.log"
    for text in (b"first", b" second", b"third"):
        with opened_log(log) as descriptor:
            os.write(descriptor, text)
    assert log.read_bytes() == b"third"
    assert log.with_name("n1.log.1").read_bytes() == b"first second"


def test_only_the_process_that_a_file_means_is_ended(tmp_path: Path) -> None:
    end_orphan(tmp_path, "n1")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as other:
        found = look(other.pid)
        assert found is not None
        (tmp_path / "n1.json").write_text(f'{{"pid":{other.pid},"began":"another time"}}')
        end_orphan(tmp_path, "n1")
        assert other.poll() is None
        assert not (tmp_path / "n1.json").exists()
        (tmp_path / "n1.json").write_text(f'{{"pid":{other.pid},"began":"{found.began}"}}')
        end_orphan(tmp_path, "n1")
        assert other.wait(10) != 0
    (tmp_path / "n1.json").write_text("half a fi")
    end_orphan(tmp_path, "n1")
