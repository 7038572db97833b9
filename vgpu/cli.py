"""The command `vgpu-autoscaler`: the three services, the simulation, and the development cluster."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import structlog

import vgpu
from vgpu.allocator import give_back_large_blocks
from vgpu.errors import AutoscalerError, ExitCode
from vgpu.kube.errors import KubeError

log = structlog.get_logger(__name__)

Run = Callable[[Any], Coroutine[Any, Any, None]]
"""A service: an asynchronous function whose one argument `settings` is annotated with the settings' model."""


def _recommender() -> click.Command:
    give_back_large_blocks()  # before numpy has any
    from recommender.main import run  # noqa: PLC0415 - a service is loaded when it is called

    return service_command("recommender", run)


def _webhook() -> click.Command:
    from webhook.main import run  # noqa: PLC0415 - as above

    return service_command("webhook", run)


def _metrics_adapter() -> click.Command:
    from metrics_adapter.main import run  # noqa: PLC0415 - as above

    return service_command("metrics-adapter", run)


def _simulate() -> click.Command:
    from recommender.simulation.command import simulate  # noqa: PLC0415 - as above

    return simulate


def _cluster() -> click.Command:
    from devcluster.commands import cluster  # noqa: PLC0415 - needs packages that a service does without

    return cluster


def _demo() -> click.Command:
    from devcluster.commands import demo  # noqa: PLC0415 - as above

    return demo


COMMANDS: dict[str, tuple[Callable[[], click.Command], str]] = {
    "recommender": (_recommender, "Turn usage into recommendations; keep workloads and HPAs in step."),
    "webhook": (_webhook, "Write recommendations and cron rules onto pods as they are created."),
    "metrics-adapter": (_metrics_adapter, "Serve GPU metrics to HorizontalPodAutoscalers and kubectl."),
    "simulate": (_simulate, "Try a profile on recorded usage, without a cluster."),
    "cluster": (_cluster, "Keep a real control plane running on this machine."),
    "demo": (_demo, "Start everything on this machine and tell the story live."),
}
_DEVCLUSTER_ONLY = {"filelock", "platformdirs"}


class Commands(click.Group):
    """Loads a subcommand when it is called, and ends with one readable message when it fails."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands in the order a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand; None if there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        try:
            return COMMANDS[cmd_name][0]()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _DEVCLUSTER_ONLY:
                raise
            raise click.ClickException(
                f"`{cmd_name}` needs packages that the services do without ({error.name} is missing): "
                "pip install 'vgpu-autoscaler[devcluster]'"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, described) for name, (_, described) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a subcommand; any error becomes one message on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click ends quietly where nobody reads on, as after `| head`
        except Exception as error:  # noqa: BLE001 - the outermost frame: nothing is left to catch it
            leaves = list(_leaves(error))
            notes = [note for each in (error, *leaves) for note in getattr(each, "__notes__", ())]
            click.echo("Error: " + "\n".join(dict.fromkeys([*map(_text, leaves), *notes])), err=True)
            ctx.exit(next(filter(None, map(_exit_code, leaves)), ExitCode.FAILURE))


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(vgpu.__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Right-sizes GPU slices (vGPUs) in a Kubernetes cluster: requests, limits and replicas."""


def service_command(name: str, run: Run) -> click.Command:
    """The subcommand of a service: a flag for each setting of its model, and --config.

    Args:
        name: The subcommand's name.
        run: The service.
    """
    # Here and not above, so that `--help` and the development cluster do without pydantic.
    from vgpu.logs import configure_logging  # noqa: PLC0415
    from vgpu.options import click_options  # noqa: PLC0415
    from vgpu.settings import load_settings  # noqa: PLC0415

    model = get_type_hints(run)["settings"]

    @click.command(name, help=COMMANDS[name][1], epilog=_epilog(model.model_config["env_prefix"]))
    @click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="YAML file of settings")
    @click_options(model)
    def command(config: Path | None, **flags: object) -> None:
        settings = load_settings(model, file=config, flags=flags, environ=os.environ)
        configure_logging(level=settings.log_level, format=settings.log_format)
        try:
            asyncio.run(run(settings))
        except Exception as error:
            expected = all(_exit_code(leaf) is not None for leaf in _leaves(error))
            log.log(logging.DEBUG if expected else logging.ERROR, "service failed", exc_info=True)
            raise

    return command


def _epilog(prefix: str) -> str:
    return (
        f"Every option is also a setting: environment variable {prefix}NAME, or a line `name: value` in the "
        "file of --config. Flags win over the environment, and that over the file. Durations are seconds, "
        "or texts such as 30s, 5m, 24h.\n\n"
        "Exit codes: 0 stopped as asked, 2 a setting is wrong, 3 the cluster cannot be used, 4 the metric "
        "source cannot be used, 1 anything else."
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group of tasks, one by one; an error that is no group is its own."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _exit_code(error: BaseException) -> int | None:
    """The exit code of an error that a person can act on; None for one that nobody expected."""
    if isinstance(error, AutoscalerError):
        return error.exit_code
    return ExitCode.CLUSTER if isinstance(error, KubeError) else None


def _text(error: BaseException) -> str:
    if _exit_code(error) is None:
        return f"unexpected {type(error).__name__}: {error}"
    return str(error)
