"""What the command line of a simulation is made of."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from recommender.settings import RecommenderSettings, require_fading_slower_than_windows
from vgpu.quantities import QuantityError
from vgpu.settings import Seconds
from vgpu.slices import Amounts, Resource, VgpuSlice, parse_amount

F = TypeVar("F", bound=Callable[..., Any])

SHORTEST: Final = 0.1
"""As in the settings of the recommender: a shorter step than a tenth of a second no exporter fills."""

_PARTS: Final = ("request", "limit")
_EXAMPLES: Final = {Resource.TFLOPS: "13 or 500m", Resource.VRAM: "10Gi"}
_seconds: TypeAdapter[float] = TypeAdapter(Seconds)


def duration_option(
    name: str, description: str, *, least: float, default: str | None = None
) -> Callable[[F], F]:
    """An option of seconds, written as a number or as a Go duration.

    Args:
        name: as it is typed.
        description: its help.
        least: the shortest that is allowed, in seconds.
        default: as it would be typed, or None.
    """

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            seconds = _seconds.validate_python(value)
        except ValidationError as error:
            raise click.BadParameter(f"{value!r}: {error.errors()[0]['msg']}", ctx, param) from error
        if seconds < least:
            raise click.BadParameter(f"{value!r} is too short: {least:g}s or more is allowed", ctx, param)
        return seconds

    return click.option(
        name, callback=read, metavar="DURATION", default=default, show_default=True, help=description
    )


def quantity_option(name: str, resource: Resource, description: str) -> Callable[[F], F]:
    """An option of an amount of a resource, in milli-TFLOPS or bytes, written as a Kubernetes quantity."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        try:
            return None if value is None else parse_amount(resource, value)
        except QuantityError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return click.option(name, callback=read, metavar="QUANTITY", help=description)


def slice_options(function: F) -> F:
    """Options for the slice that a simulation begins with; `given_slice` reads them."""
    for resource in reversed(Resource):
        for part in reversed(_PARTS):
            described = f"The pods' own {part}, like {_EXAMPLES[resource]}; wins over the profile's."
            function = quantity_option(f"--{resource}-{part}", resource, described)(function)
    return function


def given_slice(flags: Mapping[str, Any]) -> VgpuSlice:
    """The slice in the options of `slice_options`."""
    requests, limits = (
        Amounts(**{resource.value: flags[f"{resource}_{part}"] for resource in Resource}) for part in _PARTS
    )
    return VgpuSlice(requests, limits)


def setting_option(name: str) -> Callable[[F], F]:
    """An option for a duration that is also a setting of the recommender, with its default and its words."""
    field = RecommenderSettings.model_fields[name]
    default = field.get_default()
    return duration_option(
        f"--{name.replace('_', '-')}",
        f"As of the recommender: {field.description}.",
        least=SHORTEST,
        default=None if default is None else f"{default:g}s",
    )


def require_fitting_times(flags: Mapping[str, Any]) -> None:
    """Refuse what the recommender would refuse of `setting_option`s together.

    Raises:
        click.UsageError: half-life and peak window do not fit together.
    """
    try:
        require_fading_slower_than_windows(flags["half_life"], flags["peak_window"])
    except ValueError as error:
        raise click.UsageError(f"--half-life and --peak-window: {error}") from error
