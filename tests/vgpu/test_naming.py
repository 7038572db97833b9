"""How pods find their workload."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.annotations import WORKLOAD
from vgpu.naming import MAX_NAME_LENGTH, Owner, is_object_name, workload_name

LABELS = {"pod-template-hash": "6d4cf56db6"}


def owner(kind: str, name: str, api_version: str = "apps/v1") -> Owner:
    return Owner(api_version=api_version, kind=kind, name=name, uid="1")


def name_of(
    controller: Owner | None = None,
    *,
    pod_name: str | None = "pod",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    job_owner: Owner | None = None,
) -> str | None:
    return workload_name(
        pod_name=pod_name,
        labels=labels or {},
        annotations=annotations or {},
        controller=controller,
        job_owner=lambda job: job_owner,
    )


def test_a_pod_of_a_deployment_uses_the_name_of_the_deployment() -> None:
    assert name_of(owner("ReplicaSet", "web-6d4cf56db6"), labels=LABELS) == "web"


def test_only_the_template_hash_is_cut_off() -> None:
    assert name_of(owner("ReplicaSet", "web-6d4cf56db6-6d4cf56db6"), labels=LABELS) == "web-6d4cf56db6"


@pytest.mark.parametrize("labels", [{}, LABELS, {"pod-template-hash": ""}])
def test_a_replica_set_made_by_hand_is_its_own_root(labels: dict[str, str]) -> None:
    assert name_of(owner("ReplicaSet", "by-hand"), labels=labels) == "by-hand-replicaset"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("StatefulSet", "web-statefulset"),
        ("DaemonSet", "web-daemonset"),
        ("Job", "web-job"),
        ("LeaderWorkerSet", "web-leaderworkerset"),
        ("PyTorchJob", "web-pytorchjob"),
    ],
)
def test_two_kinds_never_share_a_name(kind: str, name: str) -> None:
    assert name_of(owner(kind, "web")) == name


def test_a_job_of_a_cron_job_uses_the_name_of_the_cron_job() -> None:
    asked = []

    def job_owner(job: str) -> Owner:
        asked.append(job)
        return owner("CronJob", "nightly", "batch/v1")

    name = workload_name(
        pod_name="nightly-28-x",
        labels={},
        annotations={},
        controller=owner("Job", "nightly-28", "batch/v1"),
        job_owner=job_owner,
    )
    assert (name, asked) == ("nightly-cronjob", ["nightly-28"])


@pytest.mark.parametrize(
    ("kind", "api_version", "name"),
    [
        ("Job", "batch.volcano.sh/v1alpha1", "web-6d4cf56db6-job"),
        ("ReplicaSet", "example.com/v1", "web-6d4cf56db6-replicaset"),
        ("Deployment", "example.com/v1", "web-6d4cf56db6-deployment"),
        ("Deployment", "apps/v1", "web-6d4cf56db6"),
    ],
)
def test_another_groups_kind_is_not_taken_for_kubernetes_own(kind: str, api_version: str, name: str) -> None:
    above = owner("CronJob", "nightly", "batch/v1")
    found = name_of(owner(kind, "web-6d4cf56db6", api_version), labels=LABELS, job_owner=above)
    assert found == name


def test_a_job_whose_owner_is_not_known_is_its_own_root() -> None:
    job = owner("Job", "train", "batch/v1")
    assert workload_name(pod_name="x", labels={}, annotations={}, controller=job) == "train-job"


def test_a_pod_without_an_owner_uses_its_own_name() -> None:
    assert name_of(pod_name="lonely") == "lonely"


@pytest.mark.parametrize("pod_name", [None, ""])
def test_a_pod_without_an_owner_and_a_name_is_left_alone(pod_name: str | None) -> None:
    assert name_of(pod_name=pod_name) is None


def test_the_annotation_wins() -> None:
    annotated = {WORKLOAD: "chosen"}
    assert name_of(owner("ReplicaSet", "web-6d4cf56db6"), labels=LABELS, annotations=annotated) == "chosen"


def test_an_empty_annotation_says_nothing() -> None:
    assert name_of(pod_name="lonely", annotations={WORKLOAD: ""}) == "lonely"


@pytest.mark.parametrize("text", ["Upper", "a/b", "../other", "-a", "a.", "a..b", "a b", "a" * 254, "a\n"])
def test_a_pod_whose_annotation_is_no_object_name_is_left_alone(text: str) -> None:
    assert name_of(pod_name="lonely", annotations={WORKLOAD: text}) is None


def test_a_name_of_the_greatest_length_is_kept_for_a_deployment() -> None:
    long = "a" * (MAX_NAME_LENGTH - 11)
    assert name_of(owner("ReplicaSet", f"{long}-6d4cf56db6"), labels=LABELS) == long


def test_names_that_would_be_too_long_stay_apart_when_they_are_cut() -> None:
    one, other = (name_of(owner("StatefulSet", "a" * 252 + last)) for last in "xy")
    assert one != other
    assert one is not None
    assert len(one) == MAX_NAME_LENGTH
    assert one.endswith("-statefulset")


label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(
    kind=st.sampled_from(["ReplicaSet", "StatefulSet", "Job", "DaemonSet", "LeaderWorkerSet", "Deployment"]),
    parts=st.lists(label, min_size=1, max_size=4),
)
def test_every_name_is_one_that_kubernetes_takes(kind: str, parts: list[str]) -> None:
    name = name_of(owner(kind, ".".join(parts)[:MAX_NAME_LENGTH].rstrip("-.")))
    assert name is not None
    assert is_object_name(name)
