import csv
import io
import json
from typing import Any

from recommender.histories.estimators import Estimate
from recommender.simulation.course import Fit
from recommender.simulation.documents import to_csv, to_json
from recommender.simulation.replay import Step
from recommender.simulation.summary import ResourceSummary, Summary
from tests.support.simulating import BEGIN, GIB, own_slice
from vgpu.slices import Amounts, Resource, VgpuSlice

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM

STEP = Step(
    time=BEGIN,
    estimates={
        TFLOPS: Estimate(3510, 3504, 6318, confidence=1.25),
        VRAM: Estimate(5 * GIB, 4 * GIB, 6 * GIB, confidence=1.25),
    },
    samples={TFLOPS: 1801, VRAM: 1800},
    recommendation=VgpuSlice(Amounts(3510, 5 * GIB), Amounts(7020, 10 * GIB)),
    rule="test",
    messages=('Cron scaling rule "test" is active',),
)
EARLY = Step(BEGIN - 0.5, {}, {TFLOPS: 0, VRAM: 0}, recommendation=None, rule=None, messages=())
FIT = Fit(samples=10, above_request=0.25, above_limit=0.0, use_over_request=0.8)
SUMMARY = Summary(
    first=BEGIN,
    last=BEGIN + 60,
    interval=60.0,
    passes=2,
    pods=1,
    changes=1,
    own=own_slice(),
    assumed=frozenset({VRAM}),
    resources={
        TFLOPS: ResourceSummary(taken=2, dropped={}, recommended=FIT, own=FIT),
        VRAM: ResourceSummary(taken=2, dropped={}, recommended=FIT, own=None),
    },
)


def document(steps: list[Step] | None = None, last: Step = STEP) -> Any:
    return json.loads(to_json(last, SUMMARY, steps))


def lines_of(*steps: Step) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(steps))))


def test_the_document_has_the_last_step_and_the_summary() -> None:
    assert list(document()) == ["last", "summary"]


def test_the_document_has_all_steps_where_they_are_asked_for() -> None:
    found = document([EARLY, STEP])
    assert list(found) == ["steps", "last", "summary"]
    assert found["steps"][-1] == found["last"]
    assert len(found["steps"]) == 2


def test_a_step_is_as_documented() -> None:
    assert document()["last"] == {
        "time": "2025-10-09T09:00:00Z",
        "resources": {
            "tflops": {
                "target": 3.51,
                "lowerBound": 3.504,
                "upperBound": 6.318,
                "confidence": 1.25,
                "samples": 1801,
            },
            "vram": {
                "target": 5 * GIB,
                "lowerBound": 4 * GIB,
                "upperBound": 6 * GIB,
                "confidence": 1.25,
                "samples": 1800,
            },
        },
        "recommendation": {
            "requests": {"tflops": "3510m", "vram": "5Gi"},
            "limits": {"tflops": "7020m", "vram": "10Gi"},
        },
        "activeCronScalingRule": "test",
        "messages": ['Cron scaling rule "test" is active'],
    }


def test_what_is_not_known_is_null() -> None:
    unknown = {"target": None, "lowerBound": None, "upperBound": None, "confidence": None, "samples": 0}
    assert document(last=EARLY)["last"] == {
        "time": "2025-10-09T08:59:59.500Z",
        "resources": {"tflops": unknown, "vram": unknown},
        "recommendation": None,
        "activeCronScalingRule": None,
        "messages": [],
    }


def test_the_summary_tells_how_usage_stood_to_the_slices() -> None:
    found = document()["summary"]["resources"]
    fit = {
        "samples": 10,
        "shareOfTimeAboveRequest": 0.25,
        "shareOfTimeAboveLimit": 0.0,
        "averageUseOverRequest": 0.8,
    }
    assert (found["tflops"]["recommendation"], found["tflops"]["baseline"]) == (fit, fit)
    assert found["vram"]["baseline"] is None


def test_csv_has_a_line_for_each_step() -> None:
    early, step = lines_of(EARLY, STEP)
    assert (early["time"], early["tflops_target"], early["tflops_request"]) == (
        "2025-10-09T08:59:59.500Z",
        "",
        "",
    )
    assert step == {
        "time": "2025-10-09T09:00:00Z",
        "tflops_target": "3.51",
        "tflops_lower_bound": "3.504",
        "tflops_upper_bound": "6.318",
        "tflops_confidence": "1.25",
        "tflops_samples": "1801",
        "vram_target": str(5 * GIB),
        "vram_lower_bound": str(4 * GIB),
        "vram_upper_bound": str(6 * GIB),
        "vram_confidence": "1.25",
        "vram_samples": "1800",
        "tflops_request": "3.51",
        "vram_request": str(5 * GIB),
        "tflops_limit": "7.02",
        "vram_limit": str(10 * GIB),
        "active_cron_scaling_rule": "test",
        "messages": 'Cron scaling rule "test" is active',
    }
