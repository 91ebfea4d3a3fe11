"""One run of one server, from taking its directory to giving it back, in one thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from peaceriver.embedded.account import Account, account_for
from peaceriver.embedded.binaries import Binaries, environment, find_binaries
from peaceriver.embedded.copies import reachable
from peaceriver.embedded.place import Place, Traces, opened
from peaceriver.embedded.preparation import configure, initialise, recover
from peaceriver.embedded.processes import STOP_STEPS, clear, follow_parent, kill_tree, look, tell
from peaceriver.embedded.sockets import private_sockets
from peaceriver.errors import StartFailed

#: The code of a run whose server was never started.
NEVER_RAN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server process that was started; it may not answer yet."""

    pid: int
    major: int
    sockets: Path
    #: Where its own lines begin in the log.
    log_start: int


class Lifetime:
    """The thread that starts a server, waits for it, and tidies up after it.

    It is one thread for two reasons. The kernel ends the server when the thread that started it is gone, so this one
    must stay as long as the server does, and no thread of a pool promises that. And however a run ends, by a stop, a
    crash, a failed or a cancelled start, the same lines tidy up: reaped, no process, no socket, the directory free.
    """

    def __init__(self, place: Place, settings: Mapping[str, str]) -> None:
        #: Done once the process is there, or cannot be: then it holds the reason.
        self.up: Future[Running] = Future()
        #: Done after the last of the tidying up; never before ``up``.
        self.over: Future[int] = Future()
        self._place = place
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        #: Guards the step from "not started" to "started": whoever stops us sees the process, or there will be none.
        self._starting = threading.Lock()
        self._stopping = False

    def begin(self) -> None:
        for each in (self.up, self.over):
            each.set_running_or_notify_cancel()  # from here on a waiter who is cancelled does not cancel them for all
        # A daemon, because a program that ends without stopping must not hang: the kernel stops the server then.
        threading.Thread(target=self._live, name=f"postgres {self._place.folder}", daemon=True).start()

    def tell(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            tell(self._process.pid, what)

    def kill(self) -> None:
        """SIGKILL the server and its children."""
        if self._process is not None and self._process.returncode is None:
            kill_tree(self._process.pid)

    async def stop(self) -> None:
        """End the run, however far it has got, and wait until it is over."""
        with self._starting:
            self._stopping = True
        over = asyncio.wrap_future(self.over)
        for what, patience_s in STOP_STEPS:
            self.tell(what)
            await asyncio.wait({over}, timeout=patience_s)
            if over.done():
                break
        else:
            self.kill()
        await over

    def _live(self) -> None:
        try:
            code = self._run()
        except BaseException as error:  # outermost: whoever waits must hear how this thread ended
            self._fail(error)
        else:
            self.over.set_result(code)

    def _fail(self, error: BaseException) -> None:
        if self.up.done():
            self.over.set_exception(error)
            return
        if isinstance(error, OSError | subprocess.SubprocessError):
            reason = StartFailed(
                f"PostgreSQL cannot be started in {self._place.folder}: {error}; "
                "name a directory that this user may write to, on a disk with room"
            )
            reason.__cause__ = error
            error = reason
        self.up.set_exception(error)
        self.over.set_result(NEVER_RAN)

    def _run(self) -> int:
        place = self._place
        with place.held():
            account = account_for(place.data)
            recover(place, account)
            binaries = reachable(find_binaries(place.major()), account)
            if not place.data.exists():
                initialise(place, binaries, account)
            try:
                with private_sockets(account) as sockets:
                    return self._serve(binaries, account, sockets)
            finally:
                place.forget()

    def _serve(self, binaries: Binaries, account: Account, sockets: Path) -> int:
        try:
            configure(self._place, account, sockets, self._settings)
            return self._wait(binaries, account, sockets)
        finally:
            clear(self._place.data)  # the children of a postmaster that was killed

    def _wait(self, binaries: Binaries, account: Account, sockets: Path) -> int:
        place = self._place
        with place.open_log() as log:
            log_start = os.fstat(log.fileno()).st_size
            process = self._start(binaries, account, log.fileno())
        started = look(process.pid)
        place.remember(Traces(sockets=str(sockets), pid=process.pid, began=started.began if started else None))
        self.up.set_result(Running(pid=process.pid, major=binaries.major, sockets=sockets, log_start=log_start))
        return process.wait()

    def _start(self, binaries: Binaries, account: Account, log: int) -> subprocess.Popen[bytes]:
        node = os.getpid()
        with opened(self._place.data, account) as (name, inherited), self._starting:
            if self._stopping:
                raise StartFailed(f"the server in {self._place.folder} was stopped before it had started")
            self._process = subprocess.Popen(
                [str(binaries.postgres), "-D", name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C is for the node, which then stops us in order
                preexec_fn=lambda: follow_parent(node, signal.SIGINT),
                **account.options(),
            )
            return self._process
