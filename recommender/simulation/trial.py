"""What is tried: the configuration, the slice that it starts from, and the card that limits it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from recommender.simulation.errors import BadProfile, quoted
from recommender.simulation.unknown_fields import unknown_fields
from vgpu.api import ConfigurationError, WorkloadSpec, effective_spec, parse_spec
from vgpu.capacity import cap_of
from vgpu.gpu_models import GpuModels
from vgpu.kube.objects import CustomObject, ObjectMeta
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount

KINDS: Final = ("WorkloadProfile", "TensorFusionWorkload")

# The documented default of `minAllowed`, so that no recommendation is smaller.
_ASSUMED: Final = Amounts(tflops=1000, vram=1 << 30)
# As much as kube-apiserver takes of one object.
_LARGEST_PROFILE: Final = 1 << 20
_FIELDS: Final = tuple(field.alias or name for name, field in WorkloadSpec.model_fields.items())


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried.

    Attributes:
        workload: an object as the recommender would find it in the cluster, slice included.
        spec: its spec, parsed.
        assumed: the resources whose slice nobody gave.
        cap: what the card gives; None of a resource where that is not known.
        notes: what the user should know about it, a sentence for each.
    """

    workload: CustomObject
    spec: WorkloadSpec
    assumed: frozenset[Resource]
    cap: Amounts
    notes: tuple[str, ...]


def read_profile(file: Path) -> Mapping[str, object]:
    """The spec in a file: of a WorkloadProfile, of a TensorFusionWorkload, or bare.

    Raises:
        BadProfile: the file cannot be read, is neither YAML nor JSON, or holds something else.
    """
    origin = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_PROFILE + 1)
    except OSError as error:
        raise BadProfile(origin, [f"cannot be read: {error.strerror}"]) from error
    if len(content) > _LARGEST_PROFILE:
        raise BadProfile(origin, [f"larger than {_LARGEST_PROFILE} bytes, so it is no profile"])
    try:
        documents = [each for each in yaml.safe_load_all(content) if each is not None]
    # A date that there is not is a ValueError of the constructor, and nesting without end a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadProfile(origin, [f"is neither YAML nor JSON: {_where(error)}"]) from error
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise BadProfile(origin, [f"must hold one {' or '.join(KINDS)}, or the spec of one"])
    return _spec_of(documents[0], origin)


def prepare(
    profile: Mapping[str, object], given: VgpuSlice, *, origin: str, card: "CardGiven", models: GpuModels
) -> Trial:
    """Put a trial together.

    Args:
        profile: the spec that is tried, as it is written.
        given: the slice of the command line; what it names wins over the profile's, field by field.
        origin: what to call the profile in errors.
        card: what is known of the card.
        models: the table of GPU models.

    Raises:
        BadProfile: a field has a value that is not allowed.
    """
    stated = effective_spec({}, profile, given)
    slice_ = _parsed(stated, origin).resources
    assumed = frozenset(resource for resource in Resource if _is_silent(slice_, resource))
    amounts = Amounts(**{resource.value: _ASSUMED.get(resource) for resource in assumed})
    raw = effective_spec({}, stated, VgpuSlice(amounts, amounts))
    spec = _parsed(raw, origin)
    model = card.model or spec.gpu_model
    cap = Amounts(tflops=cap_of((), model, models=models).tflops, vram=card.vram)
    try:
        workload = CustomObject(
            metadata=ObjectMeta(name="simulation", namespace="default", uid="simulation"), spec=raw
        )
    except ValueError as error:
        raise BadProfile(origin, [str(error)]) from error
    notes = (*unknown_fields(profile), *_notes(spec, assumed), *_unknown(model, cap))
    return Trial(workload=workload, spec=spec, assumed=assumed, cap=cap, notes=notes)


@dataclass(frozen=True, slots=True)
class CardGiven:
    """What the command line says of the card.

    Attributes:
        model: its model, or None for the profile's `gpuModel`.
        vram: its memory in bytes, or None.
    """

    model: str | None = None
    vram: int | None = None


def _spec_of(document: Mapping[Any, Any], origin: str) -> Mapping[str, object]:
    kind = document.get("kind")
    if kind is not None and kind not in KINDS:
        raise BadProfile(origin, [f"kind {quoted(kind)} is neither {' nor '.join(KINDS)}"])
    if kind is None and "spec" not in document:
        return _known(document, origin, where="it")
    spec = document.get("spec") or {}
    if not isinstance(spec, Mapping):
        raise BadProfile(origin, [f"spec: {quoted(spec)} is not a mapping of fields to values"])
    return _known(spec, origin, where="spec")


def _known(spec: Mapping[Any, Any], origin: str, *, where: str) -> Mapping[str, object]:
    """The spec, if it holds anything that is one: otherwise nothing of it would be tried, and nobody told."""
    known = {field.lower() for field in _FIELDS}
    if spec and known.isdisjoint(str(key).lower() for key in spec):
        found = ", ".join(map(str, spec))
        raise BadProfile(origin, [f"{where} has none of {', '.join(_FIELDS)}; found {quoted(found)}"])
    return {str(key): value for key, value in spec.items()}


def _parsed(spec: Mapping[str, object], origin: str) -> WorkloadSpec:
    try:
        return parse_spec(spec)
    except ConfigurationError as error:
        raise BadProfile(origin, [str(problem) for problem in error.problems]) from error


def _is_silent(slice_: VgpuSlice, resource: Resource) -> bool:
    return slice_.requests.get(resource) is None and slice_.limits.get(resource) is None


def _notes(spec: WorkloadSpec, assumed: Iterable[Resource]) -> Iterator[str]:
    """What becomes of the resources that the slice does not name in full."""
    for resource in Resource:
        flags = f"--{resource}-request and --{resource}-limit"
        if resource in assumed:
            amount = format_amount(resource, _ASSUMED.get(resource) or 0)
            yield (
                f"no slice is given of {resource}: request and limit {amount} are assumed; "
                f"give resources in the profile, or {flags}"
            )
        elif not (spec.resources.requests.get(resource) and spec.resources.limits.get(resource)):
            yield (
                f"{resource} has no request, no limit or a zero: without their ratio usage moves neither, "
                f"as in a cluster; give both, in the profile or by {flags}"
            )


def _unknown(model: str | None, cap: Amounts) -> Iterator[str]:
    if model and cap.tflops is None:
        yield f"GPU model {quoted(model)} is not in the table of models: no card caps TFLOPS"


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
