"""What a decision about a pod needs to know of the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vgpu.naming import Owner
from webhook.configuration import Configuration, KnownProfile
from webhook.published import Published


@dataclass(frozen=True, slots=True)
class KnownWorkload:
    """A TensorFusionWorkload as the cache holds it.

    Attributes:
        configuration: its own, which counts for pods that bring none.
        published: what its status says.
    """

    configuration: Configuration
    published: Published


class Lookups(Protocol):
    """The caches, seen from a decision: every answer is there at once."""

    def not_synced(self) -> Sequence[str]:
        """The resource types that have not been listed yet; empty when answers can be relied on."""
        ...

    def workload(self, namespace: str, name: str) -> KnownWorkload | None:
        """The workload of that name, unless it is being deleted."""
        ...

    def profile(self, namespace: str, name: str) -> KnownProfile | None:
        """The profile of that name."""
        ...

    def job_owner(self, namespace: str, name: str) -> Owner | None:
        """The controller of a Job, or None where it has none.

        Raises:
            UnknownJobError: the Job is not in the cache.
        """
        ...

    def configured(self, annotations: Mapping[str, str], profile: KnownProfile | None) -> Configuration:
        """The profile's configuration with a pod's annotations over it."""
        ...
