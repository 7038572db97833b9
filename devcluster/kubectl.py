"""Running kubectl against one cluster, apart from the person's own configuration."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import KubectlFailed
from devcluster.launcher import tied_to_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """One kubectl with one kubeconfig."""

    executable: Path
    kubeconfig: Path
    cache: Path
    patience: float = 60.0

    async def run(self, arguments: Sequence[str], *, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - as in subprocess.run
        """What kubectl writes to stdout; `input` is its stdin.

        Raises:
            KubectlFailed: it ended with an error (unless `check` is off) or not within `patience` seconds.
        """
        process = await self._start(arguments)
        try:
            async with asyncio.timeout(self.patience):
                stdout, stderr = await process.communicate(None if input is None else input.encode())
        except TimeoutError:
            said = f"no answer after {self.patience:g} s"
            raise KubectlFailed(arguments=arguments, status=-signal.SIGKILL, stderr=said) from None
        finally:
            await _end(process)
        status = process.returncode or 0
        if check and status != 0:
            raise KubectlFailed(arguments=arguments, status=status, stderr=stderr.decode(errors="replace"))
        return stdout.decode()

    async def _start(self, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        command = [str(self.executable), f"--kubeconfig={self.kubeconfig}", *arguments]
        return await asyncio.create_subprocess_exec(
            *tied_to_us(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )

    def _environment(self) -> Mapping[str, str]:
        own = {"KUBECACHEDIR": str(self.cache), "KUBECTL_KUBERC": "false"}
        return {**os.environ, **own}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
