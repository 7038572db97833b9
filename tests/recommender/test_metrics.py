from prometheus_client import CollectorRegistry

from recommender.estimators import Estimate
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from vgpu.slices import Amounts, Resource, VgpuSlice

WEB = WorkloadKey("default", "web")
ESTIMATE = Estimate(target=3510, lower_bound=3504, upper_bound=6318, confidence=1.25)


class Shown:
    """The series of one workload, as Prometheus would read them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = RecommenderMetrics(self._registry)

    def value(self, name: str, resource: str, kind: str) -> float | None:
        labels = {"namespace": "default", "workload": "web", "resource": resource, "kind": kind}
        return self._registry.get_sample_value(f"vgpu_recommender_{name}", labels)


def test_an_estimate_is_shown_in_tflops_and_bytes() -> None:
    shown = Shown()
    for resource in Resource:
        shown.metrics.set_estimate(WEB, resource, ESTIMATE)
    assert [shown.value("estimate", "tflops", kind) for kind in ("target", "lower", "upper")] == [
        3.51,
        3.504,
        6.318,
    ]
    assert shown.value("estimate", "vram", "target") == 3510


def test_an_estimate_that_is_no_more_is_not_shown_any_longer() -> None:
    shown = Shown()
    shown.metrics.set_estimate(WEB, Resource.TFLOPS, ESTIMATE)
    shown.metrics.set_estimate(WEB, Resource.TFLOPS, None)
    assert shown.value("estimate", "tflops", "target") is None


def test_a_workload_that_is_no_more_leaves_no_series() -> None:
    shown = Shown()
    shown.metrics.set_estimate(WEB, Resource.VRAM, ESTIMATE)
    shown.metrics.set_recommendation(WEB, VgpuSlice(Amounts(vram=5), Amounts(vram=6)))
    assert shown.value("recommendation", "vram", "limit") == 6
    shown.metrics.forget(WEB)
    assert shown.value("recommendation", "vram", "limit") is None
    assert shown.value("estimate", "vram", "target") is None
