import re
from pathlib import Path

import pytest
import yaml

from devcluster.binaries import Binaries
from devcluster.components import Component, ControlPlane
from devcluster.layout import Layout
from devcluster.nodes import gpu_nodes
from devcluster.paths import manifests, stages
from devcluster.ports import Ports
from devcluster.scraping import Scraping

_NAMES = (
    "etcd",
    "kube_apiserver",
    "kube_controller_manager",
    "kube_scheduler",
    "kubectl",
    "kwok",
    "prometheus",
)


@pytest.fixture
def components(tmp_path: Path) -> dict[str, Component]:
    binaries = Binaries(**{name: Path("/bin") / name for name in _NAMES})
    return ControlPlane.on(Ports(), layout=Layout(tmp_path), binaries=binaries).components()


def test_every_component_listens_on_the_loopback_interface_only(components: dict[str, Component]) -> None:
    listening = {
        "etcd": ("--listen-client-urls=http://127.0.0.1:", "--listen-peer-urls=http://127.0.0.1:"),
        "kube-apiserver": ("--bind-address=127.0.0.1",),
        "kube-controller-manager": ("--bind-address=127.0.0.1",),
        "kube-scheduler": ("--bind-address=127.0.0.1",),
        "kwok": ("--server-address=127.0.0.1:",),
        "prometheus": ("--web.listen-address=127.0.0.1:",),
    }
    for name, flags in listening.items():
        for flag in flags:
            assert [part for part in components[name].argv if part.startswith(flag)], (name, flag)


def test_no_two_listeners_share_a_port(components: dict[str, Component]) -> None:
    flags = r"--(?:listen-\S+|secure-port|server-address|web.listen-address)=(?:\S*:)?(\d+)$"
    ports = [
        found[1] for each in components.values() for part in each.argv if (found := re.match(flags, part))
    ]
    assert len(ports) == len(set(ports)) == 7


def test_every_process_can_be_told_by_its_folder(components: dict[str, Component], tmp_path: Path) -> None:
    for component in components.values():
        assert str(tmp_path) in " ".join(component.argv)


def test_the_aggregator_is_set_up_for_extension_servers(components: dict[str, Component]) -> None:
    argv = components["kube-apiserver"].argv
    assert "--requestheader-allowed-names=front-proxy-client" in argv
    assert "--enable-aggregator-routing" not in " ".join(argv)


def test_a_horizontal_pod_autoscaler_acts_within_seconds(components: dict[str, Component]) -> None:
    argv = components["kube-controller-manager"].argv
    assert "--horizontal-pod-autoscaler-sync-period=2s" in argv
    assert "--horizontal-pod-autoscaler-downscale-stabilization=5s" in argv


def test_the_stages_cover_nodes_and_pods_from_start_to_end() -> None:
    documents = list(yaml.safe_load_all(stages().read_text()))
    assert {document["kind"] for document in documents} == {"Stage"}
    kinds = [document["spec"]["resourceRef"]["kind"] for document in documents]
    assert sorted(kinds) == ["Node", "Node", "Pod", "Pod"]


def test_the_manifests_are_found() -> None:
    assert (manifests() / "crds").is_dir()


def test_nodes_are_labelled_as_gpu_feature_discovery_does() -> None:
    (node,) = gpu_nodes(1, product="NVIDIA-L40S", memory_mib=46068)["items"]
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L40S"
    assert node["metadata"]["labels"]["nvidia.com/gpu.memory"] == "46068"
    assert node["status"]["capacity"]["nvidia.com/gpu"] == node["metadata"]["labels"]["nvidia.com/gpu.count"]


def test_scrape_targets_are_grouped_by_job(tmp_path: Path) -> None:
    scraping = Scraping(tmp_path)
    scraping.write(interval=1.0)
    scraping.set_targets({"exporter": ["127.0.0.1:1", "127.0.0.1:2"]})
    config = yaml.safe_load(scraping.configuration.read_text())
    (job,) = config["scrape_configs"]
    (file,) = job["file_sd_configs"][0]["files"]
    assert yaml.safe_load(Path(file).read_text()) == [
        {"targets": ["127.0.0.1:1", "127.0.0.1:2"], "labels": {"job": "exporter"}}
    ]
    assert job["honor_labels"] is True


def test_setting_targets_again_replaces_them_in_one_step(tmp_path: Path) -> None:
    scraping = Scraping(tmp_path)
    scraping.set_targets({"old": ["127.0.0.1:1"]})
    scraping.set_targets({"new": ["127.0.0.1:2"]})
    assert [entry.name for entry in tmp_path.iterdir()] == ["targets.json"]
    assert "old" not in (tmp_path / "targets.json").read_text()
