"""A development cluster of one's own, in which recommenders are started, killed and lied to.

What they take in comes from a real Prometheus, by way of a proxy that can be down or lie; and what they make
of it is held against a reference that takes raw samples from the same Prometheus.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from devcluster.binaries import Binaries
from devcluster.cluster import DevCluster
from devcluster.demo import prepare
from devcluster.probes import answers
from devcluster.services import EXPORTER, RECOMMENDER, Process, Services, Settings
from devcluster.story import NotYet, until
from devcluster.view import View
from recommender.checkpoints.config_maps import ConfigMapStore
from recommender.checkpoints.loading import CheckpointLoader
from recommender.checkpoints.snapshot import Snapshot, Weights
from recommender.checkpoints.store import CheckpointStore, Generation
from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard
from tests.support.metric_source_proxy import MetricSourceProxy
from tests.support.raw_usage import METRICS, of_app, usage_on_grid
from tests.support.reference_recommender import ReferenceRecommender, Rules
from tests.support.shown_metrics import ShownMetrics
from vgpu.kube.client import KubeClient
from vgpu.prometheus import PrometheusClient

STEP = 2.0
"""Seconds between two samples, and between two polls."""
QUICK_RULES = Rules(half_life=30.0, peak_window=10.0, confidence_interval=10.0)
"""What `QUICK_SETTINGS` and the profile `objects.QUICK` come to."""

CURSOR = "vgpu_recommender_source_cursor_timestamp_seconds"
ERRORS = "vgpu_recommender_source_errors_total"
GENERATION = "vgpu_recommender_checkpoint_generation"
LEADER = "vgpu_recommender_leader"
SAMPLES = "vgpu_workload_samples_total"
OUTCOMES = "vgpu_recommender_samples_total"

ALONE = Shard()

# Of the most weight in a row: histograms are kept in float32, and peaks are taken out of them again.
_WEIGHT_ERROR = 1e-4


@dataclass(slots=True)
class _Failures:
    """What a loader says of checkpoints that cannot be used."""

    reasons: list[str] = field(default_factory=list)

    def checkpoint_failed(self, reason: str) -> None:
        self.reasons.append(reason)


@dataclass(frozen=True, slots=True)
class Trial:
    """A cluster with a GPU exporter, whose recommenders read usage by way of `source`."""

    cluster: DevCluster
    services: Services
    client: KubeClient
    prometheus: PrometheusClient
    source: MetricSourceProxy


@asynccontextmanager
async def new_trial(directory: Path, binaries: Binaries) -> AsyncIterator[Trial]:
    """A cluster of one's own, without any recommender."""
    async with DevCluster(directory, binaries=binaries) as cluster:
        await prepare(cluster)
        services = Services(cluster)
        await services.start(EXPORTER)
        cluster.set_scrape_targets({EXPORTER: services.scrape_targets()[EXPORTER]})
        async with (
            await KubeClient.connect(kubeconfig=cluster.kubeconfig, user_agent="e2e") as client,
            PrometheusClient(cluster.prometheus_url) as prometheus,
            MetricSourceProxy(cluster.prometheus_url) as source,
        ):
            yield Trial(cluster, services, client, prometheus, source)


class Scene:
    """What happens in one namespace, in which the recommenders keep what is theirs, too.

    Args:
        trial: the cluster.
        namespace: made already.
    """

    def __init__(self, trial: Trial, namespace: str) -> None:
        self.trial = trial
        self.namespace = namespace
        self.view = View(cluster=trial.cluster, client=trial.client, namespace=namespace)
        self._started: list[str] = []

    async def start(
        self,
        name: str = RECOMMENDER,
        *,
        settings: Settings | None = None,
        program: tuple[str, ...] = ("-m", "vgpu"),
    ) -> None:
        """Start a recommender, with these flags on top of the quick ones, and wait until it is ready."""
        flags = {
            "namespace": self.namespace,
            "prometheus-url": self.trial.source.url,
            "backfill-pause": "0.2s",
        }
        self.trial.services.add(name, Process(RECOMMENDER, {**flags, **(settings or {})}, program))
        self._started.append(name)
        await self.trial.services.start(name)

    def running(self) -> list[str]:
        """The recommenders that were started here and run."""
        return [name for name in dict.fromkeys(self._started) if self.trial.services.runs(name)]

    async def stop(self, name: str = RECOMMENDER, *, kill: bool = False) -> None:
        """End a recommender, with SIGTERM or with SIGKILL."""
        await self.trial.services.stop(name, kill=kill)

    async def close(self) -> None:
        """End what still runs, have the source behave, and remove the namespace."""
        await self.trial.source.go_down()
        await self.trial.source.come_up()
        self.trial.source.behave()
        for name in self.running():
            await self.stop(name, kill=True)
        await self.trial.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    async def is_ready(self, name: str = RECOMMENDER) -> bool:
        """Whether a recommender says of itself that it can do its work."""
        return await answers(self.trial.services.url(name, "/readyz"))()

    async def metrics(self, name: str = RECOMMENDER) -> ShownMetrics:
        """What a recommender shows now."""
        return await ShownMetrics.scrape(self.trial.services.url(name, "/metrics"))

    async def metrics_when(
        self,
        condition: Callable[[ShownMetrics], bool],
        *,
        step: str,
        name: str = RECOMMENDER,
        timeout: float = 30.0,
    ) -> ShownMetrics:
        """What a recommender shows as soon as that meets a condition."""

        async def look() -> ShownMetrics | NotYet:
            shown = await self.metrics(name)
            return shown if condition(shown) else NotYet(self.summary(shown))

        return await until(step, look, timeout=timeout)

    def summary(self, shown: ShownMetrics) -> str:
        """What helps to understand why something did not happen."""
        names = (CURSOR, ERRORS, GENERATION, LEADER, SAMPLES, OUTCOMES)
        return str(
            {name: {tuple(sorted(k)): v for k, v in shown.samples.get(name, {}).items()} for name in names}
        )

    def samples(self, shown: ShownMetrics, app: str) -> int:
        """How many samples the recommender has of a Deployment; 0 where it shows none."""
        return int(shown.value(SAMPLES, namespace=self.namespace, workload=app) or 0)

    async def reading(self, name: str = RECOMMENDER) -> ShownMetrics:
        """Wait until a recommender has begun to read usage: it leaves nothing out that comes from then on.

        One that is ready may only stand by: it does not lead yet.
        """
        return await self.caught_up(0.0, name=name)

    async def caught_up(
        self, since: float, *, name: str = RECOMMENDER, timeout: float = 30.0
    ) -> ShownMetrics:
        """Wait until a recommender has read usage beyond a time, in seconds since the epoch."""
        return await self.metrics_when(
            lambda shown: (shown.value(CURSOR) or 0) > since,
            step=f"{name} to have read beyond {since:.1f}",
            name=name,
            timeout=timeout,
        )

    async def standing_still(self, name: str = RECOMMENDER) -> ShownMetrics:
        """What a recommender shows once its source is down, and nothing moves any more."""
        before = (await self.metrics(name)).total(ERRORS)
        await self.trial.source.go_down()
        return await self.metrics_when(
            lambda shown: (
                shown.total(ERRORS) > before
                and shown.value("vgpu_recommender_queue_length") == 0
                and not shown.value("vgpu_recommender_backfill_pending_workloads")
            ),
            step=f"{name} to stand still",
            name=name,
        )

    async def reference(
        self,
        app: str,
        *,
        until: float,
        rules: Rules = QUICK_RULES,
        since: float = 0.0,
        lost: Mapping[str, set[float]] | None = None,
    ) -> ReferenceRecommender:
        """What raw samples say of a Deployment, up to and with a time.

        Args:
            app: the Deployment.
            until: epoch seconds.
            rules: how to estimate.
            since: only samples after this, epoch seconds.
            lost: of each resource the times of samples that the recommender was lied to about.
        """
        usage = {}
        for resource in METRICS:
            found = await usage_on_grid(
                self.trial.prometheus, resource, namespace=self.namespace, step=STEP, until=until
            )
            left_out = (lost or {}).get(resource, set())
            usage[resource] = {
                pod: {at: value for at, value in values.items() if at > since and at not in left_out}
                for pod, values in of_app(found, app).items()
            }
        return ReferenceRecommender(tflops=usage["tflops"], vram=usage["vram"], rules=rules, until=until)

    async def checkpoint(
        self, store: CheckpointStore | None = None, *, shard: Shard = ALONE
    ) -> tuple[Generation, Snapshot]:
        """The newest checkpoint, read as a recommender reads it; it must be whole."""
        failures = _Failures()
        loader = CheckpointLoader(
            store=store or ConfigMapStore(self.trial.client, namespace=self.namespace),
            shard=shard,
            metrics=failures,
            half_life=QUICK_RULES.half_life,
            patience=5.0,
        )
        loaded = await loader.load()
        assert failures.reasons == [], "the newest checkpoint is whole, whatever came between"
        assert loaded.snapshot is not None, "there is a checkpoint"
        assert loaded.readable is not None, "and it is the shard's own"
        return loaded.readable, loaded.snapshot

    async def require_complete(self, snapshot: Snapshot, apps: Sequence[str]) -> None:
        """Hold a checkpoint's histories against raw samples: none is missing and none is there twice."""
        for app in apps:
            key = WorkloadKey(self.namespace, app)
            assert key in snapshot.keys, f"{app} has a history"
            row = snapshot.keys.index(key)
            reference = await self.reference(app, until=float(snapshot.until[row]))
            found = (int(snapshot.samples[row]), float(snapshot.first[row]), float(snapshot.last[row]))
            wanted = (reference.samples, reference.first, reference.last)
            assert found == wanted, f"{app} has {found} (samples, first, last) instead of {wanted}"
            for resource, weights in (("tflops", snapshot.tflops), ("vram", snapshot.vram)):
                _require_same(weights, row, reference, resource)


def _require_same(weights: Weights, row: int, reference: ReferenceRecommender, resource: str) -> None:
    """Compare a histogram bucket by bucket, at the same time."""
    histogram = reference.histograms[resource]
    steps = (weights.reference - histogram.reference) / weights.half_life
    found = weights.weights[row].astype(np.float64) * 2.0**steps
    wanted = np.array([histogram.weights.get(bucket, 0.0) for bucket in range(weights.buckets.count)])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=_WEIGHT_ERROR * wanted.max(), err_msg=resource)


def mismatches(
    shown: ShownMetrics, reference: ReferenceRecommender, *, namespace: str, app: str
) -> list[str]:
    """Where the figures of a workload are others than the reference's, in words; none where all agree."""
    found = {"samples": shown.value(SAMPLES, namespace=namespace, workload=app)}
    problems = [] if found["samples"] == reference.samples else [f"{found} instead of {reference.samples}"]
    confidence = shown.value("vgpu_workload_confidence_ratio", namespace=namespace, workload=app)
    if confidence is None or not math.isclose(confidence, reference.confidence, abs_tol=2e-3):
        problems.append(f"confidence {confidence} instead of {reference.confidence}")
    for resource, unit, per_unit in (("tflops", "tflops", 1000), ("vram", "vram_bytes", 1)):
        wanted = {
            "target": reference.target(resource),
            "lower_bound": reference.lower_bound(resource),
            "upper_bound": reference.upper_bound(resource),
        }
        for kind, between in wanted.items():
            name = f"vgpu_workload_{kind}_{unit}"
            value = shown.value(name, namespace=namespace, workload=app)
            if value is None or not between.holds(value * per_unit):
                problems.append(f"{name} {value} instead of {between}")
    return problems


def now() -> float:
    """Seconds since the epoch, as recommenders reckon them on the same machine."""
    return time.time()
