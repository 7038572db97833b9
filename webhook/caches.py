"""What the webhook knows of the cluster: workloads, profiles and Jobs, parsed when they change."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject, PartialObject, controller_of
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import JOBS, PROFILES, WORKLOADS
from vgpu.naming import Owner
from webhook.configuration import Configuration, Configurations, KnownProfile
from webhook.errors import UnknownJobError
from webhook.lookups import KnownWorkload
from webhook.published import read_status

_log = structlog.get_logger(__name__)


class Caches:
    """The cluster as the reflectors see it; answers `webhook.lookups.Lookups`."""

    def __init__(self, client: KubeClient) -> None:
        self._known_workloads: dict[str, KnownWorkload] = {}
        self._known_profiles: dict[str, KnownProfile] = {}
        self._configurations = Configurations()
        self._workloads = Reflector(client, WORKLOADS, type=CustomObject, on_change=self._workload_changed)
        self._profiles = Reflector(client, PROFILES, type=CustomObject, on_change=self._profile_changed)
        self._jobs = Reflector(client, JOBS, type=PartialObject)

    def runners(self) -> list[Coroutine[Any, Any, None]]:
        """The coroutines that keep the caches current, for a TaskGroup."""
        return [self._workloads.run(), self._profiles.run(), self._jobs.run()]

    async def wait_synced(self, timeout: float) -> None:
        """Wait until everything was listed once.

        Raises:
            NotSynced: some type was not, within `timeout` seconds for each.
        """
        for reflector in (self._workloads, self._profiles, self._jobs):
            await reflector.wait_synced(timeout)

    def sizes(self) -> Mapping[str, Callable[[], float]]:
        """The number of objects in each cache, by resource type."""
        return {
            WORKLOADS.plural: lambda: len(self._known_workloads),
            PROFILES.plural: lambda: len(self._known_profiles),
            JOBS.plural: lambda: len(self._jobs.values()),
        }

    def not_synced(self) -> list[str]:
        """The resource types that have not been listed yet."""
        synced = {
            WORKLOADS.plural: self._workloads.synced,
            PROFILES.plural: self._profiles.synced,
            JOBS.plural: self._jobs.synced,
        }
        return [plural for plural, done in synced.items() if not done]

    def workload(self, namespace: str, name: str) -> KnownWorkload | None:
        """The workload of that name, unless it is being deleted."""
        return self._known_workloads.get(f"{namespace}/{name}")

    def profile(self, namespace: str, name: str) -> KnownProfile | None:
        """The profile of that name."""
        return self._known_profiles.get(f"{namespace}/{name}")

    def job_owner(self, namespace: str, name: str) -> Owner | None:
        """The controller of a Job, or None where it has none.

        Raises:
            UnknownJobError: the Job is not in the cache.
        """
        job = self._jobs.get(namespace, name)
        if job is None:
            raise UnknownJobError(name)
        return controller_of(job.metadata)

    def configured(self, annotations: Mapping[str, str], profile: KnownProfile | None) -> Configuration:
        """The profile's configuration with a pod's annotations over it."""
        return self._configurations.of(annotations, profile)

    def _workload_changed(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        if new is None or new.metadata.deletion_timestamp is not None:
            self._known_workloads.pop(key, None)
            return
        known = self._known_workloads.get(key)
        unchanged = known is not None and old is not None and old.spec == new.spec
        # The status changes far more often than the spec.
        configuration = known.configuration if known and unchanged else _parsed(new.spec, WORKLOADS.kind, key)
        self._known_workloads[key] = KnownWorkload(configuration, read_status(new.status))

    def _profile_changed(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        del old
        if new is None:
            self._known_profiles.pop(key, None)
            return
        configuration = _parsed(new.spec, PROFILES.kind, key)
        self._known_profiles[key] = KnownProfile(spec=new.spec, configuration=configuration)


def _parsed(spec: Mapping[str, Any], kind: str, key: str) -> Configuration:
    try:
        configuration = Configuration.parse(spec)
    except Exception as error:  # noqa: BLE001 - one object must not stop the cache of all the others
        _log.exception("object cannot be parsed", kind=kind, object=key)
        return Configuration(problem=f"cannot be read ({type(error).__name__}); see the webhook's log")
    if configuration.problem is not None:
        _log.warning("object is not valid", kind=kind, object=key, problem=configuration.problem)
    return configuration
