import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.admission import ALL, RECOMMENDED
from tests.support.builders import cron_job, job, node, owner_reference, profile, slice_json, workload
from tests.support.fake_kube import FakeKube
from tests.support.operators import configured_by_annotation
from tests.support.waiting import until
from vgpu import annotations as keys
from vgpu.gpu_peaks import load_models
from vgpu.kube.errors import NotSynced
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.kube.resources import JOBS, NODES, PROFILES, WORKLOADS
from vgpu.operator import Mode
from vgpu.slices import Amounts, Resource, VgpuSlice
from webhook import configuration
from webhook.caches import Caches
from webhook.errors import UnknownJobError


@asynccontextmanager
async def following(
    kube: FakeKube, *, synced: bool = True, mode: Mode = "standalone"
) -> AsyncIterator[Caches]:
    """Caches that follow a cluster until the block ends."""
    async with kube.client() as client, asyncio.TaskGroup() as group:
        caches = Caches(client, load_models(), mode=mode)
        tasks = [group.create_task(runner) for runner in caches.runners()]
        if synced:
            await caches.wait_synced(5)
        yield caches
        for task in tasks:
            task.cancel()


async def test_workloads_and_profiles_are_there_once_it_is_synced() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web", auto_scaling_config=ALL, recommendation=RECOMMENDED))
        kube.put(PROFILES, profile("gold", spec={"autoScalingConfig": ALL}))
        async with following(kube) as caches:
            known, gold = caches.workload("default", "web"), caches.profile("default", "gold")
            assert known is not None
            assert known.own.configuration.targets == frozenset(Resource)
            assert known.published.recommendation is not None
            assert gold is not None
            assert gold.configuration.targets == frozenset(Resource)
            assert caches.configured({}, gold) is gold.configuration
            assert caches.not_synced() == []


@pytest.mark.parametrize(("manager", "by_hand"), [(MANAGER, False), ("Helm", True)])
async def test_a_workload_that_a_person_made_is_told_by_its_label(manager: str, *, by_hand: bool) -> None:
    made = workload("web", auto_scaling_config=ALL)
    made["metadata"]["labels"] = {MANAGED_BY: manager}
    async with FakeKube() as kube:
        kube.put(WORKLOADS, made)
        async with following(kube) as caches:
            known = caches.workload("default", "web")
            assert known is not None
            assert known.by_hand is by_hand


async def test_what_is_not_there_is_none() -> None:
    async with FakeKube() as kube, following(kube) as caches:
        assert caches.workload("default", "web") is None
        assert caches.profile("default", "gold") is None


async def test_a_new_recommendation_arrives_without_parsing_the_spec_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeKube() as kube:
        first = workload("web", auto_scaling_config=ALL, recommendation=RECOMMENDED)
        kube.put(WORKLOADS, first)
        async with following(kube) as caches:
            known = caches.workload("default", "web")
            assert known is not None

            def refuse(spec: object) -> Any:
                raise AssertionError("the spec is parsed again")

            monkeypatch.setattr(configuration, "parse_spec", refuse)
            kube.put(WORKLOADS, {**first, "status": {"recommendation": slice_json(tflops_request="7")}})
            await until(lambda: caches.workload("default", "web") is not known)
            newer = caches.workload("default", "web")
            assert newer is not None
            assert newer.own is known.own
            assert newer.published.recommendation is not None
            assert newer.published.recommendation.requests.tflops == 7000


async def test_a_new_spec_is_parsed() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web"))
        async with following(kube) as caches:
            kube.put(WORKLOADS, workload("web", auto_scaling_config=ALL))
            await until(
                lambda: (found := caches.workload("default", "web")) and found.own.configuration.targets
            )


async def test_a_bad_spec_is_known_with_its_problem_and_stops_nothing() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("bad", auto_scaling_config={"autoSetReplicas": {"enable": "perhaps"}}))
        kube.put(WORKLOADS, workload("good", auto_scaling_config=ALL))
        async with following(kube) as caches:
            bad, good = caches.workload("default", "bad"), caches.workload("default", "good")
            assert bad is not None
            assert bad.own.configuration.problem is not None
            assert good is not None
            assert good.own.configuration.problem is None


async def test_a_bug_in_parsing_one_object_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(spec: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(configuration, "parse_spec", broken)
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web"))
        async with following(kube) as caches:
            known = caches.workload("default", "web")
            assert known is not None
            assert (
                known.own.configuration.problem == "cannot be read (ZeroDivisionError); see the webhook's log"
            )


async def test_a_workload_that_is_being_deleted_is_not_there() -> None:
    async with FakeKube() as kube:
        dying = workload("web", recommendation=RECOMMENDED)
        dying["metadata"]["deletionTimestamp"] = "2026-03-05T12:00:00Z"
        kube.put(WORKLOADS, workload("web", recommendation=RECOMMENDED))
        async with following(kube) as caches:
            assert caches.workload("default", "web") is not None
            kube.put(WORKLOADS, dying)
            await until(lambda: caches.workload("default", "web") is None)


async def test_deleted_objects_are_forgotten() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web"))
        kube.put(PROFILES, profile("gold"))
        async with following(kube) as caches:
            assert [size() for size in caches.sizes().values()] == [1, 1, 0, 0]
            kube.delete(WORKLOADS, "default", "web")
            kube.delete(PROFILES, "default", "gold")
            await until(lambda: [size() for size in caches.sizes().values()] == [0, 0, 0, 0])


async def test_a_changed_profile_counts_under_a_pods_annotations_too() -> None:
    annotations = {keys.AUTO_RESOURCES: "true"}

    def targets(caches: Caches) -> frozenset[Resource]:
        return caches.configured(annotations, caches.profile("default", "gold")).targets

    async with FakeKube() as kube:
        kube.put(PROFILES, profile("gold"))
        async with following(kube) as caches:
            assert targets(caches) == frozenset()
            kube.put(PROFILES, profile("gold", spec={"autoScalingConfig": ALL}))
            await until(lambda: targets(caches) == frozenset(Resource))


async def test_the_owner_of_a_job_is_known_and_an_unknown_job_is_an_error() -> None:
    async with FakeKube() as kube:
        kube.put(JOBS, job("nightly-1", owner=owner_reference(cron_job("nightly"))))
        kube.put(JOBS, job("train"))
        async with following(kube) as caches:
            owner = caches.job_owner("default", "nightly-1")
            assert owner is not None
            assert (owner.kind, owner.name) == ("CronJob", "nightly")
            assert caches.job_owner("default", "train") is None
            with pytest.raises(UnknownJobError, match="absent"):
                caches.job_owner("default", "absent")


async def test_what_cannot_be_listed_is_not_synced_and_says_why() -> None:
    async with FakeKube() as kube:
        kube.fail("workloadprofiles", code=403, reason="Forbidden", times=1000)
        async with following(kube, synced=False) as caches:
            with pytest.raises(NotSynced, match="workloadprofiles"):
                await caches.wait_synced(0.3)
            assert caches.not_synced() == ["workloadprofiles"]


async def test_the_largest_card_of_the_nodes_is_known_also_after_they_were_scaled_away() -> None:
    async with FakeKube() as kube:
        kube.put(NODES, node("small"))
        kube.put(NODES, node("large", product="NVIDIA-A100-SXM4-80GB", memory_mib=81920))
        async with following(kube) as caches:
            largest = Amounts(tflops=312_000, vram=80 << 30)
            assert caches.card(None, Amounts()) == largest
            kube.delete(NODES, "", "large")
            await until(lambda: caches.sizes()["nodes"]() == 1)
            assert caches.card(None, Amounts()) == largest
            assert caches.card("L4", Amounts()) == Amounts(tflops=121_000, vram=23034 << 20)


async def test_without_nodes_pods_are_decided_about_and_nothing_is_capped() -> None:
    async with FakeKube() as kube:
        kube.fail("nodes", code=403, reason="Forbidden", times=1000)
        async with following(kube, synced=False) as caches:
            await until(lambda: caches.not_synced() == [])
            assert caches.card(None, Amounts()) == Amounts()
            with pytest.raises(NotSynced, match="nodes"):
                await caches.wait_synced(0.3)


async def test_a_companion_reads_a_profile_with_its_annotation() -> None:
    made = configured_by_annotation(
        profile("gold", spec={}), "autoSetResources: {enable: true, targetResource: all}"
    )
    async with FakeKube() as kube:
        kube.put(PROFILES, made)
        async with following(kube, mode="companion") as caches:
            gold = caches.profile("default", "gold")
            assert gold is not None
            assert gold.configuration.targets == frozenset(Resource)


async def test_a_companion_says_what_is_wrong_with_the_annotation_of_a_profile() -> None:
    async with FakeKube() as kube:
        kube.put(PROFILES, configured_by_annotation(profile("gold", spec={}), "a: ["))
        async with following(kube, mode="companion") as caches:
            gold = caches.profile("default", "gold")
            assert gold is not None
            assert "autoscaling-config" in (gold.configuration.problem or "")


async def test_a_companion_takes_no_baseline_from_a_workload_of_the_operator() -> None:
    made = workload("web", resources=slice_json(tflops_limit="44"), auto_scaling_config=ALL)
    async with FakeKube() as kube:
        kube.put(WORKLOADS, made)
        async with following(kube, mode="companion") as caches:
            known = caches.workload("default", "web")
            assert known is not None
            assert not known.by_hand
            assert known.own.configuration.resources == VgpuSlice()
            assert known.own.configuration.targets == frozenset(Resource)
