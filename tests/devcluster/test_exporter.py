"""The simulated exporter: one series for each GPU of each running gated pod."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from devcluster.exporter import SimulatedGpus
from devcluster.load import RecordedRates
from vgpu.kube.objects import ObjectMeta, Pod, PodStatus

ANNOTATIONS = {
    "tensor-fusion.ai/tflops-request": "5",
    "tensor-fusion.ai/tflops-limit": "5",
    "tensor-fusion.ai/workload": "engine",
}


def running(name: str, *, phase: str = "Running", deleted: str | None = None, **annotations: str) -> Pod:
    """A gated pod."""
    extra = {key.replace("_", "-"): value for key, value in annotations.items()}
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="default",
            uid=f"uid-{name}",
            deletion_timestamp=deleted,
            labels={"tensor-fusion.ai/enabled": "true"},
            annotations=ANNOTATIONS | {f"tensor-fusion.ai/{key}": value for key, value in extra.items()},
        ),
        status=PodStatus(phase=phase),
    )


def scrape(pods: Sequence[Pod]) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus reads from the exporter: samples by metric."""
    registry = CollectorRegistry()
    registry.register(
        SimulatedGpus(pods=lambda: pods, rates=RecordedRates.load(), speed=1.0, clock=lambda: 0.0)
    )
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


def test_a_running_pod_has_both_metrics_with_all_labels() -> None:
    scraped = scrape([running("pod-a")])

    for metric in ("tf_worker_usage_compute_tflops", "tf_worker_usage_memory_bytes"):
        [(labels, value)] = scraped[metric]
        assert labels == {
            "namespace": "default",
            "workload": "engine",
            "worker": "pod-a",
            "pod": "pod-a",
            "uuid": "GPU-uid-pod-a/0",
        }
        assert value > 0


def test_each_gpu_of_a_pod_is_a_series() -> None:
    scraped = scrape([running("pod-a", gpu_count="8")])

    assert len({labels["uuid"] for labels, _ in scraped["tf_worker_usage_compute_tflops"]}) == 8


def test_a_pod_that_does_not_run_or_is_being_deleted_has_no_series() -> None:
    pods = [running("pending", phase="Pending"), running("leaving", deleted="2026-11-23T00:00:00Z")]

    assert scrape(pods)["tf_worker_usage_compute_tflops"] == []


def test_usage_stays_within_the_slice() -> None:
    [(_, tflops)] = scrape([running("pod-a")])["tf_worker_usage_compute_tflops"]

    assert tflops <= 5


def test_replicas_of_one_workload_share_its_load() -> None:
    light = '{"client": "peaky_diurnal", "gpuSecondsPerRequest": 0.5, "engineTflops": 4}'
    pods = [running(name) for name in ("pod-a", "pod-b")]
    loaded = [
        Pod(
            metadata=ObjectMeta(
                name=pod.metadata.name,
                namespace="default",
                uid=pod.metadata.uid,
                labels=pod.metadata.labels,
                annotations={**(pod.metadata.annotations or {}), "devcluster.vgpu-autoscaler/load": light},
            ),
            status=pod.status,
        )
        for pod in pods
    ]

    [(_, alone)] = scrape(loaded[:1])["tf_worker_usage_compute_tflops"]
    shared = scrape(loaded)["tf_worker_usage_compute_tflops"]

    assert all(value < alone * 0.7 for _, value in shared)


def test_a_pod_with_a_bad_load_annotation_is_left_out_and_the_others_stay() -> None:
    bad = Pod(
        metadata=ObjectMeta(
            name="bad",
            namespace="default",
            labels={"tensor-fusion.ai/enabled": "true"},
            annotations=ANNOTATIONS | {"devcluster.vgpu-autoscaler/load": "{"},
        ),
        status=PodStatus(phase="Running"),
    )

    scraped = scrape([bad, running("good")])

    assert [labels["pod"] for labels, _ in scraped["tf_worker_usage_compute_tflops"]] == ["good"]
