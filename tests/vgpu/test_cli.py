import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner, Result
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

import vgpu
from vgpu import cli
from vgpu.errors import ExitCode, StartupError
from vgpu.kube.errors import ApiUnreachable, KubeError
from vgpu.prometheus import BadQuery
from vgpu.settings import Port, Seconds, ServiceSettings, settings_of

SERVICES = ("recommender", "webhook", "metrics-adapter")


class ExampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="VGPU_EXAMPLE_")

    interval: Seconds = Field(90, description="How often it looks")
    port: Port = Field(9443, description="Where it listens")
    registration: bool = Field(default=False, alias="register", description="Whether it registers")
    names: tuple[str, ...] = Field((), description="What it is called")
    password: SecretStr | None = Field(None, description="What nobody sees")


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def seen() -> list[ExampleSettings]:
    return []


def install(monkeypatch: pytest.MonkeyPatch, run: cli.Run) -> None:
    monkeypatch.setitem(
        cli.COMMANDS, "example", (lambda: cli.service_command("example", run), "Plays a service.")
    )


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, seen: list[ExampleSettings]) -> Callable[..., Result]:
    async def run(settings: ExampleSettings) -> None:
        seen.append(settings)

    install(monkeypatch, run)
    return lambda *arguments, **environ: call("example", *arguments, **environ)


def call(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), env=environ)


def failing_with(monkeypatch: pytest.MonkeyPatch, error: Exception, *arguments: str) -> Result:
    async def run(settings: ExampleSettings) -> None:
        raise error

    install(monkeypatch, run)
    return call("example", *arguments)


def test_the_help_lists_every_subcommand() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in (*SERVICES, "simulate", "cluster", "demo"))


def test_the_version_is_shown() -> None:
    assert call("--version").stdout.strip().endswith(vgpu.__version__)


def test_an_unknown_subcommand_is_a_usage_error() -> None:
    result = call("recomender")
    assert (result.exit_code, "No such command 'recomender'" in result.stderr) == (ExitCode.USAGE, True)


def test_the_help_loads_no_service() -> None:
    program = (
        "import sys; from vgpu import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy = {'recommender', 'webhook', 'metrics_adapter', 'devcluster', 'aiohttp', 'numpy'}\n"
        "sys.exit(repr(loaded & heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr.strip() == "set()"


@pytest.mark.parametrize("name", SERVICES)
def test_the_help_of_a_service_describes_every_setting(name: str) -> None:
    command = cli.COMMANDS[name][0]()
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    undescribed = [key for key, option in options.items() if not option.help]
    assert call(name, "--help").exit_code == 0
    assert options.keys() >= settings_of(ServiceSettings).keys()
    assert undescribed == []


def test_a_service_gets_its_settings_from_the_flags(
    example: Callable[..., Result], seen: list[ExampleSettings]
) -> None:
    result = example("--interval", "5m", "--register", "--names", "a", "--names", "b")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (seen[0].interval, seen[0].registration, seen[0].names) == (300, True, ("a", "b"))


def test_a_service_gets_its_settings_from_environment_and_file(
    example: Callable[..., Result], seen: list[ExampleSettings], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("interval: 10s\nregister: true\nport: 7\n")
    example("--config", str(file), "--no-register", VGPU_EXAMPLE_INTERVAL="20s")
    assert (seen[0].interval, seen[0].registration, seen[0].port) == (20, False, 7)


def test_the_help_shows_defaults_and_kinds(example: Callable[..., Result]) -> None:
    text = " ".join(example("--help").stdout.split())
    assert "--interval DURATION How often it looks [default: 1m30s]" in text
    assert "--port NUMBER Where it listens [default: 9443]" in text
    assert "--log-level [debug|info|warning|error]" in text
    assert "--register / --no-register" in text
    assert "--kubeconfig PATH" in text
    assert "VGPU_EXAMPLE_NAME" in text


def test_a_secret_has_no_flag(example: Callable[..., Result], seen: list[ExampleSettings]) -> None:
    assert "--password" not in example("--help").stdout
    example(VGPU_EXAMPLE_PASSWORD="hunter2")
    assert seen[0].password is not None


def test_a_wrong_value_is_one_message_and_exit_code_2(example: Callable[..., Result]) -> None:
    result = example("--port", "abc")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("Error: setting 'port' (flag --port) is 'abc': ")
    assert "Traceback" not in result.stderr


def test_an_unknown_setting_is_one_message_and_exit_code_2(example: Callable[..., Result]) -> None:
    result = example(VGPU_EXAMPLE_INTERVALL="5s")
    assert result.exit_code == ExitCode.USAGE
    assert "did you mean 'interval'?" in result.stderr


def test_an_unknown_flag_is_a_usage_error(example: Callable[..., Result]) -> None:
    assert example("--intervall", "5s").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiUnreachable("https://127.0.0.1:1", "refused"), ExitCode.CLUSTER),
        (BadQuery("http://p refuses the query", query="m{", reason="parse error"), ExitCode.METRIC_SOURCE),
        (StartupError("no"), ExitCode.FAILURE),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [KubeError("gone")])]), ExitCode.CLUSTER),
    ],
)
def test_an_error_of_a_service_is_a_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: ExitCode
) -> None:
    result = failing_with(monkeypatch, error)
    assert result.exit_code == code
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert "tasks" not in result.stderr


def test_errors_of_several_tasks_are_told_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ExceptionGroup("tasks", [KubeError("gone"), KubeError("gone"), StartupError("no")])
    assert failing_with(monkeypatch, group).stderr == "Error: gone\nno\n"


def test_what_was_noted_on_an_error_is_told_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = StartupError("no")
    error.add_note("a child had died")
    group = ExceptionGroup("tasks", [error])
    group.add_note("and the disk was full")
    result = failing_with(monkeypatch, group)
    assert result.stderr == "Error: no\nand the disk was full\na child had died\n"


def test_with_debug_logs_the_traceback_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing_with(monkeypatch, KubeError("gone"), "--log-level", "debug")
    (line, message) = result.stderr.splitlines()
    assert "Traceback" in json.loads(line)["exception"]
    assert message == "Error: gone"


def test_an_unexpected_error_is_named_and_its_traceback_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing_with(monkeypatch, KeyError("spec"))
    (line, message) = result.stderr.splitlines()
    assert result.exit_code == ExitCode.FAILURE
    assert "KeyError" in json.loads(line)["exception"]
    assert message == "Error: unexpected KeyError: 'spec'"


def test_output_that_nobody_reads_on_is_no_error() -> None:
    lines = "\n".join(f"{60 * index},a,1,1" for index in range(2000))
    program = (
        "import sys; from vgpu import cli; cli.main(['simulate', '-', '--all-steps', '--output', 'csv'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, told = process.communicate(f"timestamp,pod,tflops,vram_bytes\n{lines}\n".encode(), timeout=30)
    assert b"Error" not in told
    assert b"Traceback" not in told


def test_a_missing_package_of_the_development_cluster_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> click.Command:
        raise ModuleNotFoundError("No module named 'filelock'", name="filelock")

    monkeypatch.setitem(cli.COMMANDS, "demo", (load, "Plays the demo."))
    result = call("demo")
    assert result.exit_code == ExitCode.FAILURE
    assert "filelock is missing): pip install 'vgpu-autoscaler[devcluster]'" in result.stderr


def test_a_missing_module_of_our_own_is_not_taken_for_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> click.Command:
        raise ModuleNotFoundError("No module named 'devcluster.commands'", name="devcluster.commands")

    monkeypatch.setitem(cli.COMMANDS, "demo", (load, "Plays the demo."))
    assert "Error: unexpected ModuleNotFoundError" in call("demo").stderr
