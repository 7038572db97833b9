"""Keeps TensorFusionWorkloads in step with pod templates and profiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol, Self

import msgspec
import structlog

from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.publishing.applying import (
    apply_politely,
    foreign_object,
    is_owned_by,
    is_up_to_date,
    owned_object,
)
from vgpu.annotations import WORKLOAD_PROFILE
from vgpu.api import (
    CONFIGURING_ANNOTATIONS,
    ConfigurationError,
    annotation_problems,
    effective_spec,
    parse_spec,
)
from vgpu.dialects import SliceReading, baseline
from vgpu.kube.client import KubeClient
from vgpu.kube.documents import Document
from vgpu.kube.errors import Conflict, Invalid, KubeError
from vgpu.kube.objects import CustomObject
from vgpu.kube.ownership import is_ours
from vgpu.kube.resources import WORKLOADS
from vgpu.slices import VgpuSlice

ProfileFinder = Callable[[str, str], CustomObject | None]

# Some kilobytes each.
_MOST_SPECS: Final = 1024
_DIGEST_BYTES: Final = 16

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DesiredSpec:
    """What a workload's template and profile ask for.

    Attributes:
        spec: the spec to apply; None to leave what is there, because the new one is not valid.
        problems: what is wrong with template or profile, a sentence for each.
    """

    spec: Mapping[str, Any] | None
    problems: tuple[str, ...] = ()


def profile_name(pod: TrackedPod) -> str | None:
    """The WorkloadProfile that a pod names."""
    return (pod.pod.metadata.annotations or {}).get(WORKLOAD_PROFILE) or None


def desired_spec(pod: TrackedPod, profile: CustomObject | None, *, exists: bool) -> DesiredSpec:
    """The spec of a pod's workload.

    With anything wrong an existing workload stays as it is: its last good configuration. A new one then gets
    what can be used, as its pods do: slice and annotations, and the profile unless that is what is wrong.

    Args:
        pod: the pod whose template decides.
        profile: the profile that it names, if there is one of that name.
        exists: whether the workload is there already.
    """
    reading = baseline(pod.pod)
    annotations = pod.pod.metadata.annotations or {}
    configuring = tuple((key, annotations[key]) for key in CONFIGURING_ANNOTATIONS if key in annotations)
    asked = _asked_for(reading.slice, configuring, Document(profile.spec) if profile else None)
    problems = (*reading.problems, *_missing_profile(pod, profile), *asked.problems)
    return DesiredSpec(None if problems and exists else asked.spec, (*problems, *asked.notes))


@dataclass(frozen=True, slots=True)
class _AskedFor:
    spec: Mapping[str, Any]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


# A hundred thousand workloads are configured in few ways. What is returned is nobody's to change.
@lru_cache(maxsize=_MOST_SPECS)
def _asked_for(
    slice_: VgpuSlice, configuring: tuple[tuple[str, str], ...], profile: Document | None
) -> _AskedFor:
    annotations, problems = dict(configuring), list[str]()
    try:
        spec = effective_spec(annotations, profile, slice_)
        parse_spec(spec)
    except ConfigurationError as error:
        problems = [f"{problem.path}: {problem.message}" for problem in error.problems]
        spec = effective_spec(annotations, None, slice_)
    # A switch that cannot be read counts as not given: worth telling, but nothing to stop at.
    return _AskedFor(spec, tuple(problems), annotation_problems(annotations))


def _missing_profile(pod: TrackedPod, profile: CustomObject | None) -> list[str]:
    name = profile_name(pod)
    if name is None or profile is not None:
        return []
    return [f"annotation {WORKLOAD_PROFILE}: WorkloadProfile {pod.workload.namespace}/{name} does not exist"]


def _slice_only(reading: SliceReading) -> Mapping[str, Any]:
    return {"resources": reading.slice.to_json()}


def _holds_slice(spec: Mapping[str, Any]) -> bool:
    """Whether any part of a slice is given, however it is spelled; one that cannot be read is given too."""
    try:
        read = parse_spec({key: value for key, value in spec.items() if key.lower() == "resources"})
    except ConfigurationError:
        return True
    return read.resources != VgpuSlice()


def _digest(content: object) -> bytes:
    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=_DIGEST_BYTES).digest()


class _Asked(NamedTuple):
    """What was asked of kube-apiserver, in short: bodies of a hundred thousand workloads take much memory."""

    body: bytes
    resources: bytes
    refusal: tuple[str, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any], refusal: tuple[str, ...] = ()) -> Self:
        return cls(_digest(body), _digest(body["spec"].get("resources")), refusal)


class Keeper(Protocol):
    """Has workloads be there, as their pods ask for them."""

    async def keep(self, pod: TrackedPod, live: CustomObject | None) -> tuple[str, ...]:
        """Bring the workload of a pod in step; returns what is wrong with template or profile."""
        ...

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        ...


class OperatorsWorkloads:
    """Beside TensorFusion's operator, which makes workloads and writes their spec: nothing is written."""

    async def keep(self, pod: TrackedPod, live: CustomObject | None) -> tuple[str, ...]:
        """Leave the workload to the operator; what is wrong is found where its configuration is read."""
        del pod, live
        return ()

    def forget(self, key: WorkloadKey) -> None:
        """Nothing is remembered."""


class WorkloadKeeper:
    """Creates TensorFusionWorkloads and changes their spec, only where it differs from what was applied.

    A workload that a person has made stays that person's: it is neither owned by the root controller, with
    which it would be collected, nor configured by annotations; it only gets a slice where it has none,
    and that one follows the template. One that differs from what was asked last is the person's.

    Args:
        client: where they are applied.
        owners: tells whether the root controller still stands.
        find_profile: the WorkloadProfile of a namespace and name.
        metrics: counts writes.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        owners: OwnerLookup,
        find_profile: ProfileFinder,
        metrics: RecommenderMetrics,
    ) -> None:
        self._client = client
        self._owners = owners
        self._find_profile = find_profile
        self._metrics = metrics
        # What was asked of kube-apiserver last, and its refusal if it refused: neither is asked twice.
        self._asked: dict[WorkloadKey, _Asked] = {}

    async def keep(self, pod: TrackedPod, live: CustomObject | None) -> tuple[str, ...]:
        """Bring the workload of a pod in step with the pod's template and profile.

        Args:
            pod: the pod whose template decides.
            live: the workload as it is known, or None.

        Returns:
            What is wrong with template or profile, a sentence for each.

        Raises:
            OwnerGone: the root controller is gone, so that the workload is not created.
            KubeError: kube-apiserver does not answer or refuses.
        """
        profile = self._find_profile(pod.workload.namespace, profile_name(pod) or "")
        desired = desired_spec(pod, profile, exists=live is not None)
        if desired.spec is None:
            return desired.problems
        if live is not None and not is_ours(live.metadata):
            return (*desired.problems, *await self._complete(pod, live))
        body = owned_object(WORKLOADS, pod.workload, root=pod.root, spec=desired.spec)
        if live is not None and is_up_to_date(live.metadata, body):
            return desired.problems
        if live is None or not is_owned_by(live.metadata, pod.root.uid):
            await self._owners.require(pod.workload.namespace, pod.root)
        return (*desired.problems, *await self._ask(pod, body))

    def forget(self, key: WorkloadKey) -> None:
        """Make it possible to create a workload again that was deleted."""
        self._asked.pop(key, None)

    async def _complete(self, pod: TrackedPod, live: CustomObject) -> tuple[str, ...]:
        """Give a workload that a person has made the slice to start from, where the person has given none."""
        body = foreign_object(WORKLOADS, pod.workload, spec=_slice_only(baseline(pod.pod)))
        given = live.spec.get("resources")
        if given == body["spec"]["resources"]:
            # As after a restart: what says the same as the template goes on following it.
            self._asked[pod.workload] = _Asked.of(body)
            return ()
        asked = self._asked.get(pod.workload)
        if _holds_slice(live.spec) and (asked is None or asked.resources != _digest(given)):
            return ()
        return await self._ask(pod, body)

    async def _ask(self, pod: TrackedPod, body: Mapping[str, Any]) -> tuple[str, ...]:
        asked = self._asked.get(pod.workload)
        if asked is None or asked.body != _digest(body):
            asked = self._asked[pod.workload] = _Asked.of(body, await self._apply(pod, body))
        return asked.refusal

    async def _apply(self, pod: TrackedPod, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Apply; returns kube-apiserver's refusal where asking again could not help."""
        try:
            applied = await apply_politely(self._client, WORKLOADS, body)
        except (Invalid, Conflict) as error:
            self._metrics.writes.labels("workload", "invalid").inc()
            logger.warning("workload spec refused", workload=str(pod.workload), error=str(error))
            return (error.message,)
        except KubeError:
            self._metrics.writes.labels("workload", "failed").inc()
            raise
        self._metrics.writes.labels("workload", "written").inc()
        self._metrics.foreign_fields.labels("workload").inc(len(applied.foreign_fields))
        logger.info(
            "workload spec applied",
            workload=str(pod.workload),
            pod=pod.pod.metadata.name,
            left_to_others=applied.foreign_fields,
        )
        return ()
