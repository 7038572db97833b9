"""Wrong input ends a command with a message that names it, and an exit code for its kind."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster.binaries import Binaries
from devcluster.cluster import DevCluster

SERVICES = ("recommender", "webhook", "metrics-adapter")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    stderr: str


async def command(*arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Runs vgpu-autoscaler until it ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vgpu",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    try:
        async with asyncio.timeout(30):
            _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = stderr.decode()
    assert "Traceback" not in text
    return Ended(code=process.returncode or 0, stderr=text)


def service(cluster: DevCluster, name: str) -> list[str]:
    """The command line of a service on a cluster, with nothing wrong in it."""
    return [name, "--kubeconfig", str(cluster.kubeconfig), "--ops-host", "127.0.0.1", "--ops-port", "0"]


@pytest.fixture(scope="module")
async def empty_cluster(
    tmp_path_factory: pytest.TempPathFactory, binaries: Binaries
) -> AsyncIterator[DevCluster]:
    """A control plane of its own, without our CustomResourceDefinitions."""
    folder = tmp_path_factory.mktemp("empty")
    async with DevCluster(folder, binaries=binaries, gpu_nodes=0) as running:
        yield running


@pytest.mark.parametrize("name", SERVICES)
async def test_an_unknown_flag_is_named(name: str) -> None:
    ended = await command(name, "--intervall", "5s")

    assert ended.code == 2
    assert "--intervall" in ended.stderr


async def test_an_unknown_environment_variable_is_named_with_what_was_meant() -> None:
    ended = await command("recommender", environ={"VGPU_RECOMMENDER_INTERVALL": "5s"})

    assert ended.code == 2
    assert "VGPU_RECOMMENDER_INTERVALL" in ended.stderr
    assert "'interval'" in ended.stderr


async def test_an_unknown_setting_in_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("freshnes: 20s\n")

    ended = await command("metrics-adapter", "--config", str(file))

    assert ended.code == 2
    assert "freshnes" in ended.stderr
    assert str(file) in ended.stderr


async def test_a_value_that_is_not_allowed_is_named_with_its_setting() -> None:
    ended = await command("recommender", "--interval", "soon")

    assert ended.code == 2
    assert "interval" in ended.stderr
    assert "soon" in ended.stderr


@pytest.mark.parametrize("name", ["recommender", "metrics-adapter"])
async def test_promql_that_prometheus_refuses_is_named_with_its_setting(
    cluster: DevCluster, name: str
) -> None:
    flags = ["--prometheus-url", cluster.prometheus_url, "--tflops-query", "sum(usage{"]

    ended = await command(*service(cluster, name), *flags)

    assert ended.code == 4
    assert "'tflops_query'" in ended.stderr
    assert "sum(usage{" in ended.stderr


@pytest.mark.parametrize("name", ["recommender", "webhook"])
async def test_missing_crds_are_named_with_the_command_that_installs_them(
    empty_cluster: DevCluster, name: str
) -> None:
    ended = await command(*service(empty_cluster, name))

    assert ended.code == 3
    assert "tensorfusionworkloads.tensor-fusion.ai" in ended.stderr
    assert "kubectl create -k manifests/crds" in ended.stderr


@pytest.mark.parametrize("name", SERVICES)
async def test_an_api_server_that_is_not_there_is_named(
    empty_cluster: DevCluster, name: str, tmp_path: Path
) -> None:
    nobody = f"https://127.0.0.1:{empty_cluster.free_port()}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(empty_cluster.kubeconfig.read_text().replace(empty_cluster.server, nobody))

    ended = await command(name, "--kubeconfig", str(kubeconfig), "--startup-timeout", "1s")

    assert ended.code == 3
    assert nobody in ended.stderr


async def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "not-a-folder"
    file.touch()

    ended = await command("cluster", "--build-only", environ={"XDG_CACHE_HOME": str(file)})

    assert ended.code == 1
    assert str(file) in ended.stderr
    assert "XDG_CACHE_HOME" in ended.stderr
