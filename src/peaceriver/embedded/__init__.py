"""PostgreSQL on any machine: a server of our own, started, stopped, and found again after a crash.

    server = await Server.start(Path("/var/lib/river"))
    ... await asyncpg.connect(**server.connection("postgres")) ...
    await server.stop()

The parts, from the outside in: ``server`` is what others hold; ``lifetime`` the thread behind it; ``preparation`` what
comes before a start; ``place`` the directory; ``sockets`` the way in; ``settings`` the configuration as text;
``binaries``, ``copies`` and ``account`` what the machine offers; ``processes`` the processes that are not ours to wait
for.
"""

from peaceriver.embedded.binaries import Binaries, find_binaries
from peaceriver.embedded.server import START_TIMEOUT_S, Server
from peaceriver.embedded.settings import ROLES

__all__ = ["ROLES", "START_TIMEOUT_S", "Binaries", "Server", "find_binaries"]
