"""What the recommender needs of the cluster: told at once where it lacks, and no more than it says."""

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from devcluster.launcher import tied_to_us
from devcluster.services import RECOMMENDER, Process
from devcluster.story import NotYet, until
from devcluster.view import condition_of
from recommender.permissions import Permission, needed
from recommender.settings import RecommenderSettings
from tests.e2e.objects import PROFILED, QUICK, deployment, profile
from tests.e2e.trial import GENERATION, LEADER, Scene
from vgpu.errors import ExitCode
from vgpu.kube.resources import HPAS

ACCOUNT = "recommender"


async def run_to_its_end(scene: Scene, settings: dict[str, str]) -> tuple[int | None, str]:
    """The exit code of a recommender that does not start, and what it said."""
    flags = {"namespace": scene.namespace, "prometheus-url": scene.trial.source.url, **settings}
    scene.trial.services.add("refused", Process(RECOMMENDER, flags))
    process = await asyncio.create_subprocess_exec(
        *tied_to_us(scene.trial.services.command("refused")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


async def account_of_its_own(scene: Scene, folder: Path) -> Path:
    """A kubeconfig of a ServiceAccount without any rights."""
    await scene.view.kubectl("create", "serviceaccount", ACCOUNT)
    token = await scene.view.kubectl("create", "token", ACCOUNT)
    config = yaml.safe_load(scene.trial.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token.strip()}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


async def grant(scene: Scene, permissions: Iterable[Permission]) -> None:
    """Let the ServiceAccount do these things, and wait until kube-apiserver knows."""
    permissions = list(permissions)
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": scene.namespace}
    rbac = "rbac.authorization.k8s.io"
    for kind in ("ClusterRole", "Role"):
        rules = [rule_of(each) for each in permissions if bool(each.namespace) == (kind == "Role")]
        name = f"{scene.namespace}-{ACCOUNT}"
        await scene.view.apply(
            {"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": {"name": name}, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": name},
                "subjects": [subject],
                "roleRef": {"apiGroup": rbac, "kind": kind, "name": name},
            },
        )
    await until("the rights to be known", lambda: allowed(scene, permissions[-1]), timeout=20)


def rule_of(permission: Permission) -> dict[str, object]:
    """The rule of a Role that gives one permission."""
    plural = permission.resource.plural
    resource = f"{plural}/{permission.subresource}" if permission.subresource else plural
    return {"apiGroups": [permission.resource.group], "resources": [resource], "verbs": [permission.verb]}


async def allowed(scene: Scene, permission: Permission) -> bool | NotYet:
    """Whether the ServiceAccount may do something, as kube-apiserver sees it."""
    attributes = {
        "group": permission.resource.group,
        "resource": permission.resource.plural,
        "verb": permission.verb,
        "namespace": permission.namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{scene.namespace}:{ACCOUNT}",
            "resourceAttributes": attributes,
        },
    }
    answer = await scene.view.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(review))
    return json.loads(answer)["status"]["allowed"] or NotYet(f"not yet: {permission}")


async def is_denied(scene: Scene, permission: Permission) -> bool | NotYet:
    """Whether the ServiceAccount may not do something, as kube-apiserver sees it."""
    return NotYet(f"still: {permission}") if await allowed(scene, permission) is True else True


async def test_a_namespace_that_is_not_there_ends_the_start(scene: Scene) -> None:
    code, said = await run_to_its_end(scene, {"namespace": "nowhere"})

    assert code == ExitCode.CLUSTER
    assert "namespace 'nowhere', where Leases and ConfigMaps would be kept, does not exist" in said


async def test_missing_rights_on_leases_and_configmaps_end_the_start(scene: Scene, tmp_path: Path) -> None:
    kubeconfig = await account_of_its_own(scene, tmp_path)
    everything = needed(RecommenderSettings(namespace=scene.namespace), gpus=False)
    await grant(scene, (each for each in everything if not each.namespace))

    code, said = await run_to_its_end(scene, {"kubeconfig": str(kubeconfig)})

    assert code == ExitCode.CLUSTER
    for resource in ("leases.coordination.k8s.io", "configmaps"):
        for verb in ("get", "list", "create", "update", "delete"):
            assert f"{verb} {resource} in namespace {scene.namespace}" in said
    assert not re.search("(list|watch) pods", said)


async def test_the_rights_that_the_start_asks_for_are_all_that_it_takes(scene: Scene, tmp_path: Path) -> None:
    kubeconfig = await account_of_its_own(scene, tmp_path)
    await grant(scene, needed(RecommenderSettings(namespace=scene.namespace), gpus=False))

    await scene.start(settings={"kubeconfig": str(kubeconfig), "checkpoint-interval": "2s"})
    scaled = {**PROFILED, "tensor-fusion.ai/auto-replicas": "true"}
    await scene.view.apply(profile("quick", QUICK), deployment("engine", annotations=scaled))
    await scene.view.workload("engine", lambda found: "recommendation" in found.status)
    await scene.view.hpa("vgpu-engine")
    shown = await scene.metrics_when(
        lambda shown: shown.value(LEADER) == 1 and (shown.value(GENERATION) or 0) >= 2, step="checkpoints"
    )

    for outcome in ("failed", "invalid"):
        assert shown.total("vgpu_recommender_writes_total", outcome=outcome) == 0
    assert shown.total("vgpu_recommender_workload_errors_total") == 0
    assert shown.total("vgpu_recommender_checkpoint_failures_total") == 0
    assert shown.total("vgpu_recommender_lease_failures_total") == 0


async def test_a_right_that_is_taken_away_holds_up_only_what_needs_it_and_is_missed_no_longer_once_it_is_back(
    scene: Scene, tmp_path: Path
) -> None:
    kubeconfig = await account_of_its_own(scene, tmp_path)
    everything = list(needed(RecommenderSettings(namespace=scene.namespace), gpus=False))
    taken = Permission(HPAS, "patch")
    assert taken in everything
    await grant(scene, everything)
    await scene.start(settings={"kubeconfig": str(kubeconfig)})
    await grant(scene, (each for each in everything if each != taken))
    await until("the right to be gone", lambda: is_denied(scene, taken), timeout=20)

    scaled = {**PROFILED, "tensor-fusion.ai/auto-replicas": "true"}
    await scene.view.apply(profile("quick", QUICK), deployment("engine", annotations=scaled))
    workload = await scene.view.workload(
        "engine",
        lambda found: "recommendation" in found.status and condition_of(found, "HorizontalScaling") != {},
    )
    shown = await scene.metrics()
    assert condition_of(workload, "HorizontalScaling")["reason"] == "AutoscalerFailed"
    assert "cannot patch resource" in condition_of(workload, "HorizontalScaling")["message"]
    assert shown.total("vgpu_kube_request_errors_total", error="Forbidden") > 0
    assert shown.total("vgpu_recommender_workload_errors_total", stage="publish") > 0

    await grant(scene, everything)
    await scene.view.hpa("vgpu-engine", timeout=60)
    await scene.view.workload(
        "engine", lambda found: condition_of(found, "HorizontalScaling")["status"] == "True"
    )
