import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from devcluster.compiling import Compiler
from devcluster.errors import BuildFailed, BuildStalled, DiskFull, DownloadFailed
from devcluster.steps import Phase
from devcluster.toolchain import Go, build_environment
from devcluster.versions import ETCD
from tests.support.fake_go import BUILDS, calls, fake_go


class Recorded:
    """The steps of a build, as they were told."""

    def __init__(self) -> None:
        self.steps: list[tuple[Phase, int, int, str]] = []

    def __call__(self, phase: Phase, *, done: int = 0, total: int = 0, item: str = "") -> None:
        self.steps.append((phase, done, total, item))

    def phases(self) -> list[Phase]:
        return list(dict.fromkeys(phase for phase, *_ in self.steps))


def compiler(tmp_path: Path, *, packages: int = 3, build: str = BUILDS, patience: float = 30) -> Compiler:
    go = fake_go(tmp_path / "go", packages=packages, build=build)
    for folder in (tmp_path / "modules" / ETCD.module, tmp_path / "workspace"):
        folder.mkdir(parents=True)
    environ = build_environment({"PATH": "/usr/bin:/bin"})
    return Compiler(
        go=Go(executable=go, version="go1.99.0", environ=environ),
        modules=tmp_path / "modules",
        workspace=tmp_path / "workspace",
        patience=patience,
    )


def test_the_program_is_there_afterwards(tmp_path: Path) -> None:
    output = tmp_path / "workspace" / "result" / "etcd"
    compiler(tmp_path).compile(ETCD, output, Recorded())
    assert output.read_text() == "binary\n"


def test_the_flags_of_the_tool_reach_the_build(tmp_path: Path) -> None:
    compiler(tmp_path).compile(ETCD, tmp_path / "etcd", Recorded())
    assert calls(tmp_path / "go")[-1] == (
        f"build -v -trimpath -ldflags -s -w -o {tmp_path}/etcd go.etcd.io/etcd/server/v3"
    )


def test_every_package_that_is_not_cached_counts(tmp_path: Path) -> None:
    step = Recorded()
    compiler(tmp_path, packages=3).compile(ETCD, tmp_path / "etcd", step)
    assert (Phase.COMPILING, 1, 3, "example.com/package0") in step.steps
    assert (Phase.COMPILING, 2, 3, "example.com/package1") in step.steps
    assert step.steps[-1] == (Phase.LINKING, 3, 3, "example.com/package2")


def test_a_program_whose_packages_are_all_cached_is_only_linked(tmp_path: Path) -> None:
    step = Recorded()
    compiler(tmp_path, packages=0).compile(ETCD, tmp_path / "etcd", step)
    assert step.phases() == [Phase.RESOLVING, Phase.LINKING]


def test_downloads_are_told(tmp_path: Path) -> None:
    build = compiler(tmp_path)
    (tmp_path / "go" / "downloads.txt").write_text("example.com/a v1\nexample.com/b v2\n")
    step = Recorded()
    build.compile(ETCD, tmp_path / "etcd", step)
    assert (Phase.DOWNLOADING, 2, 0, "example.com/b v2") in step.steps


def test_a_build_that_fails_shows_the_end_of_what_go_said_without_the_packages(tmp_path: Path) -> None:
    broken = compiler(tmp_path, build="echo 'x.go:1: syntax error' >&2; exit 1")
    with pytest.raises(
        BuildFailed, match=r"etcd failed \(exit status 1\).*\n    x\.go:1: syntax error\n"
    ) as caught:
        broken.compile(ETCD, tmp_path / "etcd", Recorded())
    assert "example.com/package0" not in str(caught.value)


def test_a_disk_that_runs_full_during_the_build_is_named(tmp_path: Path) -> None:
    full = compiler(tmp_path, build="echo 'write x: no space left on device' >&2; exit 1")
    with pytest.raises(DiskFull, match=rf"{tmp_path}/workspace .*XDG_CACHE_HOME"):
        full.compile(ETCD, tmp_path / "etcd", Recorded())


def test_a_disk_that_is_too_full_is_seen_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = compiler(tmp_path, packages=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
    with pytest.raises(DiskFull, match=r"1\.0 GB free, about 1\.4 GB are needed"):
        build.compile(ETCD, tmp_path / "etcd", Recorded())
    assert not [call for call in calls(tmp_path / "go") if call.startswith("build")]


def test_sources_that_cannot_be_fetched_point_at_the_proxy(tmp_path: Path) -> None:
    message = "example.com/a@v1: Get https://proxy.example/a: dial tcp: lookup proxy.example: no such host"
    offline = compiler(tmp_path, build=f"echo '{message}' >&2; exit 1")
    with pytest.raises(DownloadFailed, match=r"sources of etcd.*\n.*no such host\n.*GOPROXY"):
        offline.compile(ETCD, tmp_path / "etcd", Recorded())


def test_a_go_that_says_nothing_for_long_is_given_up(tmp_path: Path) -> None:
    silent = compiler(tmp_path, build="echo $$ > pid; exec sleep 300", patience=1)
    with pytest.raises(BuildStalled, match="compiling etcd was given up"):
        silent.compile(ETCD, tmp_path / "etcd", Recorded())
    pid = int((tmp_path / "modules" / ETCD.module / "pid").read_text())
    assert not psutil.pid_exists(pid)


def test_an_interrupted_build_leaves_no_go_behind(tmp_path: Path) -> None:
    def interrupt(phase: Phase, *, done: int = 0, total: int = 0, item: str = "") -> None:
        if done:
            raise KeyboardInterrupt

    endless = compiler(tmp_path, build="echo $$ > pid; exec sleep 300")
    with pytest.raises(KeyboardInterrupt):
        endless.compile(ETCD, tmp_path / "etcd", interrupt)
    started = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info)]
    assert started == []


def test_the_work_files_of_go_lie_beside_the_result(tmp_path: Path) -> None:
    output = tmp_path / "etcd"
    compiler(tmp_path, build='echo "$GOTMPDIR" > "$output"').compile(ETCD, output, Recorded())
    assert output.read_text().strip() == str(tmp_path / "workspace")
