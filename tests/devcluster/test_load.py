"""The simulated load: recorded rates, and slices that are obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.load import WINDOW, LoadProfile, LoadProfileError, RecordedRates, Usage, parse_profile, usage
from vgpu.slices import Amounts, VgpuSlice

RECORDED = RecordedRates.load()
STEADY = RecordedRates({"steady": [100.0]})
UNBOUND = VgpuSlice()
ENGINE = LoadProfile(
    client="steady",
    gpu_seconds_per_request=0.004,
    latency_seconds=2.0,
    engine_tflops=50.0,
    weights_bytes=1000.0,
    cache_bytes_per_request=10.0,
)


def steady(slice_: VgpuSlice = UNBOUND, *, replicas: int = 1) -> Usage:
    """Usage under 100 requests a second."""
    return usage(ENGINE, STEADY, slice_, elapsed=0.0, replicas=replicas, seed="pod")


def test_two_weeks_of_six_clients_are_recorded() -> None:
    assert len(RECORDED.clients) == 6
    assert RECORDED.rate("steady_diurnal", 0.0) == pytest.approx(378.917)


def test_a_rate_between_two_windows_is_interpolated() -> None:
    rates = RecordedRates({"ramp": [0.0, 10.0]})

    assert rates.rate("ramp", WINDOW / 4) == pytest.approx(2.5)


def test_the_recording_repeats_after_its_end() -> None:
    rates = RecordedRates({"ramp": [0.0, 10.0]})

    assert rates.rate("ramp", 3 * WINDOW) == pytest.approx(10.0)


def test_an_engine_computes_for_the_share_of_time_that_it_is_busy() -> None:
    assert steady().tflops == pytest.approx(0.4 * 50.0, rel=0.2)


def test_replicas_share_the_requests() -> None:
    assert steady(replicas=4).tflops == pytest.approx(steady().tflops / 4)


def test_vram_holds_the_weights_and_the_requests_in_flight() -> None:
    assert steady().vram == pytest.approx(1000.0 + 200 * 10.0, rel=0.2)


@given(
    tflops=st.integers(0, 100_000),
    vram=st.integers(0, 2**40),
    elapsed=st.floats(0, 1e7),
    replicas=st.integers(0, 50),
    client=st.sampled_from(RECORDED.clients),
)
def test_usage_never_exceeds_the_limit(
    tflops: int, vram: int, elapsed: float, replicas: int, client: str
) -> None:
    limited = VgpuSlice(limits=Amounts(tflops=tflops, vram=vram))

    used = usage(
        LoadProfile(client=client), RECORDED, limited, elapsed=elapsed, replicas=replicas, seed="pod"
    )

    assert 0 <= used.tflops <= tflops / 1000
    assert 0 <= used.vram <= vram


def test_the_same_pod_at_the_same_time_uses_the_same() -> None:
    assert steady() == steady()


def test_a_load_annotation_is_read_by_its_documented_names() -> None:
    profile = parse_profile(
        '{"client": "diurnal", "startHour": 6, "engineTflops": 12}', clients=RECORDED.clients
    )

    assert (profile.client, profile.start_hour, profile.engine_tflops) == ("diurnal", 6, 12)


@pytest.mark.parametrize(
    "text", ["{", '{"clint": "diurnal"}', '{"client": "nobody"}', '{"startHour": "six"}']
)
def test_a_bad_load_annotation_is_named(text: str) -> None:
    with pytest.raises(LoadProfileError, match="annotation devcluster"):
        parse_profile(text, clients=RECORDED.clients)
