"""A workload that a person made configures its pods alone, as it does for the recommender."""

from tests.support.admission import ALL, RECOMMENDED, FixedLookups, annotations_after, decided, slice_of, web
from tests.support.builders import Json, profile, slice_annotations, workload
from vgpu import annotations as keys

WISHES = {keys.AUTO_RESOURCES: "true", keys.AUTO_SCALE_TARGET_RESOURCE: "all"}


def of_a_person(config: Json) -> FixedLookups:
    """A cluster with the workload `web` of a person, and the profile `gold`, which applies everything."""
    made = workload("web", auto_scaling_config=config, recommendation=RECOMMENDED)
    gold = profile("gold", spec={"autoScalingConfig": ALL})
    return FixedLookups(workloads=[made], profiles=[gold], by_hand=True)


def test_annotations_of_a_pod_do_not_configure_it() -> None:
    subject = web(annotations=WISHES)
    outcome = decided(subject, of_a_person({}))
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_a_profile_of_a_pod_does_not_configure_it() -> None:
    subject = web(annotations={keys.WORKLOAD_PROFILE: "gold"})
    outcome = decided(subject, of_a_person({}))
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_its_own_spec_configures_it() -> None:
    outcome = decided(web(), of_a_person(ALL))
    assert outcome.label == "recommendation"


def test_a_bad_spec_of_it_leaves_the_slice_and_is_named() -> None:
    broken = {"autoSetResources": {"enable": True, "targetTflopsPercentile": 7}}
    subject = web(annotations=WISHES)
    outcome = decided(subject, of_a_person(broken))
    assert outcome.label == "misconfigured"
    assert "targetTflopsPercentile" in " ".join(outcome.warnings)
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()
