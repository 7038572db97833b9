"""What holds for any pod, any annotations, any JSON and any bytes."""

import contextlib
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.admission import (
    ALL,
    NOON,
    RECOMMENDED,
    RECOMMENDED_ANNOTATIONS,
    THURSDAY,
    FixedLookups,
    created,
    decided,
    patched,
    review,
)
from tests.support.builders import (
    Json,
    deployment_pod,
    job,
    owner_reference,
    pod,
    profile,
    slice_annotations,
    struct,
    workload,
)
from tests.support.examples import examples
from vgpu import annotations as keys
from vgpu.capacity import Card
from vgpu.dialects import baseline
from vgpu.dialects.tensorfusion import TENSORFUSION
from vgpu.kube.objects import Pod
from vgpu.slices import Resource, VgpuSlice
from webhook.edits import MAX_ANNOTATION_BYTES
from webhook.errors import BadReviewError
from webhook.pods import decide
from webhook.review import decode_review, encode_admitted

OURS = {*slice_annotations(), keys.WORKLOAD, keys.ORIGINAL_RESOURCES, keys.APPLIED_RECOMMENDATION}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
quantities = st.sampled_from(
    ["0", "1", "10", "13000m", "2.5", "1e3", "8Gi", "512Mi", "1000000000000", "9E", "100u", "99Ei"]
)
odd_texts = st.text(max_size=8) | st.sampled_from(
    ["", " ", "-1", "a lot", "1..2", "NaN", "1Gib", "{}", "true\n", "é" * 50]
)
records = st.sampled_from(
    [
        "{}",
        "{",
        "[]",
        '{"requests":{"tflops":"10"}}',
        '{"requests":{"tflops":"10","vram":"8Gi"},"limits":{"tflops":"20","vram":"16Gi"}}',
        '{"limits":{"tflops":"1","vram":"x"}}',
    ]
)
# Most pods are ordinary: a property that is only ever tried on odd ones is hardly tried.
own_slices = st.one_of(
    st.just(slice_annotations()),
    st.just(RECOMMENDED_ANNOTATIONS),
    st.fixed_dictionaries({}, optional=dict.fromkeys(slice_annotations(), quantities)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(slice_annotations(), quantities | odd_texts)),
)
switches = st.fixed_dictionaries(
    {},
    optional={
        **{
            key: st.sampled_from(["true", "false", "perhaps"])
            for key in (keys.AUTO_RESOURCES, keys.AUTO_REPLICAS, keys.AUTOSCALE)
        },
        keys.AUTO_SCALE_TARGET_RESOURCE: st.sampled_from(["all", "tflops", "vram", "compute", "", "gpu"]),
    },
)
profiles = st.sampled_from(["gold", "rules", "rules", "broken", "absent", ""]).map(
    lambda name: {keys.WORKLOAD_PROFILE: name}
)
stale = st.fixed_dictionaries(
    {},
    optional={
        keys.WORKLOAD: st.sampled_from(["web", "other", "Not A Name", ""]),
        keys.ORIGINAL_RESOURCES: records | odd_texts,
        keys.APPLIED_RECOMMENDATION: st.sampled_from(["56d856ed-dd903000", "x", ""]),
    },
)
others = st.dictionaries(st.sampled_from(["team/a~b", "~1", "notes"]), st.text(max_size=5))
nothing: st.SearchStrategy[dict[str, str]] = st.just({})
annotation_maps = st.tuples(own_slices, nothing | switches, nothing | profiles, nothing | stale, others).map(
    lambda parts: {key: value for part in parts for key, value in part.items()}
)
owned_pods = st.sampled_from(
    [
        deployment_pod("web"),
        deployment_pod("web", generate_name="web-6d4cf56db6-"),
        pod("web"),
        pod(None, generate_name="web-"),
        pod("train-x", owner=owner_reference(job("train"))),
        pod("late-x", owner=owner_reference(job("late"))),
    ]
)


@st.composite
def pods(draw: st.DrawFn) -> Json:
    subject = created(draw(owned_pods))
    subject["metadata"]["annotations"] = draw(annotation_maps)
    if not subject["metadata"]["annotations"] and draw(st.booleans()):
        del subject["metadata"]["annotations"]
    return subject


slices = st.just(RECOMMENDED) | st.fixed_dictionaries(
    {},
    optional={
        part: st.fixed_dictionaries({}, optional={"tflops": quantities, "vram": quantities})
        for part in ("requests", "limits")
    },
)
configurations: st.SearchStrategy[Json] = st.sampled_from(
    [
        {},
        ALL,
        {"autoSetResources": {"enable": True, "targetResource": "vram"}},
        {**ALL, "cronScalingRules": [THURSDAY]},
    ]
)


@st.composite
def clusters(draw: st.DrawFn) -> FixedLookups:
    status = draw(st.sampled_from([{}, {"activeCronScalingRule": "thursday"}]))
    known = workload(
        "web", auto_scaling_config=draw(configurations), recommendation=draw(slices), status=status
    )
    rule = {**THURSDAY, "desiredResources": draw(slices)}
    return FixedLookups(
        workloads=[known],
        profiles=[
            profile("gold", spec={"autoScalingConfig": ALL, "resources": draw(slices)}),
            profile("rules", spec={"autoScalingConfig": {**ALL, "cronScalingRules": [rule]}}),
            profile("broken", spec={"autoScalingConfig": {"autoSetResources": {"minSamples": "x"}}}),
        ],
        jobs={"train": None},
        cards=draw(st.sampled_from([(), (Card("Tesla-T4", 12_000, 6 << 30),)])),
    )


def annotations_of(obj: Json) -> dict[str, str]:
    return dict(obj["metadata"].get("annotations") or {})


@given(subject=pods(), cluster=clusters(), days=st.integers(0, 1))
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow])
def test_any_pod_in_any_cluster(subject: Json, cluster: FixedLookups, days: int) -> None:
    """The patch applies, only our keys differ, a second pass changes nothing, and what changed is valid."""
    now = NOON + days * 86_400
    outcome = decided(subject, cluster, now=now)
    after = patched(subject, outcome)

    before_annotations, after_annotations = annotations_of(subject), annotations_of(after)
    changed = {
        key
        for key in before_annotations | after_annotations
        if before_annotations.get(key) != after_annotations.get(key)
    }
    assert changed <= OURS
    assert {**after, "metadata": {**after["metadata"], "annotations": 0}} == {
        **subject,
        "metadata": {**subject["metadata"], "annotations": 0},
    }
    assert all(isinstance(value, str) for value in after_annotations.values())
    assert sum(len(key) + len(value) for key, value in after_annotations.items()) <= MAX_ANNOTATION_BYTES

    assert decided(after, cluster, now=now).operations == ()
    _check_slice(subject, after, changed)


@given(
    subject=pods(), cluster=clusters(), later=clusters(), edit=own_slices | nothing, days=st.integers(0, 1)
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_pod_that_was_copied_or_restored(
    subject: Json, cluster: FixedLookups, later: FixedLookups, edit: dict[str, str], days: int
) -> None:
    """A pod that was rewritten once, perhaps edited, and comes again settles in one pass."""
    copied = patched(subject, decided(subject, cluster, now=NOON))
    copied["metadata"]["annotations"] = annotations_of(copied) | edit
    now = NOON + days * 86_400
    again = patched(copied, decided(copied, later, now=now))
    assert decided(again, later, now=now).operations == ()


def _check_slice(before: Json, after: Json, changed: set[str]) -> None:
    carried = TENSORFUSION.read(struct(after, Pod))
    assert set(carried.problems) == set(TENSORFUSION.read(struct(before, Pod)).problems)
    for resource in Resource:
        request, limit = carried.slice.requests.get(resource), carried.slice.limits.get(resource)
        if any(key.startswith(f"{keys.GROUP}/{resource}-") for key in changed):
            assert request is None or limit is None or request <= limit
    if keys.ORIGINAL_RESOURCES in changed:
        assert baseline(struct(after, Pod)).problems == ()
    if carried.slice != VgpuSlice() and changed:
        assert {keys.WORKLOAD, keys.ORIGINAL_RESOURCES} <= annotations_of(after).keys()


@given(json_values)
def test_any_json_as_the_object_is_admitted(value: object) -> None:
    request = decode_review(json.dumps(review(value)).encode())
    outcome = decide(request, lookups=FixedLookups(), now=NOON)
    answer = json.loads(encode_admitted(request, operations=outcome.operations, warnings=outcome.warnings))
    assert answer["response"]["allowed"] is True
    assert answer["response"]["uid"] == "review-1"


@given(
    st.dictionaries(st.sampled_from(["uid", "object", "kind", "namespace", "operation", "x"]), json_values)
)
def test_any_json_as_the_request_is_answered_or_refused(request: dict[str, Any]) -> None:
    body = json.dumps({**review(None), "request": request}).encode()
    with contextlib.suppress(BadReviewError):
        found = decode_review(body)
        assert decide(found, lookups=FixedLookups(), now=NOON).operations == ()


@given(st.binary())
def test_any_bytes_are_refused(body: bytes) -> None:
    with contextlib.suppress(BadReviewError):
        decode_review(body)
        raise AssertionError("random bytes are no review")


@given(pods(), st.text(), json_values)
def test_an_unknown_field_anywhere_changes_nothing(subject: Json, key: str, value: object) -> None:
    plain = decided(subject)
    if key not in {"metadata", "spec", "status"}:
        assert decided({**subject, key: value}) == plain
