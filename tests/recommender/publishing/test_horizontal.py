from typing import Any

import pytest

from recommender.cluster.scalers import ScaledObject
from recommender.keys import WorkloadKey
from recommender.publishing.horizontal import (
    HorizontalDefaults,
    HorizontalPlan,
    Neighbours,
    hpa_key,
    plan_horizontal,
)
from tests.support import builders
from vgpu.annotations import HPA_METRIC
from vgpu.api import parse_spec
from vgpu.kube.objects import HorizontalPodAutoscaler
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.naming import Owner

WEB = WorkloadKey("default", "web")
ROOT = Owner("apps/v1", "Deployment", "web", "uid-web")
DEFAULTS = HorizontalDefaults(metric="gpu_utilization", target=80)


def plan(
    replicas: dict[str, Any] | None = None,
    *,
    root: Owner | None = ROOT,
    floor: int | None = None,
    neighbours: Neighbours | None = None,
    **slice_: str,
) -> HorizontalPlan:
    spec = {
        "resources": builders.slice_json(**slice_),
        "autoScalingConfig": {"autoSetReplicas": {"enable": True, **(replicas or {})}},
    }
    return plan_horizontal(
        workload=WEB,
        root=root,
        spec=parse_spec(spec),
        floor=floor,
        neighbours=neighbours or Neighbours(),
        defaults=DEFAULTS,
    )


def spec_of(made: HorizontalPlan) -> dict[str, Any]:
    assert made.body is not None
    return dict(made.body["spec"])


def target_of(made: HorizontalPlan) -> str:
    [metric] = spec_of(made)["metrics"]
    return str(metric["pods"]["target"]["averageValue"])


def test_an_autoscaler_scales_the_root_controller_on_gpu_utilization() -> None:
    made = plan()
    assert made.body is not None
    assert made.body["metadata"]["name"] == "vgpu-web"
    assert spec_of(made) == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "gpu_utilization"},
                    "target": {"type": "AverageValue", "averageValue": "80"},
                },
            }
        ],
    }


def test_an_autoscaler_is_owned_by_the_root_controller() -> None:
    made = plan()
    assert made.body is not None
    [owner] = made.body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", "web", "uid-web")


def test_without_auto_replicas_there_is_none_and_nothing_to_tell() -> None:
    assert plan({"enable": False}) == HorizontalPlan(None, None)


@pytest.mark.parametrize(
    ("target", "expected"), [(0.5, "100"), ("0.5", "100"), (50, "100"), (1, "200"), (0.333, "66600m")]
)
def test_a_target_of_limits_is_converted_to_one_of_requests(target: object, expected: str) -> None:
    made = plan({"targetTFlopsOfLimits": target}, tflops_request="10", tflops_limit="20")
    assert target_of(made) == expected


def test_bounds_of_replicas_are_those_of_the_workload() -> None:
    spec = spec_of(plan({"minReplicas": 2, "maxReplicas": 6}))
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)


@pytest.mark.parametrize(("floor", "least"), [(None, 2), (1, 2), (4, 4), (9, 6)])
def test_an_active_rule_raises_the_floor_up_to_the_maximum(floor: int | None, least: int) -> None:
    assert spec_of(plan({"minReplicas": 2, "maxReplicas": 6}, floor=floor))["minReplicas"] == least


def test_steps_and_cool_downs_become_behavior() -> None:
    made = plan(
        {
            "scaleUpStep": 2,
            "scaleUpCoolDownTime": "1m",
            "scaleDownStep": 1,
            "scaleDownCoolDownTime": "5m",
            "evaluationPeriod": "30s",
        }
    )
    assert spec_of(made)["behavior"] == {
        "scaleUp": {
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}],
            "stabilizationWindowSeconds": 30,
        },
        "scaleDown": {
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
            "stabilizationWindowSeconds": 30,
        },
    }


def test_a_cool_down_alone_keeps_the_default_steps_of_kubernetes() -> None:
    made = plan({"scaleUpCoolDownTime": "0s", "scaleDownCoolDownTime": "5s"})
    assert spec_of(made)["behavior"] == {
        "scaleUp": {
            "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 1},
                {"type": "Percent", "value": 100, "periodSeconds": 1},
            ]
        },
        "scaleDown": {
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 5}],
            "stabilizationWindowSeconds": 5,
        },
    }


def test_periods_stay_within_what_kubernetes_takes() -> None:
    down = spec_of(plan({"scaleDownCoolDownTime": "10h"}))["behavior"]["scaleDown"]
    assert (down["policies"][0]["periodSeconds"], down["stabilizationWindowSeconds"]) == (1800, 3600)


def test_an_autoscaler_of_a_person_makes_ours_step_back() -> None:
    made = plan(neighbours=Neighbours(autoscalers=[builders.hpa_struct("mine")]))
    assert made.body is None
    assert made.condition is not None
    assert (made.condition.status, made.condition.reason) == (False, "ForeignAutoscalerOnCpu")
    assert "HorizontalPodAutoscaler mine" in made.condition.message


def reason_beside(spec: dict[str, Any], **annotations: str) -> str:
    body = builders.horizontal_pod_autoscaler("mine", spec=spec)
    body["metadata"] = {**body["metadata"], "annotations": annotations}
    mine = builders.struct(body, HorizontalPodAutoscaler)
    made = plan(neighbours=Neighbours(autoscalers=[mine]))
    assert made.body is None
    assert made.condition is not None
    return made.condition.reason


def test_an_autoscaler_of_a_person_on_anything_but_cpu_needs_no_advice() -> None:
    assert reason_beside({"metrics": [{"type": "Pods", "pods": {}}]}) == "ForeignAutoscaler"


def test_a_person_who_keeps_an_autoscaler_on_cpu_needs_no_advice() -> None:
    assert reason_beside({}, **{HPA_METRIC: "keep"}) == "ForeignAutoscaler"


def test_a_scaled_object_of_keda_makes_ours_step_back_and_go() -> None:
    scaled = builders.struct(builders.scaled_object(), ScaledObject)
    made = plan(neighbours=Neighbours(autoscalers=[ours("vgpu-web")], scaled_objects=[scaled]))
    assert made.body is None
    assert made.condition is not None
    assert (made.condition.status, made.condition.reason) == (False, "ForeignAutoscaler")
    assert "ScaledObject web (KEDA) scales Deployment web" in made.condition.message


def test_an_autoscaler_of_a_person_that_has_our_name_is_left_alone() -> None:
    made = plan(neighbours=Neighbours(namesake=builders.hpa_struct("vgpu-web", target="other")))
    assert made.body is None
    assert made.condition is not None
    assert made.condition.reason == "ForeignAutoscaler"


def ours(name: str) -> HorizontalPodAutoscaler:
    body = {**builders.horizontal_pod_autoscaler(name)}
    body["metadata"] = {**body["metadata"], "labels": {MANAGED_BY: MANAGER}}
    return builders.struct(body, HorizontalPodAutoscaler)


def test_what_a_workload_of_another_name_has_left_on_the_same_object_goes() -> None:
    before = ours("vgpu-before")
    made = plan(neighbours=Neighbours(autoscalers=[ours("vgpu-web"), before]))
    assert made.body is not None
    assert made.unwanted == (before,)
    assert plan({"enable": False}, neighbours=Neighbours(autoscalers=[before])).unwanted == (before,)


def test_a_workload_that_another_has_taken_over_from_yields() -> None:
    other = Neighbours(workload=WorkloadKey("default", "renamed"), autoscalers=[ours("vgpu-renamed")])
    made = plan(neighbours=other)
    assert (made.body, made.unwanted) == (None, ())
    assert made.condition is not None
    assert (made.condition.status, made.condition.reason) == (False, "AnotherWorkload")
    assert "workload renamed" in made.condition.message


@pytest.mark.parametrize("kind", ["Pod", "Job", "CronJob", "DaemonSet"])
def test_kinds_that_cannot_be_scaled_are_told(kind: str) -> None:
    made = plan(root=Owner("batch/v1", kind, "x", "uid"))
    assert made.body is None
    assert made.condition is not None
    assert made.condition.reason == "NotScalable"
    assert kind in made.condition.message


def test_the_longest_workload_name_still_gives_an_object_name() -> None:
    long = hpa_key(WorkloadKey("default", "a" * 253))
    assert len(long.name) == 253
    assert long != hpa_key(WorkloadKey("default", "a" * 252 + "b"))
