"""Which pods count as different, and what else is known of them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from recommender.cluster.gated import GatedPod
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey, to_epoch
from recommender.updating.members import Member
from recommender.updating.survey import Wanted, survey
from tests.recommender.updating.making import ROOT
from tests.support import builders
from vgpu.annotations import APPLIED_RECOMMENDATION, EVICT, ORIGINAL_RESOURCES
from vgpu.api import parse_spec
from vgpu.schedule import Rule
from vgpu.slices import Amounts, VgpuSlice

RECOMMENDED = VgpuSlice.from_json(builders.slice_json(tflops_request="20", tflops_limit="40"))
NIGHT = builders.cron_rule("night", desired=builders.slice_json(tflops_request="44", tflops_limit="88"))
RECORD = '{"requests":{"tflops":"10"},"limits":{"tflops":"20"}}'
AT_NIGHT = datetime(2026, 1, 1, 23, tzinfo=UTC).timestamp()
BY_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def wanting(
    recommendation: VgpuSlice | None = RECOMMENDED, *, rule: Rule | None = None, **settings: Any
) -> Wanted:
    config = {"enable": True, "targetResource": "all", "updateMode": "Recreate", **settings}
    spec = parse_spec({"autoScalingConfig": {"autoSetResources": config, "cronScalingRules": [NIGHT]}})
    return Wanted(spec=spec, recommendation=recommendation, rule=rule)


def member(wanted: Wanted | None = None, *, created: float = BY_DAY, **pod: Any) -> Member:
    tracked = TrackedPod(
        builders.struct(builders.deployment_pod("web", **pod), GatedPod),
        WorkloadKey("default", "web"),
        ROOT,
        created,
    )
    found = survey(wanted or wanting(), [tracked], card=Amounts(), least=0.1)
    [only] = found.members
    return only


CARRIED: dict[str, Any] = {"tflops_request": "20", "tflops_limit": "40"}


def test_a_pod_with_its_own_slice_differs() -> None:
    assert member().differs


def test_one_with_the_recommended_slice_does_not() -> None:
    assert not member(**CARRIED).differs


@pytest.mark.parametrize(
    ("request_", "differs"), [("18500m", False), ("18", True), ("22", False), ("23", True)]
)
def test_a_tenth_of_what_it_carries_is_the_least_that_counts(request_: str, *, differs: bool) -> None:
    assert member(tflops_request=request_, tflops_limit="40").differs is differs


def test_a_limit_that_differs_counts_too() -> None:
    assert member(tflops_request="20", tflops_limit="60").differs


def test_what_is_only_recommended_moves_no_pod() -> None:
    assert not member(wanting(enable=False)).differs


def test_what_a_pod_was_given_is_taken_back_when_nothing_is_recommended_any_more() -> None:
    recorded = {
        "tensor-fusion.ai/original-resources": '{"requests":{"tflops":"10"},"limits":{"tflops":"20"}}'
    }
    assert member(wanting(None), annotations=recorded, **CARRIED).differs


def of_the_rule(wanted: Wanted, *, created: float) -> bool:
    """Whether a pod differs that carries what the rule asks for, under a recommendation of less."""
    recorded = {ORIGINAL_RESOURCES: RECORD, APPLIED_RECOMMENDATION: "tflops=12345678"}
    [rule] = wanted.spec.auto_scaling_config.rules
    asked: dict[str, Any] = {
        "tflops_request": f"{rule.desired.requests.tflops}m",
        "tflops_limit": f"{rule.desired.limits.tflops}m",
    }
    return member(wanted, created=created, annotations=recorded, **asked).differs


def test_a_pod_that_was_made_in_a_rules_window_keeps_what_it_got_there() -> None:
    assert not of_the_rule(wanting(), created=AT_NIGHT)


def test_one_that_was_made_outside_of_it_does_not() -> None:
    assert of_the_rule(wanting(), created=BY_DAY)


def test_where_the_profile_says_so_it_is_made_anew_when_the_rule_has_ended() -> None:
    assert of_the_rule(wanting(evictOnCronRules=True), created=AT_NIGHT)


def test_an_active_rule_holds_unless_the_profile_says_otherwise() -> None:
    [rule] = wanting().spec.auto_scaling_config.rules
    held = [
        survey(wanting(rule=rule, evictOnCronRules=wish), [], card=Amounts(), least=0.1).rule_holds
        for wish in (False, True)
    ]
    assert held == [True, False]


@pytest.mark.parametrize("key", [EVICT, "cluster-autoscaler.kubernetes.io/safe-to-evict"])
def test_an_annotation_opts_out(key: str) -> None:
    assert member(annotations={key: "false"}).opted_out
    assert not member(annotations={key: "true"}).opted_out


@pytest.mark.parametrize(
    "key",
    [
        "scheduling.k8s.io/group-name",
        "scheduling.x-k8s.io/pod-group",
        "pod-group.scheduling.sigs.k8s.io",
        "leaderworkerset.sigs.k8s.io/name",
        "kueue.x-k8s.io/pod-group-name",
        "volcano.sh/task-spec",
        "ray.io/cluster",
    ],
)
@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_a_group_is_told_by_a_label_or_an_annotation(place: str, key: str) -> None:
    texts: dict[str, Any] = {place: {key: "workers"}}
    assert member(**texts).gang == key


def test_a_pod_of_nobodys_group_has_none() -> None:
    assert member(labels={"team": "search"}).gang is None


def test_a_pod_that_the_webhook_has_not_written_on_is_known() -> None:
    assert member().unwritten
    assert not member(annotations={APPLIED_RECOMMENDATION: "tflops=12345678"}).unwritten


def test_finished_pods_and_those_being_deleted_do_not_count() -> None:
    pod = builders.pod_struct("web-0", phase="Succeeded")
    tracked = TrackedPod(pod, WorkloadKey("default", "web"), ROOT, to_epoch(builders.STARTED))
    going = builders.pod("web-1")
    going["metadata"]["deletionTimestamp"] = builders.STARTED
    leaving = replace(tracked, pod=builders.struct(going, GatedPod))
    assert survey(wanting(), [tracked, leaving], card=Amounts(), least=0.1).members == ()
