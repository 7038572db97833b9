import math
from collections.abc import Mapping

import pytest

from tests.support import builders
from tests.support.recommending import CREATED, START, Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import (
    APPLIED_RECOMMENDATION,
    AUTO_REPLICAS,
    AUTO_RESOURCES,
    AUTO_SCALE_TARGET_RESOURCE,
    TFLOPS_LIMIT,
    TFLOPS_REQUEST,
    VRAM_LIMIT,
    VRAM_REQUEST,
    WORKLOAD,
    WORKLOAD_PROFILE,
)
from vgpu.kube.resources import (
    DEPLOYMENTS,
    HPAS,
    NODES,
    PODS,
    PROFILES,
    REPLICA_SETS,
    SCALED_OBJECTS,
    WORKLOADS,
)

APPLIED = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all"}
QUICK = {"autoSetResources": {"minSamples": 3, "confidenceInterval": "1s"}}
PROFILED = {**APPLIED, WORKLOAD_PROFILE: "quick"}
HALF_PAST_TEN = builders.cron_rule(start="30 10 * * *", end="40 10 * * *", name="test")


def put_profile(rig: Rig, config: Mapping[str, object]) -> None:
    rig.kube.put(PROFILES, builders.profile("quick", spec={"autoScalingConfig": config}))


async def recommended(rig: Rig, *, tflops: float = 30.0) -> None:
    """A workload `web` that has been recommended 15 % more than it uses, and little VRAM."""
    put_profile(rig, QUICK)
    rig.deploy("web", annotations=PROFILED)
    await rig.settle()
    rig.use("web", tflops=tflops, vram=2e9, minutes=5)
    await rig.skip(minutes=5)
    assert "recommendation" in rig.status()


async def test_a_gated_pod_gets_a_workload_owned_by_its_deployment() -> None:
    async with recommending() as rig:
        deployment = rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        workload = rig.kube.get(WORKLOADS, "default", "web")
        [owner] = workload["metadata"]["ownerReferences"]
        assert owner == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
            "uid": deployment["metadata"]["uid"],
            "controller": True,
        }
        assert workload["spec"]["resources"] == builders.slice_json()
        assert workload["spec"]["autoScalingConfig"]["autoSetResources"] == {
            "enable": True,
            "targetResource": "all",
        }


async def test_usage_becomes_a_recommendation_with_the_documented_condition() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        rig.use("web", tflops=30.0, vram=2e9, minutes=31)
        await rig.skip(minutes=31)
        assert rig.status()["recommendation"] == {
            "requests": {"tflops": "34811m", "vram": "8Gi"},
            "limits": {"tflops": "69622m", "vram": "16Gi"},
        }
        assert rig.status()["conditions"] == [
            {
                "lastTransitionTime": "2026-01-01T10:31:00Z",
                "message": "TFLOPS scaled up due to (10) below lower bound (31695m)",
                "reason": "OutOfEstimatedBound",
                "status": "True",
                "type": "RecommendationProvided",
            },
            {
                "lastTransitionTime": "2026-01-01T10:31:00Z",
                "message": "Usage of its pods comes in",
                "reason": "UsageSeen",
                "status": "True",
                "type": "MetricsAvailable",
            },
        ]


async def test_too_few_samples_recommend_nothing_and_say_so() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        rig.use("web", tflops=30.0, vram=2e9, minutes=29)
        await rig.skip(minutes=29)
        assert "recommendation" not in rig.status()
        condition = rig.condition()
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "InsufficientSamples")


async def test_usage_within_the_bounds_publishes_no_recommendation() -> None:
    async with recommending() as rig:
        put_profile(rig, {"autoSetResources": {"minSamples": 3, "confidenceInterval": "1h"}})
        rig.deploy("web", annotations=PROFILED, vram_request="2500M", vram_limit="2500M")
        await rig.settle()
        rig.use("web", tflops=8.0, vram=2e9, minutes=5)
        await rig.skip(minutes=5)
        condition = rig.condition()
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "WithinBounds")
        assert "recommendation" not in rig.status()


async def test_a_steady_state_writes_nothing() -> None:
    async with recommending() as rig:
        await recommended(rig)
        rig.use("web", tflops=30.0, vram=2e9, minutes=30)
        await rig.pass_time(minutes=10)
        before = len(rig.kube.writes())
        await rig.pass_time(minutes=20)
        assert len(rig.kube.writes()) == before


async def test_the_condition_goes_on_telling_how_the_recommendation_came_about() -> None:
    async with recommending() as rig:
        await recommended(rig)
        before = rig.condition()
        rig.use("web", tflops=30.0, vram=2e9, minutes=10)
        await rig.pass_time(minutes=10)
        assert before is not None
        assert before["reason"] == "OutOfEstimatedBound"
        assert rig.condition() == before


async def test_the_largest_card_caps_the_recommendation() -> None:
    async with recommending() as rig:
        rig.kube.put(NODES, builders.node(product="NVIDIA-GeForce-RTX-3060"))
        await recommended(rig, tflops=25.0)
        assert rig.status()["recommendation"]["requests"]["tflops"] == "26"
        assert rig.status()["recommendation"]["limits"]["tflops"] == "26"


async def test_a_source_that_is_away_moves_nothing_and_its_gap_is_filled() -> None:
    async with recommending() as rig:
        await recommended(rig)
        before = rig.status()
        taken = rig.metric("samples_total", outcome="accepted")
        rig.use("web", tflops=1.0, vram=1e9, minutes=4)
        await rig.prometheus.stop()
        await rig.pass_time(minutes=3)
        assert rig.status() == before
        assert any("metric source fails" in reason for reason in rig.recommender.not_ready())
        assert rig.metric("source_errors_total", error="PrometheusUnreachable") == 3
        await rig.prometheus.start()
        await rig.pass_time(minutes=1)
        assert rig.recommender.not_ready() == []
        assert taken is not None
        assert rig.metric("samples_total", outcome="accepted") == taken + 2 * 4


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(math.nan, "not_finite"), (math.inf, "not_finite"), (-1.0, "negative"), (1e13, "implausible")],
)
async def test_a_source_that_lies_is_not_believed(value: float, outcome: str) -> None:
    async with recommending() as rig:
        await recommended(rig)
        before = rig.status()["recommendation"]
        rig.use("web", tflops=value, vram=value, minutes=10)
        await rig.skip(minutes=10)
        assert rig.status()["recommendation"] == before
        assert rig.metric("samples_total", outcome=outcome) == 2 * 10


async def test_a_clock_that_was_ahead_and_is_put_right_costs_no_usage() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        rig.now += 7200
        await rig.engine.feed()
        rig.now -= 7200
        await rig.engine.feed()
        rig.use("web", tflops=30.0, vram=2e9, minutes=5)
        await rig.pass_time(minutes=5)
        assert rig.metric("samples_total", outcome="accepted") == 2 * 5
        assert rig.metric("clock_put_right_total") == 1


async def test_a_rule_is_active_from_its_start_and_reverts_at_its_end() -> None:
    async with recommending() as rig:
        put_profile(rig, {"cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        await rig.settle()
        assert "activeCronScalingRule" not in rig.status()

        rig.now = CREATED + 10.5 * 3600
        await rig.settle()
        condition = rig.condition()
        assert condition is not None
        assert (condition["reason"], condition["message"]) == (
            "RuleActive",
            'Cron scaling rule "test" is active',
        )
        assert rig.status()["activeCronScalingRule"] == HALF_PAST_TEN
        assert rig.status()["recommendation"]["requests"]["tflops"] == "5"

        rig.now += 600
        await rig.settle()
        condition = rig.condition()
        assert condition is not None
        assert (condition["reason"], condition["message"]) == (
            "RuleInactive",
            'Cron scaling rule "test" is inactive',
        )
        assert "activeCronScalingRule" not in rig.status()
        assert rig.status()["recommendation"] == builders.slice_json()


async def test_the_end_of_a_rule_is_told_until_the_next_interval_though_usage_says_otherwise() -> None:
    async with recommending() as rig:
        put_profile(rig, {**QUICK, "cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        rig.use("web", tflops=5.0, vram=2e9, minutes=45)
        await rig.skip(minutes=31)
        await rig.skip(minutes=9)
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "RuleInactive"
        assert rig.status()["recommendation"]["requests"]["vram"] == "8Gi"

        await rig.pass_time(minutes=1)
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "OutOfEstimatedBound"


async def test_rules_that_overlap_are_reported_and_hold_up_neither_usage_nor_others() -> None:
    async with recommending() as rig:
        overlapping = [builders.cron_rule(name=name, start="0 0 * * *", end="59 23 * * *") for name in "ab"]
        put_profile(rig, {**QUICK, "cronScalingRules": overlapping})
        rig.deploy("web", annotations=PROFILED)
        rig.deploy("other", annotations=APPLIED)
        await rig.settle()
        rig.use("web", tflops=30.0, vram=2e9, minutes=5)
        await rig.skip(minutes=5)
        valid = rig.condition(type_="ConfigurationValid")
        assert valid is not None
        assert (valid["status"], valid["reason"]) == ("False", "InvalidConfiguration")
        assert valid["message"].startswith("spec.autoScalingConfig.cronScalingRules: ")
        assert '"a" and "b"' in valid["message"]
        assert rig.status()["recommendation"]["requests"]["tflops"] == "34811m"
        assert rig.condition("other", "ConfigurationValid") is None


async def test_a_broken_profile_is_reported_and_the_last_good_one_stays_in_force() -> None:
    async with recommending() as rig:
        put_profile(rig, QUICK)
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        before = rig.kube.get(WORKLOADS, "default", "web")["spec"]

        put_profile(rig, {"autoSetResources": {"targetTflopsPercentile": 7}})
        await rig.settle()
        valid = rig.condition(type_="ConfigurationValid")
        assert valid is not None
        assert valid["status"] == "False"
        assert "spec.autoScalingConfig.autoSetResources.targetTflopsPercentile" in valid["message"]
        assert rig.kube.get(WORKLOADS, "default", "web")["spec"] == before

        put_profile(rig, QUICK)
        await rig.settle()
        healed = rig.condition(type_="ConfigurationValid")
        assert healed is not None
        assert healed["status"] == "True"


async def test_a_changed_profile_reaches_its_workloads_at_once() -> None:
    async with recommending() as rig:
        put_profile(rig, QUICK)
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        put_profile(rig, {"autoSetResources": {"minSamples": 99}})
        await rig.settle()
        spec = rig.kube.get(WORKLOADS, "default", "web")["spec"]
        assert spec["autoScalingConfig"]["autoSetResources"]["minSamples"] == 99
        assert rig.status()["observedGeneration"] == 2


async def test_a_restart_keeps_what_was_recommended_and_writes_nothing() -> None:
    async with recommending() as rig:
        await recommended(rig)
        before, writes = rig.status(), len(rig.kube.writes())
        await rig.restart(save=False)
        await rig.pass_time(minutes=2)
        assert rig.status() == before
        assert len(rig.kube.writes()) == writes


async def test_a_restart_in_a_window_reverts_at_its_end() -> None:
    async with recommending() as rig:
        put_profile(rig, {"cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        rig.now = CREATED + 10.6 * 3600
        await rig.settle()
        rig.now = CREATED + 11 * 3600
        await rig.restart(save=False)
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "RuleInactive"
        assert "activeCronScalingRule" not in rig.status()


async def test_conditions_of_others_stay() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        live = rig.kube.get(WORKLOADS, "default", "web")
        foreign = {
            "type": "Ready",
            "status": "True",
            "reason": "Fine",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        live["status"]["conditions"].append(foreign)
        rig.kube.put(WORKLOADS, live)
        put_profile(rig, QUICK)
        rig.use("web", tflops=30.0, vram=2e9, minutes=31)
        await rig.skip(minutes=31)
        assert rig.condition(type_="Ready") == foreign
        assert rig.condition() is not None
        assert "recommendation" in rig.status()


async def test_a_conflict_is_decided_again_on_the_newest_version() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        rig.kube.fail(r"/status$", code=409, reason="Conflict", times=2)
        await rig.settle()
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "InsufficientSamples"
        assert rig.metric("workload_errors_total", stage="publish") == 0


async def test_one_workload_in_trouble_stops_no_other_and_is_tried_again() -> None:
    async with recommending() as rig:
        rig.kube.fail(r"/tensorfusionworkloads/bad$", code=403, reason="Forbidden", method="PATCH")
        rig.deploy("bad", annotations=APPLIED)
        rig.deploy("good", annotations=APPLIED)
        await rig.settle()
        assert rig.condition("good") is not None
        assert rig.kube.find(WORKLOADS, "default", "bad") is None
        assert rig.metric("workload_errors_total", stage="observe") == 1
        rig.now += 5
        await rig.settle()
        assert rig.condition("bad") is not None


async def test_a_clock_that_is_set_back_delays_nothing_that_is_to_be_tried_again() -> None:
    async with recommending() as rig:
        rig.kube.fail(r"/tensorfusionworkloads/web$", code=403, reason="Forbidden", method="PATCH")
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        rig.set_clock(-3600)
        assert 0 < rig.engine.next_due() - rig.clock() <= 5
        rig.now += 5
        await rig.settle()
        assert rig.condition() is not None


async def test_a_workload_that_cannot_be_judged_when_its_rule_begins_is_tried_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with recommending() as rig:
        put_profile(rig, {"cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        await rig.settle()
        rig.now = CREATED + 10.5 * 3600
        with monkeypatch.context() as broken:
            broken.setattr("recommender.decisions.configurations.active_rule", {}.__getitem__)
            await rig.settle()
        assert rig.metric("workload_errors_total", stage="estimate") == 1
        assert 2 < rig.engine.next_due() - rig.clock() <= 5
        rig.now += 5
        await rig.settle()
        assert "activeCronScalingRule" in rig.status()


async def test_a_workload_deleted_by_mistake_comes_back_with_its_history() -> None:
    async with recommending() as rig:
        await recommended(rig)
        before = rig.status()["recommendation"]
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        assert rig.status()["recommendation"] == before


async def test_a_workload_does_not_come_back_once_its_deployment_is_gone() -> None:
    async with recommending() as rig:
        await recommended(rig)
        rig.kube.delete(DEPLOYMENTS, "default", "web")
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        assert rig.kube.find(WORKLOADS, "default", "web") is None


async def test_a_person_who_has_changed_a_field_keeps_it() -> None:
    async with recommending() as rig:
        put_profile(rig, QUICK)
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        rig.edit_workload("web", {"resources": builders.slice_json(tflops_request="11")})
        await rig.settle()
        put_profile(rig, {"autoSetResources": {"minSamples": 99}})
        await rig.settle()
        spec = rig.kube.get(WORKLOADS, "default", "web")["spec"]
        assert spec["resources"]["requests"]["tflops"] == "11"
        assert spec["autoScalingConfig"]["autoSetResources"]["minSamples"] == 99
        assert rig.metric("foreign_fields_total", object="workload") == 1


async def test_pods_with_the_recommended_slice_are_counted() -> None:
    async with recommending() as rig:
        await recommended(rig)
        assert rig.status()["appliedRecommendedReplicas"] == 0
        wanted = rig.status()["recommendation"]
        carried = {
            TFLOPS_REQUEST: wanted["requests"]["tflops"],
            TFLOPS_LIMIT: wanted["limits"]["tflops"],
            VRAM_REQUEST: wanted["requests"]["vram"],
            VRAM_LIMIT: wanted["limits"]["vram"],
        }
        rig.add_pod("web", "new", annotations={**PROFILED, **carried, APPLIED_RECOMMENDATION: "0123456789ab"})
        await rig.settle()
        assert rig.status()["appliedRecommendedReplicas"] == 1


async def test_metrics_show_the_recommendation_until_the_workload_is_no_more() -> None:
    async with recommending() as rig:
        await recommended(rig)
        assert rig.figure("recommended_request_tflops") == pytest.approx(34.811)
        assert rig.figure("target_tflops") == pytest.approx(34.811)
        for each in rig.kube.objects(PODS):
            rig.kube.delete(PODS, "default", each["metadata"]["name"])
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        assert rig.figure("recommended_request_tflops") is None
        assert rig.figure("target_tflops") is None


def hpas(rig: Rig) -> list[str]:
    return [each["metadata"]["name"] for each in rig.kube.objects(HPAS)]


async def test_auto_replicas_make_an_autoscaler_that_goes_when_a_person_has_one() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        ours = rig.kube.get(HPAS, "default", "vgpu-web")
        assert ours["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
        }
        assert ours["metadata"]["ownerReferences"][0]["kind"] == "Deployment"
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert scaling["status"] == "True"

        rig.kube.put(HPAS, builders.horizontal_pod_autoscaler("web"))
        await rig.settle()
        assert rig.kube.find(HPAS, "default", "vgpu-web") is None
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert (scaling["status"], scaling["reason"]) == ("False", "ForeignAutoscalerOnCpu")

        rig.kube.delete(HPAS, "default", "web")
        await rig.settle()
        assert rig.kube.find(HPAS, "default", "vgpu-web") is not None


async def test_an_autoscaler_of_ours_goes_when_keda_is_to_scale_and_comes_back() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        assert hpas(rig) == ["vgpu-web"]

        rig.kube.put(SCALED_OBJECTS, builders.scaled_object())
        await rig.settle()
        assert hpas(rig) == []
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert "ScaledObject web (KEDA)" in scaling["message"]

        rig.kube.delete(SCALED_OBJECTS, "default", "web")
        await rig.settle()
        assert hpas(rig) == ["vgpu-web"]


async def test_a_renamed_workload_takes_its_predecessors_autoscaler_over_and_gives_it_back() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        rig.add_pod("web", "pod1", annotations={AUTO_REPLICAS: "true", WORKLOAD: "renamed"})
        await rig.settle()
        assert hpas(rig) == ["vgpu-renamed"]
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert scaling["reason"] == "AnotherWorkload"
        renamed = rig.condition("renamed", type_="HorizontalScaling")
        assert renamed is not None
        assert renamed["status"] == "True"

        rig.kube.delete(PODS, "default", f"web-{builders.TEMPLATE_HASH}-pod1")
        await rig.settle()
        assert hpas(rig) == ["vgpu-web"]


async def test_of_two_autoscalers_of_ours_on_one_object_one_remains_over_a_restart() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        rig.add_pod("web", "pod1", annotations={AUTO_REPLICAS: "true", WORKLOAD: "renamed"})
        await rig.settle()
        [left] = hpas(rig)
        twin = rig.kube.get(HPAS, "default", left)
        other = "vgpu-web" if left == "vgpu-renamed" else "vgpu-renamed"
        twin["metadata"] = {"name": other, "namespace": "default", "labels": twin["metadata"]["labels"]}
        rig.kube.put(HPAS, twin)
        await rig.restart(save=False)
        assert hpas(rig) == [left]


# Whichever name comes first in a pass must not matter.
@pytest.mark.parametrize(
    ("old", "new"), [("aaa", "zzz"), ("zzz", "aaa"), ("renamed", "web"), ("web", "renamed")]
)
async def test_a_restart_leaves_the_autoscaler_of_a_renamed_workload_alone(old: str, new: str) -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true", WORKLOAD: old})
        rig.add_pod("web", "pod1", annotations={AUTO_REPLICAS: "true", WORKLOAD: new})
        await rig.settle()
        assert hpas(rig) == [f"vgpu-{new}"]
        before = len(rig.kube.writes())
        await rig.restart(save=False)
        assert rig.kube.writes()[before:] == []


async def test_an_autoscaler_that_kube_apiserver_takes_for_invalid_is_told_and_not_asked_again() -> None:
    async with recommending() as rig:
        rig.kube.fail(r"/horizontalpodautoscalers/", code=422, reason="Invalid", times=99)
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        asked = len(rig.kube.writes())
        await rig.pass_time(minutes=3)
        assert len(rig.kube.writes()) == asked
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert scaling["reason"] == "AutoscalerFailed"


async def test_a_workload_of_a_person_scales_what_its_pods_belong_to() -> None:
    async with recommending() as rig:
        rig.kube.put(WORKLOADS, builders.workload(auto_scaling_config={"autoSetReplicas": {"enable": True}}))
        rig.deploy("web")
        await rig.settle()
        assert hpas(rig) == ["vgpu-web"]
        assert "ownerReferences" not in rig.kube.get(WORKLOADS, "default", "web")["metadata"]


async def test_a_workload_follows_its_pods_to_the_next_deployment() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        # As `kubectl delete deployment web --cascade=orphan`, and another one that adopts the ReplicaSet.
        rig.kube.delete(DEPLOYMENTS, "default", "web")
        successor = builders.deployment("web")
        successor["metadata"]["uid"] = "uid-successor"
        rig.kube.put(DEPLOYMENTS, successor)
        replica_set = rig.kube.get(REPLICA_SETS, "default", f"web-{builders.TEMPLATE_HASH}")
        replica_set["metadata"]["ownerReferences"] = [builders.owner_reference(successor)]
        rig.kube.put(REPLICA_SETS, replica_set)
        workload = rig.kube.get(WORKLOADS, "default", "web")
        del workload["metadata"]["ownerReferences"]
        rig.kube.put(WORKLOADS, workload)
        await rig.settle()
        await rig.pass_time(minutes=1)
        [owner] = rig.kube.get(WORKLOADS, "default", "web")["metadata"]["ownerReferences"]
        assert owner["uid"] == successor["metadata"]["uid"]


async def test_an_autoscaler_deleted_by_mistake_comes_back() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        rig.kube.delete(HPAS, "default", "vgpu-web")
        await rig.settle()
        assert rig.kube.find(HPAS, "default", "vgpu-web") is not None


async def test_an_autoscaler_goes_when_auto_replicas_are_switched_off() -> None:
    async with recommending() as rig:
        put_profile(rig, {"autoSetReplicas": {"enable": True}})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        await rig.settle()
        put_profile(rig, {"autoSetReplicas": {"enable": False}})
        await rig.settle()
        assert rig.kube.find(HPAS, "default", "vgpu-web") is None
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert (scaling["status"], scaling["reason"]) == ("False", "Disabled")


async def test_an_autoscaler_that_is_refused_holds_up_no_recommendation() -> None:
    async with recommending() as rig:
        rig.kube.fail(r"/horizontalpodautoscalers/", code=403, reason="Forbidden", times=99)
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        await rig.settle()
        assert rig.condition() is not None
        scaling = rig.condition(type_="HorizontalScaling")
        assert scaling is not None
        assert (scaling["status"], scaling["reason"]) == ("False", "AutoscalerFailed")


async def test_a_rule_takes_effect_within_a_second_of_its_minute() -> None:
    async with recommending() as rig:
        put_profile(rig, {"cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        await rig.settle()
        assert "activeCronScalingRule" not in rig.status()
        begins = CREATED + 10.5 * 3600
        rig.run_clock(begin=begins - 0.3)
        async with rig.leading():
            await until(lambda: "activeCronScalingRule" in rig.status())
            assert begins <= rig.clock() < begins + 1


async def test_a_new_pod_is_taken_care_of_without_waiting_for_the_interval() -> None:
    async with recommending(interval=3600) as rig, rig.leading():
        await until(lambda: rig.prometheus.requests)
        rig.deploy("web", annotations=APPLIED)
        await until(lambda: rig.kube.find(WORKLOADS, "default", "web") and rig.condition(), timeout=2)


async def test_usage_is_read_once_an_interval() -> None:
    async with recommending(interval=0.2) as rig:
        rig.run_clock(begin=START)
        async with rig.leading():
            await until(lambda: len(rig.prometheus.requests) >= 6)
            assert rig.clock() - START >= 0.3
        ranges = [float(request.form["start"]) for request in rig.prometheus.requests[::2]]
        assert ranges == sorted(set(ranges))


async def test_a_slice_that_a_rule_has_left_follows_the_template() -> None:
    async with recommending() as rig:
        put_profile(rig, {"cronScalingRules": [HALF_PAST_TEN]})
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "quick"})
        for hour in (10.5, 11):
            rig.now = CREATED + hour * 3600
            await rig.settle()
        assert rig.status()["recommendation"] == builders.slice_json()
        edited = builders.slice_json(vram_request="12Gi")
        rig.edit_workload("web", {"resources": edited})
        await rig.settle()
        assert rig.status()["recommendation"] == edited


async def test_a_card_that_was_scaled_away_still_is_the_cap() -> None:
    async with recommending() as rig:
        large, small = (
            builders.node(name, product=product, memory_mib=memory)
            for name, product, memory in (
                ("large", "NVIDIA-A100-SXM4-80GB", 81_920),
                ("small", "Tesla-T4", 15_360),
            )
        )
        rig.kube.put(NODES, small)
        rig.kube.put(NODES, large)
        await recommended(rig, tflops=90.0)
        before = rig.status()["recommendation"]
        assert int(before["limits"]["tflops"].removesuffix("m")) > 65_000
        rig.kube.delete(NODES, "", "large")
        await rig.settle()
        rig.engine.look_at_everything()
        await rig.settle()
        assert rig.status()["recommendation"] == before


async def test_estimates_of_few_samples_are_not_told() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=APPLIED)
        await rig.settle()
        rig.use("web", tflops=30.0, vram=2e9, minutes=31)
        await rig.skip(minutes=29)
        assert "estimation" not in rig.status()
        await rig.skip(minutes=2)
        assert rig.status()["estimation"].keys() == {"tflops", "vram"}
