"""The three services and the simulated exporter, as processes of their own beside a development cluster."""

import sys
from collections.abc import Mapping

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


class Services:
    """Starts, stops and finds the services of one development cluster.

    Args:
        cluster: The cluster that they serve.
        settings: Flags for each service, without the dashes.
    """

    def __init__(self, cluster: DevCluster, *, settings: Mapping[str, Settings] = QUICK_SETTINGS) -> None:
        self._cluster = cluster
        self._settings = settings
        self._children: dict[str, Child] = {}
        self._ports = {name: cluster.free_port() for name in (*SERVICES, EXPORTER)}
        self._serving = {name: cluster.free_port() for name in (WEBHOOK, ADAPTER)}

    def url(self, name: str, path: str = "") -> str:
        """The address of a service's plain HTTP port: `/metrics`, `/healthz`, `/readyz`."""
        return f"http://127.0.0.1:{self._ports[name]}{path}"

    def scrape_targets(self) -> dict[str, list[str]]:
        """What Prometheus scrapes: a job for each process."""
        return {name: [f"127.0.0.1:{port}"] for name, port in self._ports.items()}

    def command(self, name: str) -> list[str]:
        """The command line of a service."""
        flags = {"kubeconfig": str(self._cluster.kubeconfig), **self._settings.get(name, {})}
        if name == EXPORTER:
            command = [sys.executable, "-m", "devcluster.exporter"]
            flags["port"] = str(self._ports[name])
        else:
            command = [sys.executable, "-m", "vgpu", name]
            flags |= {"ops-host": "127.0.0.1", "ops-port": str(self._ports[name])}
        if name in (RECOMMENDER, ADAPTER):
            flags["prometheus-url"] = self._cluster.prometheus_url
        if name in self._serving:
            flags |= {"host": "127.0.0.1", "port": str(self._serving[name])}
        arguments = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
        return [*command, *arguments, *(["--register"] if name == ADAPTER else [])]

    async def start(self, name: str) -> None:
        """Starts one service and waits until it is ready."""
        self._children[name] = await self._cluster.supervisor.start(
            name, self.command(name), ready=answers(self.url(name, "/readyz")), timeout=START_TIMEOUT
        )

    async def stop(self, name: str) -> None:
        """Stops one service and waits until it is gone."""
        await self._cluster.supervisor.stop(self._children.pop(name))
