"""The commands `cluster` and `demo` of `vgpu-autoscaler`."""

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from devcluster.binaries import Binaries
from devcluster.cluster import DevCluster
from devcluster.interruption import until_interrupted
from devcluster.progress import obtain_with_progress
from vgpu.logs import configure_logging

# As a shell says it of a program that Ctrl-C ended.
_INTERRUPTED = 130

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for certificates, kubeconfigs, data and logs; an earlier cluster's are replaced. "
    "Default: a temporary one, removed at the end.",
)
_once_option = click.option(
    "--once", is_flag=True, help="Exit when the story is told; with 1 where a step did not happen in time."
)


@click.command
@_directory_option
@click.option(
    "--gpu-nodes", type=click.IntRange(min=0), default=2, show_default=True, help="Simulated nodes."
)
@click.option("--build-only", is_flag=True, help="Only compile what is not there yet, then exit.")
def cluster(directory: Path | None, gpu_nodes: int, *, build_only: bool) -> None:
    """Keep a real control plane running on this machine, until Ctrl-C.

    etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok with GPU nodes, and Prometheus, on
    free ports of 127.0.0.1. They are compiled once, which takes 10 to 20 minutes on two cores.
    """
    configure_logging(level="warning", format="text")
    binaries = _binaries()
    if build_only:
        return
    with _folder(directory) as folder:
        asyncio.run(_keep(folder, binaries=binaries, gpu_nodes=gpu_nodes))


@click.command
@_once_option
@_directory_option
def demo(directory: Path | None, *, once: bool) -> None:
    """Start everything on this machine and tell the story live: right-sizing, a cron rule, replicas."""
    # Here and not above, so that `cluster` does without what the story needs.
    from devcluster.demo import tell  # noqa: PLC0415

    configure_logging(level="warning", format="text")
    binaries = _binaries()
    with _folder(directory) as folder:
        story = tell(binaries=binaries, directory=folder, once=once, console=Console())
        interrupted = asyncio.run(until_interrupted(story))
    if interrupted and once:
        sys.exit(_INTERRUPTED)


async def _keep(directory: Path, *, binaries: Binaries, gpu_nodes: int) -> None:
    async def run() -> None:
        async with DevCluster(directory, binaries=binaries, gpu_nodes=gpu_nodes) as running:
            _introduce(running)
            await running.supervisor.failed

    click.echo("starting the control plane", err=True)
    await until_interrupted(run())
    click.echo("ended; nothing is left running", err=True)


def _introduce(running: DevCluster) -> None:
    click.echo(f"export KUBECONFIG={running.kubeconfig}")
    click.echo(f"Prometheus: {running.prometheus_url}", err=True)
    click.echo(f"kubectl:    {running.binaries.kubectl} (any recent one will do)", err=True)
    click.echo(f"logs:       {running.logs}", err=True)
    click.echo("Ctrl-C ends it all.", err=True)


def _binaries() -> Binaries:
    """The programs; SIGTERM during a build ends it as Ctrl-C does, compilers included."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        return obtain_with_progress()
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _folder(directory: Path | None) -> Iterator[Path]:
    """The given folder, or a temporary one that stays only where its logs are needed: after an error."""
    if directory is not None:
        yield directory
        return
    temporary = Path(tempfile.mkdtemp(prefix="vgpu-autoscaler-"))
    yield temporary
    shutil.rmtree(temporary)
