import pytest

from vgpu.slices import Resource
from vgpu.usage_sources import HAMI, PRESETS, Measure, Reading, Unit, choose

CHOSEN = {
    name: choose(name, tflops_query="a", vram_query="b") if name == "custom" else choose(name)
    for name in PRESETS
}


def test_each_preset_is_found_by_its_own_name() -> None:
    assert all(preset.name == name for name, preset in PRESETS.items())


def test_a_preset_without_anything_set_is_itself() -> None:
    assert choose("dcgm") is PRESETS["dcgm"]


def test_an_operators_queries_give_tflops_and_bytes_whatever_the_preset() -> None:
    preset = choose("hami", tflops_query="sum by (pod) (x)", vram_query="y")
    assert preset.compute == Measure((Reading("sum by (pod) (x)"),))
    assert preset.measure(Resource.VRAM) == Measure((Reading("y"),))
    assert not preset.needs_cards
    assert preset.pod_labels == HAMI.pod_labels


@pytest.mark.parametrize(("unit", "scale"), [(Unit.RATIO, 1.0), (Unit.PERCENT, 0.01)])
def test_an_operators_query_may_give_parts_of_a_card(unit: Unit, scale: float) -> None:
    preset = choose("custom", tflops_query="x", vram_query="y", tflops_unit=unit)
    assert preset.compute == Measure((Reading("x", scale),), of_card=True)


def test_hami_is_in_percent() -> None:
    assert {reading.scale for reading in HAMI.compute.readings} == {0.01}


def test_a_hami_exporter_that_gives_ratios_is_read_so_where_that_is_set() -> None:
    preset = choose("hami", tflops_unit=Unit.RATIO)
    assert [(reading.query, reading.scale) for reading in preset.compute.readings] == [
        (reading.query, 1.0) for reading in HAMI.compute.readings
    ]
    assert preset.needs_cards


@pytest.mark.parametrize(
    ("name", "unit"), [("hami", Unit.TFLOPS), ("dcgm", Unit.PERCENT), ("tensorfusion", Unit.TFLOPS)]
)
def test_a_unit_that_is_known_cannot_be_chosen(name: str, unit: Unit) -> None:
    with pytest.raises(ValueError, match="tflops_unit"):
        choose(name, tflops_unit=unit)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "set tflops_query and vram_query"),
        ({"tflops_query": "a"}, "set vram_query"),
        ({"vram_query": "a"}, "set tflops_query"),
        ({"vram_query": "a", "tflops_unit": Unit.RATIO}, "tflops_unit"),
    ],
)
def test_custom_needs_both_queries(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        choose("custom", **given)  # type: ignore[arg-type]  # as settings give them


@pytest.mark.parametrize("name", CHOSEN)
def test_every_label_that_a_preset_looks_at_is_among_its_labels(name: str) -> None:
    preset = CHOSEN[name]
    labels = dict.fromkeys(preset.labels, "x")
    assert preset.identify(labels) is not None
    assert len(set(preset.labels)) == len(preset.labels)


@pytest.mark.parametrize(
    "query", ["x[5m]", 'x{a="b"}[5m] ', "x[5m] offset 5m", "(x * 2)[5m:1m] # last five", "x[5m] @ end()"]
)
@pytest.mark.parametrize("setting", ["tflops_query", "vram_query"])
def test_a_query_that_selects_a_range_is_refused_with_what_to_give_instead(setting: str, query: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{setting} selects a range: give an instant vector, without \[5m\]"
    ):
        choose("tensorfusion", **{setting: query})  # type: ignore[arg-type]  # as settings give them


@pytest.mark.parametrize(
    "query", ["rate(x[5m])", 'x{a="[5m]"}', "x # like x[5m]", "max_over_time(x[5m]) * 2", "x offset 5m"]
)
def test_a_query_that_gives_numbers_is_taken_whatever_is_within_it(query: str) -> None:
    assert choose("tensorfusion", tflops_query=query).compute.readings[0].query == query


def test_only_of_hamis_own_metric_zeros_may_mean_nothing() -> None:
    assert choose("hami", tflops_unit=Unit.RATIO).compute.zero_is_unknown
    assert not choose("hami", tflops_query="x").compute.zero_is_unknown
    assert not any(preset.memory.zero_is_unknown for preset in PRESETS.values())
    assert [name for name, preset in PRESETS.items() if preset.compute.zero_is_unknown] == ["hami"]
