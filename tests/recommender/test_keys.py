"""A workload is known by one key, and kept without the copy of itself that kubectl leaves in it."""

from recommender.keys import Workload, WorkloadKey, key_of
from tests.support import builders
from vgpu.kube.objects import CustomObject

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def test_all_who_ask_for_the_key_of_a_workload_get_the_same_one() -> None:
    read = builders.struct(builders.workload("web"), Workload)
    assert key_of(read.metadata) == WorkloadKey("default", "web")
    assert key_of(read.metadata) is key_of(read.metadata)


def test_the_key_is_that_of_name_and_namespace_whatever_else_the_metadata_says() -> None:
    built = builders.workload("web")
    built["metadata"]["key"] = ["other", "workload"]
    assert key_of(builders.struct(built, Workload).metadata) == ("default", "web")


def test_any_object_has_a_key() -> None:
    assert key_of(builders.struct(builders.workload("web"), CustomObject).metadata) == ("default", "web")


def test_the_copy_that_kubectl_apply_leaves_is_not_kept() -> None:
    built = builders.workload("web")
    built["metadata"]["annotations"] = {LAST_APPLIED: "{}", "team": "search"}
    assert builders.struct(built, Workload).metadata.annotations == {"team": "search"}
