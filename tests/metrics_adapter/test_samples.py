import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_adapter.samples import Drop, GpuSample, newest_samples
from tests.support.adapter import gpu
from vgpu.prometheus import Series
from vgpu.slices import Resource
from vgpu.usage_sources import TENSORFUSION, PodGpu


def series(*points: tuple[float, float], pod: str = "a", uuid: str = "GPU-0", **labels: str) -> Series:
    return Series(
        {"namespace": "default", "pod": pod, "uuid": uuid, **labels},
        [time for time, _ in points],
        [value for _, value in points],
    )


def newest(
    *found: Series, resource: Resource = Resource.TFLOPS
) -> tuple[dict[PodGpu, GpuSample], Counter[Drop]]:
    drops: Counter[Drop] = Counter()
    samples = newest_samples(found, resource=resource, identify=TENSORFUSION.identify, drops=drops)
    return samples, +drops


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
