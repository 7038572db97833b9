from pathlib import Path

import psutil
import pytest

from devcluster.errors import KubectlFailed
from devcluster.kubectl import Kubectl


def kubectl(folder: Path, script: str, *, patience: float = 10) -> Kubectl:
    executable = folder / "kubectl"
    executable.write_text(f"#!/bin/sh\n{script}\n")
    executable.chmod(0o755)
    return Kubectl(
        executable=executable, kubeconfig=Path("/k.yaml"), cache=folder / "cache", patience=patience
    )


async def test_what_kubectl_prints_is_returned(tmp_path: Path) -> None:
    assert await kubectl(tmp_path, 'echo "$@"').run(["get", "pods"]) == "--kubeconfig=/k.yaml get pods\n"


async def test_the_input_reaches_kubectl(tmp_path: Path) -> None:
    assert await kubectl(tmp_path, "cat").run(["apply", "-f", "-"], input="kind: Pod\n") == "kind: Pod\n"


async def test_the_cache_of_the_person_is_left_alone(tmp_path: Path) -> None:
    assert await kubectl(tmp_path, 'echo "$KUBECACHEDIR"').run([]) == f"{tmp_path}/cache\n"


async def test_an_error_carries_what_kubectl_said(tmp_path: Path) -> None:
    with pytest.raises(
        KubectlFailed, match=r"kubectl get pod x failed \(exit status 1\): not found"
    ) as caught:
        await kubectl(tmp_path, "echo not found >&2; exit 1").run(["get", "pod", "x"])
    assert caught.value.stderr == "not found\n"


async def test_an_error_may_be_asked_for(tmp_path: Path) -> None:
    assert await kubectl(tmp_path, "echo half; exit 1").run(["get"], check=False) == "half\n"


async def test_a_kubectl_that_hangs_is_ended(tmp_path: Path) -> None:
    hanging = kubectl(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 300", patience=0.5)
    with pytest.raises(KubectlFailed, match=r"no answer after 0\.5 s"):
        await hanging.run(["get"])
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
