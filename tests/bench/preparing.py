"""What a recommender has learned and written in a day, made at once: histories and workloads."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np
from prometheus_client import CollectorRegistry

from recommender.checkpoints.opening import open_keeper
from recommender.checkpoints.snapshot import Snapshot
from recommender.cluster.gated import GatedMeta, GatedPod
from recommender.cluster.pods import TrackedPod
from recommender.decisions.availability import METRICS_AVAILABLE
from recommender.decisions.conditions import Condition
from recommender.decisions.status import RECOMMENDATION_PROVIDED
from recommender.histories.estimation import Estimation
from recommender.histories.histories import Histories
from recommender.keys import to_epoch, to_timestamp
from recommender.metrics import RecommenderMetrics
from recommender.publishing.applying import owned_object
from recommender.publishing.workloads import desired_spec
from recommender.usage.reading import Usage
from recommender.usage.samples import Outcome, Samples
from tests.bench.kube_server import UPLOAD
from tests.bench.population import START, Member, Population, tflops_of, vram_of
from tests.bench.rig import MINUTE, connected, settings_for
from tests.bench.servers import Addresses
from tests.support import builders
from vgpu.kube.resources import PODS, WORKLOADS
from vgpu.naming import Owner
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount

YOUNG_SAMPLES: Final = 24
"""Samples that young workloads have: six fewer than the 30 from which on usage counts."""

_HOURS: Final = 25
_STEP: Final = 5 * MINUTE
_AT_ONCE: Final = 5000
_UPLOADED_AT_ONCE: Final = 400
# Use varies by a quarter around what it is in the middle.
_VARIATION: Final = 0.25
_SEED: Final = 1
_CREATED: Final = to_epoch(builders.STARTED)
# As the decision of the same words says.
_MESSAGE: Final = (
    "TFLOPS scaled down due to (10) above upper bound (6), "
    "VRAM scaled down due to (8Gi) above upper bound (4Gi)"
)
_SEEN: Final = Condition(METRICS_AVAILABLE, "UsageSeen", "Usage of its pods comes in", status=True).to_json(
    to_timestamp(START)
)

Json = dict[str, Any]


def prepare(addresses: Addresses, population: Population) -> None:
    """Leave with the servers a checkpoint, and workloads that are in step with it."""
    asyncio.run(_prepare(addresses, list(population.members())))


def prepare_checkpoint(addresses: Addresses, population: Population) -> None:
    """Leave a checkpoint with the servers, and nothing else."""
    asyncio.run(_save(addresses, learned(list(population.members()))[1]))


def learned(members: Sequence[Member]) -> tuple[Histories, Snapshot]:
    """Histories of a bit more than a day, with a sample a minute, of workloads and a copy to save.

    To be quick only every fifth sample is taken, and said to be five.
    """
    histories = _no_histories()
    random = np.random.default_rng(_SEED)
    for part in _parts(members, _AT_ONCE):
        histories.feed(_usage(part, random))
    snapshot = histories.snapshot(written=START, cursor=START)
    samples = snapshot.samples * np.where(snapshot.samples > YOUNG_SAMPLES, round(_STEP / MINUTE), 1)
    snapshot = replace(snapshot, samples=samples)
    restored = _no_histories()
    restored.restore(snapshot)
    return restored, snapshot


def tracked(member: Member) -> TrackedPod:
    """The pod of a workload, as the recommender knows it."""
    key, kind = member.key, member.kind
    metadata = GatedMeta(
        name=member.pod_name,
        namespace=key.namespace,
        uid=member.uid(PODS),
        annotations=builders.slice_annotations(),
    )
    root = Owner(kind.api_version, kind.kind, member.root_name, member.uid(kind))
    return TrackedPod(pod=GatedPod(metadata), workload=key, root=root, created=_CREATED)


def _no_histories() -> Histories:
    return Histories(half_life=86_400.0, peak_window=86_400.0, now=START)


async def _prepare(addresses: Addresses, members: Sequence[Member]) -> None:
    histories, snapshot = learned(members)
    estimation = histories.estimate([member.key for member in members])
    async with aiohttp.ClientSession() as session:
        for part in _parts(range(len(members)), _UPLOADED_AT_ONCE):
            workloads = [_workload(members[index], estimation, index) for index in part]
            async with session.post(addresses.kube + UPLOAD, data=msgspec.json.encode(workloads)) as answer:
                answer.raise_for_status()
    await _save(addresses, snapshot)


async def _save(addresses: Addresses, snapshot: Snapshot) -> None:
    metrics = RecommenderMetrics(CollectorRegistry())
    async with connected(addresses) as client:
        keeper = open_keeper(
            settings_for(addresses), client=client, check=lambda: None, metrics=metrics, clock=lambda: START
        )
        if keeper is None:
            raise RuntimeError("the settings keep no checkpoints")
        await keeper.load()
        await keeper.save(snapshot)


def _usage(members: Sequence[Member], random: np.random.Generator) -> Usage:
    counts = [
        YOUNG_SAMPLES if member.group == "young" else round(_HOURS * 3600 / _STEP) for member in members
    ]
    steps = [MINUTE if member.group == "young" else _STEP for member in members]
    of = np.repeat(np.arange(len(members)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    times = START - (np.array(counts)[of] - 1 - number) * np.array(steps)[of]
    tflops = tflops_of(members)[of] * random.lognormal(0.0, _VARIATION, len(of))
    pods = tuple(map(tracked, members))
    return Usage(
        tflops=Samples(pods, of, times, tflops),
        vram=Samples(pods, of, times, vram_of(tflops)),
        begin=START - _HOURS * 3600,
        until=START,
        outcomes=Counter({Outcome.ACCEPTED: len(of)}),
    )


def _workload(member: Member, estimation: Estimation, index: int) -> Json:
    pod = tracked(member)
    spec = desired_spec(pod, None, exists=False).spec or {}
    body = owned_object(WORKLOADS, member.key, root=pod.root, spec=spec)
    body["metadata"] |= {"uid": member.uid(WORKLOADS), "generation": 1}
    return {
        **body,
        "status": {"conditions": [_SEEN]} if member.group == "young" else _status(estimation, index),
    }


def _status(estimation: Estimation, index: int) -> Json:
    """The status of a workload whose request was once too large, and is what usage calls for now."""
    amounts = {resource: int(estimation.target[resource][index]) for resource in Resource}
    requests = Amounts(**{resource.value: amount for resource, amount in amounts.items()})
    limits = Amounts(**{resource.value: 2 * amount for resource, amount in amounts.items()})
    provided = Condition(RECOMMENDATION_PROVIDED, "OutOfEstimatedBound", _MESSAGE, status=True)
    return {
        "recommendation": VgpuSlice(requests, limits).to_json(),
        "estimation": {resource.value: _estimate(estimation, resource, index) for resource in Resource},
        "conditions": [provided.to_json(to_timestamp(START)), _SEEN],
        "appliedRecommendedReplicas": 0,
        "observedGeneration": 1,
    }


def _estimate(estimation: Estimation, resource: Resource, index: int) -> Mapping[str, str]:
    amounts = {
        "target": estimation.target,
        "lowerBound": estimation.lower,
        "upperBound": estimation.upper,
    }
    told = {name: format_amount(resource, int(each[resource][index])) for name, each in amounts.items()}
    return {**told, "confidence": f"{estimation.confidence[index]:.3g}"}


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
