"""What is in one namespace of a development cluster, read back from kube-apiserver and waited for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

from devcluster.cluster import DevCluster
from devcluster.story import NotYet, until
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import NotFound
from vgpu.kube.objects import CustomObject, HorizontalPodAutoscaler, PartialObject, Pod
from vgpu.kube.resources import HPAS, PODS, WORKLOADS, ResourceType


def _any(_found: object) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class View:
    """One namespace of a development cluster.

    Each waiting method takes the condition that the object must meet, and the seconds to wait for it. Where
    that does not come about in time it raises `StoryFailed`, which says what was there instead.
    """

    cluster: DevCluster
    client: KubeClient
    namespace: str

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as in subprocess.run
        """Runs kubectl in this namespace."""
        return await self.cluster.kubectl("--namespace", self.namespace, *arguments, input=input)

    async def apply(self, *objects: Mapping[str, object]) -> None:
        """Applies objects as a user does."""
        await self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))

    async def pods(self, app: str) -> list[Pod]:
        """The pods labelled `app` that are not being deleted."""
        pods, _ = await self.client.list(
            PODS, type=Pod, namespace=self.namespace, label_selector=f"app={app}"
        )
        return [pod for pod in pods if not pod.metadata.deletion_timestamp]

    async def pod(
        self, app: str, condition: Callable[[Pod], bool] = _any, *, step: str = "", timeout: float = 30
    ) -> Pod:
        """Waits for a running pod labelled `app`."""

        async def look() -> Pod | NotYet:
            pods = await self.pods(app)
            for pod in pods:
                if pod.status.phase == "Running" and condition(pod):
                    return pod
            return NotYet(
                str([(pod.metadata.name, pod.status.phase, pod.metadata.annotations) for pod in pods])
            )

        return await until(step or f"a pod of {app}", look, timeout=timeout)

    async def workload(
        self,
        name: str,
        condition: Callable[[CustomObject], bool] = _any,
        *,
        step: str = "",
        timeout: float = 45,
    ) -> CustomObject:
        """Waits for a TensorFusionWorkload."""

        async def look() -> CustomObject | NotYet:
            try:
                found = await self.client.get(WORKLOADS, name, namespace=self.namespace, type=CustomObject)
            except NotFound:
                return NotYet(f"no TensorFusionWorkload {name}")
            return found if condition(found) else NotYet(str(found.status))

        return await until(step or f"TensorFusionWorkload {name}", look, timeout=timeout)

    async def hpa(
        self,
        name: str,
        condition: Callable[[HorizontalPodAutoscaler], bool] = _any,
        *,
        step: str = "",
        timeout: float = 30,
    ) -> HorizontalPodAutoscaler:
        """Waits for a HorizontalPodAutoscaler."""

        async def look() -> HorizontalPodAutoscaler | NotYet:
            try:
                found = await self.client.get(
                    HPAS, name, namespace=self.namespace, type=HorizontalPodAutoscaler
                )
            except NotFound:
                return NotYet(f"no HorizontalPodAutoscaler {name}")
            return found if condition(found) else NotYet(str(found.status))

        return await until(step or f"HorizontalPodAutoscaler {name}", look, timeout=timeout)

    async def gone(self, resource: ResourceType, name: str, *, timeout: float = 30) -> None:
        """Waits until an object is no more."""

        async def look() -> bool | NotYet:
            try:
                await self.client.get(
                    resource, name, namespace=self.namespace, type=PartialObject, metadata_only=True
                )
            except NotFound:
                return True
            return NotYet("it is still there")

        await until(f"{resource.kind} {name} to go", look, timeout=timeout)

    async def delete_pod(self, pod: Pod) -> None:
        """Deletes a pod, so that its controller makes a new one."""
        await self.client.delete(PODS, pod.metadata.name, namespace=self.namespace)


def condition_of(workload: CustomObject, kind: str = "RecommendationProvided") -> dict[str, str]:
    """A condition of a workload; empty when it is not there."""
    return next((item for item in workload.status.get("conditions", []) if item["type"] == kind), {})
