from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from recommender.cluster.gated import GatedPod
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex, TrackedPod, newest
from recommender.errors import OwnerGone
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.publishing.applying import APPLIED_DIGEST
from recommender.publishing.workloads import WorkloadKeeper, desired_spec
from tests.support import builders
from tests.support.fake_kube import FakeKube
from vgpu.annotations import AUTO_RESOURCES, ORIGINAL_RESOURCES, TFLOPS_REQUEST, WORKLOAD, WORKLOAD_PROFILE
from vgpu.kube.objects import CustomObject
from vgpu.kube.resources import CRON_JOBS, DEPLOYMENTS, JOBS, REPLICA_SETS, WORKLOADS
from vgpu.naming import Owner

OWNER = Owner("apps/v1", "Deployment", "web", "uid-deployment-web")
QUICK = builders.profile_struct("quick", spec={"autoScalingConfig": {"autoSetResources": {"minSamples": 3}}})
BROKEN = builders.profile_struct(
    "quick", spec={"autoScalingConfig": {"autoSetResources": {"minSamples": -3}}}
)


def tracked(name: str = "web-0", *, created: float = 0.0, **pod: Any) -> TrackedPod:
    return TrackedPod(builders.pod_struct(name, **pod), WorkloadKey("default", "web"), OWNER, created)


class Cluster:
    """A fake kube-apiserver with an index of pods and a keeper of workloads at it."""

    def __init__(self, kube: FakeKube, client: Any) -> None:
        self.kube = kube
        self.profiles: dict[str, CustomObject] = {}
        self.owners = OwnerLookup(client)
        self.index = PodIndex(self.owners)
        self.keeper = WorkloadKeeper(
            client=client,
            owners=self.owners,
            find_profile=lambda _, name: self.profiles.get(name),
            metrics=RecommenderMetrics(CollectorRegistry()),
        )

    def live(self, name: str = "web") -> CustomObject | None:
        found = self.kube.find(WORKLOADS, "default", name)
        return builders.struct(found, CustomObject) if found else None

    async def keep(self, pod: TrackedPod) -> tuple[str, ...]:
        return await self.keeper.keep(pod, self.live(pod.workload.name))


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with FakeKube() as kube, kube.client() as client:
        kube.put(DEPLOYMENTS, builders.deployment("web"))
        kube.put(REPLICA_SETS, builders.replica_set("web"))
        yield Cluster(kube, client)


def deployed(kube: FakeKube, suffix: str = "a") -> GatedPod:
    """A pod of the Deployment `web` as kube-apiserver has stored it."""
    pod = builders.deployment_pod("web", suffix)
    stored = kube.get(REPLICA_SETS, "default", builders.replica_set("web")["metadata"]["name"])
    pod["metadata"]["ownerReferences"] = [builders.owner_reference(stored)]
    return builders.struct(pod, GatedPod)


def test_a_workload_asks_for_what_its_template_and_profile_ask_for() -> None:
    pod = tracked(annotations={WORKLOAD_PROFILE: "quick", AUTO_RESOURCES: "true"})
    spec = desired_spec(pod, QUICK, exists=False).spec
    assert spec == {
        "resources": builders.slice_json(),
        "autoScalingConfig": {"autoSetResources": {"minSamples": 3, "enable": True}},
    }


def test_the_baseline_is_what_the_webhook_recorded() -> None:
    pod = tracked(annotations={ORIGINAL_RESOURCES: '{"requests":{"tflops":"7"}}'})
    assert desired_spec(pod, None, exists=False).spec == {"resources": {"requests": {"tflops": "7"}}}


@pytest.mark.parametrize(
    ("pod", "profile", "problem"),
    [
        (
            tracked(annotations={WORKLOAD_PROFILE: "quick"}),
            BROKEN,
            "spec.autoScalingConfig.autoSetResources.minSamples",
        ),
        (
            tracked(annotations={WORKLOAD_PROFILE: "quick"}),
            None,
            "WorkloadProfile default/quick does not exist",
        ),
        (tracked(annotations={TFLOPS_REQUEST: "many"}), None, TFLOPS_REQUEST),
    ],
)
def test_what_is_wrong_is_named_and_leaves_an_existing_workload_alone(
    pod: TrackedPod, profile: CustomObject | None, problem: str
) -> None:
    desired = desired_spec(pod, profile, exists=True)
    assert desired.spec is None
    [told] = desired.problems
    assert problem in told


@pytest.mark.parametrize("profile", [BROKEN, None])
def test_a_new_workload_whose_profile_is_wrong_is_configured_by_its_annotations(
    profile: CustomObject | None,
) -> None:
    """As the webhook configures its pods, and so that there is an object to report the problem on."""
    pod = tracked(annotations={WORKLOAD_PROFILE: "quick", AUTO_RESOURCES: "true"})
    desired = desired_spec(pod, profile, exists=False)
    assert desired.spec == {
        "resources": builders.slice_json(),
        "autoScalingConfig": {"autoSetResources": {"enable": True}},
    }
    assert desired.problems


def test_a_new_workload_with_a_slice_that_cannot_be_read_keeps_its_profile_and_annotations() -> None:
    pod = tracked(annotations={WORKLOAD_PROFILE: "quick", AUTO_RESOURCES: "true", TFLOPS_REQUEST: "many"})
    desired = desired_spec(pod, QUICK, exists=False)
    assert desired.spec is not None
    assert desired.spec["autoScalingConfig"] == {"autoSetResources": {"minSamples": 3, "enable": True}}
    assert desired.problems


def test_a_switch_that_cannot_be_read_is_told_and_counts_as_not_given() -> None:
    desired = desired_spec(tracked(annotations={AUTO_RESOURCES: "yes"}), None, exists=True)
    assert desired.spec == {"resources": builders.slice_json()}
    [told] = desired.problems
    assert AUTO_RESOURCES in told


def test_in_a_rollout_the_newest_pod_decides() -> None:
    pods = [tracked("old", created=1), tracked("new", created=2), tracked("older", created=0)]
    chosen = newest(pods)
    assert chosen is not None
    assert chosen.pod.metadata.name == "new"


def test_finished_pods_decide_nothing() -> None:
    assert newest([tracked(phase="Succeeded"), tracked(phase="Failed")]) is None


async def test_a_pod_is_named_after_its_deployment() -> None:
    async with cluster() as there:
        found = await there.index.track(deployed(there.kube))
        assert found is not None
        assert (found.workload, found.root.kind, found.root.name) == (("default", "web"), "Deployment", "web")


async def test_the_owner_of_a_replica_set_is_looked_up_once() -> None:
    async with cluster() as there:
        for suffix in ("a", "b", "c"):
            await there.index.track(deployed(there.kube, suffix))
        asked = [request for request in there.kube.requests if "replicasets" in request.path]
        assert len(asked) == 1
        assert len(there.index.of(WorkloadKey("default", "web"))) == 3


async def test_a_pod_of_a_cron_job_is_named_after_it() -> None:
    async with cluster() as there:
        cron_job = there.kube.put(CRON_JOBS, builders.cron_job("nightly"))
        job = there.kube.put(JOBS, builders.job("nightly-1", owner=builders.owner_reference(cron_job)))
        pod = builders.pod_struct("nightly-1-x", owner=builders.owner_reference(job))
        found = await there.index.track(pod)
        assert found is not None
        assert (found.workload.name, found.root.kind) == ("nightly-cronjob", "CronJob")


async def test_a_pod_without_owner_has_its_own_name_and_owns_its_workload() -> None:
    async with cluster() as there:
        found = await there.index.track(builders.pod_struct("notebook"))
        assert found is not None
        assert (found.workload.name, found.root.kind, found.root.name) == ("notebook", "Pod", "notebook")


async def test_a_pod_without_owner_and_with_a_generated_name_is_left_alone() -> None:
    async with cluster() as there:
        assert await there.index.track(builders.pod_struct("x-abc", generate_name="x-")) is None
        assert there.index.find("default", "x-abc") is None


async def test_the_annotated_name_wins() -> None:
    async with cluster() as there:
        found = await there.index.track(builders.pod_struct("x", annotations={WORKLOAD: "chosen"}))
        assert found is not None
        assert found.workload.name == "chosen"


async def test_a_pod_whose_replica_set_is_gone_is_an_error_of_that_pod() -> None:
    async with cluster() as there:
        pod = deployed(there.kube)
        there.kube.delete(REPLICA_SETS, "default", builders.replica_set("web")["metadata"]["name"])
        with pytest.raises(OwnerGone, match="ReplicaSet default/web-"):
            await there.index.track(pod)


async def test_a_forgotten_pod_is_in_no_workload() -> None:
    async with cluster() as there:
        found = await there.index.track(builders.pod_struct("notebook"))
        assert there.index.forget("default", "notebook") is found
        assert there.index.workloads() == frozenset()


async def test_a_workload_is_applied_once() -> None:
    async with cluster() as there:
        for _ in range(3):
            assert await there.keep(tracked(owner=None)) == ()
        assert len(there.kube.writes()) == 1


async def test_a_restarted_keeper_applies_nothing_again() -> None:
    async with cluster() as there:
        await there.keep(tracked())
        there.keeper.forget(WorkloadKey("default", "web"))
        await there.keep(tracked())
        assert len(there.kube.writes()) == 1


async def test_a_changed_template_changes_the_workload() -> None:
    async with cluster() as there:
        await there.keep(tracked())
        await there.keep(tracked(tflops_request="12"))
        live = there.live()
        assert live is not None
        assert live.spec["resources"]["requests"]["tflops"] == "12"


async def test_what_a_template_no_longer_says_is_taken_back() -> None:
    async with cluster() as there:
        await there.keep(tracked(annotations={AUTO_RESOURCES: "true"}))
        await there.keep(tracked())
        live = there.live()
        assert live is not None
        assert "autoScalingConfig" not in live.spec


async def test_a_workload_of_a_person_stays_that_persons() -> None:
    async with cluster() as there:
        mine = builders.workload(resources=builders.slice_json(tflops_request="1", vram_limit="99Gi"))
        stored = there.kube.put(WORKLOADS, mine)
        await there.keep(tracked(annotations={AUTO_RESOURCES: "true"}))
        live = there.kube.get(WORKLOADS, "default", "web")
        assert live["spec"] == mine["spec"]
        for key in ("ownerReferences", "labels", "annotations"):
            assert live["metadata"].get(key) == stored["metadata"].get(key)


async def test_a_workload_of_a_person_without_a_slice_gets_that_of_the_template() -> None:
    async with cluster() as there:
        config = {"autoSetResources": {"enable": True}}
        mine = {**builders.workload(), "spec": {"autoScalingConfig": config}}
        there.kube.put(WORKLOADS, mine)
        for request in ("10", "12"):
            await there.keep(tracked(tflops_request=request))
            live = there.live()
            assert live is not None
            assert live.spec["autoScalingConfig"] == config
            assert live.spec["resources"]["requests"]["tflops"] == request


@pytest.mark.parametrize(
    "given",
    [
        {"resources": {"Requests": {"tflops": 20}}},
        {"Resources": {"requests": {"tflops": "20"}}},
        {"resources": {"requests": {"tflops": "20"}}},
        {"resources": {"limits": {"vram": "4Gi"}}},
        {"resources": {"requests": {"tflops": "many"}}},
    ],
)
async def test_a_slice_of_a_person_is_not_completed_however_it_is_spelled(given: dict[str, Any]) -> None:
    async with cluster() as there:
        there.kube.put(WORKLOADS, {**builders.workload(), "spec": given})
        for request in ("10", "12"):
            await there.keep(tracked(tflops_request=request))
        assert there.kube.get(WORKLOADS, "default", "web")["spec"] == given
        assert there.kube.writes() == []


async def test_a_slice_given_to_a_workload_of_a_person_follows_the_template_after_a_restart() -> None:
    async with cluster() as there:
        there.kube.put(WORKLOADS, {**builders.workload(), "spec": {}})
        await there.keep(tracked())
        there.keeper.forget(WorkloadKey("default", "web"))
        await there.keep(tracked())
        assert len(there.kube.writes()) == 1
        await there.keep(tracked(tflops_request="12"))
        live = there.live()
        assert live is not None
        assert live.spec["resources"]["requests"]["tflops"] == "12"


async def test_a_label_of_another_tool_on_a_workload_of_ours_is_left_to_it() -> None:
    async with cluster() as there:
        await there.keep(tracked())
        stored = there.kube.get(WORKLOADS, "default", "web")
        stored["metadata"]["annotations"][APPLIED_DIGEST] = "somebody-else-s"
        there.kube.put(WORKLOADS, stored)
        await there.keep(tracked(tflops_request="12"))
        live = there.live()
        assert live is not None
        assert live.spec["resources"]["requests"]["tflops"] == "12"
        assert (live.metadata.annotations or {})[APPLIED_DIGEST] == "somebody-else-s"


async def test_a_conflict_that_lasts_is_told_and_not_asked_again() -> None:
    async with cluster() as there:
        there.kube.fail("/tensorfusionworkloads/web", code=409, reason="Conflict", times=9)
        first = await there.keep(tracked())
        assert len(first) == 1
        assert await there.keep(tracked()) == first
        assert len(there.kube.writes()) == 1


async def test_a_workload_that_has_lost_its_owner_gets_the_one_that_stands() -> None:
    async with cluster() as there:
        await there.keep(tracked())
        stored = there.kube.get(WORKLOADS, "default", "web")
        del stored["metadata"]["ownerReferences"]
        there.kube.put(WORKLOADS, stored)
        there.keeper.forget(WorkloadKey("default", "web"))
        await there.keep(tracked())
        live = there.live()
        assert live is not None
        assert [owner.uid for owner in live.metadata.owner_references or ()] == [OWNER.uid]


async def test_a_replica_set_is_asked_for_its_owner_anew_once_the_old_one_is_gone() -> None:
    async with cluster() as there:
        replica_set = builders.replica_set("web")["metadata"]["name"]
        old = await there.index.track(deployed(there.kube))
        assert old is not None
        there.kube.delete(DEPLOYMENTS, "default", "web")
        successor = builders.deployment("web")
        successor["metadata"]["uid"] = "uid-successor"
        there.kube.put(DEPLOYMENTS, successor)
        adopted = there.kube.get(REPLICA_SETS, "default", replica_set)
        adopted["metadata"]["ownerReferences"] = [builders.owner_reference(successor)]
        there.kube.put(REPLICA_SETS, adopted)
        with pytest.raises(OwnerGone):
            await there.owners.require("default", old.root)
        new = await there.index.track(deployed(there.kube))
        assert new is not None
        assert new.root.uid == "uid-successor"


async def test_what_kube_apiserver_refuses_is_told_and_not_asked_again() -> None:
    async with cluster() as there:
        there.kube.fail("/tensorfusionworkloads/web", code=422, reason="Invalid", times=9)
        first = await there.keep(tracked())
        assert len(first) == 1
        assert await there.keep(tracked()) == first
        assert len(there.kube.writes()) == 1


async def test_a_workload_is_not_made_for_an_owner_that_is_being_deleted() -> None:
    async with cluster() as there:
        deployment = there.kube.get(DEPLOYMENTS, "default", "web")
        deployment["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        there.kube.put(DEPLOYMENTS, deployment)
        with pytest.raises(OwnerGone):
            await there.keep(tracked())
        assert there.live() is None
