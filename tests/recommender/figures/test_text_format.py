import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from recommender.figures.text_format import (
    ABSENT,
    LINES_AT_ONCE,
    Family,
    IntArray,
    column,
    label_set,
    ones,
    single_values,
)

TARGET = Family("vgpu_target", "gauge", "What usage calls for", ("workload",))
SAMPLES = Family("vgpu_samples_total", "counter", "Samples", ("workload",))


def array(*values: int) -> IntArray:
    return np.array(values, np.int64)


def text(family: Family, label_sets: list[str], values: IntArray, unit: int = 1) -> str:
    return b"".join(column(family, label_sets, values, unit)).decode()


def sets(*names: str) -> list[str]:
    return [label_set({"workload": name}) for name in names]


def test_a_family_has_its_help_and_type_once_and_a_line_for_each_value() -> None:
    assert text(TARGET, sets("a", "b"), array(5, 6)) == (
        "# HELP vgpu_target What usage calls for\n"
        "# TYPE vgpu_target gauge\n"
        'vgpu_target{workload="a"} 5\n'
        'vgpu_target{workload="b"} 6\n'
    )


def test_a_value_that_is_not_there_has_no_line() -> None:
    assert text(TARGET, sets("a", "b", "c"), array(ABSENT, 0, ABSENT)).splitlines()[2:] == [
        'vgpu_target{workload="b"} 0'
    ]


def test_a_family_without_values_is_not_mentioned() -> None:
    assert not text(TARGET, sets("a"), array(ABSENT))
    assert not b"".join(ones(TARGET, []))


def test_thousandths_are_shown_as_what_they_are_thousandths_of() -> None:
    lines = text(TARGET, sets("a", "b", "c"), array(34811, 0, 2_000), 1000).splitlines()[2:]
    assert [float(line.split()[1]) for line in lines] == [34.811, 0.0, 2.0]


def test_a_family_longer_than_a_chunk_comes_whole_and_in_pieces() -> None:
    names = [f"w{index}" for index in range(2 * LINES_AT_ONCE + 1)]
    values = array(*range(len(names)))
    # A chunk without a single value must not leave a blank line behind.
    values[:LINES_AT_ONCE] = ABSENT
    chunks = list(column(TARGET, sets(*names), values, 1))
    assert max(chunk.count(b"\n") for chunk in chunks) == LINES_AT_ONCE
    (family,) = text_string_to_metric_families(b"".join(chunks).decode())
    assert [sample.value for sample in family.samples] == list(range(LINES_AT_ONCE, len(names)))


def test_what_tells_by_its_labels_is_always_one() -> None:
    (family,) = text_string_to_metric_families(b"".join(ones(TARGET, sets("a", "b"))).decode())
    assert [(sample.labels["workload"], sample.value) for sample in family.samples] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("value", [0, 7, 1.5, 1e300])
def test_a_single_value_keeps_its_precision(value: float) -> None:
    told = single_values(Family("vgpu_known", "gauge", "Known"), [(label_set({}), value)]).decode()
    (family,) = text_string_to_metric_families(told)
    assert family.samples[0].value == value


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_any_label_value_comes_back_as_it_was(names: list[str]) -> None:
    """Guarantee: quotes, backslashes, line ends of any kind and all of Unicode survive the format."""
    (family,) = text_string_to_metric_families(text(SAMPLES, sets(*names), array(*range(len(names)))))
    assert [sample.labels["workload"] for sample in family.samples] == names


def test_half_of_a_surrogate_pair_does_not_spoil_the_scrape() -> None:
    assert 'vgpu_target{workload="a?b"} 5' in text(TARGET, sets("a\ud800b"), array(5))


def test_help_of_several_lines_stays_on_one() -> None:
    assert Family("vgpu_a", "gauge", "One\nof \\ two").head() == (
        b"# HELP vgpu_a One\\nof \\\\ two\n# TYPE vgpu_a gauge\n"
    )
