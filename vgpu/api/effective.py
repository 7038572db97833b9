"""The spec that is in force for a pod: its profile with the pod's own annotations over it, field by field."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Final

from vgpu import annotations as keys
from vgpu.api.autoscaling import ALLOWED_TARGETS, TARGETS, UPDATE_MODES
from vgpu.slices import VgpuSlice

_SWITCHES: Final = {"true": True, "false": False}
_TARGET_KEYS: Final = (keys.AUTO_SCALE_TARGET_RESOURCE, keys.AUTOSCALE_TARGET)
_SWITCH_KEYS: Final = (keys.AUTO_RESOURCES, keys.AUTOSCALE, keys.AUTO_REPLICAS)
CONFIGURING_ANNOTATIONS: Final = (*_SWITCH_KEYS, *_TARGET_KEYS, keys.UPDATE_MODE)
"""The annotations that can change a spec, besides those of the slice."""

_Json = dict[str, object]


def effective_spec(
    annotations: Mapping[str, str], profile_spec: Mapping[str, object] | None, slice_: VgpuSlice
) -> dict[str, object]:
    """The spec of the TensorFusionWorkload that belongs to a pod, as JSON.

    Args:
        annotations: the pod's annotations. A switch that is neither "true" nor "false" and a target that is
            none leave the field as it is; an update mode that is none is Initial, which touches nothing.
        profile_spec: the spec of the pod's WorkloadProfile, as stored; its keys are kept as they are spelt.
        slice_: the slice that the pod asks for; a field that is None is taken from the profile.
    """
    spec: _Json = deepcopy(dict(profile_spec or {}))
    for part, amounts in slice_.to_json().items():
        for resource, quantity in amounts.items():
            _set(spec, ("resources", part, resource), quantity)
    for path, value in _overrides(annotations, spec):
        _set(spec, ("autoScalingConfig", *path), value)
    return spec


def annotation_problems(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """One short sentence for each annotation that configures scaling and cannot be read."""
    switches = [
        f'annotation {key}: {annotations[key]!r} is neither "true" nor "false"'
        for key in _SWITCH_KEYS
        if key in annotations and _switch(annotations, key) is None
    ]
    targets = [
        f"annotation {key}: {annotations[key]!r} is none of {ALLOWED_TARGETS}"
        for key in _TARGET_KEYS
        if key in annotations and not _is_target(annotations[key])
    ]
    return (*switches, *targets, *_update_mode_problems(annotations))


def _update_mode_problems(annotations: Mapping[str, str]) -> Iterator[str]:
    text = annotations.get(keys.UPDATE_MODE)
    if text is not None and text.strip().lower() not in UPDATE_MODES:
        allowed = " and ".join(UPDATE_MODES.values())
        yield f"annotation {keys.UPDATE_MODE}: {text!r} is none of {allowed}; Initial is in force"


def _overrides(
    annotations: Mapping[str, str], spec: Mapping[str, object]
) -> Iterator[tuple[tuple[str, str], object]]:
    """What the annotations say, as paths below `autoScalingConfig` and values."""
    newer = _switch(annotations, keys.AUTOSCALE)
    documented = _switch(annotations, keys.AUTO_RESOURCES)
    enable = newer if documented is None else documented
    if enable is not None:
        yield ("autoSetResources", "enable"), enable
    target = next((annotations[key] for key in _TARGET_KEYS if key in annotations), None)
    if target is None and newer and enable and not _get(spec, _TARGET_RESOURCE):
        target = "all"
    if target is not None and _is_target(target):
        yield ("autoSetResources", "targetResource"), target
    replicas = _switch(annotations, keys.AUTO_REPLICAS)
    if replicas is not None:
        yield ("autoSetReplicas", "enable"), replicas
    mode = annotations.get(keys.UPDATE_MODE)
    if mode is not None:
        yield ("autoSetResources", "updateMode"), UPDATE_MODES.get(mode.strip().lower(), "Initial")


_TARGET_RESOURCE: Final = ("autoScalingConfig", "autoSetResources", "targetResource")


def _is_target(text: str) -> bool:
    return text.strip().lower() in TARGETS


def _switch(annotations: Mapping[str, str], key: str) -> bool | None:
    return _SWITCHES.get(annotations.get(key, "").strip().lower())


def _get(spec: object, path: tuple[str, ...]) -> object:
    for step in path:
        if not isinstance(spec, Mapping):
            return None
        spec = next((value for key, value in spec.items() if key.lower() == step.lower()), None)
    return spec


def _set(spec: _Json, path: tuple[str, ...], value: object) -> None:
    """Set a field, in place, under whatever spelling its parents have; never two spellings of one key."""
    step, *rest = path
    same = [key for key in spec if key.lower() == step.lower()]
    if not rest:
        for key in same:
            del spec[key]
        spec[step] = value
        return
    spelt = step if step in spec or not same else same[0]
    child = spec.get(spelt)
    if not isinstance(child, dict):
        child = spec[spelt] = {}
    _set(child, tuple(rest), value)
