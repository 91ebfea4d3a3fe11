"""The database of a node: its roles, and its schema, brought up to date by migrations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from peaceriver.errors import StartFailed
from peaceriver.postgres import DATABASE, OWNER, READER, RUNNER, DatabaseError, Transaction, connect, quoted

_MAY_LET_SET = """
    select rolsuper and not has_parameter_privilege($1, $2, 'set') from pg_roles where rolname = current_user
"""
#: What only a superuser may let others set, and whom. A journal is written anew without pages that cannot be read; and
#: what queries gather on disk is bounded.
_SET_BY = (("zero_damaged_pages", OWNER), ("temp_file_limit", READER))

#: Locales of libc that compare texts by their code points, in small letters.
_BY_CODE_POINTS = ("c", "posix", "c.utf-8", "c.utf8")
#: All locales that are built into PostgreSQL compare so; none of ICU does, whatever libc's locale is beside it.
_COLLATION = """
    select datname, coalesce(datlocprovider = 'b' or (datlocprovider = 'c' and lower(datcollate) = any($1)), false)
    as is_right from pg_database where datname = current_database()
"""


async def prepare(admin: Mapping[str, Any], *, database: str | None = DATABASE) -> None:
    """Make the roles and, unless None, the database; idempotent. ``admin`` connects as one who may.

    Raises StartFailed where the rights do not suffice, or where a database that is there would sort otherwise than the
    ones that are made here.
    """
    connection = await connect(admin)
    try:
        if database is None:
            await _check_collation(connection)
        for role, attribute in ((OWNER, "login"), (RUNNER, "login"), (READER, "nologin")):
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
                await connection.execute(f"create role {role} {attribute}")
        await connection.execute(f"grant {READER} to {RUNNER}")
        if database is not None and not await connection.fetchval(
            "select 1 from pg_database where datname = $1", database
        ):
            await connection.execute(
                f"create database {quoted(database)} owner {OWNER} template template0 encoding 'UTF8' "
                "locale_provider libc locale 'C'"  # without the provider, a template of ICU's would go on sorting
            )
        for parameter, role in _SET_BY:
            if await connection.fetchval(_MAY_LET_SET, role, parameter):
                await connection.execute(f"grant set on parameter {parameter} to {role}")
    except DatabaseError as error:
        raise StartFailed(f"the roles or the database cannot be made: {error}") from error
    finally:
        await connection.close()


async def _check_collation(connection: Transaction) -> None:
    """Raise StartFailed where the database does not compare texts by their code points."""
    row = await connection.fetchrow(_COLLATION, _BY_CODE_POINTS)
    if row is None or not row["is_right"]:
        name = "given" if row is None else row["datname"]
        raise StartFailed(
            f"the database {name!r} does not compare texts by their code points, so its answers would be sorted "
            "differently from those of other nodes: make it with "
            "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
        )


def migrations() -> list[tuple[str, str]]:
    """All migrations in order: name and text."""
    folder = resources.files("peaceriver").joinpath("migrations")
    files = sorted(each.name for each in folder.iterdir() if each.name.endswith(".sql"))
    return [(name.removesuffix(".sql"), folder.joinpath(name).read_text("utf-8")) for name in files]


async def migrate(owner: Mapping[str, Any]) -> list[str]:
    """Bring the database's schema up to this version, each migration in its own transaction; answer which ones ran.

    Raises StartFailed where an applied migration's text is not the one that this version has: the database was made
    by a different version, and guessing would lose data.
    """
    connection = await connect(owner)
    try:
        await connection.execute("select pg_advisory_lock(7400001)")
        await connection.execute(
            "create table if not exists migration "
            "(name text primary key, sha256 bytea not null, applied_at timestamptz not null default now())"
        )
        applied = {row["name"]: row["sha256"] for row in await connection.fetch("select name, sha256 from migration")}
        return [name for name, text in migrations() if await _apply(connection, name, text, applied)]
    except DatabaseError as error:
        raise StartFailed(f"the schema cannot be brought up to date: {error}") from error
    finally:
        await connection.close()


async def _apply(connection: Transaction, name: str, text: str, applied: Mapping[str, bytes]) -> bool:
    digest = hashlib.sha256(text.encode()).digest()
    if name in applied:
        if applied[name] != digest:
            raise StartFailed(
                f"the database was made by another version: migration {name} differs; use the version that made it"
            )
        return False
    async with connection.transaction():
        await connection.execute(text)
        await connection.execute("insert into migration (name, sha256) values ($1, $2)", name, digest)
    return True
