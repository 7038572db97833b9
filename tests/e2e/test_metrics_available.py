"""The condition MetricsAvailable: usage of one workload stops while another's goes on, and comes back."""

import json
from collections.abc import Callable

from devcluster.story import NotYet, until
from tests.e2e.objects import PROFILED, QUICK, STEADY, deployment, profile
from tests.e2e.trial import Scene, now
from tests.support.metric_source_proxy import Matrix, Rewrite
from vgpu.kube.objects import CustomObject

PATIENCE = "10s"


def says(status: str, reason: str) -> Callable[[CustomObject], bool]:
    """Whether the condition of a workload says this."""

    def look(workload: CustomObject) -> bool:
        found = [each for each in workload.status.get("conditions", ()) if each["type"] == "MetricsAvailable"]
        return [(each["status"], each["reason"]) for each in found] == [(status, reason)]

    return look


def without(app: str) -> Rewrite:
    """The source no longer has anything of a Deployment's pods."""

    def rewrite(matrix: Matrix) -> Matrix:
        return [series for series in matrix if not series["metric"]["pod"].startswith(f"{app}-")]

    return rewrite


async def test_usage_of_one_workload_that_stops_is_told_of_that_one_until_it_comes_back(scene: Scene) -> None:
    view = scene.view
    await scene.start(settings={"usage-patience": PATIENCE})
    await view.apply(
        profile("quick", QUICK),
        deployment("stopping", annotations=PROFILED, load=STEADY),
        deployment("going-on", annotations=PROFILED, load=STEADY),
    )
    for app in ("stopping", "going-on"):
        await view.workload(app, says("True", "UsageSeen"), step=f"usage of {app}")
    told = await view.workload("stopping", lambda live: "recommendation" in live.status)

    scene.trial.source.misbehave(rewrite=without("stopping"))

    missing = await view.workload("stopping", says("False", "NoSamples"), step="no more usage to be told")
    assert missing.status["recommendation"] == told.status["recommendation"]
    assert says("True", "UsageSeen")(await view.workload("going-on"))

    scene.trial.source.behave()

    await view.workload("stopping", says("True", "UsageSeen"), step="usage to be told again")
    await events_about(scene, "stopping", {"UsageMissing": "Warning", "UsageBack": "Normal"})
    await events_about(scene, "going-on", {})


async def events_about(scene: Scene, name: str, expected: dict[str, str]) -> None:
    """Wait until just these Events about usage have been written of a workload."""
    selector = f"--field-selector=regarding.name={name}"

    async def look() -> bool | NotYet:
        shown = await scene.view.kubectl("get", "events.events.k8s.io", selector, "-o", "json")
        told = {each["reason"]: each["type"] for each in json.loads(shown)["items"]}
        found = {reason: type_ for reason, type_ in told.items() if reason.startswith("Usage")}
        return True if found == expected else NotYet(str(told))

    await until(f"Events about the usage of {name}", look, timeout=15)


async def test_an_outage_of_the_source_is_told_of_what_is_looked_at_and_makes_no_usage_missing(
    scene: Scene,
) -> None:
    view = scene.view
    await scene.start(settings={"usage-patience": PATIENCE})
    await view.apply(
        profile("quick", QUICK),
        deployment("quiet", annotations=PROFILED, load=STEADY),
        deployment("growing", annotations=PROFILED, load=STEADY),
    )
    for app in ("quiet", "growing"):
        await view.workload(app, says("True", "UsageSeen"), step=f"usage of {app}")
    await scene.standing_still()

    last = (await scene.metrics()).value("vgpu_recommender_source_last_success_timestamp_seconds")
    assert last is not None
    await until_past(last + 12)
    await view.kubectl("scale", "deployment/growing", "--replicas=2")

    await view.workload("growing", says("False", "SourceUnavailable"), step="the outage to be told")
    assert says("True", "UsageSeen")(await view.workload("quiet"))

    await scene.trial.source.come_up()

    await view.workload("growing", says("True", "UsageSeen"), step="usage to be told again")
    assert says("True", "UsageSeen")(await view.workload("quiet"))
    await events_about(scene, "growing", {})
    await events_about(scene, "quiet", {})


async def until_past(time: float) -> None:
    """Wait until it is later than a time, in seconds since the epoch."""

    async def look() -> bool | NotYet:
        return True if now() > time else NotYet(f"{time - now():.1f} s to go")

    await until("the patience to be over", look, timeout=60)
