"""A GPU runtime's exporter, for GPUs that are not there.

It serves one series for each GPU of each running gated pod, in the names and labels of the preset
`tensorfusion`, so that a real Prometheus scrapes what a real cluster would show. What the pods use comes from
`devcluster.load`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from devcluster.load import (
    LOAD_ANNOTATION,
    LoadProfile,
    LoadProfileError,
    RecordedRates,
    parse_profile,
    usage,
)
from vgpu.annotations import GATE_SELECTOR
from vgpu.dialects import dialect_of
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import Pod, controller_of
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import PODS
from vgpu.logs import configure_logging
from vgpu.naming import workload_name
from vgpu.serving import OpsServer, run_until_signal
from vgpu.slices import VgpuSlice

log = structlog.get_logger(__name__)

GPU_COUNT_ANNOTATION = "tensor-fusion.ai/gpu-count"
LABELS = ("namespace", "workload", "worker", "pod", "uuid")


@dataclass(frozen=True, slots=True)
class Worker:
    """A running pod with a slice of a simulated GPU."""

    pod: Pod
    workload: str
    slice: VgpuSlice
    profile: LoadProfile
    gpus: int

    @property
    def key(self) -> tuple[str, str]:
        """The workload that the pod shares its requests with."""
        return self.pod.metadata.namespace, self.workload


def worker_of(pod: Pod, *, clients: list[str]) -> Worker | None:
    """The pod as a worker, or None while it does not run or when it carries no slice.

    Raises:
        LoadProfileError: Its load annotation cannot be used.
    """
    metadata = pod.metadata
    dialect = dialect_of(pod)
    if dialect is None or pod.status.phase != "Running" or metadata.deletion_timestamp:
        return None
    annotations = metadata.annotations or {}
    name = workload_name(
        pod_name=metadata.name,
        labels=metadata.labels or {},
        annotations=annotations,
        controller=controller_of(metadata),
    )
    if name is None:
        return None
    count = annotations.get(GPU_COUNT_ANNOTATION, "1")
    return Worker(
        pod=pod,
        workload=name,
        slice=dialect.read(pod).slice,
        profile=parse_profile(annotations.get(LOAD_ANNOTATION), clients=clients),
        gpus=int(count) if count.isdecimal() else 1,
    )


class SimulatedGpus(Collector):
    """Computes the usage of all running pods at the moment of a scrape.

    Args:
        pods: The pods known now.
        rates: The recorded request rates.
        speed: Recorded seconds that pass in one real second.
        clock: Seconds, steadily rising.
    """

    def __init__(
        self,
        *,
        pods: Callable[[], Sequence[Pod]],
        rates: RecordedRates,
        speed: float,
        clock: Callable[[], float],
    ) -> None:
        self._pods = pods
        self._rates = rates
        self._speed = speed
        self._clock = clock
        # When each workload was first seen: its own start in the recording. One entry a workload.
        self._began: dict[tuple[str, str], float] = {}

    def workers(self) -> dict[tuple[str, str], list[Worker]]:
        """The running workers by workload."""
        found: dict[tuple[str, str], list[Worker]] = defaultdict(list)
        for pod in self._pods():
            try:
                worker = worker_of(pod, clients=self._rates.clients)
            except LoadProfileError as error:
                log.warning(
                    "pod has no load",
                    namespace=pod.metadata.namespace,
                    pod=pod.metadata.name,
                    error=str(error),
                )
                continue
            if worker is not None:
                found[worker.key].append(worker)
        return found

    def collect(self) -> Iterator[Metric]:
        """Yields the two metrics of the GPU runtime's exporter."""
        tflops = GaugeMetricFamily("tf_worker_usage_compute_tflops", "TFLOPS in use", labels=LABELS)
        vram = GaugeMetricFamily("tf_worker_usage_memory_bytes", "VRAM in use", labels=LABELS)
        for workers in self.workers().values():
            for worker in workers:
                self._add(worker, len(workers), tflops, vram)
        yield tflops
        yield vram

    def _add(self, worker: Worker, replicas: int, tflops: GaugeMetricFamily, vram: GaugeMetricFamily) -> None:
        now = self._clock()
        elapsed = (now - self._began.setdefault(worker.key, now)) * self._speed
        metadata = worker.pod.metadata
        for gpu in range(worker.gpus):
            seed = f"{metadata.uid}/{gpu}"
            used = usage(
                worker.profile, self._rates, worker.slice, elapsed=elapsed, replicas=replicas, seed=seed
            )
            labels = [metadata.namespace, worker.workload, metadata.name, metadata.name, f"GPU-{seed}"]
            tflops.add_metric(labels, used.tflops)
            vram.add_metric(labels, used.vram)


async def serve(*, kubeconfig: Path, port: int, speed: float, stop: asyncio.Event) -> None:
    """Serves the simulated usage on 127.0.0.1:`port` until `stop` is set."""
    registry = CollectorRegistry()
    async with await KubeClient.connect(kubeconfig=kubeconfig, user_agent="devcluster-exporter") as client:
        pods = Reflector(client, PODS, type=Pod, label_selector=GATE_SELECTOR)
        gpus = SimulatedGpus(
            pods=lambda: list(pods.values()), rates=RecordedRates.load(), speed=speed, clock=time.monotonic
        )
        registry.register(gpus)
        reasons = ["pods are not listed yet"]
        server = OpsServer(
            host="127.0.0.1", port=port, registry=registry, not_ready=lambda: [] if pods.synced else reasons
        )
        async with server, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(pods.run())
            await stop.wait()
            watching.cancel()


@click.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--port", type=int, required=True, help="Port on 127.0.0.1.")
@click.option(
    "--speed", type=float, default=1.0, show_default=True, help="Recorded seconds in one real second."
)
def main(kubeconfig: Path, port: int, speed: float) -> None:
    """Serve the usage of simulated GPUs for Prometheus."""
    configure_logging(level="info", format="json")
    asyncio.run(
        run_until_signal(lambda stop: serve(kubeconfig=kubeconfig, port=port, speed=speed, stop=stop))
    )


if __name__ == "__main__":
    main()
