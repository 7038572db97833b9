"""What outlives a term of leadership."""

from dataclasses import dataclass

from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims
from recommender.cluster.failures import Failures
from recommender.cluster.following import PodFollower, Standby
from recommender.cluster.known_pods import KnownPods
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex
from recommender.cluster.view import Cluster
from recommender.figures.table import WorkloadFigures
from recommender.metrics import RecommenderMetrics
from recommender.rhythm import Timing
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient
from vgpu.prometheus import PrometheusClient
from vgpu.usage_sources import Preset


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The connections, and what is known of the cluster.

    Attributes:
        settings: the recommender's settings.
        identity: how this process is called, as the holder of a Lease and in Events.
        client: the connection to kube-apiserver.
        source: the metric source.
        preset: what to ask the source for.
        cluster: the local copy of the cluster.
        owners: knows who owns pods.
        pods: the gated pods by workload.
        known: those whose usage counts, also some that are gone.
        follower: keeps them current.
        standby: does so while no term is on.
        claims: decides which of several workloads scales a root controller.
        changes: what has to be looked at.
        failures: contains errors of single workloads.
        metrics: the recommender's own.
        figures: what is shown of every workload.
        timing: when things happen.
    """

    settings: RecommenderSettings
    identity: str
    client: KubeClient
    source: PrometheusClient
    preset: Preset
    cluster: Cluster
    owners: OwnerLookup
    pods: PodIndex
    known: KnownPods
    follower: PodFollower
    standby: Standby
    claims: Claims
    changes: Changes
    failures: Failures
    metrics: RecommenderMetrics
    figures: WorkloadFigures
    timing: Timing
