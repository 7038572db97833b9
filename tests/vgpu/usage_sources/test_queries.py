import pytest

from tests.support.promql_parser import parse
from vgpu.slices import Resource
from vgpu.usage_sources import (
    DCGM,
    HAMI,
    PRESETS,
    TENSORFUSION,
    TENSORFUSION_GREPTIMEDB,
    Measure,
    Preset,
    Reading,
    bulk_query,
    choose,
    probe,
    raw_query,
    reading_of,
    restrictable,
)

OWN = choose("custom", tflops_query="sum by (namespace, pod) (a)", vram_query='b{c="d"}')
PRESETS_IN_USE = [*(preset for name, preset in PRESETS.items() if name != "custom"), OWN]
LABELS = "exported_namespace, namespace, pod_name, exported_worker, exported_pod, worker, pod, uuid"


def test_one_query_covers_all_pods() -> None:
    query = bulk_query(TENSORFUSION, Resource.TFLOPS, window=60)
    assert query == f"max by ({LABELS}) (max_over_time(tf_worker_usage_compute_tflops[60000ms]))"


def test_only_of_tflops_the_mean_may_count() -> None:
    queries = [bulk_query(TENSORFUSION, resource, window=60, sample="mean") for resource in Resource]
    assert ["avg_over_time" in query for query in queries] == [True, False]


def test_greptimedb_is_asked_for_a_field_of_its_one_table() -> None:
    query = bulk_query(TENSORFUSION_GREPTIMEDB, Resource.VRAM, window=60)
    assert 'max_over_time(tf_worker_usage{__field__="memory_bytes"}[60000ms])' in query


def test_of_several_metrics_the_first_that_is_there_counts_each_in_its_unit() -> None:
    parts = bulk_query(DCGM, Resource.TFLOPS, window=60).split(" or ")
    assert [part.rpartition("(")[2] for part in parts] == [
        "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO[60000ms]))",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE[60000ms]))",
        "DCGM_FI_DEV_GPU_UTIL[60000ms])) * 0.01",
        "DCGM_FI_DEV_GPU_UTIL_RATIO[60000ms]))",
    ]
    assert bulk_query(DCGM, Resource.VRAM, window=60).endswith("DCGM_FI_DEV_FB_USED[60000ms])) * 1048576")


def test_model_and_profile_come_with_dcgms_series() -> None:
    assert "UUID, uuid, GPU_I_ID, modelName, GPU_I_PROFILE)" in bulk_query(DCGM, Resource.TFLOPS, window=60)


@pytest.mark.parametrize(
    ("window", "expected"),
    [(60, "[60000ms:15000ms]"), (2, "[2000ms:1000ms]"), (0.5, "[500ms:500ms]")],
)
def test_an_expression_is_evaluated_several_times_in_each_window(window: float, expected: str) -> None:
    query = bulk_query(OWN, Resource.TFLOPS, window=window)
    assert f"max_over_time((sum by (namespace, pod) (a)\n){expected})" in query


def test_some_pods_are_asked_for_under_every_label_that_may_name_them() -> None:
    query = bulk_query(HAMI, Resource.VRAM, window=60, pods=["web-1", "a.b"])
    selectors = [part.split("max_over_time(")[1].split("[60000ms]")[0] for part in query.split(" or ")]
    assert selectors == [
        f'{name}{{{label}=~"a[.]b|web-1"}}'
        for name in ("hami_vgpu_memory_used_bytes", "vGPU_device_memory_usage_in_bytes")
        for label in ("exported_pod", "podname", "pod")
    ]


def test_a_matcher_joins_those_of_the_selector() -> None:
    query = bulk_query(TENSORFUSION_GREPTIMEDB, Resource.VRAM, window=60, pods=["web-1"])
    assert 'tf_worker_usage{__field__="memory_bytes",worker=~"web-1"}[60000ms]' in query


def test_an_expression_cannot_be_asked_for_some_pods() -> None:
    with pytest.raises(ValueError, match="no plain selector"):
        bulk_query(OWN, Resource.TFLOPS, window=60, pods=["web-1"])


@pytest.mark.parametrize(
    ("preset", "expected"), [(TENSORFUSION, True), (HAMI, True), (DCGM, False), (OWN, False)]
)
def test_where_others_tell_whether_a_card_is_shared_all_pods_are_needed(
    preset: Preset, expected: bool
) -> None:
    assert restrictable(preset) is expected


@pytest.mark.parametrize("preset", PRESETS_IN_USE)
@pytest.mark.parametrize("resource", list(Resource))
def test_every_query_is_promql(preset: Preset, resource: Resource) -> None:
    parse(bulk_query(preset, resource, window=60).replace("sum by", "max by"))
    parse(probe(preset, resource).replace("sum by", "max by"))
    parse(raw_query(preset.measure(resource), window=60).replace("sum by", "max by"))


def test_raw_samples_of_several_metrics_are_one_query() -> None:
    query = raw_query(HAMI.memory, window=60)
    assert query == '{__name__=~"hami_vgpu_memory_used_bytes|vGPU_device_memory_usage_in_bytes"}[60000ms]'
    assert reading_of(HAMI.memory, "vGPU_device_memory_usage_in_bytes") == 1
    assert reading_of(HAMI.memory, "other") is None


def test_raw_samples_of_one_metric_are_its_own_whatever_the_server_calls_it() -> None:
    assert raw_query(TENSORFUSION.memory, window=30) == "tf_worker_usage_memory_bytes[30000ms]"
    assert reading_of(TENSORFUSION.memory, "") == 0


def test_raw_samples_of_several_expressions_cannot_be_asked_for_at_once() -> None:
    with pytest.raises(ValueError, match="at once"):
        raw_query(Measure((Reading("a"), Reading('b{c="d"}'))), window=60)


@pytest.mark.parametrize("query", ["sum by (pod) (a) # mine", 'b{c="d"} # c', 'b{c="#"}'])
def test_a_comment_at_the_end_of_a_query_hides_nothing_of_ours(query: str) -> None:
    preset = choose("custom", tflops_query=query, vram_query="b")
    for asked in (bulk_query(preset, Resource.TFLOPS, window=60), raw_query(preset.compute, window=60)):
        comment = asked.partition(" # ")[2]
        assert not comment or "\n)[60000ms:15000ms]" in comment
