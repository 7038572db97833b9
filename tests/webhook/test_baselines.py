import json

import pytest

from tests.support.admission import (
    ALL,
    FRIDAY_NOON,
    ORIGINAL,
    RECOMMENDED_ANNOTATIONS,
    THURSDAY,
    THURSDAY_ANNOTATIONS,
    FixedLookups,
    annotations_after,
    decided,
    knowing,
    patched,
    slice_of,
    web,
)
from tests.support.builders import (
    Json,
    profile,
    slice_annotations,
    slice_json,
)
from vgpu import annotations as keys


def rewritten(lookups: FixedLookups | None = None) -> Json:
    """A pod that the webhook has rewritten, as somebody copies it or a backup brings it back."""
    subject = web()
    return patched(subject, decided(subject, lookups or knowing()))


def test_a_restored_pod_gets_the_newest_recommendation_and_keeps_its_original_slice() -> None:
    subject = rewritten()
    newer = slice_json(tflops_request="7", tflops_limit="14", vram_request="2Gi", vram_limit="4Gi")
    annotations = annotations_after(subject, decided(subject, knowing(recommendation=newer)))
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == ORIGINAL
    assert annotations[keys.TFLOPS_REQUEST] == "7"
    assert (
        annotations[keys.APPLIED_RECOMMENDATION]
        != subject["metadata"]["annotations"][keys.APPLIED_RECOMMENDATION]
    )


def test_a_restored_pod_gets_its_original_slice_when_nothing_is_applied_any_more() -> None:
    subject = rewritten()
    outcome = decided(subject, knowing({}))
    annotations = annotations_after(subject, outcome)
    assert slice_of(annotations) == slice_annotations()
    assert keys.APPLIED_RECOMMENDATION not in annotations
    assert decided(patched(subject, outcome), knowing({})).operations == ()


def test_the_same_holds_for_a_pod_that_a_rule_had_rewritten() -> None:
    lookups = knowing({"cronScalingRules": [THURSDAY]})
    subject = rewritten(lookups)
    assert slice_of(subject["metadata"]["annotations"]) == THURSDAY_ANNOTATIONS
    outcome = decided(subject, lookups, now=FRIDAY_NOON)
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_an_edit_of_a_copied_template_is_not_taken_back() -> None:
    """Someone copies a live pod, asks for 30 TFLOPS and opts out: the old record must not override that.

    Of VRAM, which was not edited, the record holds: what was recommended ends with the opt-out.
    """
    subject = rewritten()
    subject["metadata"]["annotations"] |= {
        keys.TFLOPS_REQUEST: "30",
        keys.TFLOPS_LIMIT: "30",
        keys.AUTO_RESOURCES: "false",
    }
    annotations = annotations_after(subject, decided(subject, knowing()))
    edited = slice_json(tflops_request="30", tflops_limit="30")
    assert slice_of(annotations) == slice_annotations(tflops_request="30", tflops_limit="30")
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == edited
    assert keys.APPLIED_RECOMMENDATION not in annotations


def test_another_webhooks_change_of_one_resource_leaves_the_record_of_the_other() -> None:
    subject = rewritten()
    subject["metadata"]["annotations"][keys.TFLOPS_REQUEST] = "12"
    annotations = annotations_after(subject, decided(subject, knowing()))
    asked = slice_json(tflops_request="12", tflops_limit="26")
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == asked
    assert slice_of(annotations) == RECOMMENDED_ANNOTATIONS


def test_what_a_rule_wrote_is_known_for_that_after_the_rule_was_deleted() -> None:
    subject = rewritten(knowing({"cronScalingRules": [THURSDAY]}))
    annotations = annotations_after(subject, decided(subject, knowing({})))
    assert slice_of(annotations) == slice_annotations()


def test_a_limit_that_a_rule_added_leaves_the_record_of_the_other_resource() -> None:
    lookups = knowing({"cronScalingRules": [THURSDAY]})
    bare = web(tflops_limit=None)
    copied = patched(bare, decided(bare, lookups))
    annotations = annotations_after(copied, decided(copied, lookups, now=FRIDAY_NOON))
    assert annotations[keys.VRAM_REQUEST] == slice_annotations()[keys.VRAM_REQUEST]


def test_a_record_beside_a_slice_that_we_never_changed_is_made_anew() -> None:
    stale = json.dumps(slice_json(tflops_request="1", tflops_limit="1"))
    subject = web(annotations={keys.ORIGINAL_RESOURCES: stale})
    annotations = annotations_after(subject, decided(subject))
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == ORIGINAL


def test_a_limit_that_a_rule_added_counts_as_asked_for_on_a_copied_pod() -> None:
    """An annotation is never taken away, so what stays on the pod is what it asks for; and stays that way."""
    lookups = knowing({"cronScalingRules": [THURSDAY]})
    bare = web(tflops_limit=None)
    copied = patched(bare, decided(bare, lookups))
    outcome = decided(copied, lookups, now=FRIDAY_NOON)
    after = patched(copied, outcome)
    assert json.loads(after["metadata"]["annotations"][keys.ORIGINAL_RESOURCES])["limits"]["tflops"] == "99"
    assert decided(after, lookups, now=FRIDAY_NOON).operations == ()


@pytest.mark.parametrize("record", ["", "{", "[]", '{"requests":{"tflops":"x"}}'])
def test_a_record_that_says_nothing_is_written_anew_before_a_rule_writes_beside_it(record: str) -> None:
    """Left as it is, the next pass would take the rule's slice for what the template asks for."""
    rules = profile("rules", spec={"autoScalingConfig": {**ALL, "cronScalingRules": [THURSDAY]}})
    cluster = FixedLookups(profiles=[rules])
    subject = web()
    subject["metadata"]["annotations"] = {keys.WORKLOAD_PROFILE: "rules", keys.ORIGINAL_RESOURCES: record}

    after = patched(subject, decided(subject, cluster))

    annotations = after["metadata"]["annotations"]
    assert slice_of(annotations) == THURSDAY_ANNOTATIONS
    assert annotations[keys.ORIGINAL_RESOURCES] == "{}"
    assert decided(after, cluster).operations == ()
