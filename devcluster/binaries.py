"""Obtaining the programs of the control plane: given ones, cached ones, else compiled once and cached."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import paths
from devcluster.cache import BinaryCache
from devcluster.compiling import Compiler
from devcluster.errors import AssetsIncomplete
from devcluster.steps import Phase, Progress, Report
from devcluster.toolchain import Go, find_go
from devcluster.versions import ETCD, KUBE_APISERVER, KUBECTL, PROMETHEUS, TOOLS, Tool

_ASSETS = (ETCD, KUBE_APISERVER, KUBECTL)
_LOCK_PATIENCE = 2 * 3600.0
_PROMETHEUS_MAJOR = re.compile(r"^prometheus, version (\d+)\.")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubectl: Path
    kwok: Path
    prometheus: Path


def obtain(*, report: Report, environ: Mapping[str, str] = os.environ) -> Binaries:
    """The programs, from KUBEBUILDER_ASSETS, the PATH (Prometheus 3), the cache, else compiled with Go.

    Compiling takes 10 to 20 minutes on two cores, once; an interrupted build is resumed, and a second process
    waits for the first. `report` is called with each step, and not at all where nothing is to be compiled.

    Raises:
        DevClusterError: the one that says what is missing and what to do.
    """
    cache = BinaryCache(paths.cache_home(environ))
    found = _cached(cache) | _given(environ)
    missing = [tool for tool in TOOLS if tool.name not in found]
    if missing:
        found |= _compiled(cache, missing, report=report, environ=environ)
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items()})


def _given(environ: Mapping[str, str]) -> dict[str, Path]:
    found = _assets(environ)
    on_path = shutil.which(PROMETHEUS.name, path=environ.get("PATH", os.defpath))
    if on_path and _is_prometheus_3(Path(on_path)):
        found[PROMETHEUS.name] = Path(on_path)
    return found


def _assets(environ: Mapping[str, str]) -> dict[str, Path]:
    configured = environ.get("KUBEBUILDER_ASSETS", "")
    if not configured:
        return {}
    folder = Path(configured).absolute()
    missing = [tool.name for tool in _ASSETS if not os.access(folder / tool.name, os.X_OK)]
    if missing:
        raise AssetsIncomplete(folder=folder, missing=missing)
    return {tool.name: folder / tool.name for tool in _ASSETS}


def _is_prometheus_3(executable: Path) -> bool:
    try:
        answer = subprocess.run(  # noqa: S603 - asks the Prometheus on the PATH for its version
            [executable, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    version = _PROMETHEUS_MAJOR.match(answer.stdout or answer.stderr)
    return version is not None and int(version.group(1)) >= 3


def _cached(cache: BinaryCache) -> dict[str, Path]:
    return {tool.name: path for tool in TOOLS if (path := cache.find(tool)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reporter:
    """Turns what happens to one program into the progress of the whole build."""

    tool: Tool
    position: int
    count: int
    begin: float
    report: Report

    def __call__(self, phase: Phase, *, done: int = 0, total: int = 0, item: str = "") -> None:
        elapsed = time.monotonic() - self.begin
        self.report(Progress(self.tool.name, self.position, self.count, phase, elapsed, done, total, item))


def _compiled(
    cache: BinaryCache, missing: Sequence[Tool], *, report: Report, environ: Mapping[str, str]
) -> dict[str, Path]:
    begin = time.monotonic()
    go = find_go(environ, modules=paths.tool_modules())
    steps = [
        _Reporter(tool=tool, position=position, count=len(missing), begin=begin, report=report)
        for position, tool in enumerate(missing, start=1)
    ]
    with cache.locked(on_wait=lambda: steps[0](Phase.WAITING), patience=_LOCK_PATIENCE):
        return {step.tool.name: _find_or_compile(cache, go, step) for step in steps}


def _find_or_compile(cache: BinaryCache, go: Go, step: _Reporter) -> Path:
    # Another process may have built it while we waited for the lock.
    binary = cache.find(step.tool)
    if binary is None:
        with cache.workspace() as workspace:
            output = workspace / "result" / step.tool.name
            Compiler(go=go, modules=paths.tool_modules(), workspace=workspace).compile(
                step.tool, output, step
            )
            binary = cache.keep(step.tool, output)
    step(Phase.DONE)
    return binary
