"""What a node says to its database: transactions as they come in as arguments, and statements by their names.

Statements live in ``sql/*.sql`` files under a name, with a line that says why, and take named parameters (``:shard``),
which are bound, never glued.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import resources
from typing import Any, Protocol, TypeAlias

from asyncpg import protocol

#: Of a COPY it is ours to keep: the driver would start a task for every piece, which takes as long as the piece does.
COMMAND_TIMEOUT_S = 60.0

#: One row, by column name.
Row: TypeAlias = Mapping[str, Any]


class Described(Protocol):
    """A type, as the server names it: ``kind`` is scalar, array, composite or range."""

    name: str
    kind: str


class Attribute(Protocol):
    """A column of an answer."""

    name: str
    type: Described


class Prepared(Protocol):
    """A statement that the server has looked at."""

    def get_parameters(self) -> tuple[Described, ...]: ...
    def get_attributes(self) -> tuple[Attribute, ...]: ...


class Rows(Protocol):
    """The rows of a statement, read as somebody asks for them."""

    async def fetch(self, n: int) -> list[Row]: ...


class Cursor(AsyncIterable[Row], Protocol):
    """A statement whose rows are read by and by: iterated over, or awaited to say how many each time."""

    def __await__(self) -> Generator[Any, None, Rows]: ...


class Transaction(Protocol):
    """A connection on which a transaction may be open; whoever gets one as an argument neither begins nor ends it."""

    async def fetch(self, query: str, *values: Any) -> list[Row]: ...
    async def fetchrow(
        self,
        query: str,
        *values: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's own
    ) -> Row | None: ...
    async def fetchval(self, query: str, *values: Any) -> Any: ...
    async def execute(
        self,
        query: str,
        *values: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's own
    ) -> str: ...
    async def copy_records_to_table(
        self, table: str, *, schema_name: str, columns: Sequence[str], records: Iterable[Sequence[Any]]
    ) -> str: ...
    async def copy_from_query(
        self,
        query: str,
        *values: Any,
        output: Callable[[bytes], Awaitable[None]],
        format: str,
        timeout: object,  # noqa: ASYNC109 - the driver's own
    ) -> str: ...
    async def copy_to_table(
        self,
        table: str,
        *,
        source: AsyncIterable[bytes],
        format: str,
        timeout: object = None,  # noqa: ASYNC109 - the driver's own
    ) -> str: ...
    def cursor(self, query: str, *values: Any, prefetch: int | None = None) -> Cursor: ...
    async def prepare(self, query: str) -> Prepared: ...
    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False
    ) -> AbstractAsyncContextManager[object]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


class Statement:
    """One named SQL statement with named parameters."""

    __slots__ = ("name", "parameters", "text")

    def __init__(self, name: str, source: str) -> None:
        code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("--"))
        parameters: list[str] = []

        def numbered(match: re.Match[str]) -> str:
            if match[1] not in parameters:
                parameters.append(match[1])
            return f"${parameters.index(match[1]) + 1}"

        self.name = name
        self.text = _PARAMETER.sub(numbered, code).strip().rstrip(";")
        self.parameters = tuple(parameters)

    def bound(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the statement's parameters."""
        assert values.keys() == set(self.parameters), f"{self.name} takes {self.parameters}, not {tuple(values)}"
        return [values[name] for name in self.parameters]

    async def rows(self, tx: Transaction, **values: Any) -> list[Row]:
        return await tx.fetch(self.text, *self.bound(values))

    async def row(self, tx: Transaction, **values: Any) -> Row | None:
        return await tx.fetchrow(self.text, *self.bound(values))

    async def value(self, tx: Transaction, **values: Any) -> Any:
        return await tx.fetchval(self.text, *self.bound(values))

    async def run(self, tx: Transaction, **values: Any) -> None:
        await tx.execute(self.text, *self.bound(values))

    async def run_long(self, tx: Transaction, timeout_s: float, **values: Any) -> None:
        """The same for one that may take long; raises TimeoutError where it takes longer, and may have done it."""
        await tx.execute(self.text, *self.bound(values), timeout=timeout_s)

    async def copy_out(self, tx: Transaction, into: Callable[[bytes], Awaitable[None]], **values: Any) -> None:
        """COPY the statement's rows out, binary: ``into`` gets the bytes in pieces that end anywhere.

        The next piece is read when ``into`` is done with the last one, so memory does not grow with the answer. Raises
        TimeoutError where not all of it is over within ``COMMAND_TIMEOUT_S``. COPY takes no parameters: the driver has
        the server quote each value as a literal and puts it into the statement's text.
        """
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await tx.copy_from_query(
                self.text, *self.bound(values), output=into, format="binary", timeout=protocol.NO_TIMEOUT
            )


class Statements:
    """The statements of one ``.sql`` file, as attributes."""

    def __init__(self, package: str, name: str) -> None:
        source = resources.files(package).joinpath("sql", f"{name}.sql").read_text("utf-8")
        pieces = _NAME.split(source)[1:]
        self._statements = {each: Statement(each, text) for each, text in zip(pieces[::2], pieces[1::2], strict=True)}

    def __getattr__(self, name: str) -> Statement:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(name) from None
