"""What is kept of a gated pod: all that says whose it is, what it asks for and whether it runs."""

from recommender.cluster.gated import GatedPod
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
