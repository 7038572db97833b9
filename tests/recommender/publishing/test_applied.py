import json
from dataclasses import replace
from typing import Any

import pytest

from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.publishing.applied import count_applied
from tests.support import builders
from vgpu.annotations import APPLIED_RECOMMENDATION, ORIGINAL_RESOURCES
from vgpu.api import parse_spec
from vgpu.naming import Owner
from vgpu.schedule import Rule
from vgpu.slices import Amounts, VgpuSlice

UNKNOWN = Amounts()
OWNER = Owner("apps/v1", "Deployment", "web", "uid")
WRITTEN = {APPLIED_RECOMMENDATION: "0123456789ab"}
RECOMMENDED = VgpuSlice.from_json(builders.slice_json(tflops_request="13", tflops_limit="26"))
NIGHT = Rule("night", "0 22 * * *", "0 6 * * *", desired=VgpuSlice.from_json({"requests": {"tflops": "44"}}))


def count(
    target: str = "all",
    *,
    rule: Rule | None = None,
    enable: bool = True,
    card: Amounts = UNKNOWN,
    **pod: Any,
) -> int:
    arguments = {"annotations": WRITTEN, "tflops_request": "13", "tflops_limit": "26", **pod}
    config = {"autoSetResources": {"enable": enable, "targetResource": target}}
    tracked = TrackedPod(builders.pod_struct(**arguments), WorkloadKey("default", "web"), OWNER, 0)
    return count_applied(
        [tracked],
        spec=parse_spec({"resources": builders.slice_json(), "autoScalingConfig": config}),
        recommendation=RECOMMENDED,
        rule=rule,
        card=card,
    )


def test_a_running_pod_with_the_recommended_slice_counts() -> None:
    assert count() == 1


@pytest.mark.parametrize(
    "pod",
    [
        {"tflops_request": "12"},
        {"tflops_limit": "27"},
        {"vram_request": "9Gi"},
        {"phase": "Pending"},
        {"phase": "Succeeded"},
        {"annotations": {}},
    ],
)
def test_other_pods_do_not_count(pod: dict[str, Any]) -> None:
    assert count(**pod) == 0


def test_only_what_is_applied_is_compared() -> None:
    assert count("tflops", vram_request="9Gi") == 1
    assert count("vram", tflops_request="9") == 1


def test_a_recommendation_that_is_only_shown_is_on_no_pod() -> None:
    assert count(enable=False) == 0
    assert count("") == 0


def test_a_rule_counts_where_usage_is_only_recommended() -> None:
    assert count("", rule=NIGHT, tflops_request="44", tflops_limit="88") == 1
    assert count("", rule=NIGHT) == 0


def test_a_resource_that_the_pod_does_not_ask_for_is_not_missed() -> None:
    assert count(vram_request=None, vram_limit=None) == 1


def test_a_pod_that_got_of_a_rule_what_a_card_gives_counts() -> None:
    desired = {"requests": {"tflops": "44"}, "limits": {"tflops": "5k"}}
    above = replace(NIGHT, desired=VgpuSlice.from_json(desired))
    card = Amounts(tflops=312_000)
    assert count("", rule=above, card=card, tflops_request="44", tflops_limit="312") == 1
    assert count("", rule=above, card=card, tflops_request="44", tflops_limit="5k") == 0


def test_a_limit_that_a_rule_leaves_out_is_the_original_one() -> None:
    original = {ORIGINAL_RESOURCES: json.dumps(builders.slice_json(tflops_limit="88"))}
    annotations = {**WRITTEN, **original}
    assert count("", rule=NIGHT, annotations=annotations, tflops_request="44", tflops_limit="88") == 1
    assert count("", rule=NIGHT, annotations=annotations, tflops_request="44", tflops_limit="89") == 0


def test_a_pod_without_a_gpu_dialect_does_not_count() -> None:
    assert count(tflops_request=None, tflops_limit=None, vram_request=None, vram_limit=None) == 0
