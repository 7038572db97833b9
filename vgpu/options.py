"""Command line options made from a settings model, so that each setting is also a flag."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
import durationpy
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from vgpu.quantities import format_vram
from vgpu.settings import Bytes, Seconds, ServiceSettings, is_secret, is_sequence, settings_of

F = TypeVar("F", bound=Callable[..., Any])
_SECONDS = next(part for part in get_args(Seconds) if isinstance(part, BeforeValidator))
_BYTES = next(part for part in get_args(Bytes) if isinstance(part, BeforeValidator))


def click_options(cls: type[ServiceSettings]) -> Callable[[F], F]:
    """Give a click command one --kebab-case option for each setting of a model.

    An option that is not used arrives as None (or an empty tuple), so that file and environment decide.
    Values arrive as text: `load_settings` checks them all in one place. Secrets get no flag, since every
    process of the machine can read a command line.
    """

    def decorate(function: F) -> F:
        for name, field in reversed(_own_first(cls)):
            if not is_secret(field):
                function = _option(name, field)(function)
        return function

    return decorate


def _own_first(cls: type[ServiceSettings]) -> list[tuple[str, FieldInfo]]:
    common = settings_of(ServiceSettings)
    return sorted(settings_of(cls).items(), key=lambda item: item[0] in common)


def _option(name: str, field: FieldInfo) -> Callable[[F], F]:
    kebab = name.replace("_", "-")
    help_text = _help(field)
    if field.annotation is bool:
        return click.option(f"--{kebab}/--no-{kebab}", name, default=None, help=help_text)
    if get_origin(field.annotation) is Literal:
        choice = click.Choice([str(value) for value in get_args(field.annotation)])
        return click.option(f"--{kebab}", name, type=choice, default=None, help=help_text)
    return click.option(
        f"--{kebab}", name, type=str, metavar=_metavar(field), multiple=is_sequence(field), help=help_text
    )


def _help(field: FieldInfo) -> str:
    described = field.description or ""
    if field.is_required():
        return f"{described}  [required]"
    default = field.get_default(call_default_factory=True)
    if default is None or default == ():
        return described
    return f"{described}  [default: {_shown(default, field)}]"


def _shown(value: object, field: FieldInfo) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_duration(field) and isinstance(value, int | float):
        return str(durationpy.to_str(timedelta(seconds=value))) if value else "0s"
    if _BYTES in field.metadata and isinstance(value, int):
        return format_vram(value)
    return str(value)


def _metavar(field: FieldInfo) -> str:
    if _is_duration(field):
        return "DURATION"
    if _BYTES in field.metadata:
        return "SIZE"
    kinds = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
    return next((kinds[kind] for kind in _kinds(field.annotation) if kind in kinds), "TEXT")


def _is_duration(field: FieldInfo) -> bool:
    return _SECONDS in field.metadata or any(
        _SECONDS in get_args(kind) for kind in get_args(field.annotation)
    )


def _kinds(annotation: object) -> list[Any]:
    """The plain types of an annotation: `FilePath | None` gives Path and NoneType."""
    if get_origin(annotation) in {Union, UnionType}:
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [getattr(annotation, "__origin__", annotation)]
