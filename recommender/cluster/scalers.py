"""Who scales what: HorizontalPodAutoscalers, and the ScaledObjects of KEDA."""

from collections import defaultdict
from typing import Generic, TypeVar

import msgspec

from recommender.cluster.claims import ScaleTarget, scale_target
from vgpu.kube.objects import HorizontalPodAutoscaler, ObjectMeta


class ScaledReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a ScaledObject scales; the defaults are KEDA's (keda.sh/v1alpha1, ScaleTarget)."""

    name: str = ""
    kind: str = "Deployment"
    api_version: str = "apps/v1"


class ScaledObjectSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The part of a ScaledObject's spec that says what it scales."""

    scale_target_ref: ScaledReference = ScaledReference()


class ScaledObject(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """KEDA's wish that it alone scales an object, through a HorizontalPodAutoscaler that it makes."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ScaledObjectSpec = ScaledObjectSpec()


S = TypeVar("S", HorizontalPodAutoscaler, ScaledObject)


def target_of_hpa(hpa: HorizontalPodAutoscaler) -> ScaleTarget:
    """What an autoscaler scales."""
    target = hpa.spec.get("scaleTargetRef") or {}
    api_version, kind, name = (str(target.get(key, "")) for key in ("apiVersion", "kind", "name"))
    return scale_target(hpa.metadata.namespace, api_version, kind, name)


def target_of_scaled_object(scaled: ScaledObject) -> ScaleTarget:
    """What KEDA scales."""
    target = scaled.spec.scale_target_ref
    return scale_target(scaled.metadata.namespace, target.api_version, target.kind, target.name)


class Scalers(Generic[S]):
    """Those of one kind, by what they scale."""

    def __init__(self) -> None:
        self._by_target: defaultdict[ScaleTarget, dict[str, S]] = defaultdict(dict)

    def of(self, target: ScaleTarget) -> tuple[S, ...]:
        """Those that scale one object."""
        return tuple(self._by_target.get(target, {}).values())

    def put(self, key: str, target: ScaleTarget, scaler: S) -> None:
        """Take note of one, under the reflector's key."""
        self._by_target[target][key] = scaler

    def remove(self, key: str, target: ScaleTarget) -> None:
        """Forget one that is no more, or scales something else now."""
        siblings = self._by_target[target]
        siblings.pop(key, None)
        if not siblings:
            del self._by_target[target]
