import msgspec

from tests.support.builders import deployment_pod, pod, struct
from vgpu.kube.objects import ObjectMeta, OwnerReference, PartialObject, Pod, controller_of
from vgpu.naming import Owner


def test_a_pod_keeps_the_fields_that_are_used() -> None:
    read = struct(pod("web-0", node="gpu-3", annotations={"a": "b"}), Pod)
    assert (read.metadata.name, read.spec.node_name, read.status.phase) == ("web-0", "gpu-3", "Running")
    assert (read.metadata.annotations or {})["a"] == "b"


def test_fields_that_nobody_uses_are_skipped() -> None:
    text = b'{"metadata": {"managedFields": [{"manager": "x"}]}, "spec": {"volumes": [1, 2]}}'
    assert msgspec.json.decode(text, type=Pod) == Pod()


def test_an_absent_map_of_annotations_is_told_from_an_empty_one() -> None:
    absent = msgspec.json.decode(b'{"metadata": {}}', type=PartialObject)
    empty = msgspec.json.decode(b'{"metadata": {"annotations": {}}}', type=PartialObject)
    assert absent.metadata.annotations is None
    assert empty.metadata.annotations == {}


def test_nulls_of_an_object_made_by_hand_are_read() -> None:
    text = b'{"metadata": {"creationTimestamp": null, "labels": null, "ownerReferences": null}}'
    assert msgspec.json.decode(text, type=Pod).metadata == ObjectMeta()


def test_the_controller_is_the_owner_that_says_so() -> None:
    owners = [
        OwnerReference("v1", "ConfigMap", "settings", "1"),
        OwnerReference("apps/v1", "ReplicaSet", "web-6d4cf56db6", "2", controller=True),
    ]
    assert controller_of(ObjectMeta(owner_references=owners)) == Owner(
        api_version="apps/v1", kind="ReplicaSet", name="web-6d4cf56db6", uid="2"
    )


def test_an_object_without_owners_has_no_controller() -> None:
    assert controller_of(ObjectMeta()) is None


def test_owners_that_do_not_control_are_no_controller() -> None:
    owners = [OwnerReference("v1", "ConfigMap", "settings", "1", controller=False)]
    assert controller_of(ObjectMeta(owner_references=owners)) is None


def test_a_deployments_pod_is_controlled_by_its_replica_set() -> None:
    controller = controller_of(struct(deployment_pod("web"), Pod).metadata)
    assert controller is not None
    assert controller.kind == "ReplicaSet"
