"""A node's database: its connections, what each kind of them may do, and what can go wrong with them.

A ``Transaction`` comes in as an argument wherever a shard is touched; few places begin one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg import protocol
from asyncpg.pgproto import pgproto

from peaceriver.errors import Refused, StartFailed, Unavailable
from peaceriver.postgres.statements import COMMAND_TIMEOUT_S, Transaction
from peaceriver.postgres.times import times_as_they_are

#: The database is away or cut the connection: what was under way may or may not have happened.
ConnectionLost = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver says when the server dies in the middle of an exchange.
    asyncpg.InternalClientError,
    ConnectionError,
    OSError,
)
#: A shutdown, a restart or a crash of the server, said by the server itself.
ServerGone = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError)
Unreachable = (*ConnectionLost, *ServerGone)
UniqueViolation = asyncpg.UniqueViolationError
DatabaseError = asyncpg.PostgresError
DatabaseDiskFull = asyncpg.DiskFullError
#: What a statement cannot be computed for, or is not made for: a division by zero, say, or a column that is gone.
Uncomputable = (
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.FeatureNotSupportedError,
)
#: Class XX: what the server reads from its disk is not what it wrote there: a page does not fit its checksum, say.
DatabaseCorrupted = asyncpg.InternalServerError
#: Those of them that are about a page, and not about what two transactions did to each other, say.
PageCorrupted = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)

#: A UUID of 16 bytes as the driver makes them: a ``uuid.UUID``, but made, hashed and written many times faster.
uuid_of: Callable[[bytes], UUID] = pgproto.UUID

#: A statement took longer than it may.
StatementTimeout = asyncpg.QueryCanceledError

OWNER = "peaceriver_owner"
RUNNER = "peaceriver_runner"
#: What somebody's query runs as: it may read views, and nothing else.
READER = "peaceriver_reader"
DATABASE = "peaceriver"
#: Connections of one node, whatever the number of its departments.
WORK_CONNECTIONS_MAX = 12
READER_CONNECTIONS_MAX = 8
QUERY_CONNECTIONS_MAX = 8
#: What a value is and how it is written, whatever the database says: the same on every node, and the same in a query as
#: in what is kept of it.
_VALUE_SETTINGS = {
    "timezone": "UTC",
    "timezone_abbreviations": "Default",
    "datestyle": "ISO, MDY",
    "intervalstyle": "iso_8601",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
}
#: What a query finds besides: no way to write anything, and nobody else's functions. What it sorts and gathers on disk
#: is bounded where the server lets us. While a statement runs, the server looks whether somebody still waits for it.
_QUERY_SETTINGS = {
    "role": READER,
    "default_transaction_read_only": "on",
    "search_path": "pg_catalog",
    "jit": "off",
    "client_connection_check_interval": "1s",
}
_QUERY_DISK = {"temp_file_limit": "2GB"}
_MAY_BOUND = "select has_parameter_privilege(rolname, 'temp_file_limit', 'set') from pg_roles where rolname = $1"
#: Connections that were not needed for so long are given up, but for one: with a hundred departments each one's backend
#: holds some 30 MB of plans and catalogue.
CONNECTION_IDLE_S = 10.0
#: What brings many kept views along is one long statement, and would take longer to plan than to run.
STATEMENT_BYTES_MAX = 256 * 1024


class _Connections:
    """A bounded number of connections, each handed on from one user to the next.

    Giving one back to the driver's pool takes as long as a short statement, so that is done only with one that is not
    fit for use any more, or where somebody waits for it.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        #: Those used last come last, and are used first.
        self._idle: list[asyncpg.pool.PoolConnectionProxy] = []
        self._waiting = 0
        #: How many of those in front nobody has needed since they were looked over: spare <= len(idle).
        self._spare = 0
        self._looking_over: asyncio.Task[None] | None = None
        #: Told when the server could not read something.
        self.corrupted: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def use(self, *, within_s: float | None = None) -> AsyncIterator[Transaction]:
        """One of them, as long as the block lasts; raises Unavailable where others have all of them for so long."""
        connection = await self._take(within_s)
        try:
            yield connection
        except BaseException as error:
            if isinstance(error, PageCorrupted):
                self.corrupted()
            # A statement may still be under way on it.
            await self._pool.release(connection)
            raise
        if self._waiting == 0 and _is_fit(connection):
            self._idle.append(connection)
            if self._looking_over is None and len(self._idle) > 1:
                self._looking_over = asyncio.create_task(self._look_over(), name="spare connections")
        else:
            await self._pool.release(connection)

    async def _take(self, within_s: float | None) -> asyncpg.pool.PoolConnectionProxy:
        while self._idle:
            connection = self._idle.pop()
            self._spare = min(self._spare, len(self._idle))
            if _is_fit(connection):
                return connection
            await self._pool.release(connection)
        self._waiting += 1
        try:
            async with asyncio.timeout(within_s) as waited:
                return await self._pool.acquire()
        except TimeoutError:
            if not waited.expired() or self._pool.get_size() < self._pool.get_max_size():
                raise  # it is the server that took too long to let one in
            raise Unavailable(
                "the node is busy with other queries, and had no connection to its database left for this one in time; "
                "ask again in a moment",
                retry_after_s=1.0,
            ) from None
        finally:
            self._waiting -= 1

    async def _look_over(self) -> None:
        """Give up what nobody has needed for a while, until one is left; the next use of a connection begins anew."""
        while len(self._idle) > 1:
            self._spare = len(self._idle) - 1
            await asyncio.sleep(CONNECTION_IDLE_S)
            given_up, self._idle = self._idle[: self._spare], self._idle[self._spare :]
            for each in given_up:
                if _is_fit(each):
                    each.terminate()
                await self._pool.release(each)
        self._looking_over = None

    def close(self) -> None:
        if self._looking_over is not None:
            self._looking_over.cancel()
        self._pool.terminate()


def _is_fit(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was lost, and the pool has taken it back


class Database:
    """A node's one database, through the running role: it appends and reads, and can do nothing else to a journal.

    Readers have connections of their own, so that no load of theirs holds up an append, nor the other way round.
    """

    def __init__(self, work: _Connections, readers: _Connections, pulse: _Connections, queries: _Connections) -> None:
        self._work = work
        self._readers = readers
        self._pulse = pulse
        self._queries = queries

    @classmethod
    async def open(cls, connection: Mapping[str, Any]) -> Database:
        """Connect with ``connection`` (keywords of the driver); raise StartFailed where that cannot be."""
        try:
            work = await _pool(connection, WORK_CONNECTIONS_MAX, times_as_they_are)
            readers = await _pool(connection, READER_CONNECTIONS_MAX)
            pulse = await _pool(connection, 1)
            async with work.acquire() as first:
                may_bound = await first.fetchval(_MAY_BOUND, READER)
            queries = await _query_pool(connection, _QUERY_DISK if may_bound else {})
            opened = cls(*map(_Connections, (work, readers, pulse, queries)))
            async with opened.connection(), opened.reading():
                return opened
        except (*Unreachable, asyncpg.PostgresError) as error:
            raise StartFailed(f"the database cannot be opened: {error}") from error

    async def answers(self) -> None:
        """Return once the server answers; raises one of Unreachable."""
        async with self._pulse.use() as connection:
            await connection.execute("select 1")

    def tell_corrupted(self, corrupted: Callable[[], None]) -> None:
        """Call somebody whenever the server could not read something of its own, whoever asked for it."""
        self._work.corrupted = self._readers.corrupted = self._queries.corrupted = corrupted

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        """A connection for the node's own work, in autocommit: each statement is its own transaction."""
        async with self._work.use() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A read-write transaction, READ COMMITTED, committed at the end of the block."""
        async with self._work.use() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """A connection for somebody's read, in autocommit."""
        async with self._readers.use() as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """A read-only transaction in which every statement sees the same snapshot."""
        async with (
            self._readers.use() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def querying(self, timeout_s: float) -> AsyncIterator[Transaction]:
        """A read-only transaction for somebody's query, under a role that may read views and nothing else.

        Every statement sees the same snapshot, and is ended by the server after so long (StatementTimeout). Raises
        Unavailable where others' queries leave it no connection for so long.
        """
        async with self._queries.use(within_s=timeout_s) as connection:
            try:
                await connection.execute(f"begin isolation level repeatable read read only; {_bound(timeout_s)}")
                yield connection
                await connection.execute("commit")
            except (asyncpg.PostgresError, Refused):
                await connection.execute("rollback")
                raise
            except BaseException:
                # A statement may be under way still: with the connection it ends.
                connection.terminate()
                raise

    async def close(self) -> None:
        for each in (self._work, self._readers, self._pulse, self._queries):
            each.close()


async def _pool(
    connection: Mapping[str, Any],
    connections_max: int,
    init: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
) -> asyncpg.Pool:
    given: Mapping[str, str] = connection.get("server_settings", {})
    return await asyncpg.create_pool(
        **{**connection, "server_settings": {**given, **_VALUE_SETTINGS}},
        # None that the driver would keep up by itself: while the server is away it fails at that, over and over.
        min_size=0,
        max_size=connections_max,
        command_timeout=COMMAND_TIMEOUT_S,
        max_cacheable_statement_size=STATEMENT_BYTES_MAX,
        reset=_nothing_to_reset,
        init=init,
    )


async def _query_pool(connection: Mapping[str, Any], settings: Mapping[str, str]) -> asyncpg.Pool:
    given: Mapping[str, str] = connection.get("server_settings", {})
    wanted = {**connection, "server_settings": {**given, **_QUERY_SETTINGS, **settings}}
    return await _pool(wanted, QUERY_CONNECTIONS_MAX, _times_as_text)


async def _times_as_text(connection: asyncpg.Connection) -> None:
    """The driver's interval knows no months, and Python's dates no infinity and no year 10,000: as text (ISO 8601)
    nothing is lost, and nothing is answered that is not so.
    """
    for kind in ("interval", "date", "timestamp", "timestamptz", "time", "timetz"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=str, format="text")


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """We set nothing on a session, so giving a connection back costs no round trip."""


def _bound(timeout_s: float) -> str:
    return f"set local statement_timeout = {max(1, int(timeout_s * 1000))}"


async def bound(tx: Transaction, timeout_s: float) -> None:
    """From here on in a transaction a statement is ended by the server after so long: StatementTimeout.

    That is for less than ``COMMAND_TIMEOUT_S``: after that the driver ends it, and the server's word is not heard.
    """
    await tx.execute(_bound(timeout_s))


@asynccontextmanager
async def bounded(tx: Transaction, timeout_s: float) -> AsyncIterator[None]:
    """The same for a block. The transaction, or the savepoint, that it is in ends with such a statement."""
    await bound(tx, timeout_s)
    yield
    await tx.execute("set local statement_timeout to default")


async def copy_in(
    tx: Transaction, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, schema: str = "public"
) -> None:
    """COPY rows into a table, binary."""
    await tx.copy_records_to_table(table, schema_name=schema, columns=columns, records=rows)


async def copy_rows_in(tx: Transaction, table: str, copied: Iterable[bytes]) -> None:
    """COPY a binary COPY into a table that has the same columns in the same order; ``copied`` are pieces of it.

    They are taken as fast as the server takes them. Raises DatabaseError where the server finds that they are no such
    rows (a COPY that ends early it takes for whole), and TimeoutError after ``COMMAND_TIMEOUT_S``.
    """
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        await tx.copy_to_table(table, source=_each(copied), format="binary", timeout=protocol.NO_TIMEOUT)


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def quoted(identifier: str) -> str:
    """An SQL identifier in double quotes; for names that come from the catalogue, which PostgreSQL cannot bind."""
    return '"' + identifier.replace('"', '""') + '"'


async def connect(connection: Mapping[str, Any]) -> Transaction:
    """One connection outside any pool, for the caller to close; raises StartFailed where it cannot be made."""
    try:
        made: Transaction = await asyncpg.connect(**connection, command_timeout=COMMAND_TIMEOUT_S)
        await times_as_they_are(made)
    except (*Unreachable, asyncpg.PostgresError, ValueError) as error:
        raise StartFailed(f"the database cannot be reached: {error}; check the DSN and that the server runs") from error
    return made
