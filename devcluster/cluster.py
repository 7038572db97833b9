"""A whole control plane on the loopback interface, up within seconds, gone without a trace of a process."""

import asyncio
import datetime as dt
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from devcluster.binaries import Binaries
from devcluster.certificates import service_account_pair
from devcluster.components import (
    ETCD,
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_SCHEDULER,
    KWOK,
    PROMETHEUS,
    ControlPlane,
)
from devcluster.errors import DevClusterError
from devcluster.kubeconfigs import write_kubeconfig
from devcluster.kubectl import Kubectl
from devcluster.layout import Layout
from devcluster.nodes import gpu_nodes
from devcluster.ports import Ports
from devcluster.processes import Child, Supervisor
from devcluster.scraping import Scraping
from vgpu.authority import Authority

_ADMIN = "admin"
_START_TIMEOUT = 60.0
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


class DevCluster:
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok with GPU nodes, and Prometheus.

    An asynchronous context manager: inside, everything is up and the nodes are Ready. Every port is on
    127.0.0.1 and free when chosen, so several clusters run side by side, each in a directory of its own.

    Args:
        directory: Made, and emptied of an earlier cluster; certificates, kubeconfigs, data and logs go there.
        binaries: The programs, see `devcluster.binaries.obtain`.
        gpu_nodes: How many simulated nodes, of eight cards each.
        gpu_product: The cards, as in the label `nvidia.com/gpu.product`.
        gpu_memory_mib: The memory of one card in MiB.
        scrape: What Prometheus scrapes from the start, see `set_scrape_targets`.
        scrape_interval: Seconds between two scrapes of a target.
    """

    supervisor: Supervisor

    def __init__(
        self,
        directory: Path,
        *,
        binaries: Binaries,
        gpu_nodes: int = 2,
        gpu_product: str = "NVIDIA-A100-SXM4-80GB",
        gpu_memory_mib: int = 81920,
        scrape: Mapping[str, Sequence[str]] = _NOTHING,
        scrape_interval: float = 1.0,
    ) -> None:
        self.directory = directory.absolute()
        self.binaries = binaries
        self._nodes = (gpu_nodes, gpu_product, gpu_memory_mib)
        self._scrape = scrape
        self._scrape_interval = scrape_interval
        self._layout = Layout(self.directory)
        self._ports = Ports()
        self._plane = ControlPlane.on(self._ports, layout=self._layout, binaries=binaries)
        self._scraping = Scraping(self._layout.prometheus)
        self._components = self._plane.components()
        self._children: dict[str, Child] = {}
        self._stack = AsyncExitStack()
        self._kubectl = Kubectl(
            executable=binaries.kubectl, kubeconfig=self.kubeconfig, cache=self._layout.kubectl_cache
        )

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._plane.kubeconfig(_ADMIN)

    @property
    def server(self) -> str:
        """The address of kube-apiserver."""
        return self._plane.server

    @property
    def prometheus_url(self) -> str:
        """The address of Prometheus."""
        return self._plane.prometheus_url

    @property
    def logs(self) -> Path:
        """The folder with the log of each process."""
        return self._layout.logs

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._layout.occupied())
            with self._layout.writing():
                self._write_files()
            self.supervisor = await stack.enter_async_context(Supervisor(self._layout.logs))
            await self.supervisor.guard(self._start_all())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def free_port(self) -> int:
        """A port of 127.0.0.1 that is free and that nobody else gets from this cluster."""
        return self._ports.free()

    def set_scrape_targets(self, targets: Mapping[str, Sequence[str]]) -> None:
        """Have Prometheus scrape these and nothing else: job name to `host:port`s. Felt within seconds."""
        self._scraping.set_targets(targets)

    async def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - as in subprocess.run
        """Run kubectl as the administrator; what it writes to stdout. See `Kubectl.run` for errors."""
        return await self._kubectl.run(args, input=input, check=check)

    async def stop_component(self, name: str, *, kill: bool = False) -> None:
        """End one component, with SIGTERM or (`kill`) with SIGKILL; the others go on as they can."""
        await self.supervisor.stop(self._children.pop(name), kill=kill)

    async def restart_component(self, name: str) -> None:
        """Start a component again, ending it first if it runs: same port, same data. Ready on return."""
        if name in self._children:
            await self.stop_component(name)
        await self._start(name)

    def _write_files(self) -> None:
        now = dt.datetime.now(dt.UTC)
        folder = self._layout.certificates
        authority, front_proxy = Authority("vgpu-autoscaler-dev", now=now), Authority("front-proxy", now=now)
        (folder / "ca.crt").write_bytes(authority.certificate)
        (folder / "front-proxy-ca.crt").write_bytes(front_proxy.certificate)
        authority.server(KUBE_APISERVER, names=["localhost"], addresses=["127.0.0.1"]).write(
            folder, KUBE_APISERVER
        )
        front_proxy.client("front-proxy-client").write(folder, "front-proxy-client")
        service_account_pair().write(folder, "service-accounts")
        self._write_client(authority, _ADMIN, user=_ADMIN, groups=["system:masters"])
        self._write_client(authority, KUBE_CONTROLLER_MANAGER, user=f"system:{KUBE_CONTROLLER_MANAGER}")
        self._write_client(authority, KUBE_SCHEDULER, user=f"system:{KUBE_SCHEDULER}")
        self._scraping.write(interval=self._scrape_interval)
        self._scraping.set_targets(self._scrape)

    def _write_client(
        self, authority: Authority, name: str, *, user: str, groups: Sequence[str] = ()
    ) -> None:
        client = authority.client(user, groups=groups)
        client.write(self._layout.certificates, name)
        write_kubeconfig(
            self._plane.kubeconfig(name), server=self.server, authority=authority.certificate, client=client
        )

    async def _start_all(self) -> None:
        """What is independent starts together; kube-apiserver takes longest, so it goes first."""
        await _together(self._start(PROMETHEUS), self._start_kubernetes())

    async def _start_kubernetes(self) -> None:
        await self._start(ETCD)
        await self._start(KUBE_APISERVER)
        await _together(
            self._start(KUBE_CONTROLLER_MANAGER),
            self._start(KUBE_SCHEDULER),
            self._start(KWOK),
            self._create_nodes(),
        )
        # Without it a pod made right now would be refused.
        await self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")

    async def _create_nodes(self) -> None:
        count, product, memory_mib = self._nodes
        if not count:
            return
        nodes = json.dumps(gpu_nodes(count, product=product, memory_mib=memory_mib))
        await self.kubectl("create", "--validate=false", "-f", "-", input=nodes)
        await self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s")

    async def _start(self, name: str) -> None:
        component = self._components[name]
        self._children[name] = await self.supervisor.start(
            name,
            component.argv,
            ready=component.ready,
            timeout=_START_TIMEOUT,
            patience=component.patience,
        )


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all at once; the first error, bare, ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except* DevClusterError as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[DevClusterError]) -> DevClusterError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
