"""Recommendations rest on usage that the metric source really had: all of it, once, and no lies."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from devcluster.exporter import GPU_COUNT_ANNOTATION
from devcluster.services import RECOMMENDER
from devcluster.story import NotYet, until
from tests.e2e.objects import BUSY, PROFILED, QUICK, STEADY, deployment, profile
from tests.e2e.trial import (
    CURSOR,
    ERRORS,
    OUTCOMES,
    QUICK_RULES,
    STEP,
    Scene,
    mismatches,
    now,
)
from tests.support.metric_source_proxy import (
    Matrix,
    Rewrite,
    negated,
    samples_twice,
    series_twice,
    values_become,
)
from tests.support.reference_recommender import ReferenceRecommender
from tests.support.shown_metrics import ShownMetrics
from vgpu.kube.objects import CustomObject
from vgpu.quantities import parse_tflops, parse_vram

PARSE = {"tflops": parse_tflops, "vram": parse_vram}
LAST_SUCCESS = "vgpu_recommender_source_last_success_timestamp_seconds"
OUTAGE = 180.0

CAREFUL = {
    "autoSetResources": {
        **QUICK["autoSetResources"],
        "targetTflopsPercentile": 0.99,
        "targetVramPercentile": 0.99,
        "lowerBoundTflopsPercentile": 0.4,
        "lowerBoundVramPercentile": 0.4,
        "upperBoundTflopsPercentile": 1.0,
        "upperBoundVramPercentile": 1.0,
        "requestMarginFraction": 0.3,
    }
}
CAREFUL_RULES = replace(QUICK_RULES, target=0.99, lower=0.4, upper=1.0, margin=0.3)


def recommended(workload: CustomObject) -> dict[str, int]:
    """The recommended requests, in milli-TFLOPS and bytes."""
    requests = workload.status["recommendation"]["requests"]
    return {resource: parse(requests[resource]) for resource, parse in PARSE.items()}


def both_moved(workload: CustomObject) -> bool:
    """Whether usage has moved both resources away from the slice of 10 TFLOPS and 16 GiB."""
    if "recommendation" not in workload.status:
        return False
    requests = recommended(workload)
    return requests["tflops"] > 10_000 and requests["vram"] < 16 * 2**30


def has_samples(scene: Scene, count: int, *apps: str) -> Callable[[ShownMetrics], bool]:
    """Whether a recommender has so many samples of each of these Deployments."""
    return lambda shown: all(scene.samples(shown, app) >= count for app in apps)


def reached(least: float, metric: str, **labels: str) -> Callable[[ShownMetrics], bool]:
    """Whether a metric is so large."""
    return lambda shown: shown.total(metric, **labels) >= least


async def test_recommendations_equal_those_of_the_reference_on_the_same_samples(scene: Scene) -> None:
    await scene.start()
    wide = {**PROFILED, GPU_COUNT_ANNOTATION: "3", "tensor-fusion.ai/workload-profile": "careful"}
    await scene.view.apply(
        profile("quick", QUICK),
        profile("careful", CAREFUL),
        deployment("single", annotations=PROFILED),
        deployment("several", annotations=PROFILED, replicas=3, load={**BUSY, "gpuSecondsPerRequest": 0.006}),
        deployment("wide", annotations=wide, load={**BUSY, "startHour": 5, "cacheBytesPerRequest": 2**21}),
    )
    rules = {"single": QUICK_RULES, "several": QUICK_RULES, "wide": CAREFUL_RULES}
    await scene.metrics_when(has_samples(scene, 12, *rules), step="some samples of each", timeout=60)
    for app in rules:
        await scene.view.workload(app, both_moved)

    shown = await scene.standing_still()

    cursor = shown.value(CURSOR)
    assert cursor is not None
    for app, own in rules.items():
        reference = await scene.reference(app, until=cursor, rules=own)
        assert mismatches(shown, reference, namespace=scene.namespace, app=app) == []
        await require_status_of(scene, app, reference)
        await require_recommendation_of(scene, app, cursor, own_rules=own)


async def require_status_of(scene: Scene, app: str, reference: ReferenceRecommender) -> None:
    """The status tells the reference's estimates; a move of up to a tenth is not worth a write."""

    async def look() -> bool | NotYet:
        told = (await scene.view.workload(app)).status["estimation"]
        off = [
            f"{resource} {name} {told[resource][name]} instead of {between}"
            for resource, parse in PARSE.items()
            for name, between in (
                ("target", reference.target(resource)),
                ("lowerBound", reference.lower_bound(resource)),
                ("upperBound", reference.upper_bound(resource)),
            )
            if not between.least * 0.9 <= parse(told[resource][name]) <= between.most * 1.12
        ]
        return NotYet(str(off)) if off else True

    await until(f"the estimates of {app} in its status", look, timeout=10)


async def require_recommendation_of(scene: Scene, app: str, cursor: float, *, own_rules: Any) -> None:
    """What is recommended was the reference's target at some time, and now lies within its bounds."""
    workload = await scene.view.workload(app)
    references = [
        await scene.reference(app, until=cursor - back * STEP, rules=own_rules) for back in range(40)
    ]
    for resource, request in recommended(workload).items():
        targets = [reference.target(resource) for reference in references if reference.samples]
        assert any(target.holds(request) for target in targets), (app, resource, request, targets)
        assert references[0].lower_bound(resource).least - 1 <= request
        assert request <= references[0].upper_bound(resource).most + 1


async def test_the_past_of_pods_is_read_when_the_recommender_is_first_started(scene: Scene) -> None:
    forgetful = {"autoSetResources": {**QUICK["autoSetResources"], "historyLength": "0"}}
    annotated = {**PROFILED, "tensor-fusion.ai/workload-profile": "forgetful"}
    await scene.view.apply(
        profile("quick", QUICK),
        profile("forgetful", forgetful),
        deployment("remembered", annotations=PROFILED),
        deployment("forgotten", annotations=annotated),
    )
    await usage_lies_back(scene, 16.0, "remembered", "forgotten")
    asked_before = len(scene.trial.source.requests)

    await scene.start()
    await scene.metrics_when(has_samples(scene, 3, "remembered", "forgotten"), step="live samples")
    shown = await scene.standing_still()

    cursor = shown.value(CURSOR)
    assert cursor is not None
    asked = scene.trial.source.requests[asked_before:]
    first_live = next(float(each.form["start"]) for each in asked if each.path.endswith("/query_range"))
    everything = await scene.reference("remembered", until=cursor)
    assert scene.samples(shown, "remembered") == everything.samples
    assert everything.first < first_live - 10
    since = await scene.reference("forgotten", until=cursor, since=first_live - STEP)
    assert scene.samples(shown, "forgotten") == since.samples


async def usage_lies_back(scene: Scene, seconds: float, *apps: str) -> None:
    """Wait until the source has usage of each Deployment from so long ago."""

    async def look() -> bool | NotYet:
        at = now()
        begins = [(await scene.reference(app, until=at)).first for app in apps]
        return True if all(at - begin > seconds for begin in begins) else NotYet(str(begins))

    await until("a past of usage", look, timeout=60)


class Lie:
    """What becomes of the source's answers, and what the recommender has to tell of it.

    Args:
        name: for the test's name.
        rewrite: what becomes of series.
        outcome: which samples are counted then.
        loses: whether these samples are not taken.
    """

    def __init__(self, name: str, rewrite: Rewrite, outcome: str, *, loses: bool = True) -> None:
        self.name = name
        self.outcome = outcome
        self.lost: dict[str, set[float]] = {"tflops": set(), "vram": set()}
        self._rewrite = rewrite
        self._loses = loses

    def __call__(self, matrix: Matrix) -> Matrix:
        """The rewritten series; of which times they were is written down."""
        for series in matrix if self._loses else ():
            for at, value in series["values"]:
                self.lost["tflops" if float(value) < 1e6 else "vram"].add(float(at))
        return self._rewrite(matrix)


def an_hour_older(matrix: Matrix) -> Matrix:
    """Every sample is said to be of an hour ago."""
    return [{**series, "values": [[at - 3600, text] for at, text in series["values"]]} for series in matrix]


def lies() -> list[Lie]:
    """All of them, none told yet."""
    return [
        Lie("NaN", values_become("NaN"), "not_finite"),
        Lie("infinity", values_become("+Inf"), "not_finite"),
        Lie("negatives", negated, "negative"),
        Lie("1e30", values_become("1e30"), "implausible"),
        Lie("old samples", an_hour_older, "stale"),
        Lie("duplicated series", series_twice, "duplicate", loses=False),
        Lie("repeated samples", samples_twice, "duplicate", loses=False),
    ]


TROUBLES: Mapping[str, tuple[dict[str, Any], str]] = {
    "errors": ({"status": 500}, "BadAnswer"),
    "truncated JSON": ({"truncated": True}, "BadAnswer"),
    "delays": ({"delay": 10.0}, "PrometheusTimeout"),
}


@pytest.fixture
async def steady(scene: Scene) -> CustomObject:
    """A workload whose usage never changes, right-sized."""
    await scene.start(settings={"prometheus-timeout": "3s"})
    await scene.view.apply(profile("quick", QUICK), deployment("steady", annotations=PROFILED, load=STEADY))
    return await scene.view.workload("steady", both_moved)


async def test_lies_of_the_source_change_no_recommendation(scene: Scene, steady: CustomObject) -> None:
    source = scene.trial.source
    lost: dict[str, set[float]] = {"tflops": set(), "vram": set()}
    for lie in lies():
        before = (await scene.metrics()).total(OUTCOMES, outcome=lie.outcome)
        source.misbehave(rewrite=lie)
        await scene.metrics_when(
            reached(before + 4, OUTCOMES, outcome=lie.outcome),
            step=f"{lie.name} to be told as {lie.outcome}",
        )
        source.behave()
        for resource, times in lie.lost.items():
            lost[resource] |= times
    await require_unmoved(scene, steady, lost=lost)


async def test_troubles_of_the_source_change_no_recommendation(scene: Scene, steady: CustomObject) -> None:
    source = scene.trial.source
    for name, (trouble, error) in TROUBLES.items():
        before = (await scene.metrics()).total(ERRORS, error=error)
        source.misbehave(**trouble)
        await scene.metrics_when(
            reached(before + 2, ERRORS, error=error),
            step=f"{name} to be told as {error}",
        )
        assert not await scene.is_ready()
        source.behave()
        await scene.caught_up(now() - 2 * STEP)
    await require_unmoved(scene, steady)


async def require_unmoved(
    scene: Scene, before: CustomObject, *, lost: Mapping[str, set[float]] | None = None
) -> None:
    """The recommender goes on, has all samples but the lost ones, and recommends what it did."""
    await scene.caught_up(now())
    assert scene.trial.services.runs(RECOMMENDER)
    assert await scene.is_ready()
    after = await scene.view.workload("steady")
    assert after.status["recommendation"] == before.status["recommendation"]
    shown = await scene.standing_still()
    cursor = shown.value(CURSOR)
    assert cursor is not None
    reference = await scene.reference("steady", until=cursor, lost=dict(lost or {}))
    assert mismatches(shown, reference, namespace=scene.namespace, app="steady") == []


async def test_nothing_moves_while_the_source_is_away_and_then_the_gap_is_filled(scene: Scene) -> None:
    await scene.start()
    await scene.view.apply(profile("quick", QUICK), deployment("engine", annotations=PROFILED))
    await scene.metrics_when(has_samples(scene, 10, "engine"), step="some samples")
    await scene.view.workload("engine", both_moved)
    before = await scene.standing_still()
    workload = await scene.view.workload("engine")
    gone = now()

    errors = 0.0
    while now() < gone + OUTAGE:
        await asyncio.sleep(OUTAGE / 12)
        shown = await scene.metrics()
        assert not await scene.is_ready()
        assert estimates(shown) == estimates(before)
        assert shown.value(CURSOR) == before.value(CURSOR)
        assert shown.value(LAST_SUCCESS) == before.value(LAST_SUCCESS)
        assert shown.total(ERRORS, error="PrometheusUnreachable") > errors
        errors = shown.total(ERRORS, error="PrometheusUnreachable")
    unmoved = await scene.view.workload("engine")
    assert unmoved.metadata.resource_version == workload.metadata.resource_version

    await scene.trial.source.come_up()
    await scene.caught_up(now())
    assert await scene.is_ready()
    after = await scene.standing_still()
    cursor = after.value(CURSOR)
    assert cursor is not None
    reference = await scene.reference("engine", until=cursor)
    assert reference.samples > scene.samples(before, "engine") + OUTAGE / STEP - 2
    assert mismatches(after, reference, namespace=scene.namespace, app="engine") == []


def estimates(shown: ShownMetrics) -> dict[str, object]:
    """All figures of workloads."""
    return {name: samples for name, samples in shown.samples.items() if name.startswith("vgpu_workload_")}
