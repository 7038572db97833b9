"""Compiling one program with Go, telling how far it is.

Go keeps every compiled package in a cache of its own, so an interrupted build goes on where it stopped.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from devcluster.errors import BuildFailed, BuildStalled, DevClusterError, DiskFull, DownloadFailed
from devcluster.running_go import GoError, GoSilentError, run_go
from devcluster.steps import Phase
from devcluster.toolchain import Go
from devcluster.versions import Tool

# Measured with Go 1.26: 0.55 MB in Go's cache for each of etcd's packages; Kubernetes' are larger.
_BYTES_PER_PACKAGE = 1_000_000
# The largest binary with the linker's work files.
_BYTES_PER_BINARY = 400_000_000
_PATIENCE = 1800.0
_ONLY_NOT_LINKED = "not installed but available in build cache"
_NO_SPACE = "no space left on device"
_NETWORK = (
    "dial tcp",
    "proxyconnect",
    "TLS handshake",
    "i/o timeout",
    "module lookup disabled",
    "reading http",
)


class Step(Protocol):
    """Takes what happens in the build of one program."""

    def __call__(self, phase: Phase, *, done: int = 0, total: int = 0, item: str = "") -> None:
        """Pass one step on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """Compiles programs with `go`; work files go into `workspace`, on the same disk as the result."""

    go: Go
    modules: Path
    workspace: Path
    patience: float = _PATIENCE

    def compile(self, tool: Tool, output: Path, step: Step) -> None:
        """Compile `tool` into the file `output`.

        Raises:
            BuildFailed: go ended with an error.
            DownloadFailed: it could not fetch the sources.
            DiskFull: there is too little space, before or during the build.
            BuildStalled: it said nothing for `patience` seconds.
        """
        try:
            stale = self._stale_packages(tool, step)
            self._require_space(len(stale))
            self._build(tool, output, stale, step)
        except GoError as error:
            raise self._explain(tool, error) from None
        except GoSilentError as error:
            raise BuildStalled(tool=tool.name, silence=error.silence) from None

    def _stale_packages(self, tool: Tool, step: Step) -> frozenset[str]:
        """What is not in Go's cache yet; asking for it also downloads the sources."""
        step(Phase.RESOLVING)
        downloads = 0
        arguments = [
            "list",
            "-deps",
            *tool.build_flags(),
            "-f",
            "{{.Stale}} {{.ImportPath}} {{.StaleReason}}",
        ]
        with (self.workspace / "packages").open("w+") as listing:
            for line in self._go(tool, [*arguments, tool.package], stdout=listing):
                if line is not None and line.startswith("go: downloading "):
                    downloads += 1
                    step(Phase.DOWNLOADING, done=downloads, item=line.removeprefix("go: downloading "))
            listing.seek(0)
            return _stale(listing.read())

    def _build(self, tool: Tool, output: Path, stale: frozenset[str], step: Step) -> None:
        done, item = 0, ""
        arguments = ["build", "-v", *tool.build_flags(), *tool.link_flags(), "-o", str(output), tool.package]
        step(_phase(done, stale), total=len(stale))
        for line in self._go(tool, arguments):
            if line in stale:
                done, item = done + 1, str(line)
            step(_phase(done, stale), done=done, total=len(stale), item=item)

    def _go(
        self, tool: Tool, arguments: Sequence[str], *, stdout: IO[str] | None = None
    ) -> Iterator[str | None]:
        run = run_go(
            self.go,
            arguments,
            module=self.modules / tool.module,
            workspace=self.workspace,
            patience=self.patience,
            stdout=stdout,
        )
        with closing(run) as lines:
            yield from lines

    def _require_space(self, packages: int) -> None:
        needed = packages * _BYTES_PER_PACKAGE + _BYTES_PER_BINARY
        for folder in (self.workspace, self._go_cache()):
            free = _free_space(folder)
            if free < needed:
                raise DiskFull(folder=folder, free=free, needed=needed)

    def _go_cache(self) -> Path:
        answer = subprocess.run(  # noqa: S603 - a fixed command of the Go that was found
            [self.go.executable, "env", "GOCACHE"],
            env=self.go.environ,
            cwd=self.modules,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Path(answer.stdout.strip() or self.workspace)

    def _explain(self, tool: Tool, error: GoError) -> DevClusterError:
        # Lines without a blank are the names of the packages that went well.
        output = [line for line in error.output if " " in line][-20:]
        if any(_NO_SPACE in line for line in error.output):
            return DiskFull(folder=self.workspace, free=_free_space(self.workspace))
        if any(mark in line for line in output for mark in _NETWORK):
            return DownloadFailed(tool=tool.name, output=output)
        return BuildFailed(tool=tool.name, status=error.status, output=output)


def _phase(done: int, stale: frozenset[str]) -> Phase:
    # go names a package when it begins with it; the last one is the program itself, which is then linked.
    return Phase.COMPILING if done < len(stale) else Phase.LINKING


def _stale(listing: str) -> frozenset[str]:
    rows = (line.split(" ", 2) for line in listing.splitlines())
    return frozenset(
        package for stale, package, reason in rows if stale == "true" and reason != _ONLY_NOT_LINKED
    )


def _free_space(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
