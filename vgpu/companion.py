"""Configuration beside TensorFusion's operator, whose definitions prune what they do not know.

A WorkloadProfile then carries it in an annotation, as the YAML of an `autoScalingConfig`. What stands there
wins over the profile's own `autoScalingConfig`, field by field; lists are replaced.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import yaml

from vgpu.annotations import AUTOSCALING_CONFIG
from vgpu.api import ConfigurationError, parse_spec
from vgpu.api.errors import Problem
from vgpu.kube.objects import MOST_LEVELS, CustomObject

PATH: Final = f"metadata.annotations[{AUTOSCALING_CONFIG}]"
_FIELD: Final = "autoScalingConfig"
_SPEC_PATH: Final = f"spec.{_FIELD}"
_MOST_PARSED: Final = 1024


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML without aliases: they make large documents of small ones."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


def profile_spec(profile: CustomObject) -> Mapping[str, Any]:
    """The spec of a WorkloadProfile, with what its annotation configures over it.

    Raises:
        ConfigurationError: the annotation cannot be used, with the path of what is wrong in it.
    """
    text = (profile.metadata.annotations or {}).get(AUTOSCALING_CONFIG)
    if text is None or not text.strip():
        return profile.spec
    return merged(profile.spec, {_FIELD: _config(text)})


def without_resources(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec that the operator has written, without the slice: that one may be a recommendation already."""
    return {key: value for key, value in spec.items() if key.lower() != "resources"}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping over another, field by field; keys are the same whatever their case."""
    result = dict(below)
    for key, given in above.items():
        value = given
        same = [other for other in result if other.lower() == key.lower()]
        before = [result.pop(other) for other in same]
        if isinstance(value, Mapping) and before and isinstance(before[0], Mapping):
            value = merged(before[0], value)
        result[key] = value
    return result


# A profile is read again for each pod and workload that uses it. What is returned is nobody's to change.
@lru_cache(maxsize=_MOST_PARSED)
def _config(text: str) -> Mapping[str, Any]:
    try:
        config = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that takes less
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError([Problem(PATH, f"this is not YAML: {_where(error)}")]) from error
    if not isinstance(config, dict):
        raise ConfigurationError([Problem(PATH, "no autoScalingConfig; write `field: value` lines")])
    if problems := list(_unusable(config, PATH)):
        raise ConfigurationError(problems)
    try:
        parse_spec({_FIELD: config})
    except ConfigurationError as error:
        raise ConfigurationError([_moved(problem) for problem in error.problems]) from error
    return config


def _where(error: Exception) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return type(error).__name__
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"


def _moved(problem: Problem) -> Problem:
    return Problem(PATH + problem.path.removeprefix(_SPEC_PATH), problem.message)


def _unusable(value: object, path: str, levels: int = MOST_LEVELS) -> Iterator[Problem]:
    """What JSON cannot say, and so no spec either."""
    if levels == 0:
        yield Problem(path, f"this is nested deeper than {MOST_LEVELS} levels")
    elif isinstance(value, dict):
        for key, child in value.items():
            if isinstance(key, str):
                yield from _unusable(child, f"{path}.{key}", levels - 1)
            else:
                yield Problem(path, f"key {key!r} is not a text; write it in quotes")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _unusable(child, f"{path}[{index}]", levels - 1)
    elif not isinstance(value, str | int | float | None):
        yield Problem(path, f"{value!r} is neither text nor number; write it in quotes")
