import pytest

from vgpu.usage_sources import PRESETS, PodGpu

PRESET = PRESETS["tensorfusion"]


def test_a_series_names_its_pod_and_card() -> None:
    labels = {"namespace": "team", "worker": "engine-1", "workload": "engine", "uuid": "GPU-1"}
    assert PRESET.identify(labels) == PodGpu("team", "engine-1", "GPU-1")


def test_what_the_exporter_said_counts_before_what_the_scrape_added() -> None:
    labels = {
        "namespace": "monitoring",
        "pod": "exporter-x",
        "exported_namespace": "team",
        "exported_pod": "engine-1",
        "uuid": "GPU-1",
    }
    assert PRESET.identify(labels) == PodGpu("team", "engine-1", "GPU-1")


def test_the_worker_is_the_pod_where_the_scrape_added_that_of_the_exporter() -> None:
    labels = {"exported_namespace": "team", "namespace": "monitoring", "worker": "engine-1"}
    assert PRESET.identify({**labels, "pod": "hypervisor-x"}) == PodGpu("team", "engine-1", "")


def test_the_exporters_worker_counts_before_one_that_the_scrape_added() -> None:
    labels = {"namespace": "team", "exported_worker": "engine-1", "worker": "hypervisor-x"}
    assert PRESET.identify(labels) == PodGpu("team", "engine-1", "")


def test_a_pod_is_named_by_its_own_label_where_there_is_no_worker() -> None:
    assert PRESET.identify({"namespace": "team", "pod": "engine-1"}) == PodGpu("team", "engine-1", "")


@pytest.mark.parametrize(
    "labels", [{}, {"namespace": "team"}, {"pod": "engine-1"}, {"namespace": "", "pod": "a"}]
)
def test_a_series_that_names_no_pod_is_nobodys(labels: dict[str, str]) -> None:
    assert PRESET.identify(labels) is None


def test_each_preset_is_found_by_its_own_name() -> None:
    assert all(preset.name == name for name, preset in PRESETS.items())
