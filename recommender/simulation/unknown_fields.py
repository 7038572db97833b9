"""Fields of a profile that nobody knows: they configure nothing, and most are misspelt."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from recommender.simulation.errors import quoted
from vgpu.api import AutoScalingConfig, AutoSetReplicas, AutoSetResources, ExternalScaler
from vgpu.api.autoscaling import CronScalingRule, SecretReference
from vgpu.api.fields import AmountsModel, Model, SliceModel

_INSIDE: Final[Mapping[tuple[type[Model], str], type[Model]]] = {
    (AutoScalingConfig, "autosetresources"): AutoSetResources,
    (AutoScalingConfig, "autosetreplicas"): AutoSetReplicas,
    (AutoScalingConfig, "cronscalingrules"): CronScalingRule,
    (AutoScalingConfig, "externalscaler"): ExternalScaler,
    (AutoSetResources, "minallowed"): AmountsModel,
    (AutoSetResources, "maxallowed"): AmountsModel,
    (CronScalingRule, "desiredresources"): SliceModel,
    (SliceModel, "requests"): AmountsModel,
    (SliceModel, "limits"): AmountsModel,
    (ExternalScaler, "apikeysecretref"): SecretReference,
}
"""What stands in a field, by the model that it is of and its key in lower case."""


def unknown_fields(spec: Mapping[str, object]) -> Iterator[str]:
    """A sentence for each field below `autoScalingConfig` that means nothing.

    Args:
        spec: as it is written; any value may be anything.
    """
    for key, value in spec.items():
        if key.lower() == "autoscalingconfig":
            yield from _unknown(AutoScalingConfig, value, f"spec.{key}")


def _unknown(model: type[Model], value: object, path: str) -> Iterator[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        for index, element in enumerate(value):
            yield from _unknown(model, element, f"{path}[{index}]")
    if not isinstance(value, Mapping):
        return
    known = _spellings(model)
    for key, below in value.items():
        spelt = str(key).lower()
        if spelt not in known:
            near = get_close_matches(spelt, known, n=1)
            advice = f"; did you mean {known[near[0]]}?" if near else ""
            field = f"{path} has the field {quoted(str(key))}"
            yield f"{field}, which is not known and configures nothing{advice}"
        elif (model, spelt) in _INSIDE:
            yield from _unknown(_INSIDE[model, spelt], below, f"{path}.{key}")


def _spellings(model: type[Model]) -> Mapping[str, str]:
    """The keys of a model in lower case, synonyms too, and how each is documented."""
    known = dict(model.synonyms)
    for name, field in model.model_fields.items():
        documented = field.alias or name
        known |= {name: documented, documented.lower(): documented}
    return known
