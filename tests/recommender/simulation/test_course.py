import pytest

from recommender.simulation.course import Course, Fit, fits
from tests.support.simulating import BEGIN, GIB, MINUTE, Row, measured
from vgpu.slices import Amounts, Resource, VgpuSlice

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM
OWN = VgpuSlice(Amounts(tflops=2000, vram=GIB), Amounts(tflops=8000, vram=GIB))
WANTED = VgpuSlice(Amounts(tflops=4000), Amounts(tflops=5000))
NOTHING = Fit(samples=0, above_request=None, above_limit=None, use_over_request=None)


def course_of(*recommendations: VgpuSlice | None) -> Course:
    """One recommendation a minute."""
    course = Course()
    for index, recommendation in enumerate(recommendations):
        course.note(BEGIN + index * MINUTE, recommendation)
    return course


def fits_of(course: Course, *values: float, resource: Resource = TFLOPS) -> tuple[Fit, Fit]:
    """Of one sample a minute, from the time of the first recommendation on."""
    rows: list[Row] = [(BEGIN + index * MINUTE, "a", value, value) for index, value in enumerate(values)]
    return fits(course, measured(rows).resources[resource], resource, OWN)


def test_a_sample_is_compared_with_what_was_recommended_before_it() -> None:
    later = VgpuSlice(Amounts(tflops=10_000), Amounts(tflops=10_000))
    recommended, _ = fits_of(course_of(WANTED, later), 100, 4.5, 9)
    assert (recommended.samples, recommended.above_request, recommended.above_limit) == (2, 0.5, 0.0)
    assert recommended.use_over_request == pytest.approx((4.5 / 4 + 9 / 10) / 2)


def test_the_own_slice_is_compared_with_the_same_samples() -> None:
    _, own = fits_of(course_of(WANTED, WANTED, WANTED), 100, 1, 9)
    assert own == Fit(samples=2, above_request=0.5, above_limit=0.5, use_over_request=2.5)


def test_samples_before_the_first_recommendation_count_nowhere() -> None:
    recommended, own = fits_of(course_of(None, None, WANTED), 9, 9, 9, 1)
    assert (recommended.samples, own.samples) == (1, 1)
    assert (recommended.above_request, own.above_request) == (0.0, 0.0)


def test_without_a_recommendation_there_is_nothing_to_compare() -> None:
    assert fits_of(course_of(None, None), 1, 1) == (NOTHING, NOTHING)


def test_use_of_just_the_request_is_not_above_it() -> None:
    recommended, _ = fits_of(course_of(WANTED), 9, 4.0)
    assert (recommended.above_request, recommended.use_over_request) == (0.0, 1.0)


def test_a_resource_that_is_not_recommended_has_no_figures() -> None:
    assert fits_of(course_of(WANTED), 1, 1, resource=VRAM) == (NOTHING, NOTHING)


def test_of_a_request_of_nothing_there_is_no_average() -> None:
    nothing = VgpuSlice(Amounts(tflops=0), Amounts(tflops=0))
    recommended, _ = fits_of(course_of(nothing), 1, 1)
    assert recommended == Fit(samples=1, above_request=1.0, above_limit=1.0, use_over_request=None)
