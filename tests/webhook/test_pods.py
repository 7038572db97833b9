import json

import pytest

from tests.support.admission import (
    ALL,
    FRIDAY_NOON,
    NOON,
    ORIGINAL,
    OUR_RECORDS,
    RECOMMENDED,
    RECOMMENDED_ANNOTATIONS,
    THURSDAY,
    FixedLookups,
    annotations_after,
    created,
    decided,
    knowing,
    patched,
    slice_of,
    web,
)
from tests.support.builders import (
    Json,
    cron_job,
    job,
    owner_reference,
    pod,
    slice_annotations,
    slice_json,
    workload,
)
from vgpu import annotations as keys
from vgpu.naming import Owner


@pytest.mark.parametrize("gate", [{}, {keys.ENABLED_LABEL: "false"}, {keys.ENABLED_LABEL: "True"}])
def test_a_pod_without_the_gate_label_is_never_touched(gate: dict[str, str]) -> None:
    outcome = decided(web(gated=False, labels=gate), knowing())
    assert (outcome.label, outcome.operations, outcome.warnings) == ("ignored", (), ())


def test_a_gated_pod_without_a_slice_is_left_alone() -> None:
    bare = {"tflops_request": None, "tflops_limit": None, "vram_request": None, "vram_limit": None}
    outcome = decided(web(**bare), knowing())
    assert (outcome.label, outcome.operations) == ("ignored", ())


def test_a_pod_with_a_dra_claim_is_left_alone() -> None:
    claiming = web()
    claiming["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "one"}]
    assert decided(claiming, knowing()).label == "ignored"


@pytest.mark.parametrize(
    "request_fields",
    [
        {"operation": "UPDATE"},
        {"operation": None},
        {"subResource": "ephemeralcontainers"},
        {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
    ],
)
def test_what_is_not_the_creation_of_a_pod_is_left_alone(request_fields: Json) -> None:
    assert decided(web(), knowing(), **request_fields).label == "ignored"


def test_a_review_that_does_not_name_the_kind_is_read_as_a_pod() -> None:
    assert decided(web(), knowing(), kind=None).label == "recommendation"


@pytest.mark.parametrize("thing", [None, [], "pod", {"metadata": []}, {"metadata": {"labels": {"a": 1}}}])
def test_an_object_that_is_no_pod_is_admitted_with_a_warning(thing: object) -> None:
    outcome = decided(thing)
    assert outcome.label == "unreadable"
    assert outcome.operations == ()
    assert "admitted unchanged" in outcome.warnings[0]


def test_while_the_caches_are_being_filled_pods_pass_unchanged_with_a_warning() -> None:
    outcome = decided(web(), FixedLookups(missing=["tensorfusionworkloads"]))
    assert (outcome.label, outcome.operations) == ("not_synced", ())
    assert "still reading tensorfusionworkloads" in outcome.warnings[0]


def test_while_the_caches_are_being_filled_an_ungated_pod_gets_no_warning() -> None:
    assert decided(web(gated=False), FixedLookups(missing=["jobs"])).warnings == ()


def test_a_dry_run_gets_the_same_answer() -> None:
    assert decided(web(), knowing(), dryRun=True) == decided(web(), knowing())


def test_a_pod_of_a_deployment_gets_the_deployments_name() -> None:
    subject = web()
    assert annotations_after(subject, decided(subject))[keys.WORKLOAD] == "web"


def test_the_name_on_the_pod_wins() -> None:
    subject = web(annotations={keys.WORKLOAD: "other"})
    lookups = FixedLookups(workloads=[workload("other", auto_scaling_config=ALL, recommendation=RECOMMENDED)])
    annotations = annotations_after(subject, decided(subject, lookups))
    assert annotations[keys.WORKLOAD] == "other"
    assert slice_of(annotations) == RECOMMENDED_ANNOTATIONS


def test_a_name_that_is_no_object_name_leaves_the_pod_alone_with_a_warning() -> None:
    outcome = decided(web(annotations={keys.WORKLOAD: "Not A Name"}), knowing())
    assert (outcome.label, outcome.operations) == ("ignored", ())
    assert keys.WORKLOAD in outcome.warnings[0]


def test_a_pod_without_an_owner_uses_its_own_name() -> None:
    subject = created(pod("solo"))
    assert annotations_after(subject, decided(subject))[keys.WORKLOAD] == "solo"


def test_a_pod_with_only_a_generate_name_is_left_alone() -> None:
    outcome = decided(created(pod(None, generate_name="solo-")))
    assert (outcome.label, outcome.operations) == ("ignored", ())


def test_a_pod_of_a_deployment_with_only_a_generate_name_is_rewritten() -> None:
    subject = web(generate_name="web-6d4cf56db6-")
    del subject["metadata"]["name"]
    assert slice_of(annotations_after(subject, decided(subject, knowing()))) == RECOMMENDED_ANNOTATIONS


def test_a_pod_of_a_cron_jobs_job_gets_the_cron_jobs_name() -> None:
    nightly = Owner("batch/v1", "CronJob", cron_job()["metadata"]["name"], "uid")
    subject = created(pod("nightly-1-abc", owner=owner_reference(job("nightly-1"))))
    outcome = decided(subject, FixedLookups(jobs={"nightly-1": nightly}))
    assert annotations_after(subject, outcome)[keys.WORKLOAD] == "nightly-cronjob"


def test_a_pod_of_a_job_gets_the_jobs_name() -> None:
    subject = created(pod("train-abc", owner=owner_reference(job("train"))))
    outcome = decided(subject, FixedLookups(jobs={"train": None}))
    assert annotations_after(subject, outcome)[keys.WORKLOAD] == "train-job"


def test_a_pod_of_another_groups_job_is_named_without_looking_for_that_job() -> None:
    volcano = {**job("train"), "apiVersion": "batch.volcano.sh/v1alpha1"}
    subject = created(pod("train-abc", owner=owner_reference(volcano)))
    assert annotations_after(subject, decided(subject))[keys.WORKLOAD] == "train-job"


def test_a_pod_whose_job_is_not_known_yet_is_not_named_wrongly() -> None:
    outcome = decided(created(pod("train-abc", owner=owner_reference(job("train")))))
    assert (outcome.label, outcome.operations) == ("unknown_owner", ())
    assert "Job 'train'" in outcome.warnings[0]


def test_the_namespace_comes_from_the_request() -> None:
    subject = web()
    del subject["metadata"]["namespace"]
    lookups = FixedLookups(
        workloads=[
            workload("web", namespace="team", auto_scaling_config=ALL, recommendation=RECOMMENDED),
        ]
    )
    assert decided(subject, lookups, namespace="team").label == "recommendation"
    assert decided(subject, lookups, namespace="default").label == "recorded"


def test_a_pod_without_a_workload_keeps_its_slice_and_is_recorded() -> None:
    subject = web()
    outcome = decided(subject)
    annotations = annotations_after(subject, outcome)
    assert outcome.label == "recorded"
    assert slice_of(annotations) == slice_annotations()
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == ORIGINAL
    assert keys.APPLIED_RECOMMENDATION not in annotations


def test_the_record_holds_the_slice_as_the_template_asked_for_it() -> None:
    subject = web(tflops_request="9500m")
    annotations = annotations_after(subject, decided(subject, knowing()))
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == slice_json(tflops_request="9500m")
    assert annotations[keys.TFLOPS_REQUEST] == "13"


def test_only_our_annotations_change() -> None:
    subject = web(annotations={"team/owner": "search", "a~b/c": "d"})
    before, after = subject["metadata"]["annotations"], patched(subject, decided(subject, knowing()))
    changed = {key for key, value in after["metadata"]["annotations"].items() if before.get(key) != value}
    assert changed <= OUR_RECORDS | set(slice_annotations())
    after["metadata"]["annotations"] = before
    assert after == subject


def test_a_slice_in_another_notation_is_left_as_it_is_written() -> None:
    subject = web(tflops_request="13000m", tflops_limit="2.6e1", vram_request="4096Mi", vram_limit="8Gi")
    outcome = decided(subject, knowing())
    assert slice_of(annotations_after(subject, outcome)) == slice_of(subject["metadata"]["annotations"])


@pytest.mark.parametrize("now", [NOON, FRIDAY_NOON])
@pytest.mark.parametrize("config", [{}, ALL, {**ALL, "cronScalingRules": [THURSDAY]}])
def test_a_second_pass_changes_nothing(config: Json, now: float) -> None:
    subject, lookups = web(), knowing(config)
    first = decided(subject, lookups, now=now)
    second = decided(patched(subject, first), lookups, now=now)
    assert first.operations
    assert (second.label, second.operations, second.warnings) == ("unchanged", (), ())


def test_a_malformed_annotation_is_warned_of_and_stays_while_the_other_resource_is_rewritten() -> None:
    subject = web(tflops_request="a lot")
    outcome = decided(subject, knowing())
    annotations = annotations_after(subject, outcome)
    assert slice_of(annotations) == {
        **slice_annotations(tflops_request="a lot"),
        keys.VRAM_REQUEST: "4Gi",
        keys.VRAM_LIMIT: "8Gi",
    }
    assert f"annotation {keys.TFLOPS_REQUEST}" in outcome.warnings[0]


def test_a_pod_of_which_nothing_can_be_read_is_left_as_it_is() -> None:
    subject = web(tflops_request="x", tflops_limit="x", vram_request="x", vram_limit="x")
    outcome = decided(subject, knowing())
    assert (outcome.label, outcome.operations) == ("ignored", ())
    assert len(outcome.warnings) == 4


def test_a_record_that_cannot_be_read_is_replaced_and_warned_of() -> None:
    subject = web(annotations={keys.ORIGINAL_RESOURCES: "{"})
    outcome = decided(subject, knowing())
    assert json.loads(annotations_after(subject, outcome)[keys.ORIGINAL_RESOURCES]) == ORIGINAL
    assert keys.ORIGINAL_RESOURCES in outcome.warnings[0]


def test_annotations_that_would_grow_over_kubernetes_limit_are_not_added() -> None:
    ours = len(json.dumps(slice_annotations()))
    outcome = decided(web(annotations={"notes": "x" * (256 * 1024 - ours)}), knowing())
    assert (outcome.label, outcome.operations) == ("too_large", ())
    assert "262144 are allowed" in outcome.warnings[0]
