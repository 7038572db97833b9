from dataclasses import replace

import msgspec
import pytest

from recommender.cluster.known_pods import KnownPods
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from tests.support.usage import NOW, tracked

STEP = 60.0
WEB = WorkloadKey("default", "web")


class Cluster:
    """Pods that come and go."""

    def __init__(self, *pods: TrackedPod) -> None:
        self.pods = {pod.pod.metadata.name: pod for pod in pods}
        self.known = KnownPods(self.find, step=STEP)

    def find(self, namespace: str, name: str) -> TrackedPod | None:
        return self.pods.get(name) if namespace == "default" else None

    def delete(self, pod: TrackedPod, *, at: float = NOW) -> tuple[str, ...]:
        del self.pods[pod.pod.metadata.name]
        return self.known.went(pod, at)

    def found(self, name: str = "web-0") -> str | None:
        pod = self.known.find("default", name)
        return None if pod is None else pod.uid

    def former(self, pod: TrackedPod) -> list[str]:
        return [each.uid for each in self.known.former(pod)]


def called(uid: str, *, created: float = 0.0) -> TrackedPod:
    pod = tracked(created=created)
    metadata = msgspec.structs.replace(pod.pod.metadata, uid=uid)
    return replace(pod, pod=msgspec.structs.replace(pod.pod, metadata=metadata))


def test_a_pod_that_is_there_counts_for_its_workload_only() -> None:
    pod = tracked()
    cluster = Cluster(pod)
    assert cluster.known.find("default", "web-0") is pod
    assert cluster.known.counts(pod)
    assert not cluster.known.counts(replace(pod, workload=WorkloadKey("default", "other")))
    assert not cluster.known.counts(tracked("web-1"))


def test_a_pod_that_went_counts_until_its_last_step_has_been_read() -> None:
    pod = tracked()
    cluster = Cluster(pod)
    assert cluster.delete(pod, at=NOW + 30) == ()
    assert cluster.known.read(NOW + 60) == ()
    found = cluster.known.find("default", "web-0")
    assert found is not None
    assert found.ended == NOW + 30
    assert cluster.known.counts(pod)
    assert cluster.known.counts(found)
    assert cluster.known.read(NOW + 90) == (pod.uid,)
    assert cluster.found() is None
    assert not cluster.known.counts(pod)
    assert cluster.known.read(NOW + 180) == ()


def test_a_pod_that_was_finished_when_it_was_deleted_ended_then() -> None:
    pod = tracked(phase="Succeeded", finished_at="1970-01-01T00:01:40Z")
    cluster = Cluster(pod)
    cluster.delete(pod)
    assert cluster.known.read(159) == ()
    assert cluster.known.read(160) == (pod.uid,)


def test_who_takes_a_name_over_is_found_and_knows_those_before_it() -> None:
    first, second, third = called("a"), called("b", created=NOW), called("c", created=NOW + 600)
    cluster = Cluster(first)
    cluster.delete(first, at=NOW)
    assert cluster.found() == "a"
    cluster.pods["web-0"] = second
    assert (cluster.found(), cluster.former(second)) == ("b", ["a"])
    cluster.delete(second, at=NOW + 600)
    cluster.pods["web-0"] = third
    assert cluster.former(third) == ["b", "a"]
    assert [cluster.known.counts(pod) for pod in (first, second, third)] == [True, True, True]
    assert cluster.known.read(NOW + 60) == ("a",)
    assert cluster.former(third) == ["b"]


def test_of_several_that_are_gone_the_latest_is_found() -> None:
    first, second = called("a"), called("b", created=NOW)
    cluster = Cluster()
    for pod in (second, first):
        cluster.known.went(pod, NOW + 60)
    assert cluster.found() == "b"
    assert cluster.former(second) == ["a"]
    assert cluster.former(first) == []


def test_a_pod_that_came_back_is_not_forgotten() -> None:
    pod = tracked()
    cluster = Cluster(pod)
    cluster.delete(pod)
    cluster.pods["web-0"] = pod
    cluster.known.came(pod)
    assert cluster.known.read(NOW + 3600) == ()
    assert cluster.known.counts(pod)
    assert cluster.former(pod) == []


@pytest.mark.parametrize("how", ["retire", "keep"])
def test_for_a_workload_that_is_no_more_no_pod_that_went_counts(how: str) -> None:
    pods = [tracked(), tracked("web-1"), tracked("other-0", workload="other")]
    cluster = Cluster(*pods)
    for pod in pods:
        cluster.delete(pod)
    if how == "retire":
        cluster.known.retire(WEB)
    else:
        cluster.known.keep({pods[2].workload})
    assert [cluster.known.counts(each) for each in pods] == [False, False, True]
    assert set(cluster.known.uids()) == {pods[2].uid}
    assert cluster.found() is None


def test_of_a_crowd_that_went_the_oldest_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.cluster.known_pods._MOST_GONE", 2)
    pods = [tracked(f"web-{number}") for number in range(3)]
    cluster = Cluster(*pods)
    assert [cluster.delete(pod) for pod in pods] == [(), (), (pods[0].uid,)]
    assert [cluster.known.counts(pod) for pod in pods] == [False, True, True]
    assert len(cluster.known) == 2


def test_a_crowd_is_forgotten_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.cluster.known_pods._PORTION", 2)
    pods = [tracked(f"web-{number}") for number in range(3)]
    cluster = Cluster(*pods)
    for pod in pods:
        cluster.delete(pod)
    assert [len(cluster.known.read(NOW + 60)) for _ in range(3)] == [2, 1, 0]
