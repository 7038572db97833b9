"""What a decision about a pod needs to know of the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vgpu.naming import Owner
from vgpu.slices import Amounts
from webhook.configuration import Configuration, KnownSpec
from webhook.published import Published


@dataclass(frozen=True, slots=True)
class KnownWorkload:
    """A TensorFusionWorkload as the cache holds it.

    Attributes:
        own: its spec, which configures the pods that name no profile.
        published: what its status says.
        by_hand: whether a person made it; then its spec alone configures its pods.
    """

    own: KnownSpec
    published: Published
    by_hand: bool = False


class Lookups(Protocol):
    """The caches, seen from a decision: every answer is there at once."""

    def not_synced(self) -> Sequence[str]:
        """The resource types that have not been listed yet; empty when answers can be relied on."""
        ...

    def workload(self, namespace: str, name: str) -> KnownWorkload | None:
        """The workload of that name, unless it is being deleted."""
        ...

    def profile(self, namespace: str, name: str) -> KnownSpec | None:
        """The profile of that name."""
        ...

    def job_owner(self, namespace: str, name: str) -> Owner | None:
        """The controller of a Job, or None where it has none.

        Raises:
            UnknownJobError: the Job is not in the cache.
        """
        ...

    def configured(self, annotations: Mapping[str, str], base: KnownSpec | None) -> Configuration:
        """What a profile or workload configures with a pod's annotations over it, or these alone."""
        ...

    def card(self, gpu_model: str | None, requests: Amounts) -> Amounts:
        """What the largest card gives that a pod may get; nothing where no nodes are known.

        Args:
            gpu_model: the model that the pod is meant for, if one is named.
            requests: what the pod itself asks for, which its card holds.
        """
        ...
