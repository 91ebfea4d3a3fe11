"""``peaceriver up``: a cluster on this machine, kept running until Ctrl-C."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from peaceriver.application import is_file
from peaceriver.cli.patience import patiently
from peaceriver.cli.supervision import Held, SupervisedNode, end_orphan, free_ports
from peaceriver.cli.terminal import JsonOption, complain, finish, say, say_json
from peaceriver.client import Client
from peaceriver.errors import StartFailed
from peaceriver.node.configuration import PORT, Listen, NodeConfiguration, read_configuration

#: Three copies survive the loss of one.
NODES = 3
NODES_MAX = 9

DIRECTORY = Path("peaceriver-data")


class Cluster:
    """The nodes of one directory, n1, n2 and so on, each with a port of its own, one after the other."""

    def __init__(
        self, directory: Path, *, port: int, app: str | None, say: Callable[[str], None], nodes: int = NODES
    ) -> None:
        self.directory = directory.absolute()
        self._names = [f"n{each}" for each in range(1, nodes + 1)]
        self._port = port
        self._app = app
        self._say = say
        self._held: Held | None = None
        self._nodes: list[SupervisedNode] = []

    async def start(self) -> list[str]:
        """Start what is there, or make it; answers the URLs once all nodes take messages. Raises StartFailed."""
        self._held = Held.take(self.directory)
        for name in self._names:
            await asyncio.to_thread(end_orphan, self.directory, name)
        founders = self._founders()
        ports = free_ports(self._port, len(self._names))
        urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(self._names, ports, strict=True)}
        for name, port in zip(self._names, ports, strict=True):
            configuration = NodeConfiguration(
                name=name,
                listen=Listen(port=port),
                data=name,
                app=self._app,
                peers={other: url for other, url in urls.items() if other != name},
                founders=founders,
            )
            self._nodes.append(SupervisedNode(self.directory, configuration, self._say))
        # Together, for none of several takes messages before a majority is up.
        starting = [asyncio.ensure_future(each.start()) for each in self._nodes]
        try:
            return await asyncio.gather(*starting)
        except BaseException:
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            raise

    def _founders(self) -> tuple[str, ...]:
        """Who founded the cluster that is here, or founds it now; those that are more join it. Raises StartFailed."""
        written = sorted(self.directory.glob("n*.toml"))
        if not written:
            return tuple(self._names)
        founders = read_configuration(written[0]).company.founders
        if missing := [each for each in founders if each not in self._names]:
            raise StartFailed(
                f"the cluster in {self.directory} was founded by {len(founders)} nodes, and may lack what "
                f"{', '.join(missing)} hold: start it with --nodes {len(founders)} or more, or another one with --data"
            )
        return founders

    async def stop(self) -> None:
        """End everything, in order, and give the directory back."""
        await asyncio.gather(*(each.stop() for each in self._nodes))
        if self._held is not None:
            self._held.release()

    def kill(self) -> None:
        """End everything at once."""
        for each in self._nodes:
            each.kill()


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
    nodes: Annotated[int, typer.Option(min=1, max=NODES_MAX, help="How many nodes.")] = NODES,
    data: Annotated[Path, typer.Option(help="Where everything is kept; may exist.")] = DIRECTORY,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The first node's port; 0: any that is free.")] = PORT,
    as_json: JsonOption = False,
) -> None:
    """Run a cluster on this machine until Ctrl-C."""
    finish(_run(data, nodes, port, app, as_json=as_json), as_json=as_json)


async def _run(data: Path, nodes: int, port: int, app: str | None, *, as_json: bool) -> int:
    tell = complain if as_json else say
    cluster = Cluster(data, port=port, app=app, say=tell, nodes=nodes)
    stopping = stop_on_signals(cluster)
    tell(f"starting in {cluster.directory}")
    starting = asyncio.ensure_future(begin(cluster))
    try:
        await asyncio.wait({starting, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        _introduce(*starting.result(), cluster.directory, as_json=as_json)
        await stopping.wait()
        tell("stopping")
    finally:
        await cluster.stop()
    return 0


async def begin(cluster: Cluster) -> tuple[list[str], dict[int, str]]:
    """Start the nodes; answers their URLs and the departments they serve."""
    urls = await cluster.start()
    turns = itertools.cycle(urls)

    async def departments() -> dict[int, str]:
        # The next one each time, for a node that lost its disk cannot say before it has copied the directory.
        async with Client(next(turns)) as client:
            return await client.departments()

    return urls, await patiently(departments)


def _introduce(urls: list[str], departments: dict[int, str], directory: Path, *, as_json: bool) -> None:
    """Say where it is, and which departments it serves."""
    if as_json:
        say_json({"url": urls[0], "urls": urls, "data": str(directory), "departments": departments})
        return
    say(f"{' and '.join(urls)} take messages; Ctrl-C stops {'them' if urls[1:] else 'it'}")
    for code, name in departments.items():
        say(f"  {code} {name}")
    if not departments:
        make = f"PUT {urls[0]}/directory/departments/100, `peaceriver import`, or an APP.py make some"
        say(f"  no departments yet: {make}")


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
