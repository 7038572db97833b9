import pytest

from vgpu.usage_sources import PRESETS, PodGpu, Reading

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


def test_the_pods_own_name_counts_before_a_worker_that_is_a_uid() -> None:
    labels = {"namespace": "team", "pod_name": "engine-1", "worker": "0a1b"}
    assert PRESET.identify(labels) == PodGpu("team", "engine-1", "")


@pytest.mark.parametrize(
    "labels",
    [
        {"namespace": "team", "pod": "web-0", "container": "main", "device_uuid": "G"},
        {"podnamespace": "team", "podname": "web-0", "ctrname": "main", "deviceuuid": "G"},
        {
            "namespace": "kube-system",
            "pod": "hami-device-plugin-x",
            "container": "vgpu-monitor",
            "exported_namespace": "team",
            "exported_pod": "web-0",
            "exported_container": "main",
            "device_uuid": "G",
        },
        {
            "namespace": "kube-system",
            "pod": "hami-device-plugin-x",
            "container": "vgpu-monitor",
            "podnamespace": "team",
            "podname": "web-0",
            "ctrname": "main",
            "deviceuuid": "G",
        },
    ],
)
def test_hami_names_the_pod_in_any_of_its_spellings(labels: dict[str, str]) -> None:
    assert PRESETS["hami"].identify(labels) == PodGpu("team", "web-0", "G/main")


@pytest.mark.parametrize(
    "labels",
    [
        {"namespace": "team", "pod": "web-0"},
        {"pod_namespace": "team", "pod_name": "web-0", "namespace": "gpu-operator", "pod": "dcgm-exporter-x"},
        {
            "exported_namespace": "team",
            "exported_pod": "web-0",
            "namespace": "gpu-operator",
            "pod": "dcgm-exporter-x",
        },
    ],
)
def test_dcgm_names_the_pod_in_any_of_its_spellings(labels: dict[str, str]) -> None:
    assert PRESETS["dcgm"].identify({**labels, "UUID": "G"}) == PodGpu("team", "web-0", "G")


def test_two_instances_of_a_card_are_two_gpus() -> None:
    labels = {"namespace": "team", "pod": "web-0", "UUID": "G"}
    found = [PRESETS["dcgm"].identify({**labels, "GPU_I_ID": number}) for number in ("7", "8")]
    assert found == [PodGpu("team", "web-0", "G/7"), PodGpu("team", "web-0", "G/8")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("used", ("used", "")),
        ("job:used:max", ("job:used:max", "")),
        ('used{a="b", c!~"d.*"}', ("used", 'a="b", c!~"d.*"')),
        ('{__name__="used",}', ("", '__name__="used"')),
        ('used{a="}{"}', ("used", 'a="}{"')),
        ("used{a='x'}", ("used", "a='x'")),
        ("used[5m]", None),
        ("used * 2", None),
        ("max(used)", None),
        ("a or b", None),
        ("used offset 5m", None),
        (" ", None),
    ],
)
def test_a_plain_selector_is_told_from_an_expression(query: str, expected: tuple[str, str] | None) -> None:
    assert Reading(query).selector == expected


def test_only_what_is_told_in_parts_of_a_card_needs_to_know_cards() -> None:
    assert {name for name, preset in PRESETS.items() if preset.needs_cards} == {"hami", "dcgm"}
