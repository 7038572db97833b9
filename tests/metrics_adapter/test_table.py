from collections.abc import Mapping

import pytest

from metrics_adapter.catalog import Metric
from metrics_adapter.samples import Drop, GpuSample
from metrics_adapter.table import Table
from tests.support.adapter import NOW, gated_pod, gpu, table_of
from vgpu.annotations import TFLOPS_REQUEST
from vgpu.kube.objects import Pod
from vgpu.usage_sources import PodGpu

GIB = 2**30


def used(*values: float | None, pod: str = "a", time: float = NOW - 5) -> dict[PodGpu, GpuSample]:
    """One sample for each GPU of a pod."""
    return {gpu(pod, uuid=f"GPU-{index}"): GpuSample(time, value) for index, value in enumerate(values)}


def quantities(table: Table, metric: Metric, namespace: str = "default") -> Mapping[str, str]:
    return {name: value.quantity for name, value in table.rows("pods", metric, namespace).items()}


def drops(table: Table) -> dict[Drop, int]:
    return {reason: count for reason, count in table.drops.items() if count}


def test_utilization_is_percent_of_the_request_that_the_pod_runs_with() -> None:
    table = table_of(gated_pod("a", tflops="12500m"), tflops=used(10.0))
    assert quantities(table, Metric.GPU_UTILIZATION) == {"a": "80"}


def test_utilization_goes_above_a_hundred_percent_where_the_limit_lets_it() -> None:
    table = table_of(gated_pod("a", tflops="10"), tflops=used(15.0))
    assert quantities(table, Metric.GPU_UTILIZATION) == {"a": "150"}


def test_an_idle_pod_has_a_true_zero() -> None:
    assert quantities(table_of(gated_pod("a"), tflops=used(0.0)), Metric.GPU_UTILIZATION) == {"a": "0"}


def test_the_four_metrics_of_a_pod() -> None:
    table = table_of(gated_pod("a", tflops="10", vram="10Gi"), tflops=used(2.5), vram=used(4.0 * GIB))
    assert {metric: quantities(table, metric)["a"] for metric in Metric} == {
        Metric.GPU_UTILIZATION: "25",
        Metric.GPU_MEMORY_UTILIZATION: "40",
        Metric.GPU_TFLOPS: "2500m",
        Metric.GPU_MEMORY_BYTES: str(4 * GIB),
    }


def test_eight_gpus_are_one_value_mean_for_utilization_and_sum_for_amounts() -> None:
    table = table_of(
        gated_pod("a", tflops="10", vram="1k"),
        tflops=used(1, 2, 3, 4, 5, 6, 7, 8),
        vram=used(*[100.0] * 8),
    )
    assert quantities(table, Metric.GPU_UTILIZATION) == {"a": "45"}
    assert quantities(table, Metric.GPU_MEMORY_UTILIZATION) == {"a": "10"}
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "36"}
    assert quantities(table, Metric.GPU_MEMORY_BYTES) == {"a": "800"}


def test_a_value_is_as_old_as_the_oldest_sample_in_it() -> None:
    samples = {**used(1.0, time=NOW - 5), gpu("a", uuid="GPU-7"): GpuSample(NOW - 20, 1.0)}
    table = table_of(gated_pod("a"), tflops=samples)
    assert table.rows("pods", Metric.GPU_UTILIZATION, "default")["a"].time == NOW - 20


def test_quantities_have_at_most_three_decimals() -> None:
    table = table_of(gated_pod("a", tflops="3"), tflops=used(1.0))
    assert quantities(table, Metric.GPU_UTILIZATION) == {"a": "33333m"}


def test_rows_are_in_the_order_of_names_whatever_the_order_of_samples() -> None:
    names = ["c", "a", "b"]
    samples = {gpu(name): GpuSample(NOW - 5, 1.0) for name in names}
    table = table_of(*(gated_pod(name) for name in names), tflops=samples)
    assert list(table.rows("pods", Metric.GPU_UTILIZATION, "default")) == ["a", "b", "c"]


def test_pods_of_one_name_in_two_namespaces_are_two() -> None:
    samples = {
        gpu("a"): GpuSample(NOW - 5, 1.0),
        gpu("a", namespace="other"): GpuSample(NOW - 5, 2.0),
    }
    table = table_of(gated_pod("a"), gated_pod("a", namespace="other"), tflops=samples)
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "1"}
    assert quantities(table, Metric.GPU_TFLOPS, "other") == {"a": "2"}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (gated_pod("other"), Drop.NO_POD),
        (gated_pod("a", phase="Pending"), Drop.NOT_RUNNING),
        (gated_pod("a", phase="Succeeded"), Drop.NOT_RUNNING),
        (gated_pod("a", deleting=True), Drop.NOT_RUNNING),
        (gated_pod("a", created=NOW), Drop.OLDER_THAN_POD),
        (gated_pod("a", created=NOW - 60, started=NOW), Drop.OLDER_THAN_POD),
    ],
)
def test_a_pod_that_cannot_be_judged_has_no_value_and_the_reason_is_counted(pod: Pod, reason: Drop) -> None:
    table = table_of(pod, tflops=used(1.0))
    assert not table.values
    assert drops(table) == {reason: 1}


def test_of_a_restarted_pod_only_the_samples_since_its_start_count() -> None:
    samples = {
        gpu("a", uuid="GPU-old"): GpuSample(NOW - 40, 9.0),
        gpu("a", uuid="GPU-new"): GpuSample(NOW - 5, 1.0),
    }
    table = table_of(gated_pod("a", created=NOW - 30), tflops=samples)
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "1"}


@pytest.mark.parametrize("request_", [None, "0", "a lot"])
def test_without_a_request_there_is_no_utilization_but_the_amount_stays(request_: str | None) -> None:
    table = table_of(gated_pod("a", tflops=request_), tflops=used(1.0))
    assert quantities(table, Metric.GPU_UTILIZATION) == {}
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "1"}
    assert drops(table) == {Drop.NO_REQUEST: 1}


def test_a_pod_without_any_slice_has_no_utilization() -> None:
    table = table_of(gated_pod("a", tflops=None, vram=None), tflops=used(1.0), vram=used(1.0))
    assert quantities(table, Metric.GPU_UTILIZATION) == quantities(table, Metric.GPU_MEMORY_UTILIZATION) == {}
    assert drops(table) == {Drop.NO_REQUEST: 2}


def test_a_pod_whose_vram_is_not_measured_has_its_tflops() -> None:
    table = table_of(gated_pod("a"), tflops=used(1.0))
    assert quantities(table, Metric.GPU_MEMORY_BYTES) == {}
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "1"}


def test_a_pod_of_whose_gpus_one_says_nothing_has_no_value() -> None:
    table = table_of(gated_pod("a"), gated_pod("b"), tflops={**used(9.0, None), **used(9.0, pod="b")})
    assert quantities(table, Metric.GPU_TFLOPS) == {"b": "9"}
    assert quantities(table, Metric.GPU_UTILIZATION) == {"b": "90"}
    assert drops(table) == {Drop.BAD_VALUE: 1}


def test_a_bad_sample_of_one_resource_leaves_the_other() -> None:
    table = table_of(gated_pod("a"), tflops=used(None), vram=used(1.0 * GIB))
    assert quantities(table, Metric.GPU_TFLOPS) == {}
    assert quantities(table, Metric.GPU_MEMORY_BYTES) == {"a": str(GIB)}


def test_a_bad_sample_of_an_earlier_pod_says_nothing_of_this_one() -> None:
    samples = {
        gpu("a", uuid="GPU-old"): GpuSample(NOW - 40, None),
        gpu("a", uuid="GPU-new"): GpuSample(NOW - 5, 1.0),
    }
    table = table_of(gated_pod("a", created=NOW - 30), tflops=samples)
    assert quantities(table, Metric.GPU_TFLOPS) == {"a": "1"}


def test_the_labels_for_selectors_are_those_of_the_pod() -> None:
    table = table_of(gated_pod("a", labels={"app": "llama"}), tflops=used(1.0))
    assert table.rows("pods", Metric.GPU_TFLOPS, "default")["a"].labels["app"] == "llama"


def test_the_largest_values_still_make_a_quantity() -> None:
    pod = gated_pod("a", tflops="1m")
    assert (pod.metadata.annotations or {})[TFLOPS_REQUEST] == "1m"
    table = table_of(pod, tflops=used(9e18, 9e18))
    assert quantities(table, Metric.GPU_TFLOPS)["a"].isdigit()


def test_the_size_is_known_by_metric() -> None:
    table = table_of(
        gated_pod("a"), gated_pod("b"), tflops={**used(1.0), **used(1.0, pod="b")}, vram=used(1.0)
    )
    assert table.sizes() == {
        Metric.GPU_UTILIZATION: 2,
        Metric.GPU_TFLOPS: 2,
        Metric.GPU_MEMORY_UTILIZATION: 1,
        Metric.GPU_MEMORY_BYTES: 1,
    }
