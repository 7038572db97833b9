"""The update mode Recreate, from a profile to evicted pods."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from tests.support import builders
from tests.support.kube_http import PDBS
from tests.support.recommending import Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import APPLIED_RECOMMENDATION, UPDATE_MODE, WORKLOAD_PROFILE
from vgpu.kube.resources import DEPLOYMENTS, EVENTS, PODS, PROFILES, WORKLOADS

Json = dict[str, Any]

MODE: Json = {"enable": True, "targetResource": "tflops", "updateMode": "Recreate", "minSamples": 100_000}
RULE = builders.cron_rule("always", start="0 0 * * *", end="59 23 * * *")
BIGGER: Json = {"requests": {"tflops": "20"}, "limits": {"tflops": "40"}}


def put_profile(rig: Rig, *, rules: list[Json] | None = None, **changes: Any) -> None:
    config = {"autoSetResources": {**MODE, **changes}, "cronScalingRules": rules or []}
    rig.kube.put(PROFILES, builders.profile("moving", spec={"autoScalingConfig": config}))


def deploy(rig: Rig, name: str = "web", *, replicas: int = 3, **pod: Any) -> None:
    annotations = {WORKLOAD_PROFILE: "moving", **pod.pop("annotations", {})}
    rig.deploy(name, replicas=replicas, annotations=annotations, **pod)
    at_rest(rig, name, replicas=replicas)


def at_rest(rig: Rig, name: str = "web", *, replicas: int, updated: int | None = None) -> None:
    """What the Deployment's controller says of it."""
    live = rig.kube.get(DEPLOYMENTS, "default", name)
    status = {
        "observedGeneration": 100,
        "replicas": replicas,
        "updatedReplicas": replicas if updated is None else updated,
        "availableReplicas": replicas,
    }
    rig.kube.put(DEPLOYMENTS, {**live, "spec": {**live["spec"], "replicas": replicas}, "status": status})


async def recommend(rig: Rig, recommended: Json) -> None:
    """The workload is told to have another slice; and a pass later that is what new pods get."""
    live = rig.kube.get(WORKLOADS, "default", "web")
    own = builders.slice_json()
    status = {
        **live.get("status", {}),
        "recommendation": {part: {**own[part], **recommended[part]} for part in ("requests", "limits")},
        "estimation": {"tflops": {"target": "20", "lowerBound": "20", "upperBound": "20", "confidence": "1"}},
        "conditions": [
            {
                "type": "RecommendationProvided",
                "status": "True",
                "reason": "OutOfEstimatedBound",
                "message": "by the test",
                "lastTransitionTime": "2026-01-01T10:00:00Z",
            }
        ],
    }
    rig.kube.put(WORKLOADS, {**live, "status": status})
    await rig.pass_time(minutes=1)


async def work(rig: Rig, *, minutes: int = 1) -> None:
    """Passes, and after each the evictions that come of it."""
    for _ in range(minutes):
        await rig.pass_time(minutes=1)
        await updater(rig).work_off()
        await rig.settle()


def updater(rig: Rig) -> Any:
    assert rig.term.updater is not None
    return rig.term.updater


def pods(rig: Rig) -> set[str]:
    return {pod["metadata"]["name"].rpartition("-")[2] for pod in rig.kube.objects(PODS)}


def replace(rig: Rig, suffix: str, *, carries: Json | None = BIGGER) -> None:
    """The ReplicaSet makes another pod, and the webhook writes on it."""
    arguments: Json = {"annotations": {WORKLOAD_PROFILE: "moving"}}
    if carries is not None:
        arguments |= {
            "tflops_request": carries["requests"]["tflops"],
            "tflops_limit": carries["limits"]["tflops"],
        }
        arguments["annotations"] |= {
            APPLIED_RECOMMENDATION: "tflops=12345678",
            "tensor-fusion.ai/original-resources": original(),
        }
    pod = rig.add_pod("web", suffix, **arguments)
    created = datetime.fromtimestamp(rig.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    pod["metadata"]["creationTimestamp"] = created
    rig.kube.put(PODS, pod)


def original() -> str:
    return '{"requests":{"tflops":"10","vram":"8Gi"},"limits":{"tflops":"20","vram":"16Gi"}}'


def refused(rig: Rig) -> list[str]:
    return [request.path for request in rig.kube.writes() if request.path.endswith("/eviction")]


async def test_pods_are_made_anew_one_by_one_until_all_carry_the_recommendation() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        for number in range(3):
            await work(rig, minutes=4)
            assert len(pods(rig)) == 2
            replace(rig, f"new{number}")
        await work(rig, minutes=5)
        assert pods(rig) == {"new0", "new1", "new2"}
        assert rig.metric("evictions_total", outcome="evicted") == 3
        assert rig.status()["appliedRecommendedReplicas"] == 3
        assert len(updater(rig)) == 0


async def test_the_eviction_names_the_pod_it_means_by_its_uid() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig)
        [request] = [request for request in rig.kube.writes() if request.path.endswith("/eviction")]
        assert request.body["apiVersion"] == "policy/v1"
        assert request.body["deleteOptions"]["preconditions"]["uid"].startswith("uid-pod-web")


async def test_initial_evicts_nobody() -> None:
    async with recommending() as rig:
        put_profile(rig, updateMode="Initial")
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig, minutes=5)
        assert len(pods(rig)) == 3
        assert len(updater(rig)) == 0


async def test_the_pods_annotation_wins_over_the_profile() -> None:
    async with recommending() as rig:
        put_profile(rig, updateMode="Initial")
        deploy(rig, annotations={UPDATE_MODE: "recreate"})
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig)
        assert len(pods(rig)) == 2


async def test_a_mode_that_is_none_is_told_and_touches_nothing() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig, annotations={UPDATE_MODE: "Auto"})
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig, minutes=3)
        assert len(pods(rig)) == 3
        condition = rig.condition(type_="ConfigurationValid")
        assert condition is not None
        assert "'Auto' is none of Initial and Recreate; Initial is in force" in condition["message"]


async def test_a_budget_holds_an_eviction_and_it_is_tried_again_ever_less_often() -> None:
    async with recommending() as rig:
        put_profile(rig)
        budget: Json = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
        }
        rig.kube.api.served.add(PDBS)
        rig.kube.put(PDBS, budget)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig, minutes=20)
        assert len(pods(rig)) == 3
        assert 4 <= len(refused(rig)) <= 6
        assert rig.metric("evictions_total", outcome="refused") == len(refused(rig))
        assert rig.metric("updates_held", reason="budget") == 1
        rig.kube.put(PDBS, {**budget, "spec": {**budget["spec"], "minAvailable": 2}})
        await work(rig, minutes=11)
        assert len(pods(rig)) == 2


async def test_the_only_pod_stays_and_an_event_says_why() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig, replicas=1)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig, minutes=5)
        assert len(pods(rig)) == 1
        recorder = rig.term.events
        assert recorder is not None
        task = asyncio.create_task(recorder.run())
        try:
            await until(
                lambda: any(
                    "there is only one" in event["note"]
                    for event in rig.kube.objects(EVENTS)
                    if event["reason"] == "UpdateHeld"
                ),
                what="it was told that the only pod stays",
            )
        finally:
            task.cancel()
            await asyncio.wait((task,))


async def test_a_webhook_that_is_down_stops_the_evicting() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig)
        replace(rig, "bare", carries=None)
        await work(rig, minutes=8)
        assert len(pods(rig)) == 3
        assert rig.metric("updates_held", reason="not_applied") == 1


async def test_a_rollout_of_the_owner_is_waited_for() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig)
        at_rest(rig, replicas=3, updated=1)
        await rig.settle()
        await recommend(rig, BIGGER)
        await work(rig, minutes=3)
        assert (len(pods(rig)), refused(rig)) == (3, [])
        assert rig.metric("updates_held", reason="rollout") == 1


async def test_a_rule_evicts_nobody_neither_at_its_start_nor_at_its_end() -> None:
    async with recommending() as rig:
        put_profile(rig, rules=[RULE])
        deploy(rig)
        await rig.settle()
        await work(rig, minutes=3)
        assert "activeCronScalingRule" in rig.status()
        assert len(pods(rig)) == 3


async def test_a_rule_evicts_where_the_profile_says_so() -> None:
    async with recommending() as rig:
        put_profile(rig, rules=[RULE], evictOnCronRules=True)
        deploy(rig)
        await rig.settle()
        await work(rig, minutes=3)
        assert "activeCronScalingRule" in rig.status()
        assert len(pods(rig)) == 2


async def test_nobody_is_evicted_before_the_status_says_what_new_pods_get() -> None:
    async with recommending() as rig:
        put_profile(rig, evictOnCronRules=True)
        deploy(rig)
        await rig.settle()
        put_profile(rig, rules=[RULE], evictOnCronRules=True)
        await rig.caught_up()
        await rig.engine.reconcile()
        await rig.caught_up()
        await rig.engine.reconcile()
        assert rig.engine.unwritten() == 1
        await updater(rig).work_off()
        assert len(pods(rig)) == 3
        await work(rig, minutes=2)
        assert len(pods(rig)) == 2


async def test_in_the_whole_cluster_no_more_are_evicted_in_a_minute_than_may_be() -> None:
    async with recommending(evictions_per_minute=0.5) as rig:
        put_profile(rig, rules=[RULE], evictOnCronRules=True)
        for name in ("web", "chat", "search"):
            deploy(rig, name)
        await rig.settle()
        left = []
        for _ in range(5):
            await work(rig)
            left.append(len(rig.kube.objects(PODS)))
        assert left == [9, 8, 8, 7, 7]  # nobody knows when the last term evicted


async def test_an_operator_can_switch_all_evictions_off() -> None:
    async with recommending(evictions=False) as rig:
        put_profile(rig)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        assert rig.term.updater is None


async def test_another_leader_goes_on_where_the_first_was() -> None:
    async with recommending() as rig:
        put_profile(rig)
        deploy(rig)
        await rig.settle()
        await recommend(rig, BIGGER)
        await rig.restart(save=False)
        await work(rig)
        assert len(pods(rig)) == 2
