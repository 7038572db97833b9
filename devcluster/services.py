"""The three services and the simulated exporter, as processes of their own beside a development cluster."""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from devcluster.cluster import DevCluster
from devcluster.probes import answers
from devcluster.processes import Child

RECOMMENDER = "recommender"
WEBHOOK = "webhook"
ADAPTER = "metrics-adapter"
EXPORTER = "exporter"

SERVICES_NAMESPACE = "vgpu-autoscaler"
"""Where the services keep what is theirs: Leases, checkpoints."""

SERVICES = (RECOMMENDER, WEBHOOK, ADAPTER)

Settings = Mapping[str, str]

QUICK_SETTINGS: Mapping[str, Settings] = {
    # Time passes quickly by configuration alone: a pass every two seconds, a half-life of half a minute.
    RECOMMENDER: {
        "interval": "2s",
        "settle": "1s",
        "half-life": "30s",
        "peak-window": "10s",
        "checkpoint-interval": "10s",
    },
    WEBHOOK: {"register": "url"},
    ADAPTER: {"interval": "1s", "freshness": "10s"},
    EXPORTER: {"speed": "1440"},  # a recorded day is a minute
}

START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a service.

    Attributes:
        service: Which service it is.
        settings: Further flags, without the dashes; stronger than all others. One without a value takes none.
        program: What Python runs in place of the service's command line tool, as Python's arguments.
    """

    service: str
    settings: Settings = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "vgpu")


class Services:
    """Starts, stops and finds the services of one development cluster.

    Each service is a process of the same name; `add` makes known further ones.

    Args:
        cluster: The cluster that they serve.
        settings: Flags for each service, without the dashes.
    """

    def __init__(self, cluster: DevCluster, *, settings: Mapping[str, Settings] = QUICK_SETTINGS) -> None:
        self._cluster = cluster
        self._settings = settings
        self._children: dict[str, Child] = {}
        self._processes: dict[str, Process] = {}
        self._ports: dict[str, int] = {}
        self._serving: dict[str, int] = {}
        for name in (*SERVICES, EXPORTER):
            self.add(name, Process(name))

    def add(self, name: str, process: Process) -> None:
        """Makes a process known, in place of one of that name that does not run; it is not started yet."""
        self._processes[name] = process
        if name not in self._ports:
            self._ports[name] = self._cluster.free_port()
        if process.service in (WEBHOOK, ADAPTER) and name not in self._serving:
            self._serving[name] = self._cluster.free_port()

    def url(self, name: str, path: str = "") -> str:
        """The address of a process's plain HTTP port: `/metrics`, `/healthz`, `/readyz`."""
        return f"http://127.0.0.1:{self._ports[name]}{path}"

    def scrape_targets(self) -> dict[str, list[str]]:
        """What Prometheus scrapes: a job for each process."""
        return {name: [f"127.0.0.1:{port}"] for name, port in self._ports.items()}

    def command(self, name: str) -> list[str]:
        """The command line of a process."""
        process = self._processes[name]
        service = process.service
        flags = {"kubeconfig": str(self._cluster.kubeconfig), **self._settings.get(service, {})}
        if service == EXPORTER:
            command = [sys.executable, "-m", "devcluster.exporter"]
            flags["port"] = str(self._ports[name])
        else:
            command = [sys.executable, *process.program, service]
            flags |= {"ops-host": "127.0.0.1", "ops-port": str(self._ports[name])}
        if service in (RECOMMENDER, ADAPTER):
            flags["prometheus-url"] = self._cluster.prometheus_url
        if service == ADAPTER:
            flags["register"] = ""
        if name in self._serving:
            flags |= {"host": "127.0.0.1", "port": str(self._serving[name])}
        return [*command, *_arguments({**flags, **process.settings})]

    async def start(self, name: str) -> None:
        """Starts one process and waits until it is ready."""
        self._children[name] = await self._cluster.supervisor.start(
            name, self.command(name), ready=answers(self.url(name, "/readyz")), timeout=START_TIMEOUT
        )

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """Stops one process, with SIGTERM or (`kill`) with SIGKILL, and waits until it is gone."""
        await self._cluster.supervisor.stop(self._children.pop(name), kill=kill)

    def runs(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        return name in self._children and self._children[name].running

    def pid(self, name: str) -> int:
        """The process id of a process that was started."""
        return self._children[name].pid

    def freeze(self, name: str) -> None:
        """Has a process stand still (SIGSTOP), as one does that gets no CPU."""
        self._children[name].signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Lets it go on (SIGCONT)."""
        self._children[name].signal(signal.SIGCONT)


def _arguments(flags: Settings) -> list[str]:
    return [part for flag, value in flags.items() for part in (f"--{flag}", value) if part]
