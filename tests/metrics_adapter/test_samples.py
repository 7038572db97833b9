import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metrics_adapter.cards import any_cards
from metrics_adapter.samples import Drop, GpuSample, SampleReader
from tests.support.adapter import gpu
from tests.support.usage import cards
from vgpu.capacity import Card
from vgpu.gpu_peaks import load_models
from vgpu.prometheus import Series
from vgpu.slices import Resource
from vgpu.usage_sources import DCGM, HAMI, TENSORFUSION, CardLookup, PodGpu, Preset

ANY = any_cards(load_models())
ON_L4 = cards({"node": Card("NVIDIA-L4", 121_000, 24 * 2**30)})
A100 = "NVIDIA A100-SXM4-80GB"
PROF, DEV = "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"


def series(*points: tuple[float, float], pod: str = "a", uuid: str = "GPU-0", **labels: str) -> Series:
    return Series(
        {"namespace": "default", "pod": pod, "uuid": uuid, **labels},
        [time for time, _ in points],
        [value for _, value in points],
    )


def newest(
    *found: Series,
    resource: Resource = Resource.TFLOPS,
    preset: Preset = TENSORFUSION,
    known: CardLookup = ANY,
) -> tuple[dict[PodGpu, GpuSample], Counter[Drop]]:
    drops: Counter[Drop] = Counter()
    reader = SampleReader(preset=preset, cards=known, node_of=lambda *_: "node")
    samples = reader.newest(found, resource, drops)
    return samples, +drops


def dcgm(*points: tuple[float, float], name: str = PROF, pod: str = "a", **labels: str) -> Series:
    more = {"__name__": name, "UUID": "GPU-0", "modelName": A100, **labels}
    return series(*points, pod=pod, uuid="", **more)


def values(found: dict[PodGpu, GpuSample]) -> list[float | None]:
    return [sample.value for sample in found.values()]


def test_the_newest_of_the_raw_samples_counts() -> None:
    samples, drops = newest(series((10, 1.0), (20, 2.0)))
    assert samples == {gpu("a"): GpuSample(20, 2.0)}
    assert not drops


def test_each_gpu_of_a_pod_keeps_its_own_sample() -> None:
    samples, _ = newest(series((10, 1.0), uuid="GPU-0"), series((11, 3.0), uuid="GPU-1"))
    assert samples == {gpu("a", uuid="GPU-0"): GpuSample(10, 1.0), gpu("a", uuid="GPU-1"): GpuSample(11, 3.0)}


def test_a_pod_behind_exported_labels_is_found() -> None:
    found = Series(
        {"namespace": "exporter", "exported_namespace": "default", "exported_pod": "a", "uuid": "GPU-0"},
        [1],
        [2],
    )
    assert newest(found)[0] == {gpu("a"): GpuSample(1, 2)}


def test_of_two_series_of_one_gpu_the_newer_counts() -> None:
    old, new = series((10, 9.0), instance="one"), series((20, 2.0), instance="two")
    expected = {gpu("a"): GpuSample(20, 2.0)}
    assert newest(old, new) == newest(new, old) == (expected, Counter({Drop.DUPLICATE: 1}))


def test_of_two_series_of_the_same_time_the_larger_counts_whatever_their_order() -> None:
    small, large = series((10, 1.0), instance="one"), series((10, 2.0), instance="two")
    assert newest(small, large)[0] == newest(large, small)[0] == {gpu("a"): GpuSample(10, 2.0)}


def test_a_usable_sample_is_preferred_to_a_broken_one_of_the_same_time() -> None:
    good, broken = series((10, 1.0), instance="one"), series((10, math.nan), instance="two")
    assert newest(good, broken)[0] == newest(broken, good)[0] == {gpu("a"): GpuSample(10, 1.0)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e6, 1e30])
def test_tflops_that_no_card_gives_are_unknown(value: float) -> None:
    assert newest(series((10, value)))[0] == {gpu("a"): GpuSample(10, None)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 2e12])
def test_vram_that_no_card_has_is_unknown(value: float) -> None:
    assert newest(series((10, value)), resource=Resource.VRAM)[0] == {gpu("a"): GpuSample(10, None)}


def test_the_vram_of_a_large_card_is_believed() -> None:
    sample = series((10, 192.0 * 2**30))
    assert newest(sample, resource=Resource.VRAM)[0] == {gpu("a"): GpuSample(10, 192.0 * 2**30)}


def test_an_older_good_sample_does_not_stand_in_for_a_broken_newest_one() -> None:
    assert newest(series((10, 5.0), (20, math.nan)))[0] == {gpu("a"): GpuSample(20, None)}


def test_a_series_that_names_no_pod_is_dropped_and_counted() -> None:
    found = Series({"namespace": "default", "uuid": "GPU-0"}, [1], [2])
    assert newest(found) == ({}, Counter({Drop.UNIDENTIFIED: 1}))


def test_a_series_without_samples_is_nothing() -> None:
    assert newest(series()) == ({}, Counter())


def test_parts_of_a_card_count_by_the_nodes_card() -> None:
    found = series(
        (10, 50.0), uuid="", device_uuid="GPU-0", __name__="hami_container_device_utilization_ratio"
    )
    samples, drops = newest(found, preset=HAMI, known=ON_L4)
    assert values(samples) == [60.5]
    assert not drops


def test_parts_of_a_card_that_nobody_knows_are_unknown_and_counted() -> None:
    found = series((10, 50.0), __name__="hami_container_device_utilization_ratio")
    samples, drops = newest(found, preset=HAMI)
    assert values(samples) == [None]
    assert drops == {Drop.UNKNOWN_CARD: 1}


def test_a_mig_instance_counts_by_its_share_of_the_series_own_model() -> None:
    samples, _ = newest(dcgm((10, 0.5), GPU_I_PROFILE="1g.10gb", GPU_I_ID="7"), preset=DCGM)
    assert values(samples) == [pytest.approx(312 / 14)]


def test_more_than_the_whole_card_is_not_believed() -> None:
    samples, _ = newest(dcgm((10, 1.06)), preset=DCGM)
    assert values(samples) == [None]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_metrics_the_one_that_tells_more_counts_and_the_other_where_it_is_missing(order: int) -> None:
    both = [dcgm((10, 0.5)), dcgm((20, 90.0), name=DEV), dcgm((20, 25.0), name=DEV, UUID="GPU-1")]
    samples, drops = newest(*both[::order], preset=DCGM)
    assert {gpu.gpu: sample.value for gpu, sample in samples.items()} == {"GPU-0": 156.0, "GPU-1": 78.0}
    assert not drops


def test_memory_in_mebibytes_becomes_bytes() -> None:
    found = dcgm((10, 1024.0), name="DCGM_FI_DEV_FB_USED")
    assert values(newest(found, preset=DCGM, resource=Resource.VRAM)[0]) == [2.0**30]


def test_a_metric_that_was_not_asked_for_is_dropped() -> None:
    assert newest(dcgm((10, 1.0), name="DCGM_FI_DEV_POWER_USAGE"), preset=DCGM) == (
        {},
        Counter({Drop.UNIDENTIFIED: 1}),
    )


def test_a_card_that_several_pods_have_at_once_says_nothing_of_either() -> None:
    both = [dcgm((10, 0.5), (20, 0.5)), dcgm((15, 0.5), (25, 0.5), pod="b")]
    samples, drops = newest(*both, preset=DCGM)
    assert values(samples) == [None, None]
    assert drops == {Drop.SHARED: 2}


def test_a_card_that_changes_hands_is_not_shared() -> None:
    samples, drops = newest(dcgm((10, 0.5), (20, 0.5)), dcgm((25, 0.25), pod="b"), preset=DCGM)
    assert values(samples) == [156.0, 78.0]
    assert not drops


def test_on_a_node_that_shares_its_cards_no_series_is_believed() -> None:
    samples, drops = newest(dcgm((10, 0.5)), preset=DCGM, known=cards(shared=frozenset({"node"})))
    assert values(samples) == [None]
    assert drops == {Drop.SHARED: 1}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GPU-0", "GPU-1"]),
            st.integers(1, 3),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=6,
    ),
    st.randoms(),
)
def test_the_order_of_the_answer_decides_nothing(
    points: list[tuple[str, int, float]], random: Random
) -> None:
    found = [series((time, value), uuid=uuid) for uuid, time, value in points]
    shuffled = list(found)
    random.shuffle(shuffled)
    assert newest(*found) == newest(*shuffled)


UTILIZATION = "hami_container_device_utilization_ratio"


def hami(*points: tuple[float, float], pod: str = "a") -> Series:
    return series(*points, pod=pod, uuid="", device_uuid="GPU-0", __name__=UTILIZATION)


def test_a_pod_of_which_hami_has_shown_nothing_but_zeros_has_no_value() -> None:
    samples, drops = newest(hami((5, 0.0), (10, 0.0)), preset=HAMI, known=ON_L4)
    assert values(samples) == [None]
    assert drops == {Drop.UNMEASURED: 1}


def test_once_a_pod_has_shown_more_its_zeros_count_and_those_of_others_do_not() -> None:
    reader = SampleReader(preset=HAMI, cards=ON_L4, node_of=lambda *_: "node")
    drops: Counter[Drop] = Counter()
    both = [hami((5, 50.0), (10, 0.0)), hami((10, 0.0), pod="b")]
    assert values(reader.newest(both, Resource.TFLOPS, drops)) == [0.0, None]
    assert values(reader.newest([hami((20, 0.0))], Resource.TFLOPS, drops)) == [0.0]
    assert +drops == {Drop.UNMEASURED: 1}


def test_a_pod_of_which_hami_shows_no_memory_uses_none() -> None:
    found = series((10, 0.0), __name__="hami_vgpu_memory_used_bytes")
    assert values(newest(found, preset=HAMI, resource=Resource.VRAM, known=ON_L4)[0]) == [0.0]


def test_a_model_that_nobody_knows_is_told_once() -> None:
    reader = SampleReader(preset=DCGM, cards=ANY, node_of=lambda *_: "node")
    with capture_logs() as logs:
        for _ in range(3):
            reader.newest([dcgm((10, 0.5), modelName="Voodoo")], Resource.TFLOPS, Counter())
    assert [(entry["product"], entry["node"]) for entry in logs] == [("Voodoo", "node")]
