"""Child processes that are watched, logged, and never outlive us."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_fixed

from devcluster.errors import ChildDied, ChildNotReady, died
from devcluster.launcher import tied_to_us

T = TypeVar("T")
Ready = Callable[[], Awaitable[bool]]

log = structlog.get_logger(__name__)

_SECONDS_TO_STOP = 10.0
_SECONDS_TO_DIE = 10.0
_SECONDS_BETWEEN_PROBES = 0.05


@dataclass(slots=True, eq=False, kw_only=True)
class Child:
    """A program that we started; it leads a session and a process group of its own."""

    name: str
    argv: tuple[str, ...]
    log: Path
    process: asyncio.subprocess.Process
    patience: float
    stopping: bool = False
    death: ChildDied | None = None

    @property
    def pid(self) -> int:
        """The process id, also the id of its group."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if any of it is left."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Supervisor:
    """Starts children, watches them, and stops them in reverse order when it is left.

    `failed` is a future that raises ChildDied as soon as a child ends though nobody asked it to. To leave
    means: SIGTERM to each, some seconds to comply, SIGKILL. Where leaving is itself interrupted, all are
    killed at once; and should this process be killed, the kernel kills them (see `launcher`). For the main
    thread only.

    Args:
        logs: The folder for one `<name>.log` each; it must exist.
    """

    failed: "asyncio.Future[NoReturn]"

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._watchers: dict[Child, asyncio.Task[int]] = {}

    async def __aenter__(self) -> Self:
        self.failed = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._explain(error)
        try:
            for child in reversed(list(self._watchers)):
                await self.stop(child)
        finally:
            await self._kill_all()

    async def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        ready: Ready | None = None,
        timeout: float = 30.0,
        patience: float = _SECONDS_TO_STOP,
    ) -> Child:
        """Start a program and wait until `ready` says yes.

        Args:
            name: What to call it in logs and errors.
            argv: The program and its arguments.
            env: Its environment, ours by default.
            ready: Asked again and again; without it the program counts as ready at once.
            timeout: Seconds that it has to become ready.
            patience: Seconds that it has to end after SIGTERM.

        Raises:
            ChildDied: it ended before it was ready.
            ChildNotReady: it was not ready after `timeout` seconds; it is stopped then.
        """
        command = [str(part) for part in argv]
        path = self._logs / f"{name}.log"
        process = await _spawn(command, log=path, env=env)
        child = Child(name=name, argv=tuple(command), log=path, process=process, patience=patience)
        self._watchers[child] = asyncio.create_task(self._watch(child), name=f"watch {name}")
        if ready is not None:
            await self._wait_ready(child, ready, timeout)
        return child

    async def stop(self, child: Child, *, kill: bool = False) -> None:
        """End a child and wait until it is gone: SIGTERM, then SIGKILL; with `kill` SIGKILL at once."""
        child.stopping = True
        watcher = self._watchers[child]
        try:
            child.signal(signal.SIGKILL if kill else signal.SIGTERM)
            await asyncio.wait({watcher}, timeout=child.patience)
            if child.running:
                log.info("child did not end on SIGTERM, killing it", child=child.name, pid=child.pid)
        finally:
            child.signal(signal.SIGKILL)
        await asyncio.wait({watcher}, timeout=_SECONDS_TO_DIE)
        self._watchers.pop(child, None)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or ChildDied as soon as a child dies; `work` is cancelled then."""
        task = asyncio.ensure_future(work)
        try:
            either: set[asyncio.Future[Any]] = {task, self.failed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else self.failed.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self, child: Child) -> int:
        status = await child.process.wait()
        if not child.stopping:
            child.death = died(name=child.name, status=status, log=child.log)
            log.error("child died", child=child.name, pid=child.pid, status=status, log=str(child.log))
            if not self.failed.done():
                self.failed.set_exception(child.death)
        return status

    async def _wait_ready(self, child: Child, ready: Ready, patience: float) -> None:
        polling = asyncio.create_task(_poll(ready, patience))
        watcher = self._watchers[child]
        try:
            await asyncio.wait({polling, watcher}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            polling.cancel()
            await asyncio.wait({polling})
        if watcher.done():
            raise child.death or died(name=child.name, status=watcher.result(), log=child.log)
        if isinstance(polling.exception(), RetryError):
            await self.stop(child)
            raise ChildNotReady(name=child.name, log=child.log, waited=patience)
        polling.result()

    def _explain(self, error: BaseException | None) -> None:
        """A child's death is probably why `error` happened: say so in its text."""
        if not self.failed.done() or self.failed.cancelled():
            return
        death = self.failed.exception()
        if error is not None and error is not death:
            error.add_note(str(death))

    async def _kill_all(self) -> None:
        for child in self._watchers:
            child.stopping = True
            child.signal(signal.SIGKILL)
        if self._watchers:
            await asyncio.wait(self._watchers.values(), timeout=_SECONDS_TO_DIE)
        self._watchers.clear()


async def _spawn(
    command: list[str], *, log: Path, env: Mapping[str, str] | None
) -> asyncio.subprocess.Process:
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *tied_to_us(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )


async def _poll(ready: Ready, patience: float) -> None:
    attempts = AsyncRetrying(
        retry=retry_if_result(lambda answer: not answer),
        wait=wait_fixed(_SECONDS_BETWEEN_PROBES),
        stop=stop_after_delay(patience),
    )

    async def probe() -> bool:
        # Not `ready` itself: tenacity would take a lambda's coroutine for its answer.
        return await ready()

    await attempts(probe)
