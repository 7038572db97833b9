"""What happens to a workload is told by kubectl, once however often it happens."""

import json
from typing import Any

from devcluster.story import NotYet, until
from devcluster.view import View
from tests.e2e.objects import SLICE, deployment, profile
from tests.e2e.test_cron_rules import active_rule

Json = dict[str, Any]

ANNOTATED = {**SLICE, "tensor-fusion.ai/workload-profile": "scheduled"}
REASONS = {"RecommendationChanged", "CronRuleStarted", "CronRuleEnded", "ConfigurationInvalid"}


async def events(view: View) -> list[Json]:
    """The Events about TensorFusionWorkloads, as kubectl shows them."""
    selector = "--field-selector=regarding.kind=TensorFusionWorkload"
    shown = await view.kubectl("get", "events.events.k8s.io", selector, "-o", "json")
    found: list[Json] = json.loads(shown)["items"]
    return found


async def switch(view: View, rule: Json, *, on: bool) -> None:
    """Switch a rule on or off that is in the middle of its window, and wait until it has happened."""
    # Enough samples never come: what is recommended is the rule's or the workload's own.
    config = {"autoSetResources": {"minSamples": 100000}, "cronScalingRules": [{**rule, "enable": on}]}
    await view.apply(profile("scheduled", config))
    await view.workload("engine", lambda found: bool(found.status.get("activeCronScalingRule")) is on)


async def test_a_rule_that_starts_and_ends_time_and_again_is_one_event_each(view: View) -> None:
    rule = active_rule()
    await view.apply(profile("scheduled", {"cronScalingRules": [{**rule, "enable": False}]}))
    await view.apply(deployment("engine", annotations=ANNOTATED))
    workload = await view.workload("engine")
    for _ in range(3):
        await switch(view, rule, on=True)
        await switch(view, rule, on=False)
    await view.apply(
        profile("scheduled", {"cronScalingRules": [{**rule, "enable": True, "start": "at night"}]})
    )

    async def look() -> list[Json] | NotYet:
        found = await events(view)
        return found if {event["reason"] for event in found} >= REASONS else NotYet(str(found))

    told = await until("the rule and the mistake to be told", look, timeout=30)
    notes = {reason: [event["note"] for event in told if event["reason"] == reason] for reason in REASONS}
    assert len(notes["CronRuleStarted"]) == len(notes["CronRuleEnded"]) == 1
    assert notes["CronRuleStarted"][0].startswith('Cron scaling rule "test" has started: active from')
    # To the rule's slice at first, then from it to the workload's own, and to and fro between the two.
    assert len(notes["RecommendationChanged"]) == len(set(notes["RecommendationChanged"])) == 3
    assert "start" in notes["ConfigurationInvalid"][0]
    assert {event["regarding"]["kind"] for event in told} == {"TensorFusionWorkload"}
    ended = next(event for event in told if event["reason"] == "CronRuleEnded")
    assert ended["series"]["count"] == 3
    assert ended["regarding"]["uid"] == workload.metadata.uid
    assert ended["reportingController"] == "tensor-fusion.ai/vgpu-autoscaler"
    described = await view.kubectl("describe", "tfw", "engine")
    assert "CronRuleEnded" in described
    assert "(x3 over" in described
