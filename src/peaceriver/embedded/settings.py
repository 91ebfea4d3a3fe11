"""What the server's three configuration files say. Pure text; ``place.py`` writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from peaceriver.errors import StartFailed

#: The roles that the node's OS user, and nobody else, may log in as: initdb makes the first, migrations the others.
ROLES = ("postgres", "peaceriver_owner", "peaceriver_runner")

#: An acknowledged message is on disk: the first three are never to be weakened, only measured against.
SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "128MB",
    "max_connections": "40",
    "listen_addresses": "",  # no TCP at all: peers are known by the kernel, on a socket
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "idle_in_transaction_session_timeout": "60s",
    "autovacuum": "on",
    "jit": "off",  # our statements are short: compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",  # the log is the file that we hand over as standard error
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "cluster_name": "peaceriver",  # so that a person who lists processes knows whose they are
}

_NAME = re.compile(r"[a-z_][a-z0-9_.]*", re.IGNORECASE)
_HEADING = "# Written anew at every start; settings given to the node go on top of these.\n"


def server_settings(given: Mapping[str, str], sockets: Path) -> str:
    """The text of postgresql.conf: ours, then what was ``given``. Raises StartFailed for what no file could hold."""
    # A list of folders to PostgreSQL: inner double quotes keep a comma or a space in the path from splitting it.
    ours = {"unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"'}
    return _HEADING + "".join(
        f"{name} = {_value(name, value)}\n" for name, value in ({**SETTINGS, **ours, **given}).items()
    )


def _value(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or any(letter in "\n\r\0" for letter in value):
        raise StartFailed(f"{name!r} = {value!r} is not a PostgreSQL setting: a name and one line of text are")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def who_may_enter() -> str:
    """The text of pg_hba.conf: over the socket only, and only under the OS user that the kernel names."""
    return _HEADING + "local all all peer map=peaceriver\n"


def who_is_who(user: str) -> str:
    """The text of pg_ident.conf: the node's OS ``user`` is our roles; nobody else is anybody."""
    return _HEADING + "".join(f'peaceriver "{user}" {role}\n' for role in ROLES)
