"""How much of the past of new workloads is wanted."""

from collections.abc import Mapping, Sequence

from recommender.cluster.failures import Failures
from recommender.cluster.pods import PodIndex, newest
from recommender.cluster.view import Cluster
from recommender.decisions.configurations import Configurations
from recommender.decisions.verdicts import auto_set_resources
from recommender.keys import WorkloadKey
from recommender.publishing.workloads import desired_spec, profile_name
from vgpu.api import parse_spec


class Pasts:
    """Tells of new workloads how much of their past is wanted, and since when there may be any.

    Args:
        cluster: the local copy of the cluster.
        configurations: what workloads are configured to do.
        pods: the gated pods by workload.
        failures: contains errors of single workloads; one with an error has no past.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        configurations: Configurations,
        pods: PodIndex,
        failures: Failures,
    ) -> None:
        self._cluster = cluster
        self._configurations = configurations
        self._pods = pods
        self._failures = failures

    def __call__(
        self, keys: Sequence[WorkloadKey]
    ) -> tuple[Mapping[WorkloadKey, float], Mapping[WorkloadKey, float]]:
        """How many seconds of the past of each are wanted, and when its oldest pod was created."""
        lengths: dict[WorkloadKey, float] = {}
        for key in keys:
            with self._failures.of_workload("estimate", key):
                lengths[key] = self._length(key)
        created = {key: [pod.created for pod in self._pods.of(key)] for key in keys}
        return lengths, {key: min(times) for key, times in created.items() if times}

    def _length(self, key: WorkloadKey) -> float:
        configuration = self._configurations.known(key)
        if configuration is not None:
            return auto_set_resources(configuration).history_length
        pod = newest(self._pods.of(key))
        if pod is None:
            return 0.0
        # Its workload is on its way, or has just come: this is what it says.
        live = self._cluster.workloads.get(*key)
        profile = self._cluster.profiles.get(key.namespace, profile_name(pod) or "")
        spec = live.spec if live is not None else desired_spec(pod, profile, exists=False).spec
        return parse_spec(spec or {}).auto_scaling_config.auto_set_resources.history_length
