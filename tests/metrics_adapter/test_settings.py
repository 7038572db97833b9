import pytest

from metrics_adapter.settings import AdapterSettings
from vgpu.settings import SettingsError, load_settings


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = AdapterSettings()
    assert (settings.interval, settings.freshness, settings.port, settings.ops_port) == (10, 60, 6443, 8083)
    assert settings.preset == "tensorfusion"
    assert not settings.registration


def test_registering_is_a_setting_called_register() -> None:
    environ = {"VGPU_METRICS_ADAPTER_REGISTER": "true", "VGPU_METRICS_ADAPTER_INTERVAL": "2s"}
    settings = load_settings(AdapterSettings, file=None, flags={}, environ=environ)
    assert settings.registration
    assert settings.interval == 2


def test_a_freshness_shorter_than_the_interval_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"freshness \(5 s\) must be longer than interval \(10 s\)"):
        load_settings(AdapterSettings, file=None, flags={"freshness": "5s"}, environ={})


def test_the_certificate_is_good_for_the_name_that_the_aggregator_verifies() -> None:
    names = AdapterSettings(namespace="vgpu", service_name="adapter").serving_names()
    assert names[0] == "adapter.vgpu.svc"
    assert "localhost" in names
