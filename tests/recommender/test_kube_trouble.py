"""What kube-apiserver does to a recommender at work: each trouble passes by itself, and is counted."""

import pytest

from tests.support import builders
from tests.support.recommending import Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import WORKLOAD_PROFILE
from vgpu.kube.resources import PROFILES, WORKLOADS

ALWAYS = builders.cron_rule(start="0 0 * * *", end="59 23 * * *")


def errors(rig: Rig, error: str) -> float:
    labels = {"error": error}
    return rig.recommender.registry.get_sample_value("vgpu_kube_request_errors_total", labels) or 0


def interruptions(rig: Rig, resource: str, error: str) -> float:
    labels = {"resource": resource, "error": error}
    return rig.recommender.registry.get_sample_value("vgpu_kube_watch_interruptions_total", labels) or 0


def ruled(rig: Rig, name: str) -> None:
    """A workload whose status has to be written, since its rule is active."""
    config = {"cronScalingRules": [ALWAYS]}
    rig.kube.put(WORKLOADS, builders.workload(name, auto_scaling_config=config))


def is_told(rig: Rig, name: str) -> bool:
    return rig.status(name).get("activeCronScalingRule") is not None


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (429, "TooManyRequests", "Throttled"),
        (409, "Conflict", "Conflict"),
        (503, "ServiceUnavailable", "ServerFailure"),
    ],
)
async def test_a_write_that_is_refused_for_a_moment_is_made_and_counted(
    code: int, reason: str, error: str
) -> None:
    async with recommending() as rig:
        rig.kube.fail("/web/status$", code=code, reason=reason, method="PATCH", retry_after=0)
        ruled(rig, "web")
        await rig.settle()
        assert is_told(rig, "web")
        assert errors(rig, error) == 1
        assert rig.metric("workload_errors_total", stage="publish") == 0


async def test_a_permission_that_is_missing_for_one_resource_is_counted_and_comes_by_itself() -> None:
    async with recommending() as rig:
        rig.kube.fail("/status$", code=403, reason="Forbidden", method="PATCH", times=1)
        ruled(rig, "web")
        ruled(rig, "other")
        await rig.settle()
        assert [is_told(rig, name) for name in ("web", "other")].count(True) == 1
        assert (errors(rig, "Forbidden"), rig.metric("writes_total", object="status", outcome="failed")) == (
            1,
            1,
        )
        rig.now += 5
        await rig.settle()
        assert is_told(rig, "web")
        assert is_told(rig, "other")


async def test_profiles_that_may_not_be_watched_any_more_hold_up_nothing_else() -> None:
    async with recommending() as rig:
        profile = builders.profile("night", spec={"autoScalingConfig": {"cronScalingRules": [ALWAYS]}})
        rig.kube.fail("/workloadprofiles$", code=403, reason="Forbidden", times=2)
        rig.kube.drop_watches()
        resource = PROFILES.full_name
        await until(lambda: interruptions(rig, resource, "Forbidden") >= 1)
        ruled(rig, "web")
        rig.kube.put(PROFILES, profile)
        await until(lambda: rig.recommender.cluster.workloads.get("default", "web"))
        await rig.reconcile()
        assert is_told(rig, "web")
        rig.deploy("late", annotations={WORKLOAD_PROFILE: "night"})
        await rig.settle()
        assert is_told(rig, "late")


async def test_a_history_of_watches_that_is_gone_is_counted() -> None:
    async with recommending() as rig:
        rig.kube.fail("/tensorfusionworkloads$", code=410, reason="Expired", method="GET")
        rig.kube.drop_watches()
        ruled(rig, "web")
        await until(lambda: interruptions(rig, WORKLOADS.full_name, "Gone"))
        await rig.settle()
        assert is_told(rig, "web")


async def test_a_server_that_is_away_is_a_reason_not_to_be_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgpu.kube.contact._SPARED", 0.0)
    async with recommending() as rig:
        await rig.kube.stop()
        await until(lambda: any("does not answer" in reason for reason in rig.recommender.not_ready()))
        assert errors(rig, "ApiUnreachable") > 0
