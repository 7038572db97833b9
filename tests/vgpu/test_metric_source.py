"""The settings of the metric source, and their check against the source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

from tests.support.fake_prometheus import FakePrometheus
from vgpu.metric_source import MetricSourceSettings, open_source, require_valid_queries
from vgpu.prometheus import AnswerTooLarge, BadQuery
from vgpu.settings import SettingsError, load_settings
from vgpu.usage_sources import PRESETS


class Settings(MetricSourceSettings):
    """As a service has them."""

    model_config = SettingsConfigDict(env_prefix="VGPU_TEST_")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some file that is there."""
    path = tmp_path / "file"
    path.write_text("content")
    return path


async def check(prometheus: FakePrometheus, **settings: Any) -> None:
    """Checks the settings against a Prometheus."""
    chosen = MetricSourceSettings(**{"prometheus_url": prometheus.url, "prometheus_retries": 0, **settings})
    async with open_source(chosen) as source:
        await require_valid_queries(source, chosen)


def load(environ: Mapping[str, str] | None = None, *, file: Path | None = None, **flags: object) -> Settings:
    return load_settings(Settings, file=file, flags=flags, environ=environ or {})


def problem(environ: Mapping[str, str] | None = None, *, file: Path | None = None, **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, file=file, **flags)
    return str(caught.value)


def test_every_preset_can_be_chosen() -> None:
    assert set(get_args(MetricSourceSettings.model_fields["preset"].annotation)) == set(PRESETS)


def test_the_preset_names_the_queries() -> None:
    queries = [(setting, query) for setting, query in MetricSourceSettings().probes()]
    assert [setting for setting, _ in queries] == ["preset", "preset"]
    assert "tf_worker_usage_compute_tflops" in queries[0][1]
    assert "tf_worker_usage_memory_bytes" in queries[1][1]


def test_a_query_that_is_set_takes_the_place_of_the_presets() -> None:
    settings = MetricSourceSettings(tflops_query='usage{field="tflops"}')

    assert [reading.query for reading in settings.usage().compute.readings] == ['usage{field="tflops"}']
    assert settings.usage().memory == MetricSourceSettings().usage().memory
    assert settings.usage().pod_labels == MetricSourceSettings().usage().pod_labels


def test_an_unknown_preset_is_named_with_those_that_are_known() -> None:
    with pytest.raises(SettingsError, match=r"preset.*tensorfusoin.*tensorfusion"):
        load_settings(MetricSourceSettings, file=None, flags={"preset": "tensorfusoin"}, environ={})


def test_the_preset_of_ones_own_needs_both_queries() -> None:
    assert "tflops_query and vram_query" in problem(preset="custom")
    assert "set vram_query" in problem(preset="custom", tflops_query="rate(usage[1m])")
    assert load(preset="custom", tflops_query="a", vram_query="b").usage().name == "custom"


def test_an_unit_that_the_preset_knows_itself_cannot_be_set() -> None:
    assert "tflops_unit 'percent'" in problem(preset="dcgm", tflops_unit="percent")
    assert "should be 'tflops', 'ratio' or 'percent'" in problem(tflops_unit="furlongs")


async def test_queries_that_the_source_takes_are_valid() -> None:
    async with FakePrometheus() as prometheus:
        await check(prometheus)

        assert len(prometheus.requests) == 2


@pytest.mark.parametrize("setting", ["tflops_query", "vram_query"])
async def test_a_query_that_the_source_refuses_is_named_by_its_setting(setting: str) -> None:
    async with FakePrometheus() as prometheus:
        with pytest.raises(BadQuery, match=rf"setting '{setting}'.*usage\{{"):
            await check(prometheus, **{setting: "usage{"})


async def test_a_source_that_is_away_does_not_stop_the_start() -> None:
    async with FakePrometheus() as prometheus:
        await prometheus.stop()

        with capture_logs() as logs:
            await check(prometheus)

    assert [entry["event"] for entry in logs] == ["metric source is not there yet"]


async def test_the_client_is_as_the_settings_say(file: Path) -> None:
    async with FakePrometheus() as prometheus:
        settings = MetricSourceSettings(
            prometheus_url=prometheus.url,
            prometheus_bearer_token_file=file,
            prometheus_headers={"X-Scope-OrgID": "team-a"},
            prometheus_max_answer="1Ki",
        )
        prometheus.answer_next(200, b" " * 1025)
        async with open_source(settings) as source:
            with pytest.raises(AnswerTooLarge, match="more than 1024 bytes"):
                await source.query("m")
        [request] = prometheus.requests
    assert request.headers["Authorization"] == "Bearer content"
    assert request.headers["X-Scope-OrgID"] == "team-a"


async def test_the_client_tries_and_waits_as_the_settings_say() -> None:
    async with FakePrometheus() as prometheus:
        prometheus.fail_next(503)
        with capture_logs() as logs:
            await check(prometheus, prometheus_retries=0)
        assert [entry["event"] for entry in logs] == ["metric source is not there yet"]
        assert len(prometheus.requests) == 1
        prometheus.delay = 60
        with capture_logs() as logs:
            await check(prometheus, prometheus_timeout=0.05)
        assert "did not answer within 0.05 s" in logs[0]["error"]


def test_headers_in_a_variable_stand_with_commas_between(tmp_path: Path) -> None:
    settings = load({"VGPU_TEST_PROMETHEUS_HEADERS": "X-Scope-OrgID=team-a|team-b, X-Other=b=c"})
    assert settings.prometheus_headers == {
        "X-Scope-OrgID": SecretStr("team-a|team-b"),
        "X-Other": SecretStr("b=c"),
    }


def test_headers_in_a_file_are_lines_and_may_have_commas(file: Path) -> None:
    file.write_text("prometheus_headers:\n  X-Scope-OrgID: 7\n  X-Other: a, b\n")
    assert load(file=file).prometheus_headers == {
        "X-Scope-OrgID": SecretStr("7"),
        "X-Other": SecretStr("a, b"),
    }


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"X": "hunter2\r\nX-Evil: 1"}, "the value of header X has characters other than"),
        ({"X": "hunter2\x00"}, "the value of header X has characters other than"),
        ({"X": "hünter2"}, "the value of header X has characters other than"),
        ({"X Y": "hunter2"}, "the name of a header is"),
        ({"X\r\nY": "hunter2"}, "the name of a header is"),
        ({"": "hunter2"}, "the name of a header is"),
        ({"Host": "hunter2"}, "header Host is set by the client itself"),
        ({"X": "hunter2", "x": "hunter3"}, "header x is given twice"),
        ({"X": ["hunter2"]}, "the value of a header is a text"),
        ({"X": True}, "the value of a header is a text"),
        ("hunter2", "each header is NAME=value"),
        (["X=hunter2"], "headers are `NAME: value` lines"),
    ],
)
def test_headers_that_cannot_be_are_refused_and_never_shown(headers: object, complaint: str) -> None:
    message = problem(prometheus_headers=headers)
    assert f"'**********': {complaint}" in message
    assert "hunter" not in message
    assert "Evil" not in message


def test_no_secret_is_in_what_is_shown_of_the_settings() -> None:
    settings = MetricSourceSettings(
        prometheus_username="me", prometheus_password="hunter2", prometheus_headers={"X": "hunter3"}
    )
    assert "hunter" not in repr(settings)
    assert "hunter" not in str(settings.model_dump())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"prometheus_username": "me", "prometheus_password": "x", "prometheus_bearer_token_file": "FILE"},
            "prometheus_username and prometheus_bearer_token_file are different ways to authenticate",
        ),
        (
            {"prometheus_url": "http://me:x@host", "prometheus_bearer_token_file": "FILE"},
            "prometheus_bearer_token_file and a user in prometheus_url are different ways",
        ),
        (
            {"prometheus_headers": {"authorization": "x"}, "prometheus_bearer_token_file": "FILE"},
            "prometheus_bearer_token_file and an Authorization header are different ways",
        ),
        ({"prometheus_username": "me"}, "prometheus_username needs prometheus_password_file"),
        ({"prometheus_password": "hunter2"}, "a password needs prometheus_username"),
        (
            {
                "prometheus_username": "me",
                "prometheus_password": "hunter2",
                "prometheus_password_file": "FILE",
            },
            "prometheus_password and prometheus_password_file are both given",
        ),
        (
            {"prometheus_username": "m:e", "prometheus_password": "x"},
            "prometheus_username cannot have a colon",
        ),
        (
            {"prometheus_url": "https://host", "prometheus_client_certificate": "FILE"},
            "prometheus_client_certificate and prometheus_client_key go together",
        ),
        (
            {"prometheus_url": "https://host", "prometheus_client_key": "FILE"},
            "prometheus_client_certificate and prometheus_client_key go together",
        ),
        ({"prometheus_ca_file": "FILE"}, "prometheus_ca_file needs a prometheus_url that begins with https"),
        ({"prometheus_server_name": "x"}, "prometheus_server_name needs a prometheus_url that begins"),
        ({"prometheus_bearer_token_file": "/none"}, "prometheus_bearer_token_file /none is no file"),
        ({"prometheus_url": "https://host", "prometheus_ca_file": "/"}, "prometheus_ca_file / is no file"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(
    file: Path, settings: dict[str, Any], complaint: str
) -> None:
    given: dict[str, Any] = {
        name: str(file) if value == "FILE" else value for name, value in settings.items()
    }
    message = problem(**given)
    assert complaint in message
    assert "hunter" not in message


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    message = problem(prometheus_username="me", prometheus_ca_file="/none")
    assert "prometheus_username needs" in message
    assert "/none is no file" in message


@pytest.mark.parametrize("size", ["-1", "0", "1000", "much", True, None])
def test_a_size_is_a_quantity_of_a_kibibyte_or_more(size: object, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"prometheus_max_answer: {size}\n")
    assert "setting 'prometheus_max_answer'" in problem(file=path)


def test_the_operators_models_are_known(file: Path) -> None:
    file.write_text("product,fp16_dense_tflops\nVoodoo,3.5\n")
    assert MetricSourceSettings(gpu_peaks_file=file).models().peak("Voodoo") == 3.5
