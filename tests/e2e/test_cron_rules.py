"""A cron rule acts in its window, with the recommender and without."""

from datetime import UTC, datetime, timedelta
from typing import Any

from devcluster.services import RECOMMENDER, Services
from devcluster.view import View, condition_of
from tests.e2e.objects import QUICK, SLICE, annotations_of, deployment, profile

ANNOTATED = {**SLICE, "tensor-fusion.ai/workload-profile": "scheduled"}
DESIRED = {"limits": {"tflops": "99", "vram": "10Gi"}, "requests": {"tflops": "44", "vram": "5Gi"}}
RULE_SLICE = {
    "tensor-fusion.ai/tflops-request": "44",
    "tensor-fusion.ai/tflops-limit": "99",
    "tensor-fusion.ai/vram-request": "5Gi",
    "tensor-fusion.ai/vram-limit": "10Gi",
}


def cron(moment: datetime) -> str:
    """The cron expression that fires once a day at that minute."""
    return f"{moment.minute} {moment.hour} * * *"


def rule(*, start: datetime, end: datetime, enable: bool = True) -> dict[str, Any]:
    """A rule that is active from `start` to `end`, in UTC."""
    return {
        "enable": enable,
        "name": "test",
        "start": cron(start),
        "end": cron(end),
        "desiredResources": DESIRED,
    }


def active_rule() -> dict[str, Any]:
    """A rule in the middle of its window."""
    now = datetime.now(UTC)
    return rule(start=now - timedelta(hours=1), end=now + timedelta(hours=1))


async def test_an_active_rule_rewrites_pods_while_the_recommender_is_stopped(
    view: View, services: Services
) -> None:
    await services.stop(RECOMMENDER)
    try:
        await view.apply(profile("scheduled", {"cronScalingRules": [active_rule()]}))
        await view.apply(deployment("engine", annotations=ANNOTATED))
        pod = await view.pod("engine", lambda pod: annotations_of(pod).items() >= RULE_SLICE.items())
    finally:
        await services.start(RECOMMENDER)

    assert "tensor-fusion.ai/original-resources" in annotations_of(pod)


async def test_an_active_rule_is_the_recommendation_and_named_in_the_status(view: View) -> None:
    await view.apply(
        profile("scheduled", {**QUICK, "cronScalingRules": [active_rule()]}),
        deployment("engine", annotations=ANNOTATED),
    )

    workload = await view.workload("engine", lambda found: bool(found.status.get("activeCronScalingRule")))

    assert workload.status["activeCronScalingRule"]["name"] == "test"
    assert workload.status["recommendation"] == DESIRED
    condition = condition_of(workload)
    assert (condition["reason"], condition["status"]) == ("RuleActive", "True")
    assert condition["message"] == 'Cron scaling rule "test" is active'


async def test_a_rule_that_ends_gives_the_slice_back(view: View) -> None:
    started = datetime.now(UTC)
    # A full minute, and far enough away for the rule to be seen active before.
    ends = (started + timedelta(seconds=80)).replace(second=0, microsecond=0)
    # Enough samples never come: what follows the rule is the baseline alone.
    config = {
        "autoSetResources": {"minSamples": 100000},
        "cronScalingRules": [rule(start=started - timedelta(hours=1), end=ends)],
    }
    await view.apply(profile("scheduled", config), deployment("engine", annotations=ANNOTATED))
    await view.workload("engine", lambda found: condition_of(found).get("reason") == "RuleActive", timeout=18)

    workload = await view.workload(
        "engine", lambda found: condition_of(found).get("reason") == "RuleInactive", timeout=90
    )

    assert condition_of(workload)["message"] == 'Cron scaling rule "test" is inactive'
    assert not workload.status.get("activeCronScalingRule")
    assert workload.status["recommendation"] == {
        "limits": {"tflops": "40", "vram": "16Gi"},
        "requests": {"tflops": "10", "vram": "16Gi"},
    }


async def test_a_disabled_rule_does_nothing(view: View) -> None:
    disabled = {**active_rule(), "enable": False}
    await view.apply(
        profile("scheduled", {"cronScalingRules": [disabled]}), deployment("engine", annotations=ANNOTATED)
    )

    pod = await view.pod("engine")

    assert annotations_of(pod).items() >= SLICE.items()
