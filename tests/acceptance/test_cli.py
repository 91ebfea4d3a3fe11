"""The command line as people use it: real processes, real kills, real files; every exit code."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from typing import Any, cast
from uuid import uuid4

import pytest

from peaceriver.cli import demo, story
from peaceriver.cli.up import Cluster, begin
from peaceriver.embedded import Server
from peaceriver.embedded.processes import look
from peaceriver.node import process
from peaceriver.order_to_cash.load import generate
from tests.acceptance.commands import COMMAND, Said, peaceriver

START_S = 60.0
END_S = 30.0


def started(*arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start a command as a process; its own group, so that a Ctrl-C of whoever runs the tests reaches it through us."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        cwd=folder,
    )


class Up:
    """A running ``peaceriver up``."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.log = directory.with_name(f"{directory.name}.up.log")
        command = [*COMMAND, "up", "--json", "--nodes", "1", "--data", str(directory), *arguments]
        directory.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            # Its own group, so that a Ctrl-C of the person who runs the tests reaches it through us only.
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0, cwd=directory.parent
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.word: dict[str, Any] = json.loads(line or "{}")
        if "url" not in self.word:
            self.close()
            pytest.fail(f"it does not start: {line}{self.log.read_text()}{self.node_log()}")
        self.url: str = self.word["url"]

    def node_log(self) -> str:
        path = self.directory / "n1.log"
        return path.read_text() if path.exists() else ""

    @property
    def node(self) -> int:
        return int(json.loads((self.directory / "n1.json").read_text())["pid"])

    @property
    def postgres(self) -> int:
        return int((self.directory / "n1/data/postmaster.pid").read_text().partition("\n")[0])

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        code = self.process.wait(END_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def close(self) -> None:
        """Leave nothing, whatever the test did."""
        pids = []
        for each in ("node", "postgres"):
            with suppress(OSError, ValueError):
                pids.append(getattr(self, each))
        if self.process.poll() is None:
            try:
                self.end()
            except subprocess.TimeoutExpired:
                self.end(signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()
        eventually(lambda: not any(map(look, pids)))


@contextmanager
def up(directory: Path, *arguments: str) -> Iterator[Up]:
    begun = Up(directory, *(arguments or ("--port", "0")))
    try:
        yield begun
    finally:
        begun.close()


def eventually(true: Callable[[], bool], within_s: float = END_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.02)


def eventually_sent(url: str, body: str) -> Said:
    """Send until the node is there again, always under the same id: what was recorded unseen is not recorded twice."""
    message = ("send", "--id", str(uuid4()), "--to", "100", "--actor", "Order", "--body", body, "--json")
    said: list[Said] = []

    def taken() -> bool:
        said.append(peaceriver(*message, url=url))
        return said[-1].code == 0

    eventually(taken)
    return said[-1]


def clear_sockets(directory: Path) -> None:
    """Take away what a server that was not stopped leaves for the next start to clear: here there is none."""
    rmtree((directory / "sockets").readlink(), ignore_errors=True)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("app") / "shop.py"
    path.write_text(
        "from peaceriver import Actor, Department\n\n\n"
        "class Invoice(Actor):\n    total: int\n\n\n"
        'print("an application may print")\n'
        'sales = Department(100, "Sales")\n'
        'billing = Department(110, "Billing", receives=[Invoice])\n'
    )
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, application: Path) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("a river") / "data", "--port", "0", str(application)) as shared:
        yield shared


@pytest.fixture(scope="module")
def url(running: Up) -> str:
    return running.url


# --- up


def test_up_serves_the_departments_and_models_of_an_application(running: Up) -> None:
    assert running.word["departments"] == {"100": "Sales", "110": "Billing"}
    refused = peaceriver(
        "send", '{"to":110,"actor":"Invoice/I-1","action":"create","body":{"total":"x"}}', "--json", url=running.url
    )
    assert refused.code == 1
    assert refused.json["status"] == 422
    assert refused.json["errors"][0]["pointer"] == "/body/total"
    assert "an application may print" in running.node_log()


def test_ctrl_c_stops_everything_in_order_and_leaves_nothing_running(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        node, postgres = running.node, running.postgres
        sockets = (tmp_path / "data/n1/sockets").readlink()
        assert sockets.is_dir()
        assert running.end(signal.SIGINT) == 0
        assert look(node) is None
        assert look(postgres) is None
        assert not sockets.exists()
        left = {each.name for each in (tmp_path / "data").iterdir()}
        assert left == {"n1", "n1.toml", "n1.log", "up.lock"}
        assert {each.name for each in (tmp_path / "data/n1").iterdir()} == {"data", "lock", "server.log"}
        assert peaceriver("status", url=running.url).code == 3


def test_a_node_that_is_killed_is_back_at_the_same_url_with_everything_it_acknowledged(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        put_department(running.url, 100, "Sales")
        follower = started("journal", "100", "--follow", "--json", "--url", running.url)
        try:
            before = eventually_sent(running.url, '{"n":1}').json
            received = followed(follower, until=before["position"])
            killed = running.node
            os.kill(killed, signal.SIGKILL)
            after = eventually_sent(running.url, '{"n":2}').json
            assert running.node != killed
            assert after["position"] > before["position"]
            received += followed(follower, until=after["position"])
            assert [each["position"] for each in received] == list(range(1, after["position"] + 1))
            assert {before["id"], after["id"]} <= {each["id"] for each in received}
            follower.send_signal(signal.SIGINT)
            assert follower.wait(END_S) == 0
        finally:
            follower.kill()
            follower.communicate()
        assert "n1 has died (SIGKILL)" in running.log.read_text()


def followed(follower: subprocess.Popen[str], until: int) -> list[dict[str, Any]]:
    """What a follower prints up to a position."""
    assert follower.stdout is not None
    records: list[dict[str, Any]] = []
    while not records or records[-1]["position"] < until:
        records.append(json.loads(follower.stdout.readline()))
    return records


def put_department(url: str, code: int, name: str) -> None:
    """Make a department, and wait until it takes messages."""
    page = {"to": 0, "actor": f"departments/{code}", "action": "create", "body": {"name": name}, "id": str(uuid4())}
    eventually(lambda: peaceriver("send", json.dumps(page), url=url).code == 0)
    eventually(lambda: f" {code}  {name} " in peaceriver("status", url=url).out)


def test_a_postgres_that_is_killed_is_started_again_under_the_running_node(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        put_department(running.url, 100, "Sales")
        before = eventually_sent(running.url, '{"n":1}').json
        node, postgres = running.node, running.postgres
        os.kill(postgres, signal.SIGKILL)
        after = eventually_sent(running.url, '{"n":2}').json
        assert running.node == node
        assert running.postgres != postgres
        assert after["position"] == before["position"] + 1
        assert peaceriver("verify", url=running.url).code == 0


def test_when_up_itself_is_killed_nothing_outlives_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with up(tmp_path / "data") as first:
        put_department(first.url, 100, "Sales")
        before = eventually_sent(first.url, '{"n":1}').json
        node, postgres = first.node, first.postgres
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        with up(tmp_path / "data") as second:
            assert look(node) is None
            assert second.postgres != postgres
            assert second.word["departments"] == {"100": "Sales"}
            again = peaceriver("get", before["actor"], "--json", url=second.url)
            assert [each["document"] for each in again.json["items"]] == [{"n": 1}]


@pytest.mark.slow
def test_a_cluster_grows_moves_to_other_ports_and_does_without_no_founder(tmp_path: Path, application: Path) -> None:
    directory = tmp_path / "cluster"
    with up(directory, "--port", "0", str(application)) as one:
        first = eventually_sent(one.url, '{"n":1}')
    # More nodes join the one that founded it, and all of them are found again on other ports.
    for _ in range(2):
        with up(directory, "--port", "0", "--nodes", "3") as grown:
            assert len(grown.word["urls"]) == 3
            last = grown.word["urls"][2]
            eventually(lambda last=last: first.json["id"] in peaceriver("journal", "100", "--json", url=last).out)
    lone = tmp_path / "three"
    with up(lone, "--port", "0", "--nodes", "3"):
        pass
    refused = subprocess.run(
        [*COMMAND, "up", "--nodes", "1", "--port", "0", "--data", str(lone)],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert refused.returncode == 1
    assert "founded by 3 nodes" in refused.stderr


def test_up_asks_another_node_where_the_first_cannot_say_which_departments_there_are(running: Up) -> None:
    class Started:
        """A cluster whose first node has come to harm."""

        async def start(self) -> list[str]:
            return ["http://127.0.0.1:9", running.url]

    _, departments = asyncio.run(begin(cast(Cluster, Started())))
    assert departments[110] == "Billing"


def test_a_second_ctrl_c_ends_up_at_once_also_where_its_node_does_not_stop(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        node, postgres = running.node, running.postgres
        os.kill(node, signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert running.process.poll() is None
        assert running.end(signal.SIGINT) == 0
        assert look(node) is None
        eventually(lambda: look(postgres) is None)
        clear_sockets(tmp_path / "data/n1")


def test_a_directory_has_one_up_and_a_port_one_program(running: Up, tmp_path: Path) -> None:
    second = peaceriver("up", "--data", str(running.directory), "--port", "0")
    assert second.code == 1
    assert f"runs there as process {running.process.pid}" in second.err
    port = running.url.rpartition(":")[2]
    other = peaceriver("up", "--data", str(tmp_path / "data"), "--port", port)
    assert other.code == 1
    assert f"port {port} is taken by another program" in other.err


def test_up_says_why_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    broken = peaceriver("up", "--nodes", "1", "--data", "data", "--port", "0", "broken.py", folder=tmp_path)
    assert broken.code == 1
    assert "ZeroDivisionError" in broken.err
    (tmp_path / "file").write_text("")
    no_directory = peaceriver("up", "--data", "file", "--port", "0", folder=tmp_path)
    assert no_directory.code == 1
    assert "file cannot be used" in no_directory.err
    none = peaceriver("up", "--nodes", "0", "--data", "other", folder=tmp_path)
    assert none.code == 2
    assert not (tmp_path / "other").exists()
    assert peaceriver("up", "nowhere.py", folder=tmp_path).code == 2


# --- node


def test_a_node_runs_from_its_configuration_and_ends_in_order(tmp_path: Path) -> None:
    (tmp_path / "n7.toml").write_text('name = "n7"\nlisten = { port = 0 }\ndata = "n7 data"\n')
    node = started("node", "--json", "--config", "n7.toml", folder=tmp_path)
    try:
        assert node.stdout is not None
        url = json.loads(node.stdout.readline())["url"]
        file = json.loads((tmp_path / "n7 data/node.json").read_text())
        assert (file["name"], file["url"], file["pid"]) == ("n7", url, node.pid)
        (shown,) = peaceriver("status", "--json", url=url).json["nodes"]
        assert (shown["name"], shown["url"], shown["alive"], shown["leads"]) == ("n7", url, True, [0])
        postgres = int((tmp_path / "n7 data/data/postmaster.pid").read_text().partition("\n")[0])
        node.send_signal(signal.SIGTERM)
        assert node.wait(END_S) == 0
        assert look(postgres) is None
        assert not (tmp_path / "n7 data/node.json").exists()
    finally:
        node.kill()
        node.communicate()


def test_a_second_ctrl_c_ends_a_node_at_once_and_its_server_follows(tmp_path: Path) -> None:
    (tmp_path / "n1.toml").write_text('listen = { port = 0 }\ndata = "n1"\n')
    node = started("node", "--config", "n1.toml", folder=tmp_path)
    try:
        assert node.stdout is not None
        assert "takes messages; Ctrl-C stops it" in node.stdout.readline()
        postgres = int((tmp_path / "n1/data/postmaster.pid").read_text().partition("\n")[0])
        while node.poll() is None:  # the orderly stop, a checkpoint above all, takes longer than this
            node.send_signal(signal.SIGINT)
            time.sleep(0.01)
        assert node.returncode == 128 + signal.SIGINT
        eventually(lambda: look(postgres) is None)
        clear_sockets(tmp_path / "n1")
    finally:
        node.kill()
        node.communicate()


def test_a_node_names_everything_that_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('nme = "n1"\nlisten = { host = "0.0.0.0", port = "7400" }\n')
    node = started("node", "--config", "bad.toml", folder=tmp_path)  # not in this process, whose log it would turn
    _, said = node.communicate(timeout=END_S)
    assert node.returncode == 1
    assert "there is no nme" in said
    assert "listen.port: Expected `int`, got `str`" in said
    assert peaceriver("node", folder=tmp_path).code == 2


def test_a_node_serves_a_database_that_is_given_to_it_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with given_database(tmp_path / "server") as dsn:
        (tmp_path / "n1.toml").write_text(f'listen = {{ port = 0 }}\ndsn = "{dsn}"\n')
        for name in ("Sales", "Billing"):
            node = started("node", "--json", "--config", "n1.toml", folder=tmp_path)
            try:
                assert node.stdout is not None
                url = json.loads(node.stdout.readline())["url"]
                put_department(url, 100 if name == "Sales" else 110, name)
                shown = peaceriver("status", url=url).out
                node.send_signal(signal.SIGINT)
                assert node.wait(END_S) == 0
            finally:
                node.kill()
                node.communicate()
        assert "Sales" in shown


@contextmanager
def given_database(directory: Path) -> Iterator[str]:
    """The DSN of a database that somebody else runs."""
    with asyncio.Runner() as runner:
        server = runner.run(Server.start(directory))
        try:
            yield f"postgresql://postgres@/postgres?host={server.connection('postgres')['host']}"
        finally:
            runner.run(server.stop())


def test_a_directory_may_be_deeper_than_the_path_of_a_socket_may_be_long(tmp_path: Path) -> None:
    deep = tmp_path / ("deep " * 20).strip() / ("deeper " * 10).strip()
    with up(deep / "data") as running:
        os.kill(running.postgres, signal.SIGKILL)
        put_department(running.url, 100, "Sales")


# --- messages and reads


def test_a_message_is_sent_and_read_as_it_is_and_as_it_was(url: str) -> None:
    body = '{"customer":"Ada","total":0.12345678901234567890,"big":123456789012345678901234567890}'
    created = peaceriver("send", "--to", "100", "--actor", "Order/SO-1", "--body", body, "--json", url=url)
    assert created.code == 0
    modified = peaceriver("send", "--to", "100", "--actor", "Order/SO-1", "--action", "modify", "--if-version", "1",
                          "--body", '{"customer":"Ada L."}', url=url)  # fmt: skip
    assert modified.code == 0
    assert modified.out.startswith("recorded: Order/SO-1 in 100 at position ")
    now = peaceriver("get", "Order/SO-1", "--shard", "100", "--after", created.json["stamp"], "--json", url=url)
    assert '"total":0.12345678901234567890' in now.out
    assert '"big":123456789012345678901234567890' in now.out
    assert (now.json["version"], now.json["document"]["customer"]) == (2, "Ada L.")
    for cutoff in (("--as-of", created.json["stamp"]), ("--version", "1")):
        then = peaceriver("get", "Order/SO-1", "--shard", "100", *cutoff, "--json", url=url)
        assert (then.json["version"], then.json["document"]["customer"]) == (1, "Ada")
    shown = peaceriver("get", "Order/SO-1", url=url)
    assert shown.out.startswith("Order/SO-1 in 100, version 2, active, stamp ")
    assert '"customer": "Ada L."' in shown.out
    records = peaceriver("get", "Order/SO-1", "--shard", "100", "--records", "--json", url=url)
    assert [each["action"] for each in records.json["records"]] == ["create", "modify"]
    assert peaceriver("get", "Order/SO-1", "--shard", "100", "--valid-at", "2020-01-01T00:00:00Z", url=url).code == 1


def test_messages_come_as_an_array_as_lines_from_a_file_or_from_standard_input(url: str, tmp_path: Path) -> None:
    messages = [{"to": 100, "actor": f"Parcel/P-{number}", "action": "create"} for number in range(4)]
    assert peaceriver("send", json.dumps(messages[:2]), "--json", url=url).json[1]["actor"] == "Parcel/P-1"
    (tmp_path / "lines.ndjson").write_text("".join(json.dumps(each) + "\n" for each in messages))
    said = peaceriver("send", str(tmp_path / "lines.ndjson"), url=url)
    # Without an id of its own a message is a new one each time, and the actor is there already.
    assert said.code == 1
    assert said.out.count("recorded: ") == 2
    assert said.err.count("refused (409)") == 2
    whole = json.dumps({"to": 100, "actor": "Parcel/P-9", "action": "create"}, indent=2)
    assert peaceriver("send", stdin=whole, url=url).code == 0
    assert peaceriver("send", "-", stdin=whole, url=url).code == 1


def test_a_message_that_is_sent_again_under_its_id_is_recorded_once(url: str) -> None:
    message = '{"id":"0193a000-0000-7000-8000-000000000001","to":100,"actor":"Order","action":"create"}'
    first, second = (peaceriver("send", message, "--json", url=url).json for _ in range(2))
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["position"] == second["position"]
    assert peaceriver("send", message, url=url).out.startswith("recorded before: ")


def test_an_atomic_array_is_recorded_whole_or_not_at_all(url: str) -> None:
    good = {"to": 100, "actor": "Crate/C-1", "action": "create"}
    bad = {"to": 100, "actor": "Crate/C-2", "action": "modify"}
    said = peaceriver("send", json.dumps([good, bad]), "--atomic", "--json", url=url)
    assert said.code == 1
    assert said.json["errors"][0]["pointer"] == "/1"
    assert peaceriver("get", "Crate/C-1", url=url).code == 1
    assert peaceriver("send", json.dumps([good]), "--atomic", url=url).code == 0


def test_a_journal_is_printed_in_order(url: str) -> None:
    sent = peaceriver("send", "--to", "110", "--from", "100", "--actor", "Invoice/I-7", "--body", '{"total":7}',
                      "--json", url=url).json  # fmt: skip
    eventually(lambda: peaceriver("get", "Invoice/I-7", url=url).code == 0)
    positions = [each["position"] for each in peaceriver("journal", "100", "--json", url=url).lines]
    assert positions == list(range(1, len(positions) + 1))
    rest = peaceriver("journal", "100", "--after", str(sent["position"] - 1), url=url).out.splitlines()
    assert rest[0].startswith(f"100:{sent['position']} ")
    assert " sent to 110 create Invoice/I-7 (Invoice.create) " in rest[0]
    assert " received from 100 create Invoice/I-7 " in peaceriver("journal", "110", url=url).out
    merged = peaceriver("journal", "--json", url=url).lines
    stamps = [each["stamp"] for each in merged]
    assert stamps == sorted(stamps)
    assert {each["shard"] for each in merged} >= {0, 100, 110}


def test_status_shows_every_department_and_verify_finds_nothing(url: str) -> None:
    shown = peaceriver("status", url=url)
    assert shown.code == 0
    assert {"control", "Sales", "Billing", "n1"} <= set(shown.out.split())
    shards = peaceriver("status", "--json", url=url).json["shards"]
    assert [each["shard"] for each in shards][:2] == [0, 100]
    verified = peaceriver("verify", "--json", url=url)
    assert (verified.code, verified.json["ok"]) == (0, True)
    assert "records are as they were written" in peaceriver("verify", url=url).out


# --- exit codes


def nobody() -> str:
    """The URL of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    "command",
    [
        ("send", "{}"),
        ("get", "Order/SO-1"),
        ("journal", "100"),
        ("journal", "100", "--follow"),
        ("query", "select 1"),
        ("query", "select 1", "--format", "csv"),
        ("view",),
        ("status",),
        ("verify",),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_where_no_node_answers_the_exit_code_is_3(command: tuple[str, ...]) -> None:
    said = peaceriver(*command, "--url", nobody())
    assert said.code == 3
    assert "no node answers at http://127.0.0.1:" in said.err + said.out
    assert "Traceback" not in said.err


def test_an_answer_that_is_not_a_nodes_is_unreachable_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        url = f"http://127.0.0.1:{stranger.getsockname()[1]}"
        asking = started("status", "--url", url)
        connection, _ = stranger.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno")
            _, said = asking.communicate(timeout=END_S)
    assert asking.returncode == 3
    assert "is not a node of Peace River" in said


@pytest.mark.parametrize(
    "command",
    [
        ("send", "--to", "100"),
        ("send", "no-such-file.json"),
        ("send", "--to", "100", "--actor", "Order", "--body", "{"),
        ("get", "Order"),
        ("get", "Order/SO-1", "--version", "1"),
        ("status", "--url", "nonsense"),
        ("import", "no-such-file.csv"),
        ("demo", "--speed", "0"),
        ("nonsense",),
        (),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(command: tuple[str, ...]) -> None:
    said = peaceriver(*command)
    assert said.code == 2
    assert "Traceback" not in said.err


def test_what_is_refused_is_exit_code_1_with_the_reason(url: str) -> None:
    unknown = peaceriver("send", '{"to":999,"actor":"Order/X","action":"create"}', url=url)
    assert unknown.code == 1
    assert unknown.err.startswith("refused (404): there is no department 999")
    assert "/to: no such department" in unknown.err
    malformed = peaceriver("send", '{"to":', url=url)
    assert malformed.code == 1
    assert malformed.err.startswith("refused (400)")
    assert peaceriver("get", "Order/nowhere", url=url).code == 1
    assert peaceriver("get", "Order/nowhere", "--shard", "100", "--json", url=url).json["status"] == 404
    assert peaceriver("journal", "999", url=url).code == 1


def test_the_doctor_says_what_is_well_and_what_to_do(running: Up, tmp_path: Path) -> None:
    well = peaceriver("doctor", "--data", str(running.directory), "--json", url=running.url)
    assert well.code == 0
    assert {each["check"] for each in well.json if each["ok"]} == {
        "Python", "PostgreSQL", "data", "disk", "port", "node", "clock",
    }  # fmt: skip
    (tmp_path / "file").write_text("")
    ill = peaceriver("doctor", "--data", "file", folder=tmp_path, url=running.url)
    assert ill.code == 1
    assert "PROBLEM  data: " in ill.out
    assert "name another directory with --data" in ill.out


# --- import


#: Where a case goes: some come back to where they were.
WAYS = (
    ("Sales", "Sales", "Credit", "Sales", "Warehouse", "Shipping", "Shipping", "Billing"),
    ("Sales", "Warehouse", "Warehouse", "Shipping", "Warehouse", "Shipping", "Billing", "Billing"),
    ("Sales", "Credit", "Sales"),
    ("Sales", "Warehouse", "Shipping", "Billing", "Support", "Warehouse", "Billing"),
)


def csv_of(path: Path, cases: int) -> tuple[int, int]:
    """A log as CSV; answers its events and its hand-overs."""
    rows = ["case:concept:name,concept:name,org:group,time:timestamp"]
    hand_overs = 0
    for case in range(cases):
        way = WAYS[case % len(WAYS)]
        hand_overs += sum(one != other for one, other in pairwise(way))
        for step, department in enumerate(way):
            time = datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(minutes=case, hours=step)
            rows.append(f"SO-{case:04},Step {step},{department},{time.isoformat()}")
    path.write_text("\n".join(rows) + "\n")
    return len(rows) - 1, hand_overs


def counted(url: str) -> dict[str, int]:
    """How many records of each kind there are, in all departments."""
    kinds = [each["kind"] for each in peaceriver("journal", "--json", url=url).lines if each["shard"] >= 100]
    return {kind: kinds.count(kind) for kind in ("received", "sent", "exception")}


@pytest.mark.slow
def test_an_import_that_loses_its_node_half_way_records_everything_once(tmp_path: Path) -> None:
    events, hand_overs = csv_of(tmp_path / "orders.csv", cases=120)
    with up(tmp_path / "data") as running:
        importing = started("import", str(tmp_path / "orders.csv"), "--json", "--url", running.url)
        while "Warehouse" not in peaceriver("status", url=running.url).out:
            assert importing.poll() is None, importing.communicate()
        os.kill(running.node, signal.SIGKILL)
        out, _ = importing.communicate(timeout=100)
        assert importing.returncode == 0
        summary = json.loads(out)
        assert (summary["events"], summary["cases"], summary["departments"]) == (events, 120, 6)
        assert (summary["hand_overs"], summary["exceptions"]) == (hand_overs, 0)
        assert counted(running.url) == {"received": events, "sent": hand_overs, "exception": 0}
        again = peaceriver("import", str(tmp_path / "orders.csv"), url=running.url)
        assert again.code == 0
        assert f"{events:,} of {events:,} events recorded" in again.err
        assert f"{events:,} of them had been recorded before" in again.out
        assert counted(running.url) == {"received": events, "sent": hand_overs, "exception": 0}


XES = """<?xml version="1.0" encoding="UTF-8"?>
<log xmlns="http://www.xes-standard.org/"><trace><string key="concept:name" value="C-1"/>
<event><string key="concept:name" value="Ask"/><date key="time:timestamp" value="2026-01-05T08:00:00Z"/></event>
<event><string key="concept:name" value="Answer"/><date key="time:timestamp" value="2026-01-05T09:00:00Z"/></event>
</trace></log>
"""


def test_a_log_without_departments_becomes_one_department(url: str, tmp_path: Path) -> None:
    (tmp_path / "questions.xes").write_text(XES)
    said = peaceriver("import", str(tmp_path / "questions.xes"), url=url)
    assert said.code == 0, said.err
    assert said.out.startswith("2 events of 1 cases in 1 departments are received, with 0 hand-overs, in ")
    found = peaceriver("get", "Case/C-1", "--json", url=url).json["items"]
    assert [(each["version"], each["document"]["concept:name"]) for each in found] == [(2, "Answer")]
    assert "questions" in peaceriver("status", url=url).out


def test_a_log_that_is_none_is_refused_by_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("case:concept:name,concept:name,time:timestamp\nC-1,Ask,yesterday\n")
    said = peaceriver("import", str(tmp_path / "bad.csv"), url=url)
    assert said.code == 1
    assert "line 2: 'yesterday'" in said.err
    (tmp_path / "bad.log").write_text("")
    assert peaceriver("import", str(tmp_path / "bad.log"), url=url).code == 2
    assert peaceriver("import", str(tmp_path / "bad.csv"), "--url", nobody()).code == 3


# --- demo


@pytest.mark.slow
def test_the_demo_tells_its_story_to_people_and_programs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "demo", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "takes orders" in done.stderr
    assert "Day 3: 80 orders" in done.stderr
    assert "'when my ship comes in' are no terms of payment" in done.stderr
    assert "the exception is answered" in done.stderr
    assert re.search(r"Order\.create\n.* ask_credit ─+▶ AskCredit\n", done.stderr)
    assert re.search(r"while it waited, .*\n  Sales +Order/SO-\d+ at version 3: back-ordered\n", done.stderr)
    assert "  Shipping   nothing yet\n" in done.stderr
    assert "240 orders, each in one end: " in done.stderr
    assert done.stderr.endswith("The books balance.\n")
    told = json.loads(done.stdout)
    assert sum(told["orders"].values()) == 240
    assert told["orders"].keys() == {"paid", "cancelled", "rejected", "invoiced", "back-ordered"}
    assert told["exception"]["state"] == "answered"
    assert len(told["exception"]["behind"]) >= 2
    assert [each["version"] is None for each in told["past"]["then"]] == [False, False, False, True, True]
    assert [each["version"] is None for each in told["past"]["now"]] == [False] * 5
    assert told["books"]["balance"] is True


@pytest.mark.slow
def test_books_that_do_not_balance_fail_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "faults", lambda books: ["desk: a piece is missing"])
    monkeypatch.setattr(demo, "generate", partial(generate, days=2, orders_per_day=30))
    said = peaceriver("demo")
    assert said.code == 1
    assert "WRONG: desk: a piece is missing." in said.out
    assert said.out.endswith("The books do not balance.\n")


@pytest.mark.slow
def test_on_a_terminal_the_demo_stays_until_ctrl_c(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--speed", "100"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        process_group=0,
        env=os.environ | {"TMPDIR": str(tmp_path), "TERM": "xterm"},
    )
    os.close(theirs)
    try:
        shown = ""
        while "stay up until Ctrl-C" not in shown:
            shown += os.read(ours, 65536).decode(errors="replace")
        assert "█" in shown
        assert "The books balance." in shown
        demo.send_signal(signal.SIGINT)
        assert demo.wait(END_S) == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)


def test_a_server_that_starts_in_the_last_attempt_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there is room on the disk again just before the node would have given up."""
    monkeypatch.setattr(process, "SERVER_PAUSES_S", (0.01,))

    async def recover() -> None:
        kept = await process.KeptServer.start(tmp_path)
        first, losing = kept.server, asyncio.create_task(kept.lost())
        first.kill()
        async with asyncio.timeout(END_S):
            while kept.server is first:  # noqa: ASYNC110 - nobody is told when it is replaced
                await asyncio.sleep(0.01)
        await asyncio.wait({losing}, timeout=0.2)
        assert not losing.done()
        losing.cancel()
        await kept.stop()

    asyncio.run(recover())


def test_a_server_that_cannot_be_started_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node then ends with a code that asks for another start."""
    monkeypatch.setattr(process, "SERVER_PAUSES_S", (0.01, 0.01, 0.01))

    async def lose() -> None:
        kept = await process.KeptServer.start(tmp_path)
        (tmp_path / "data" / "PG_VERSION").unlink()
        kept.server.kill()
        async with asyncio.timeout(END_S):
            await kept.lost()
        await kept.stop()

    asyncio.run(lose())
    assert not (tmp_path / "sockets").is_symlink()
