"""What a deleted workload leaves to its successor."""

from recommender.decisions.inheritance import Inheritance
from recommender.keys import WorkloadKey
from vgpu.kube.objects import CustomObject, ObjectMeta

WEB = WorkloadKey("default", "web")
LEFT = {"recommendation": {"requests": {"tflops": "30"}}}


def web(**status: object) -> CustomObject:
    return CustomObject(metadata=ObjectMeta(name="web", namespace="default"), status=status)


def test_a_successor_is_judged_by_what_was_left_until_it_has_a_recommendation_itself() -> None:
    subject, own = Inheritance(), web(recommendation={"requests": {"tflops": "40"}})
    subject.leave(WEB, LEFT)
    assert subject.as_heir(web()).status == LEFT
    assert subject.as_heir(own) is own
    fresh = web()
    assert subject.as_heir(fresh) is fresh


def test_a_workload_without_a_recommendation_leaves_nothing() -> None:
    subject, fresh = Inheritance(), web()
    subject.leave(WEB, {"conditions": []})
    assert subject.as_heir(fresh) is fresh


def test_nothing_is_left_by_a_workload_that_went_with_its_pods() -> None:
    subject, fresh = Inheritance(), web()
    subject.leave(WEB, LEFT)
    subject.forget(WEB)
    assert subject.as_heir(fresh) is fresh


def test_a_successor_that_was_rightly_recommended_nothing_is_no_heir_any_more() -> None:
    subject, own = Inheritance(), web(conditions=[], observedGeneration=1)
    subject.leave(WEB, LEFT)
    assert subject.as_heir(own) is own
