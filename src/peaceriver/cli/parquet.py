"""Parquet files that are written as rows come: what a column is there, and one file in groups of rows.

This module alone imports pyarrow, which not everybody who uses the command line has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from peaceriver import jsontext
from peaceriver.errors import Invalid

#: Rows, and bytes of them as they came, that are in memory before they are written.
GROUP_ROWS_MAX = 8_192
GROUP_BYTES_MAX = 16 * 1024 * 1024
#: Digits of a decimal: few where they are enough, so that the types of two exports are mostly the same.
DIGITS_FEW, DIGITS_MAX = 18, 38

_TYPES: Mapping[str, Any] = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """What pyarrow does not take is a refusal that says what, and not an error of pyarrow's."""
    try:
        yield
    except (pa.ArrowException, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise Invalid(f"Parquet does not take {what}: {reason}; export the other types (--models)") from error


class Column(msgspec.Struct, frozen=True):
    """A column of a file."""

    name: str
    #: A type of PostgreSQL's.
    kind: str
    #: Of numbers: digits before and after the point, of all values.
    whole: int = 0
    scale: int = 0

    @property
    def is_decimal(self) -> bool:
        """Whether it is a column of numbers that fit a decimal, all of them exactly."""
        return self.kind == "numeric" and self.whole + self.scale <= DIGITS_MAX

    @property
    def type(self) -> Any:
        """What it is in the file: nothing that comes is lost or rounded."""
        if self.kind != "numeric":
            return _TYPES[self.kind]
        digits = self.whole + self.scale
        if digits > DIGITS_MAX:
            return pa.string()
        return pa.decimal128(DIGITS_FEW if digits <= DIGITS_FEW else DIGITS_MAX, self.scale)

    def array(self, values: list[Any]) -> Any:
        """Values as they came, as the file has them; raises Invalid for one that does not fit."""
        if self.kind == "numeric" and not self.is_decimal:
            values = [None if each is None else jsontext.write(each) for each in values]
        elif self.kind == "timestamptz":
            # The last moment that there is comes without an offset.
            values = [each if each is None or each.tzinfo is not None else each.replace(tzinfo=UTC) for each in values]
        with _refusing(f"a value of the column {self.name!r}"):
            return pa.array(values, type=self.type)


class File:
    """One file; it is whole once the block ends."""

    def __init__(self, path: Path, columns: Sequence[Column], about: Mapping[str, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._columns = columns
        self._schema = pa.schema([(each.name, each.type) for each in columns], metadata=dict(about))
        self._stream = path.open("xb")
        self._writer = pq.ParquetWriter(self._stream, self._schema, compression="zstd")
        self._group: list[list[Any]] = [[] for _ in columns]
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                if error is None:
                    self._write()
            finally:
                self._writer.close()
            if error is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
        finally:
            self._stream.close()

    def add(self, row: Sequence[Any], size: int) -> None:
        """A row, which came in so many bytes."""
        for values, value in zip(self._group, row, strict=True):
            values.append(value)
        self.rows += 1
        self._bytes += size
        if len(self._group[0]) >= GROUP_ROWS_MAX or self._bytes >= GROUP_BYTES_MAX:
            self._write()

    def _write(self) -> None:
        if self._group[0]:
            arrays = [column.array(values) for column, values in zip(self._columns, self._group, strict=True)]
            with _refusing(f"these rows in {self._stream.name}"):
                self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            self._group = [[] for _ in self._columns]
            self._bytes = 0
