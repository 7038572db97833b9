"""What is kept of a gated pod: all that says whose it is, what it asks for and whether it runs."""

from typing import Any

import pytest

from recommender.cluster.gated import GatedPod, GatedStatus
from recommender.keys import to_epoch
from tests.support import builders
from vgpu.annotations import TFLOPS_REQUEST
from vgpu.kube.objects import Pod, controller_of

DEPLOYMENTS_POD = builders.deployment_pod("web", labels={"app": "web"}, annotations={"team": "search"})


def test_our_own_annotations_are_kept_and_no_others() -> None:
    annotations = builders.struct(DEPLOYMENTS_POD, GatedPod).metadata.annotations or {}
    assert annotations[TFLOPS_REQUEST] == "10"
    assert "team" not in annotations


def test_of_labels_the_gate_and_the_templates_hash_are_kept() -> None:
    labels = builders.struct(DEPLOYMENTS_POD, GatedPod).metadata.labels or {}
    assert labels.keys() == {"tensor-fusion.ai/enabled", "pod-template-hash"}


def test_the_controller_and_the_node_are_kept() -> None:
    whole, kept = (builders.struct(DEPLOYMENTS_POD, kind) for kind in (Pod, GatedPod))
    assert controller_of(kept.metadata) == controller_of(whole.metadata) is not None
    assert kept.spec == whole.spec


def test_that_a_name_was_generated_is_kept_where_no_controller_gives_it() -> None:
    pod = builders.pod("web-x7k2p", generate_name="web-")
    assert builders.struct(pod, GatedPod).metadata.generate_name == "web-"


def test_containers_of_a_finished_pod_tell_when_they_ended() -> None:
    pod = builders.pod("web-0", phase="Succeeded", finished_at="2026-01-01T01:00:00Z")
    assert builders.struct(pod, GatedPod).status.container_statuses == (
        builders.struct(pod, Pod).status.container_statuses
    )


def test_containers_that_run_are_left_out() -> None:
    assert builders.struct(builders.pod("web-0"), GatedPod).status.container_statuses is None


def test_a_pod_without_labels_and_annotations_is_one_still() -> None:
    pod = builders.pod("web-0")
    del pod["metadata"]["labels"], pod["metadata"]["annotations"]
    metadata = builders.struct(pod, GatedPod).metadata
    assert (metadata.labels, metadata.annotations) == (None, None)


CRASHED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
BACKING_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNNING: dict[str, Any] = {"running": {}}


def status(**fields: Any) -> GatedStatus:
    return builders.struct({**builders.pod(), "status": {"phase": "Running", **fields}}, GatedPod).status


def container(
    state: dict[str, Any], last: dict[str, Any] | None = None, *, restarts: int = 0, ready: bool = False
) -> list[dict[str, Any]]:
    return [
        {
            "name": "main",
            "ready": ready,
            "restartCount": restarts,
            "state": state,
            **({"lastState": last} if last else {}),
        }
    ]


@pytest.mark.parametrize(("said", "ready"), [("True", True), ("False", False), ("Unknown", False)])
def test_a_pod_is_ready_by_its_condition(said: str, *, ready: bool) -> None:
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": said}]
    assert status(conditions=conditions).ready is ready


def test_a_pod_without_conditions_is_not_ready() -> None:
    assert not status().ready


@pytest.mark.parametrize("containers", ["containerStatuses", "initContainerStatuses"])
def test_a_container_in_back_off_crash_loops(containers: str) -> None:
    looping = status(**{containers: container(BACKING_OFF, CRASHED, restarts=1)})
    assert looping.crash_looping
    assert looping.container_statuses is not None
    assert looping.container_statuses[0].last_state.terminated is not None
    assert looping.container_statuses[0].last_state.terminated.reason == "OOMKilled"


@pytest.mark.parametrize(
    ("containers", "looping"),
    [
        (container(CRASHED, CRASHED, restarts=2), True),
        (container(RUNNING, CRASHED, restarts=2), True),
        (container(CRASHED, restarts=0), False),
        (container(RUNNING, CRASHED, restarts=1), False),
        (container(RUNNING, CRASHED, restarts=7, ready=True), False),
        (container(RUNNING, {"terminated": {"exitCode": 0}}, restarts=7), False),
        (container({"waiting": {"reason": "ContainerCreating"}}), False),
        (container({"waiting": {"reason": "ImagePullBackOff"}}), False),
    ],
    ids=[
        "ended again",
        "restarted, and not ready",
        "first crash",
        "once restarted",
        "long recovered",
        "ends without error",
        "being created",
        "no image",
    ],
)
def test_only_a_container_that_goes_on_crashing_counts(
    containers: list[dict[str, Any]], *, looping: bool
) -> None:
    assert status(containerStatuses=containers).crash_looping is looping


def test_a_finished_pod_crashes_no_more() -> None:
    assert not status(phase="Failed", containerStatuses=container(CRASHED, CRASHED, restarts=5)).crash_looping


def test_it_is_known_since_when_no_node_was_found() -> None:
    since = "2026-01-01T01:00:00Z"
    unscheduled = {"type": "PodScheduled", "status": "False", "lastTransitionTime": since}
    pending = status(phase="Pending", conditions=[{**unscheduled, "reason": "Unschedulable"}])
    assert pending.unschedulable_since == to_epoch(since)
    gated = status(phase="Pending", conditions=[{**unscheduled, "reason": "SchedulingGated"}])
    assert gated.unschedulable_since is None


def test_a_pod_that_was_scheduled_is_so() -> None:
    assert status(conditions=[{"type": "PodScheduled", "status": "True"}]).unschedulable_since is None


def test_all_that_are_ready_share_what_is_kept_of_it() -> None:
    first, second = (status(conditions=[{"type": "Ready", "status": "True"}]) for _ in range(2))
    assert first.conditions is second.conditions
