import pytest

from vgpu.settings import SettingsError, load_settings
from webhook.settings import WebhookSettings


def loaded(**environment: str) -> WebhookSettings:
    environ = {f"VGPU_WEBHOOK_{name.upper()}": value for name, value in environment.items()}
    return load_settings(WebhookSettings, file=None, flags={}, environ=environ)


def test_the_defaults_touch_no_registration() -> None:
    settings = loaded()
    assert (settings.registration, settings.port, settings.ops_port) == ("none", 9443, 8082)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "https://127.0.0.1:9443"),
        ("::", "https://[::1]:9443"),
        ("10.1.2.3", "https://10.1.2.3:9443"),
        ("webhook.example", "https://webhook.example:9443"),
    ],
)
def test_the_address_to_register_is_made_from_host_and_port(host: str, address: str) -> None:
    assert loaded(host=host).address(9443) == address


def test_the_address_to_register_can_be_set() -> None:
    settings = loaded(register="url", register_url="https://hooks.example:8443/base/")
    assert settings.address(9443) == "https://hooks.example:8443/base"
    assert "hooks.example" in settings.serving_names()


def test_the_certificate_is_good_for_the_service_and_for_this_machine() -> None:
    names = loaded(host="10.1.2.3", namespace="gpu", service_name="hook").serving_names()
    assert {"hook.gpu.svc", "hook.gpu.svc.cluster.local", "localhost", "127.0.0.1", "10.1.2.3"} <= set(names)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("register", "always", "setting 'register'"),
        ("register_url", "http://127.0.0.1:9443", "https:// only"),
        ("register_url", "127.0.0.1", "setting 'register_url'"),
        ("port", "70000", "setting 'port'"),
        ("register_port", "0", "setting 'register_port'"),
        ("shutdown_delay", "-1s", "setting 'shutdown_delay'"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        loaded(**{name: value})
