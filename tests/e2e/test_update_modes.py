"""Running pods are made anew with what is recommended, within what their budgets allow, and no others."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from devcluster.services import WEBHOOK
from devcluster.story import NotYet, until
from devcluster.view import View
from tests.e2e.objects import GATE, PROFILED, STEADY, annotations_of, deployment, profile
from tests.e2e.trial import Scene, Trial
from vgpu.kube.objects import Pod

Json = dict[str, Any]

APPLIED = "tensor-fusion.ai/applied-recommendation"
MOVING = {"autoSetResources": {"confidenceInterval": "10s", "minSamples": 5, "updateMode": "Recreate"}}
HASTY = {"eviction-minimum-age": "3s", "eviction-cool-down": "1s", "evictions-per-minute": "600"}
"""Settings with which a workload moves in seconds instead of minutes."""
EVICTED = "vgpu_recommender_evictions_total"
HELD = "vgpu_recommender_updates_held"


@pytest.fixture(scope="module")
async def moving_trial(trial: Trial) -> AsyncIterator[Trial]:
    """The module's cluster with a webhook that writes on new pods."""
    await trial.services.start(WEBHOOK)
    yield trial
    if trial.services.runs(WEBHOOK):
        await trial.services.stop(WEBHOOK)


def budget(app: str, **spec: object) -> Json:
    """A PodDisruptionBudget for the pods of an app."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


def job(name: str, annotations: Mapping[str, str]) -> Json:
    """A Job with the template of a Deployment, two pods at a time."""
    template = deployment(name, annotations=annotations, load=STEADY)["spec"]["template"]
    template["spec"]["restartPolicy"] = "Never"
    spec = {"template": template, "parallelism": 2, "completions": 2}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


async def uids(view: View, app: str) -> set[str]:
    return {pod.metadata.uid for pod in await view.pods(app)}


async def running(view: View, app: str, count: int) -> list[Pod]:
    """Wait until so many pods of an app run."""

    async def look() -> list[Pod] | NotYet:
        pods = [pod for pod in await view.pods(app) if pod.status.phase == "Running"]
        return pods if len(pods) == count else NotYet(f"{len(pods)} run")

    return await until(f"{count} running pods of {app}", look, timeout=30)


async def all_anew(view: View, app: str, *, first: set[str]) -> int:
    """Wait until all pods were replaced and carry what is recommended; returns how few ran at a time."""
    fewest = len(first)

    async def look() -> bool | NotYet:
        nonlocal fewest
        pods = await view.pods(app)
        fewest = min(fewest, sum(1 for pod in pods if pod.status.phase == "Running"))
        found = [
            (pod.metadata.name, pod.metadata.uid in first, APPLIED in annotations_of(pod)) for pod in pods
        ]
        anew = len(found) == len(first) and all(not old and written for _, old, written in found)
        return True if anew else NotYet(str(found))

    await until(f"all pods of {app} to be replaced", look, timeout=90)
    return fewest


async def notes(view: View, reason: str, workload: str) -> list[str]:
    """What was told about a workload for a reason."""
    shown = await view.kubectl("get", "events.events.k8s.io", "-o", "json")
    return [
        event["note"]
        for event in json.loads(shown)["items"]
        if (event["reason"], event["regarding"]["name"]) == (reason, workload)
    ]


async def told(view: View, reason: str, workload: str, text: str) -> None:
    """Wait until an Event about a workload says so."""

    async def look() -> bool | NotYet:
        found = await notes(view, reason, workload)
        return True if any(text in note for note in found) else NotYet(str(found))

    await until(f"{reason} about {workload}", look, timeout=60)


async def test_pods_are_replaced_one_by_one_within_their_budget(moving_trial: Trial, scene: Scene) -> None:
    view = scene.view
    await scene.start(settings=HASTY)
    await view.apply(
        profile("quick", MOVING),
        budget("engine", maxUnavailable=1),
        deployment("engine", annotations=PROFILED, replicas=3, load=STEADY),
    )
    first = {pod.metadata.uid for pod in await running(view, "engine", 3)}

    fewest = await all_anew(view, "engine", first=first)

    assert fewest >= 2
    await view.workload(
        "engine", lambda found: found.status.get("appliedRecommendedReplicas") == 3, timeout=90
    )
    shown = await scene.metrics()
    assert shown.total(EVICTED, outcome="evicted") >= 3
    assert await notes(view, "PodEvicted", "engine")


async def test_a_budget_a_job_and_a_single_replica_are_left_alone(moving_trial: Trial, scene: Scene) -> None:
    view = scene.view
    await scene.start(settings=HASTY)
    await view.apply(
        profile("quick", MOVING),
        budget("guarded", maxUnavailable=0),
        deployment("guarded", annotations=PROFILED, replicas=3, load=STEADY),
        deployment("lonely", annotations=PROFILED, load=STEADY),
        deployment(
            "shy", annotations={**PROFILED, "tensor-fusion.ai/evict": "false"}, replicas=2, load=STEADY
        ),
        deployment(
            "grouped",
            annotations={**PROFILED, "scheduling.k8s.io/group-name": "workers"},
            replicas=2,
            load=STEADY,
        ),
        job("train", PROFILED),
        deployment("free", annotations=PROFILED, labels=GATE, replicas=2, load=STEADY),
    )
    counts = {"guarded": 3, "lonely": 1, "shy": 2, "grouped": 2, "train": 2, "free": 2}
    first = {app: {pod.metadata.uid for pod in await running(view, app, n)} for app, n in counts.items()}

    await all_anew(view, "free", first=first.pop("free"))
    await told(view, "UpdateHeld", "guarded", "a PodDisruptionBudget does not allow it now")
    await told(view, "UpdateHeld", "lonely", "there is only one")
    await told(view, "UpdateHeld", "shy", "an annotation forbids it")
    await told(view, "UpdateHeld", "grouped", "scheduled as a group (scheduling.k8s.io/group-name)")
    await told(view, "UpdateHeld", "train-job", "only pods of Deployments, ReplicaSets and StatefulSets")

    assert {app: await uids(view, app) for app in first} == first
    shown = await scene.metrics()
    assert shown.total(EVICTED, outcome="refused") >= 1
    assert shown.value(HELD, reason="single_replica") == 1


async def test_without_the_webhook_one_pod_is_evicted_and_no_more(moving_trial: Trial, scene: Scene) -> None:
    view = scene.view
    await moving_trial.services.stop(WEBHOOK)
    try:
        await scene.start(settings=HASTY)
        await view.apply(
            profile("quick", MOVING), deployment("engine", annotations=PROFILED, replicas=3, load=STEADY)
        )
        first = {pod.metadata.uid for pod in await running(view, "engine", 3)}
        await told(view, "UpdateHeld", "engine", "the last replacement came without the recommended slice")
        assert len(await uids(view, "engine") - first) == 1
        assert (await scene.metrics()).value(HELD, reason="not_applied") == 1
    finally:
        await moving_trial.services.start(WEBHOOK)
