"""Running `go` so that it can be watched, interrupted, and leaves nothing behind."""

import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from devcluster.launcher import tied_to_us
from devcluster.toolchain import Go

_HEARTBEAT = 1.0


class GoError(Exception):
    """`go` ended with an error; `output` is the end of what it said."""

    def __init__(self, status: int, output: Sequence[str]) -> None:
        self.status = status
        self.output = list(output)
        super().__init__(f"go ended with {status}")


class GoSilentError(Exception):
    """`go` said nothing for `silence` seconds."""

    def __init__(self, silence: float) -> None:
        self.silence = silence
        super().__init__(f"go said nothing for {silence:.0f} s")


def run_go(
    go: Go,
    arguments: Sequence[str],
    *,
    module: Path,
    workspace: Path,
    patience: float,
    stdout: IO[str] | None = None,
) -> Generator[str | None]:
    """Run `go` in `module`: each line it says on stderr, and None for each second of silence.

    Close the generator to end `go` early. Its own work files go into `workspace`.

    Raises:
        GoError: it ended with an error.
        GoSilentError: it said nothing for `patience` seconds.
    """
    process = subprocess.Popen(  # noqa: S603 - go and its arguments are ours
        tied_to_us([str(go.executable), *arguments]),
        cwd=module,
        env={**go.environ, "GOTMPDIR": str(workspace)},
        stdin=subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    said: deque[str] = deque(maxlen=200)
    try:
        for line in _patiently(_lines(process.stderr), patience):
            if line is not None:
                said.append(line)
            yield line
        status = process.wait(timeout=60)
    finally:
        _end(process)
    if status != 0:
        raise GoError(status, said)


def _lines(stream: IO[bytes] | None) -> Iterator[str | None]:
    assert stream is not None  # noqa: S101 - Popen was asked for a pipe
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(_HEARTBEAT):
                yield None
                continue
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                break
            *complete, pending = (pending + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in complete)
    if pending:
        yield pending.decode(errors="replace")


def _patiently(lines: Iterator[str | None], patience: float) -> Iterator[str | None]:
    silence = 0.0
    for line in lines:
        silence = silence + _HEARTBEAT if line is None else 0.0
        if silence >= patience:
            raise GoSilentError(silence)
        yield line


def _end(process: subprocess.Popen[bytes]) -> None:
    """End `go` and the compilers it started, if they still run."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    if process.stderr is not None:
        process.stderr.close()
