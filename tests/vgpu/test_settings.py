from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import pytest
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from vgpu.settings import (
    MASK,
    Bytes,
    Port,
    Seconds,
    ServiceSettings,
    SettingsError,
    WebAddress,
    load_settings,
)


class Example(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="VGPU_EXAMPLE_")

    interval: Seconds = Field(60, gt=0, description="How often")
    settle: Seconds = Field(5, description="How long")
    port: Port = Field(9443, description="Where")
    source: WebAddress = Field("http://localhost:9090", description="From where")
    registration: Literal["none", "url"] = Field("none", alias="register", description="Who registers")
    names: tuple[str, ...] = Field((), description="Called how")
    token: SecretStr | None = Field(None, description="What nobody sees")

    @model_validator(mode="after")
    def _settle_is_shorter(self) -> Self:
        if self.settle >= self.interval:
            raise ValueError(
                f"settle ({self.settle:g} s) must be shorter than interval ({self.interval:g} s)"
            )
        return self


class Demanding(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="VGPU_DEMANDING_")

    source: WebAddress = Field(description="From where")


def load(*, file: Path | None = None, environ: Mapping[str, str] | None = None, **flags: object) -> Example:
    return load_settings(Example, file=file, flags=flags, environ=environ or {})


def problems(*, file: Path | None = None, environ: Mapping[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file=file, environ=environ, **flags)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_without_anything_the_defaults_hold() -> None:
    assert load() == Example()


def test_the_environment_is_stronger_than_the_file(file: Path) -> None:
    file.write_text("interval: 10s\nport: 1\n")
    settings = load(file=file, environ={"VGPU_EXAMPLE_INTERVAL": "20s"})
    assert (settings.interval, settings.port) == (20, 1)


def test_a_flag_is_stronger_than_the_environment() -> None:
    assert load(environ={"VGPU_EXAMPLE_INTERVAL": "20s"}, interval="30s").interval == 30


def test_a_flag_that_was_not_used_changes_nothing() -> None:
    assert load(environ={"VGPU_EXAMPLE_INTERVAL": "20s"}, interval=None, names=()).interval == 20


def test_an_empty_file_and_an_empty_variable_set_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert load(file=file, environ={"VGPU_EXAMPLE_KUBECONFIG": ""}) == Example()


def test_a_model_built_directly_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGPU_EXAMPLE_PORT", "1")
    assert Example().port == 9443


def test_variables_of_other_programs_are_left_alone() -> None:
    assert load(environ={"HOME": "/", "VGPU_OTHER_PORT": "tcp://10.0.0.1:1"}) == Example()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("5m", 300), ("1h30m", 5400), (0.25, 0.25), (7, 7)]
)
def test_a_duration_is_seconds_or_a_go_duration(text: object, seconds: float) -> None:
    assert load(interval=text, settle=0).interval == seconds


@pytest.mark.parametrize("value", ["-5m", "-1", "soon", "", True, float("inf"), float("nan"), [1]])
def test_a_bad_duration_is_refused_with_its_name(value: object) -> None:
    assert "setting 'settle' (flag --settle) is " in problems(settle=value)


def test_several_values_stand_in_a_variable_with_commas() -> None:
    assert load(environ={"VGPU_EXAMPLE_NAMES": "a, b"}).names == ("a", "b")


def test_a_setting_is_called_by_its_alias() -> None:
    assert load(environ={"VGPU_EXAMPLE_REGISTER": "url"}).registration == "url"


def test_a_home_directory_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert load(kubeconfig="~/.kube/config").kubeconfig == Path("/home/someone/.kube/config")


def test_an_unknown_key_in_the_file_names_the_nearest(file: Path) -> None:
    file.write_text("intervall: 10s\n")
    assert problems(file=file) == f"unknown setting 'intervall' (in {file}); did you mean 'interval'?"


def test_an_unknown_variable_names_the_nearest() -> None:
    message = problems(environ={"VGPU_EXAMPLE_INTERVALL": "10s"})
    assert "(environment variable VGPU_EXAMPLE_INTERVALL); did you mean 'interval'?" in message


def test_a_key_spelled_like_a_flag_finds_its_setting(file: Path) -> None:
    file.write_text("log-level: debug\n")
    assert "did you mean 'log_level'?" in problems(file=file)


def test_an_unknown_key_far_from_all_lists_what_is_known(file: Path) -> None:
    file.write_text("qqq: 1\n")
    message = problems(file=file)
    assert "known are: " in message
    assert "register" in message


def test_a_bad_value_is_shown_with_what_is_allowed() -> None:
    message = problems(environ={"VGPU_EXAMPLE_LOG_FORMAT": "xml"})
    assert message == (
        "setting 'log_format' (environment variable VGPU_EXAMPLE_LOG_FORMAT) is 'xml': "
        "input should be 'json' or 'text'"
    )


def test_a_port_beyond_the_last_is_refused() -> None:
    assert "is '65536': input should be less than or equal to 65535" in problems(port="65536")


def test_all_problems_are_told_at_once(file: Path) -> None:
    file.write_text("intervall: 10s\nport: abc\n")
    message = problems(file=file, environ={"VGPU_EXAMPLE_LOG_LEVEL": "loud"})
    assert len(message.splitlines()) == 3


def test_a_port_that_kubernetes_injected_is_explained() -> None:
    message = problems(environ={"VGPU_EXAMPLE_PORT": "tcp://10.0.0.7:443"})
    assert "'tcp://10.0.0.7:443'" in message
    assert "enableServiceLinks: false" in message


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT_443_TCP", "PORT_443_TCP_ADDR"]
)
def test_every_variable_of_a_service_link_is_explained(name: str) -> None:
    assert "enableServiceLinks: false" in problems(environ={f"VGPU_EXAMPLE_{name}": "10.0.0.7"})


def test_a_secret_is_masked_in_errors(file: Path) -> None:
    file.write_text("token: [hunter2]\n")
    message = problems(file=file)
    assert "hunter2" not in message
    assert MASK in message


def test_the_password_of_an_address_is_masked_in_errors() -> None:
    message = problems(source="ftp://me:hunter2@host")
    assert "hunter2" not in message
    assert "begins with http:// or https://" in message


@pytest.mark.parametrize("address", ["localhost:9090", "http://", "http://host?x=1", "/path"])
def test_an_address_without_scheme_or_host_is_refused(address: str) -> None:
    assert "setting 'source'" in problems(source=address)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:p@sekrit@host",
        "http://user:sek/rit@host",
        "http://user/sekrit@host",
        "http://user:sek#rit@host",
        "http://user:sek?rit@host",
        "http://user:sek]rit@host",
        "http://user:sek rit@host",
        "http://user:sekrit%zz@host",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_and_never_shown(address: str) -> None:
    message = problems(source=address)
    assert "percent-encoded" in message
    assert "prometheus_password_file" in message
    assert "sek" not in message
    assert "rit" not in message


@pytest.mark.parametrize("address", ["http://u:p%40s%2F:!@host:9090", "http://[::1]:9090", "http://u@host/p"])
def test_an_encoded_password_and_every_kind_of_host_are_taken(address: str) -> None:
    assert load(source=address).source == address


def test_an_address_loses_its_last_slash() -> None:
    assert load(source="https://host/prometheus/").source == "https://host/prometheus"


def test_settings_that_do_not_fit_together_are_explained() -> None:
    assert problems(interval="5s", settle="5s") == (
        "settings do not fit together: settle (5 s) must be shorter than interval (5 s)"
    )


def test_a_required_setting_says_how_to_give_it() -> None:
    with pytest.raises(SettingsError, match="--source or VGPU_DEMANDING_SOURCE"):
        load_settings(Demanding, file=None, flags={}, environ={})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = problems(file=tmp_path / "none.yaml")
    assert message == f"settings file {tmp_path / 'none.yaml'} cannot be read: No such file or directory"


def test_a_file_that_is_not_yaml_shows_the_place_and_no_secret(file: Path) -> None:
    file.write_text('interval: 5s\ntoken: "hunter2\n')
    message = problems(file=file)
    assert f"{file} is not YAML: line " in message
    assert "hunter2" not in message


@pytest.mark.parametrize("content", [b"- a\n", b"just words\n", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_settings_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert f"settings file {file}" in problems(file=file)


def test_a_wrong_setting_ends_with_exit_code_2() -> None:
    assert SettingsError(["x"]).exit_code == 2


@pytest.mark.parametrize(("text", "size"), [("64Mi", 64 << 20), ("1k", 1000), (12, 12), ("12", 12)])
def test_a_size_is_bytes_or_a_quantity(text: object, size: int) -> None:
    class Sized(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="VGPU_SIZED_")

        most: Bytes = Field(1 << 20, description="How much")

    assert load_settings(Sized, file=None, flags={"most": text}, environ={}).most == size


@pytest.mark.parametrize("value", ["-1", "much", "", True, 1.5, [1]])
def test_a_bad_size_is_refused_with_its_name(value: object) -> None:
    class Sized(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="VGPU_SIZED_")

        most: Bytes = Field(1 << 20, description="How much")

    with pytest.raises(SettingsError, match=r"setting 'most' \(flag --most\) is"):
        load_settings(Sized, file=None, flags={"most": value}, environ={})
