"""The settings of the metric source, and their check against the source."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.fake_prometheus import FakePrometheus
from vgpu.metric_source import MetricSourceSettings, require_valid_queries
from vgpu.prometheus import BadQuery, PrometheusClient
from vgpu.settings import SettingsError, load_settings


async def check(prometheus: FakePrometheus, **settings: Any) -> None:
    """Checks the settings against a Prometheus."""
    async with PrometheusClient(prometheus.url) as source:
        await require_valid_queries(source, MetricSourceSettings(**settings))


def test_the_preset_names_the_selectors() -> None:
    assert list(MetricSourceSettings().selectors()) == [
        ("preset", "tf_worker_usage_compute_tflops"),
        ("preset", "tf_worker_usage_memory_bytes"),
    ]


def test_a_selector_that_is_set_takes_the_place_of_the_presets() -> None:
    settings = MetricSourceSettings(tflops_query='usage{field="tflops"}')

    assert settings.usage().tflops == 'usage{field="tflops"}'
    assert settings.usage().vram == "tf_worker_usage_memory_bytes"
    assert settings.usage().pod_labels == MetricSourceSettings().usage().pod_labels


def test_an_unknown_preset_is_named_with_those_that_are_known() -> None:
    with pytest.raises(SettingsError, match=r"preset.*tensorfusoin.*tensorfusion"):
        load_settings(MetricSourceSettings, file=None, flags={"preset": "tensorfusoin"}, environ={})


async def test_selectors_that_the_source_takes_are_valid() -> None:
    async with FakePrometheus() as prometheus:
        await check(prometheus)

        assert len(prometheus.requests) == 2


@pytest.mark.parametrize("setting", ["tflops_query", "vram_query"])
async def test_a_selector_that_the_source_refuses_is_named_by_its_setting(setting: str) -> None:
    async with FakePrometheus() as prometheus:
        with pytest.raises(BadQuery, match=rf"setting '{setting}'.*usage\{{"):
            await check(prometheus, **{setting: "usage{"})


async def test_a_source_that_is_away_does_not_stop_the_start() -> None:
    async with FakePrometheus() as prometheus:
        await prometheus.stop()

        with capture_logs() as logs:
            await check(prometheus)

    assert [entry["event"] for entry in logs] == ["metric source is not there yet"]
