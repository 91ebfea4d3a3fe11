"""What one node is told: a small TOML file.

    name = "n1"
    listen = { host = "127.0.0.1", port = 7400 }
    data = "n1"                 # a directory, in which the node runs a PostgreSQL of its own; or, instead of it,
    dsn = "postgresql://..."    # a database that is given to it
    peers = { n2 = "http://127.0.0.1:7401", n3 = "http://127.0.0.1:7402" }      # the other nodes of its cluster
    founders = ["n1", "n2", "n3"]   # optional: the nodes that the cluster was founded by; else this one and its peers
    lease = 1.5                 # optional: after so many seconds without a word another node takes over
    app = "shop.py"             # optional: what it serves from the start; or a module's name, as in "company.shop"

Relative paths are relative to the file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from peaceriver.application import is_file
from peaceriver.directory.pages import NODE_NAME
from peaceriver.errors import StartFailed
from peaceriver.limits import LEASE_S

if TYPE_CHECKING:
    from peaceriver.node.replication import Company

PORT = 7400
LEASE_MIN_S = 0.2
LEASE_MAX_S = 60.0
#: Nobody is asked who they are yet, so nobody else may come in.
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a node listens. Port 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = PORT


class NodeConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's configuration: either ``data`` or ``dsn`` is given."""

    name: str = "n1"
    listen: Listen = Listen()
    data: str | None = None
    dsn: str | None = None
    app: str | None = None
    peers: dict[str, str] = {}
    founders: tuple[str, ...] = ()
    lease: float = LEASE_S

    @property
    def company(self) -> Company:
        """The cluster that the node belongs to."""
        # Here, because commands that only write configurations need nothing of what a node is made of.
        from peaceriver.node.replication import Company

        others = {name: url for name, url in self.peers.items() if name != self.name}
        founders = self.founders or tuple(sorted({self.name, *others}))
        return Company(founders=founders, urls=others, lease_s=self.lease)


def read_configuration(path: Path) -> NodeConfiguration:
    """Read a configuration file; raise StartFailed, naming every unknown key and every bad value."""
    try:
        members = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StartFailed(f"the configuration {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartFailed(f"the configuration {path} is not TOML: {error}") from error
    found = list(_problems("", members, NodeConfiguration))
    if not found:
        configuration = msgspec.convert(members, NodeConfiguration)
        found = list(_contradictions(configuration))
    if found:
        raise StartFailed(f"the configuration {path} cannot be used: {'; '.join(found)}")
    folder = path.absolute().parent
    return msgspec.structs.replace(
        configuration,
        data=None if configuration.data is None else str(folder / configuration.data),
        app=None if configuration.app is None else _application(folder, configuration.app),
    )


def _application(folder: Path, app: str) -> str:
    return str(folder / app) if is_file(app) else app


def written(configuration: NodeConfiguration) -> str:
    """The configuration as a file's text; ``read_configuration`` reads it back."""
    members = msgspec.to_builtins(configuration)
    return "".join(f"{name} = {_toml(value)}\n" for name, value in members.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(member)}" for name, member in value.items()) + " }"
    # A JSON string is a TOML basic string, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _problems(prefix: str, members: Mapping[str, Any], of: type[msgspec.Struct]) -> Iterator[str]:
    """Every key that is unknown, and every value that is not of its kind."""
    fields = {field.name: field for field in msgspec.structs.fields(of)}
    for name, value in members.items():
        if name not in fields:
            yield f"there is no {prefix}{name} (there are {', '.join(fields)})"
        elif fields[name].type is Listen and isinstance(value, Mapping):
            yield from _problems(f"{name}.", value, Listen)
        else:
            try:
                msgspec.convert(value, fields[name].type)
            except msgspec.ValidationError as error:
                yield f"{prefix}{name}: {error}"


def _contradictions(configuration: NodeConfiguration) -> Iterator[str]:
    """What is wrong about values that are of the right kind."""
    if not NODE_NAME.fullmatch(configuration.name):
        yield "name: letters, digits, - and _, at most 63, and no other"
    if configuration.listen.host not in LOOPBACK:
        yield f"listen.host: {configuration.listen.host} is not loopback, and others may not come in yet; say 127.0.0.1"
    if not 0 <= configuration.listen.port <= 65535:
        yield f"listen.port: {configuration.listen.port} does not lie between 0 and 65535"
    if not LEASE_MIN_S <= configuration.lease <= LEASE_MAX_S:
        yield f"lease: {configuration.lease} does not lie between {LEASE_MIN_S} and {LEASE_MAX_S} seconds"
    for name, url in configuration.peers.items():
        if not NODE_NAME.fullmatch(name) or not url.startswith(("http://", "https://")):
            yield f"peers.{name}: the name of a node and the URL that it is served at, not {url!r}"
    for name in ("data", "dsn", "app"):
        if getattr(configuration, name) == "":
            yield f"{name}: must not be empty"
    if (configuration.data is None) == (configuration.dsn is None):
        yield "give either data (a directory) or dsn (a database)"
