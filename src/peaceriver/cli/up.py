"""``peaceriver up``: a cluster on this machine, kept running until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from peaceriver.application import is_file
from peaceriver.cli.supervision import Held, SupervisedNode, end_orphan, free_port
from peaceriver.cli.terminal import EXIT_USAGE, JsonOption, complain, finish, say, say_json
from peaceriver.client import Client
from peaceriver.node.configuration import PORT, Listen, NodeConfiguration

DIRECTORY = Path("peaceriver-data")
NODE = "n1"


class Cluster:
    """The nodes of one directory; in this version there is one."""

    def __init__(self, directory: Path, *, port: int, app: str | None, say: Callable[[str], None]) -> None:
        self.directory = directory.absolute()
        self._port = port
        self._app = app
        self._say = say
        self._held: Held | None = None
        self._node: SupervisedNode | None = None

    async def start(self) -> str:
        """Start what is there, or make it; answers the URL. Raises StartFailed."""
        self._held = Held.take(self.directory)
        await asyncio.to_thread(end_orphan, self.directory, NODE)
        configuration = NodeConfiguration(
            name=NODE,
            listen=Listen(port=free_port(self._port)),
            data=NODE,
            app=self._app,
        )
        self._node = SupervisedNode(self.directory, configuration, self._say)
        return await self._node.start()

    async def stop(self) -> None:
        """End everything, in order, and give the directory back."""
        if self._node is not None:
            await self._node.stop()
        if self._held is not None:
            self._held.release()

    def kill(self) -> None:
        """End everything at once."""
        if self._node is not None:
            self._node.kill()


def _application(app: str | None) -> str | None:
    """A file by its whole path, for a node has a directory of its own; a module by its name."""
    if app is None or not is_file(app):
        return app
    if not Path(app).is_file():
        raise typer.BadParameter(f"there is no file {app}")
    return str(Path(app).absolute())


def up(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="[APP.py]",
            callback=_application,
            help="A Python file, or a module's name: its departments, models and rules are served.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = 1,
    data: Annotated[Path, typer.Option(help="Where everything is kept; may exist.")] = DIRECTORY,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The first node's port; 0: any that is free.")] = PORT,
    as_json: JsonOption = False,
) -> None:
    """Run a cluster on this machine until Ctrl-C."""
    if nodes != 1:
        complain(f"--nodes {nodes}: this version runs one node; replication comes with a later one")
        raise typer.Exit(EXIT_USAGE)
    finish(_run(data, port, app, as_json=as_json), as_json=as_json)


async def _run(data: Path, port: int, app: str | None, *, as_json: bool) -> int:
    tell = complain if as_json else say
    cluster = Cluster(data, port=port, app=app, say=tell)
    stopping = stop_on_signals(cluster)
    tell(f"starting in {cluster.directory}")
    starting = asyncio.ensure_future(cluster.start())
    try:
        await asyncio.wait({starting, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        await _introduce(starting.result(), cluster.directory, as_json=as_json)
        await stopping.wait()
        tell("stopping")
    finally:
        await cluster.stop()
    return 0


async def _introduce(url: str, directory: Path, *, as_json: bool) -> None:
    """Say where it is, and which departments it serves."""
    async with Client(url) as client:
        departments = await client.departments()
    if as_json:
        say_json({"url": url, "data": str(directory), "departments": departments})
        return
    say(f"{url} takes messages; Ctrl-C stops it")
    for code, name in departments.items():
        say(f"  {code} {name}")
    if not departments:
        say(f"  no departments yet: PUT {url}/directory/departments/100, `peaceriver import`, or an APP.py make some")


def stop_on_signals(cluster: Cluster) -> asyncio.Event:
    """An event that the first Ctrl-C, SIGTERM or closed terminal sets; the second one ends the nodes at once."""
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            cluster.kill()
        stopping.set()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN or each is signal.SIGINT:  # nohup means what it says
            asyncio.get_running_loop().add_signal_handler(each, on_signal)
    return stopping
