import os
import shutil
from pathlib import Path

import pytest

from devcluster.binaries import Binaries, obtain
from devcluster.errors import AssetsIncomplete, BuildFailed, CacheNotWritable
from devcluster.steps import Phase, Progress
from tests.support.fake_go import BUILDS, fake_go

NAMES = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "prometheus",
]


class Machine:
    """A person's machine: a PATH with a `go` on it, and a cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.go = fake_go(root / "go").parent
        self.environ = {"PATH": f"{self.go}:/usr/bin:/bin", "XDG_CACHE_HOME": str(root / "cache")}
        self.told: list[Progress] = []

    def obtain(self) -> Binaries:
        self.told.clear()
        return obtain(report=self.told.append, environ=self.environ)

    def done(self) -> list[str]:
        return [progress.tool for progress in self.told if progress.phase is Phase.DONE]

    def put(self, folder: str, name: str, content: str = "#!/bin/sh\n") -> Path:
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
        return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete cache, compiled once for all tests that begin with one."""
    machine = Machine(tmp_path_factory.mktemp("compiled"))
    machine.obtain()
    return machine.root / "cache"


@pytest.fixture
def complete(machine: Machine, compiled: Path) -> Machine:
    shutil.copytree(compiled, machine.root / "cache")
    return machine


def test_a_first_call_compiles_everything(machine: Machine) -> None:
    binaries = machine.obtain()
    assert machine.done() == NAMES
    assert [(step.position, step.count) for step in machine.told if step.phase is Phase.DONE][-1] == (7, 7)
    assert os.access(binaries.kube_controller_manager, os.X_OK)
    assert binaries.kube_controller_manager.is_relative_to(machine.root / "cache" / "vgpu-autoscaler")


def test_a_second_call_compiles_and_tells_nothing(complete: Machine) -> None:
    first = complete.obtain()
    assert complete.obtain() == first
    assert complete.told == []


def test_a_truncated_program_is_compiled_again_and_only_that(complete: Machine) -> None:
    binaries = complete.obtain()
    binaries.kwok.write_text("")
    complete.obtain()
    assert complete.done() == ["kwok"]
    assert binaries.kwok.read_text() == "binary\n"


def test_nothing_half_done_is_left_in_the_cache(complete: Machine) -> None:
    complete.obtain().etcd.unlink()
    complete.obtain()
    left = {entry.name for entry in (complete.root / "cache" / "vgpu-autoscaler").iterdir()}
    assert left == {"binaries", "lock"}


def test_kubebuilder_assets_are_used_and_the_rest_is_compiled(machine: Machine) -> None:
    given = [machine.put("assets", name) for name in ("etcd", "kube-apiserver", "kubectl")]
    machine.environ["KUBEBUILDER_ASSETS"] = str(machine.root / "assets")
    binaries = machine.obtain()
    assert [binaries.etcd, binaries.kube_apiserver, binaries.kubectl] == given
    assert machine.done() == ["kube-controller-manager", "kube-scheduler", "kwok", "prometheus"]


def test_kubebuilder_assets_go_before_the_cache(complete: Machine) -> None:
    given = [complete.put("assets", name) for name in ("etcd", "kube-apiserver", "kubectl")]
    complete.environ["KUBEBUILDER_ASSETS"] = str(complete.root / "assets")
    assert complete.obtain().etcd == given[0]


def test_kubebuilder_assets_that_lack_a_program_are_an_error(machine: Machine) -> None:
    machine.put("assets", "etcd")
    machine.environ["KUBEBUILDER_ASSETS"] = str(machine.root / "assets")
    with pytest.raises(AssetsIncomplete, match=r"KUBEBUILDER_ASSETS is .*assets.*kube-apiserver, kubectl"):
        machine.obtain()


def test_a_prometheus_3_on_the_path_is_used(complete: Machine) -> None:
    path = complete.put("go", "prometheus", "#!/bin/sh\necho 'prometheus, version 3.5.0 (branch: HEAD)'\n")
    assert complete.obtain().prometheus == path
    assert complete.told == []


def test_a_prometheus_2_on_the_path_is_not_used(complete: Machine) -> None:
    path = complete.put("go", "prometheus", "#!/bin/sh\necho 'prometheus, version 2.53.0 (branch: HEAD)'\n")
    assert complete.obtain().prometheus != path


def test_a_complete_cache_needs_no_go(complete: Machine) -> None:
    binaries = complete.obtain()
    complete.environ["PATH"] = "/nowhere"
    assert complete.obtain() == binaries


def test_a_build_that_fails_keeps_what_was_compiled_before(machine: Machine) -> None:
    fake_go(machine.go, build=f'case "$output" in */kwok) exit 1 ;; esac; {BUILDS}')
    with pytest.raises(BuildFailed, match="compiling kwok failed"):
        machine.obtain()
    fake_go(machine.go)
    machine.obtain()
    assert machine.done() == ["kwok", "prometheus"]


def test_an_unwritable_cache_names_the_folder_and_the_way_out(machine: Machine) -> None:
    (machine.root / "cache").touch()
    with pytest.raises(CacheNotWritable, match=r"cache/vgpu-autoscaler.*XDG_CACHE_HOME"):
        machine.obtain()
