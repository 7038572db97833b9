"""What the screen leaves out needs no look: held against looking at everything."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.decisions.attention import Attention
from recommender.decisions.conditions import find_condition
from recommender.decisions.configurations import Configurations
from recommender.decisions.status import status_patch, wanted_status
from recommender.decisions.verdicts import Judge, Verdict
from recommender.histories.estimation import Estimation, empty_estimation
from recommender.histories.estimators import Estimate
from recommender.histories.preallocation import holds
from recommender.keys import WorkloadKey
from recommender.usage.hearing import NOTHING_HEARD, Heard, Hearing
from tests.support import builders
from tests.support.examples import examples
from tests.support.using import GIB, NOW, OTHER, WEB
from vgpu.kube.objects import CustomObject
from vgpu.slices import Amounts, Resource

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM
HOUR = 3600.0
FIXED = (8.0 * GIB, 7.2 * GIB, 16.0 * GIB, 14.4 * GIB)
NO_SHARES = (math.nan,) * 4


@dataclass(frozen=True)
class Said:
    """What usage says of one workload at one time."""

    tflops: tuple[int, int, int] | None = None
    vram: tuple[int, int, int] | None = None
    confidence: float = 1.0
    samples: int = 100
    first: float = NOW - HOUR
    shares: tuple[float, ...] = NO_SHARES
    touched: float = NOW


def estimation(said: Mapping[WorkloadKey, Said]) -> Estimation:
    found = empty_estimation(tuple(said), {key: index for index, key in enumerate(said)})
    for index, one in enumerate(said.values()):
        for resource, amounts in ((TFLOPS, one.tflops), (VRAM, one.vram)):
            if amounts is not None:
                found.empty[resource][index] = False
                columns = (found.target, found.lower, found.upper)
                for column, amount in zip(columns, amounts, strict=True):
                    column[resource][index] = amount
        found.confidence[index] = one.confidence
        found.samples[index] = one.samples
        found.first[index] = one.first
        found.shares[index] = one.shares
        found.touched[index] = one.touched
    return replace(found, preallocated=holds(found.shares))


@dataclass
class Cluster:
    """One workload and its status, as kube-apiserver would keep it, and those who look at it."""

    live: CustomObject
    attention: Attention = field(default_factory=Attention)
    estimation_written: float = NOW
    writes: int = 0
    heard: Heard = NOTHING_HEARD
    runs: bool = True

    def __post_init__(self) -> None:
        self.judge = Judge(
            configurations=Configurations(),
            cap=lambda *_: Amounts(tflops=300_000, vram=80 * GIB),
            newest_pod=lambda _: None,
            runs=lambda _: self.runs,
        )

    def picks(self, said: Said, now: float) -> bool:
        return WEB in self.attention.pick(estimation({WEB: said}), now, self.heard)

    def judged(self, said: Said, now: float) -> tuple[Verdict, dict[str, Any] | None]:
        configuration = self.judge.configure(self.live, now)
        evidence = estimation({WEB: said}).evidence(WEB)
        verdict = self.judge.decide(self.live, configuration, evidence, now, self.heard)
        wanted = wanted_status(self.live, verdict, applied=0, conditions=(), now=now)
        patch = status_patch(self.live.status, wanted, now=now, estimation_written=self.estimation_written)
        return verdict, patch

    def look(self, said: Said, now: float) -> None:
        """What the engine does with a workload that was picked."""
        verdict, patch = self.judged(said, now)
        if patch is None:
            self.attention.settle(WEB, verdict, self.live.status, estimation_written=self.estimation_written)
            return
        self.writes += 1
        self.attention.unsettle(WEB)
        if "estimation" in patch:
            self.estimation_written = now
        self.live = builders.struct(
            {
                "metadata": {"namespace": "default", "name": "web", "uid": "u"},
                "spec": dict(self.live.spec),
                "status": merged(self.live.status, patch),
            },
            CustomObject,
        )

    def pass_over(self, said: Said, now: float) -> bool:
        """One pass of the engine; returns whether it looked."""
        picked = self.picks(said, now)
        if picked:
            self.look(said, now)
        return picked

    def settled(self, said: Said, now: float = NOW) -> "Cluster":
        """After as many passes as are needed until nothing is left to do."""
        for _ in range(4):
            if not self.pass_over(said, now):
                return self
        raise AssertionError("the same usage is looked at again and again")


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386), applied."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def workload(config: dict[str, Any] | None = None, **spec: Any) -> CustomObject:
    return builders.workload_struct(auto_scaling_config=config, **spec)


def cluster(config: dict[str, Any] | None = None, **spec: Any) -> Cluster:
    return Cluster(workload(config, **spec))


# The slice asks for 10 TFLOPS and 8Gi.
INSIDE = Said(tflops=(12_000, 5_000, 20_000), vram=(9 * GIB, 4 * GIB, 20 * GIB))


def test_a_workload_that_was_never_looked_at_is_picked() -> None:
    assert cluster().picks(INSIDE, NOW)


def test_after_a_look_that_changed_nothing_the_same_usage_is_not_picked() -> None:
    subject = cluster().settled(INSIDE)
    assert not subject.picks(INSIDE, NOW + 60)


def test_a_small_move_within_the_bounds_is_not_picked() -> None:
    subject = cluster().settled(INSIDE)
    assert not subject.picks(replace(INSIDE, tflops=(12_500, 5_200, 19_000), samples=101), NOW + 60)


@pytest.mark.parametrize(
    "news",
    [
        {"tflops": (12_000, 10_001, 20_000)},
        {"vram": (9 * GIB, 4 * GIB, 7 * GIB)},
        {"tflops": None},
        {"shares": FIXED},
        {"samples": 29},
        {"tflops": (13_201, 5_000, 20_000)},
        {"vram": (9 * GIB, 4 * GIB, 23 * GIB)},
    ],
    ids=["below", "above", "no samples", "preallocated", "too few", "target moved", "bound moved"],
)
def test_news_are_picked(news: dict[str, Any]) -> None:
    subject = cluster().settled(INSIDE)
    assert subject.picks(replace(INSIDE, **news), NOW + 60)


@pytest.mark.parametrize("bounds", [(9_900, 20_000), (5_000, 10_100)], ids=["lower", "upper"])
def test_a_bound_that_passes_the_request_is_news_however_little_it_moves(bounds: tuple[int, int]) -> None:
    subject = cluster().settled(Said(tflops=(10_000, *bounds)))
    moved = (10_000, round(bounds[0] * 1.02), round(bounds[1] * 0.98))
    assert subject.picks(Said(tflops=moved), NOW + 60)


def test_a_target_that_moves_counts_only_while_the_request_lies_outside() -> None:
    """It is held outside of its bounds here by maxAllowed."""
    outside = Said(tflops=(30_000, 25_000, 40_000))
    subject = cluster({"autoSetResources": {"maxAllowed": {"tflops": 10}}}).settled(outside)
    assert not subject.picks(replace(outside, tflops=(30_000, 25_500, 40_000)), NOW + 60)
    assert subject.picks(replace(outside, tflops=(30_001, 25_000, 40_000)), NOW + 60)


def test_enough_samples_are_news() -> None:
    subject = cluster().settled(replace(INSIDE, samples=28))
    assert not subject.picks(replace(INSIDE, samples=29), NOW + 60)
    assert subject.picks(replace(INSIDE, samples=30), NOW + 120)


def test_the_end_of_the_initial_delay_is_news() -> None:
    subject = cluster({"autoSetResources": {"initialDelayPeriod": "2h"}}).settled(INSIDE)
    assert not subject.picks(INSIDE, NOW + HOUR - 1)
    assert subject.picks(INSIDE, NOW + HOUR)


def test_an_estimation_that_moved_a_little_is_written_after_an_hour() -> None:
    subject = cluster().settled(INSIDE)
    drifted = replace(INSIDE, tflops=(12_001, 5_000, 20_000))
    assert not subject.picks(drifted, NOW + HOUR - 1)
    assert subject.picks(drifted, NOW + HOUR)
    subject.settled(drifted, NOW + HOUR)
    assert subject.live.status["estimation"]["tflops"]["target"] == "12001m"
    assert not subject.picks(drifted, NOW + 2 * HOUR)


@pytest.mark.parametrize("confidence", [0.001234, 0.9994, 1.0, 9.994, 999.4, 30.0])
def test_confidence_is_written_when_it_shows_and_not_looked_at_before(confidence: float) -> None:
    subject = cluster().settled(replace(INSIDE, confidence=confidence))
    later = NOW + 2 * HOUR
    assert not subject.picks(replace(INSIDE, confidence=confidence), later)
    for factor in (0.98, 1.02):
        assert subject.picks(replace(INSIDE, confidence=confidence * factor), later)


@settings(max_examples=examples(60))
@given(st.floats(1e-6, 1e9), st.floats(0.98, 1.02))
def test_no_confidence_that_would_show_otherwise_is_missed(confidence: float, factor: float) -> None:
    subject = cluster().settled(replace(INSIDE, confidence=confidence))
    other = confidence * factor
    if f"{other:.3g}" != f"{confidence:.3g}":
        assert subject.picks(replace(INSIDE, confidence=other), NOW + 2 * HOUR)


def test_a_decision_that_changed_something_is_looked_at_again() -> None:
    subject = cluster()
    outside = Said(tflops=(30_000, 25_000, 40_000))
    assert subject.pass_over(outside, NOW)
    assert subject.writes == 1
    assert subject.pass_over(outside, NOW + 60)
    assert not subject.pass_over(outside, NOW + 120)


def test_a_workload_without_samples_is_looked_at_when_told_so_only() -> None:
    subject = cluster()
    nothing = empty_estimation((), {})
    assert subject.attention.pick(nothing, NOW) == ()
    subject.attention.unsettle(WEB)
    assert subject.attention.pick(nothing, NOW) == (WEB,)
    subject.look(Said(samples=0, first=math.nan, confidence=0), NOW)
    subject.look(Said(samples=0, first=math.nan, confidence=0), NOW)
    assert subject.attention.pick(nothing, NOW + 60) == ()


def test_a_workload_whose_history_is_gone_is_picked() -> None:
    subject = cluster().settled(INSIDE)
    assert subject.attention.pick(empty_estimation((), {}), NOW + 60) == (WEB,)


def test_a_workload_without_a_valid_configuration_is_not_looked_at_for_its_usage() -> None:
    subject = cluster({"autoSetResources": {"minSamples": "many"}}).settled(INSIDE)
    assert not subject.picks(replace(INSIDE, tflops=(99_000, 98_000, 99_500)), NOW + 60)


def test_a_target_that_comes_to_exceed_what_a_rule_asks_for_is_news() -> None:
    """Though it moves by less than a tenth, and the request lies within its bounds."""
    rule = builders.cron_rule(
        start="0 6 * * *", end="0 20 * * *", desired=builders.slice_json(tflops_request="13100m")
    )
    subject = cluster({"cronScalingRules": [rule]}).settled(Said(tflops=(13_000, 5_000, 20_000)))
    assert subject.live.status["recommendation"]["requests"]["tflops"] == "13100m"
    assert subject.picks(Said(tflops=(13_500, 5_000, 20_000)), NOW + 60)


def test_a_forgotten_workload_is_not_picked_and_its_place_goes_to_another_as_new() -> None:
    subject = cluster().settled(INSIDE)
    subject.attention.forget(WEB)
    assert len(subject.attention) == 0
    assert subject.attention.pick(empty_estimation((), {}), NOW) == ()
    assert subject.attention.pick(estimation({OTHER: INSIDE}), NOW) == (OTHER,)


PATIENCE = 300.0


def heard(now: float) -> Heard:
    """The source has answered for an hour, the last time now."""
    return Heard(
        fresh_from=now - PATIENCE, silent_before=now - PATIENCE, failing_since=None, patience=PATIENCE
    )


def reason(subject: Cluster) -> str | None:
    found = find_condition(subject.live.status, "MetricsAvailable")
    return None if found is None else found["reason"]


def at(subject: Cluster, now: float) -> Cluster:
    subject.heard = heard(now)
    return subject


def test_usage_that_no_longer_comes_in_is_news_once() -> None:
    subject = at(cluster(), NOW).settled(INSIDE)
    assert reason(subject) == "UsageSeen"
    assert not at(subject, NOW + PATIENCE).picks(INSIDE, NOW + PATIENCE)
    later, writes = NOW + PATIENCE + 60, subject.writes
    assert at(subject, later).picks(INSIDE, later)
    subject.settled(INSIDE, later)
    assert (reason(subject), subject.writes) == ("NoSamples", writes + 1)
    assert not at(subject, later + 600).picks(INSIDE, later + 600)
    assert at(subject, later + 660).picks(replace(INSIDE, touched=later + 650), later + 660)


def test_usage_that_never_came_in_is_news_though_there_is_no_estimation() -> None:
    subject, nothing = at(cluster(), NOW), empty_estimation((), {})
    none = Said(samples=0, first=math.nan, confidence=0, touched=-math.inf)
    subject.heard = NOTHING_HEARD
    subject.settled(none)
    assert reason(subject) is None
    assert subject.attention.pick(nothing, NOW + 60, heard(NOW + 60)) == (WEB,)


def test_usage_of_a_workload_without_a_valid_configuration_is_news_when_it_ceases() -> None:
    subject = at(cluster({"autoSetResources": {"minSamples": "many"}}), NOW).settled(INSIDE)
    assert reason(subject) == "UsageSeen"
    assert at(subject, NOW + 360).picks(INSIDE, NOW + 360)


def test_nobody_is_looked_at_because_the_source_is_away() -> None:
    subject = at(cluster(), NOW).settled(INSIDE)
    subject.heard = replace(heard(NOW), failing_since=NOW)
    later = NOW + HOUR - 1
    assert subject.heard.is_away(later)
    assert not subject.picks(INSIDE, later)
    subject.attention.unsettle(WEB)
    subject.settled(INSIDE, later)
    assert reason(subject) == "SourceUnavailable"
    assert not subject.picks(INSIDE, later)


@settings(max_examples=examples(150))
@given(st.data())
def test_whether_usage_comes_in_is_told_right_without_looks_at_what_stays(data: st.DataObject) -> None:
    """Over any sequence of samples, pods and outages; pods that come or go are told of besides."""
    subject, hearing, now = cluster(), Hearing(PATIENCE), NOW
    said = replace(INSIDE, touched=data.draw(st.sampled_from([-math.inf, NOW - HOUR, NOW])))
    for _ in range(data.draw(st.integers(3, 20))):
        now += data.draw(st.sampled_from([60.0, 60.0, 240.0, 360.0]))
        if data.draw(st.sampled_from([True, True, False])):
            hearing.answered(now)
            if data.draw(st.booleans()):
                said = replace(said, touched=now - 5)
        else:
            hearing.failed(now)
        if data.draw(SOMETIMES):
            subject.runs = not subject.runs
            subject.attention.unsettle(WEB)
        subject.heard = hearing.heard
        subject.settled(said, now)
        _, patch = subject.judged(said, now)
        if not subject.heard.is_away(now):
            assert patch is None
        if reason(subject) == "NoSamples":
            assert subject.runs or subject.heard.is_away(now)
            assert now - said.touched > PATIENCE


def note(subject: Cluster, key: WorkloadKey) -> None:
    """Note the same look for another workload."""
    verdict, _ = subject.judged(INSIDE, NOW)
    subject.attention.settle(key, verdict, subject.live.status, estimation_written=NOW)


@pytest.mark.parametrize("settled", [False, True])
def test_there_is_room_for_workloads_that_are_looked_at_before_usage_tells_of_them(*, settled: bool) -> None:
    subject = cluster().settled(INSIDE)
    keys = [WorkloadKey("default", f"w-{index}") for index in range(200)]
    for key in keys:
        if settled:
            note(subject, key)
        else:
            subject.attention.unsettle(key)
    picked = subject.attention.pick(estimation(dict.fromkeys([*keys, WEB], INSIDE)), NOW)
    assert set(picked) == (set() if settled else set(keys))


class Interrupted(tuple[WorkloadKey, ...]):
    """Keys that have something else happen while they are gone through, as another thread may any time."""

    __slots__ = ()
    then: Callable[[], object] = staticmethod(lambda: None)

    def __iter__(self) -> Iterator[WorkloadKey]:
        rest = super().__iter__()
        yield next(rest)
        type(self).then()
        yield from rest


def picked_while(
    subject: Cluster, said: Estimation, then: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> tuple[WorkloadKey, ...]:
    """What is picked while something else happens."""
    monkeypatch.setattr(Interrupted, "then", staticmethod(then))
    return subject.attention.pick(replace(said, keys=Interrupted(said.keys)), NOW)


@pytest.mark.parametrize("key", [WEB, OTHER])
def test_a_workload_that_is_unsettled_while_others_are_picked_is_picked_the_next_time_at_the_latest(
    key: WorkloadKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, said = cluster().settled(INSIDE), estimation({WEB: INSIDE, OTHER: INSIDE})
    note(subject, OTHER)
    picked_while(subject, said, lambda: subject.attention.unsettle(key), monkeypatch)
    assert subject.attention.pick(said, NOW) == (key,)


def test_a_look_that_is_noted_while_others_are_picked_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, said = cluster().settled(INSIDE), estimation({WEB: INSIDE, OTHER: INSIDE})
    assert OTHER in subject.attention.pick(said, NOW)
    picked_while(subject, said, lambda: note(subject, OTHER), monkeypatch)
    assert subject.attention.pick(said, NOW) == ()


def test_workloads_that_come_while_others_are_picked_need_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = cluster().settled(INSIDE)
    keys = [WorkloadKey("default", f"w-{index}") for index in range(200)]
    said = estimation(dict.fromkeys([WEB, *keys], INSIDE))

    def come() -> None:
        for key in keys:
            note(subject, key)

    # Those for which there was no room when it began are taken for such as were never looked at.
    assert set(picked_while(subject, said, come, monkeypatch)) <= set(keys)
    assert subject.attention.pick(said, NOW) == ()


def test_a_place_that_goes_to_another_workload_meanwhile_is_not_mistaken_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, said = cluster().settled(INSIDE), estimation({WEB: INSIDE, OTHER: INSIDE})

    def change_places() -> None:
        subject.attention.forget(WEB)
        subject.attention.unsettle(OTHER)

    assert OTHER in picked_while(subject, said, change_places, monkeypatch)
    assert subject.attention.pick(estimation({OTHER: INSIDE}), NOW) == (OTHER,)


def test_to_pick_changes_nothing() -> None:
    attention = Attention()
    attention.pick(estimation({WEB: INSIDE}), NOW)
    assert len(attention) == 0


def test_a_workload_that_is_never_looked_at_goes_on_to_be_picked() -> None:
    attention, said = Attention(), estimation({WEB: INSIDE})
    assert [attention.pick(said, NOW) for _ in range(3)] == [(WEB,)] * 3


def test_many_workloads_are_told_apart() -> None:
    """Also when more of them come than there was room for."""
    subject = cluster().settled(INSIDE)
    others = {WorkloadKey("default", f"w-{index}"): INSIDE for index in range(200)}
    picked = subject.attention.pick(estimation({**others, WEB: INSIDE}), NOW)
    assert set(picked) == set(others)


@pytest.mark.parametrize(
    "broken",
    [{"target": "much"}, {"target": "12000m"}, {"target": 12}, {"confidence": "NaN"}, {"more": "1"}, None],
)
def test_a_status_that_a_person_has_changed_is_never_settled(broken: dict[str, Any] | None) -> None:
    subject = cluster().settled(INSIDE)
    status = merged(subject.live.status, {"estimation": {"tflops": broken}})
    verdict, _ = subject.judged(INSIDE, NOW)
    subject.attention.settle(WEB, verdict, status, estimation_written=NOW)
    assert subject.picks(INSIDE, NOW)


# The guarantee


# Of what the slice asks for, 10 TFLOPS and 8Gi: about it, below and above.
SHARES = st.sampled_from([0.3, 0.5, 0.9, 1.0, 1.1, 1.3, 2.0, 3.0])
SOMETIMES = st.sampled_from([False, False, False, True])


@st.composite
def amounts(draw: st.DrawFn) -> tuple[float, float, float]:
    """Target and bounds as shares of what the slice asks for, mostly in order."""
    low, middle, high = sorted((draw(SHARES), draw(SHARES), draw(SHARES)))
    return (high, low, middle) if draw(SOMETIMES) else (middle, low, high)


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[float, Said]]:
    """What usage says over time: mostly small moves, now and then a leap."""
    now, steps = NOW, list[tuple[float, Said]]()
    shares = {"tflops": draw(amounts()), "vram": draw(amounts())}
    units = {"tflops": 10_000, "vram": 8 * GIB}
    found: dict[str, tuple[int, int, int] | None] = {}
    said = Said(samples=draw(st.sampled_from([0, 28, 100])))
    for _ in range(draw(st.integers(3, 12))):
        now += draw(st.sampled_from([60.0, 60.0, 600.0, 3600.0]))
        for name, unit in units.items():
            shares[name] = draw(amounts()) if draw(SOMETIMES) else _moved(draw, shares[name])
            target, lower, upper = (round(unit * share) for share in shares[name])
            found[name] = (target, lower, upper) if draw(st.integers(0, 9)) else None
        said = replace(
            said,
            tflops=found["tflops"],
            vram=found["vram"],
            samples=said.samples + draw(st.integers(0, 2)),
            confidence=said.confidence * draw(st.sampled_from([1.0, 1.0007, 1.05])),
            shares=(FIXED if draw(SOMETIMES) else NO_SHARES) if draw(SOMETIMES) else said.shares,
            first=NOW if draw(SOMETIMES) else said.first,
        )
        steps.append((now, said))
    return steps


def _moved(draw: st.DrawFn, shares: tuple[float, float, float]) -> tuple[float, float, float]:
    """One of target and bounds moves, by less or more than is worth a write by itself."""
    factors = [1.0, 1.0, 1.0]
    factors[draw(st.integers(0, 2))] = draw(st.sampled_from([1.0, 0.98, 1.02, 1.06, 1.12]))
    target, lower, upper = (share * factor for share, factor in zip(shares, factors, strict=True))
    return target, lower, upper


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "maxAllowed": st.sampled_from([{"tflops": 10}, {"tflops": 20}]),
        "updateThreshold": st.sampled_from([0.05, 0.2, 0.5, 2]),
        "initialDelayPeriod": st.sampled_from(["10m", "2h"]),
        "minSamples": st.sampled_from([1, 30, 50]),
        "maxComputeResourcesRatio": st.sampled_from([0.5, 2]),
    },
)
# NOW is 08:00 UTC on 15 January 2027.
RULES = st.sampled_from(
    [
        [],
        [builders.cron_rule("day", start="30 8 * * *", end="0 11 * * *")],
        [builders.cron_rule("long", start="0 6 * * *", end="0 20 * * *")],
        [
            builders.cron_rule(
                start="0 6 * * *", end="0 20 * * *", desired=builders.slice_json(tflops_request="11")
            )
        ],
    ]
)
SLICES = st.sampled_from(
    [
        builders.slice_json(),
        builders.slice_json(tflops_request="4", tflops_limit="40"),
        builders.slice_json(vram_request=None, vram_limit=None),
        builders.slice_json(tflops_request="0"),
    ]
)


@settings(max_examples=examples(100))
@given(walk=walks(), config=CONFIGS, rules=RULES, slice_json=SLICES)
def test_what_is_not_picked_would_neither_decide_anything_nor_write_anything(
    walk: list[tuple[float, Said]], config: dict[str, Any], rules: list[Any], slice_json: dict[str, Any]
) -> None:
    """Over any sequence of estimates; as in the engine, a rule that begins or ends is told of besides."""
    subject = cluster({"autoSetResources": config, "cronScalingRules": rules}, resources=slice_json)
    for now, said in walk:
        if subject.judge.due(now):
            subject.attention.unsettle(WEB)
        for _ in range(4):
            if not subject.pass_over(said, now):
                break
        else:
            continue  # targets beyond their own bounds may never settle
        verdict, patch = subject.judged(said, now)
        assert verdict.decision is not None
        assert not verdict.decision.changed
        assert patch is None


@settings(max_examples=examples(50))
@given(amounts(), amounts(), CONFIGS, RULES, SLICES)
def test_usage_that_stands_still_is_left_in_peace_after_a_few_passes(
    tflops: tuple[float, float, float],
    vram: tuple[float, float, float],
    config: dict[str, Any],
    rules: list[Any],
    slice_json: dict[str, Any],
) -> None:
    """With targets within their bounds, as estimates have them."""
    low, middle, high = (round(10_000 * share) for share in sorted(tflops))
    least, half, most = (round(8 * GIB * share) for share in sorted(vram))
    said = Said(tflops=(middle, low, high), vram=(half, least, most))
    subject = cluster({"autoSetResources": config, "cronScalingRules": rules}, resources=slice_json)
    subject.settled(said)


def test_an_estimate_is_a_whole_number_of_its_unit() -> None:
    """What the screen compares with the status as floats, the status shows exactly."""
    said = Said(tflops=(2**52 + 1, 1, 2**52 + 3))
    found = estimation({WEB: said}).of(0)
    assert found == {TFLOPS: Estimate(2**52 + 1, 1, 2**52 + 3, 1.0)}
    assert np.isnan(estimation({WEB: said}).shares).all()
