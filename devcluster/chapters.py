"""The chapters of the demo's story: each waits for what the services wrote, and shows it."""

import datetime as dt
from collections.abc import Callable, Sequence

from devcluster.story import Narrator, NotYet, until
from devcluster.view import View, condition_of
from vgpu.annotations import APPLIED_RECOMMENDATION
from vgpu.dialects import baseline, dialect_of
from vgpu.kube.objects import CustomObject, Pod
from vgpu.prometheus import PrometheusClient, PrometheusError
from vgpu.quantities import format_tflops, format_vram
from vgpu.slices import VgpuSlice

RIGHT_SIZED = "text-generation"
SCALED = "chat"
RULE = "test"

_COLUMNS = ("", "TFLOPS request", "limit", "VRAM request", "limit")


class RightSizing:
    """Admission, usage, a recommendation, a new pod, and the cron rule on and off.

    Args:
        view: The namespace of the demo.
        narrator: Who tells it.
        prometheus_url: The Prometheus that scrapes the GPU exporter.
        rule_starts: When the cron rule becomes active.
    """

    def __init__(
        self, *, view: View, narrator: Narrator, prometheus_url: str, rule_starts: dt.datetime
    ) -> None:
        self._view = view
        self._narrator = narrator
        self._prometheus_url = prometheus_url
        self._rule_starts = rule_starts

    async def tell(self) -> None:
        """Tells the chapter."""
        first = await self._view.pod(RIGHT_SIZED, step="the first pod is admitted and runs")
        self._narrator.say(f"pod {first.metadata.name} is admitted and asks for what its template says:")
        self._show(("template", slice_of(first)))
        await self._usage()
        await self._recommendation()
        await self._new_pod(
            "a new pod gets the recommended slice", lambda pod: slice_of(pod) != baseline(pod).slice
        )
        await self._rule_on()
        await self._rule_off()

    async def _usage(self) -> None:
        async with PrometheusClient(self._prometheus_url) as prometheus:

            async def used() -> tuple[float, float] | NotYet:
                try:
                    tflops = await prometheus.query(_latest("tf_worker_usage_compute_tflops"))
                    vram = await prometheus.query(_latest("tf_worker_usage_memory_bytes"))
                except PrometheusError as error:
                    return NotYet(str(error))
                return (
                    (tflops[0].values[-1], vram[0].values[-1])
                    if tflops and vram
                    else NotYet("no usage in Prometheus")
                )

            tflops, vram = await until("Prometheus has the usage of the first pod", used, timeout=30)
        self._narrator.say(f"usage seen: {tflops:.1f} TFLOPS and {vram / 2**30:.2f} GiB of VRAM")

    async def _recommendation(self) -> None:
        workload = await self._view.workload(
            RIGHT_SIZED, has_recommendation, step="a recommendation is made", timeout=60
        )
        self._narrator.say("recommendation made:")
        self._narrator.detail(condition_of(workload)["message"])
        self._show(("recommended", recommended(workload)))

    async def _rule_on(self) -> None:
        wait = (self._rule_starts - dt.datetime.now(dt.UTC)).total_seconds()
        workload = await self._view.workload(
            RIGHT_SIZED,
            lambda found: bool(found.status.get("activeCronScalingRule")),
            step=f'cron rule "{RULE}" becomes active',
            timeout=max(wait, 0) + 20,
        )
        self._narrator.say(f"cron rule on: {condition_of(workload)['message']}")
        wanted = recommended(workload).requests.tflops
        await self._new_pod(
            "a new pod gets the rule's slice", lambda pod: slice_of(pod).requests.tflops == wanted
        )

    async def _rule_off(self) -> None:
        workload = await self._view.workload(
            RIGHT_SIZED,
            lambda found: not found.status.get("activeCronScalingRule"),
            step=f'cron rule "{RULE}" becomes inactive',
            timeout=80,
        )
        self._narrator.say(f"cron rule off: {condition_of(workload)['message']}")
        self._show(("recommended now", recommended(workload)))

    async def _new_pod(self, step: str, condition: Callable[[Pod], bool]) -> None:
        before = await self._view.pod(RIGHT_SIZED)
        await self._view.delete_pod(before)
        after = await self._view.pod(
            RIGHT_SIZED, lambda pod: pod.metadata.uid != before.metadata.uid and condition(pod), step=step
        )
        applied = (after.metadata.annotations or {})[APPLIED_RECOMMENDATION]
        self._narrator.say(f"new pod {after.metadata.name} (applied-recommendation {applied}):")
        self._show(("before", slice_of(before)), ("after", slice_of(after)))

    def _show(self, *slices: tuple[str, VgpuSlice]) -> None:
        self._narrator.table(_COLUMNS, [_row(title, slice_) for title, slice_ in slices])


class Scaling:
    """The HorizontalPodAutoscaler appears, scales up with the day's load, and down again at night."""

    def __init__(self, *, view: View, narrator: Narrator) -> None:
        self._view = view
        self._narrator = narrator

    async def tell(self) -> None:
        """Tells the chapter."""
        name = f"vgpu-{SCALED}"
        hpa = await self._view.hpa(name, step=f"the recommender makes HorizontalPodAutoscaler {name}")
        lowest, highest = hpa.spec["minReplicas"], hpa.spec["maxReplicas"]
        self._narrator.say(f"HorizontalPodAutoscaler {name} is made: {lowest} to {highest} replicas")
        hpa = await self._view.hpa(
            name, lambda found: _replicas(found.status) >= 3, step=f"{SCALED} is scaled up", timeout=75
        )
        self._narrator.say(
            f"day: {SCALED} is busy, its HPA has scaled it up to {_replicas(hpa.status)} replicas"
        )
        await self._view.hpa(
            name, lambda found: _replicas(found.status) == 1, step=f"{SCALED} is scaled down", timeout=90
        )
        self._narrator.say(f"night: {SCALED} is idle, its HPA has scaled it down to 1 replica")


def slice_of(pod: Pod) -> VgpuSlice:
    """The slice that a gated pod carries."""
    dialect = dialect_of(pod)
    return VgpuSlice() if dialect is None else dialect.read(pod).slice


def has_recommendation(workload: CustomObject) -> bool:
    """Whether the workload's status holds a recommendation."""
    return bool(workload.status.get("recommendation"))


def recommended(workload: CustomObject) -> VgpuSlice:
    """The recommendation in the workload's status."""
    return VgpuSlice.from_json(workload.status["recommendation"])


def _latest(metric: str) -> str:
    return f'{metric}{{workload="{RIGHT_SIZED}"}}'


def _replicas(status: dict[str, int]) -> int:
    return status.get("currentReplicas") or 0


def _row(title: str, slice_: VgpuSlice) -> Sequence[str]:
    amounts = (slice_.requests, slice_.limits)
    tflops = [_tflops(each.tflops) for each in amounts]
    return [title, *tflops, *(_vram(each.vram) for each in amounts)]


def _tflops(milli: int | None) -> str:
    return "-" if milli is None else format_tflops(milli)


def _vram(value: int | None) -> str:
    if value is None:
        return "-"
    exact = format_vram(value)
    return exact if exact.endswith("i") else f"{value / 2**30:.2f} GiB"
