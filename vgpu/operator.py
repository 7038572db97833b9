"""Beside which operator a service runs: refuses at the start what would end in two masters of one workload.

What TensorFusion's operator can be told by, in its public chart and source: its pod webhook is called
`mpod.tensor-fusion.ai` or answers at `/mutate-v1-pod` of a Service that has `tensor-fusion` in its name; its
Deployment carries the label `tensor-fusion.ai/component: operator`; its autoscaler runs when the flag
`-enable-auto-scale` is given, and only then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeVar

import msgspec
import structlog

from vgpu.annotations import GROUP
from vgpu.errors import ExitCode, StartupError
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Forbidden
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import DEPLOYMENTS, MUTATING_WEBHOOKS, ResourceType

Mode = Literal["standalone", "companion"]
"""Whether TensorFusionWorkloads are ours, or those of TensorFusion's operator."""
MODE_DESCRIPTION: Final = (
    "standalone: this product makes TensorFusionWorkloads. companion: TensorFusion's operator does, "
    "and only usage and recommendations are ours"
)

_WEBHOOK: Final = f"mpod.{GROUP}"
_WEBHOOK_PATHS: Final = frozenset({"/mutate-v1-pod", "/mutate--v1-pod"})
_SERVICE: Final = "tensor-fusion"
_COMPONENT: Final = f"{GROUP}/component=operator"
_FLAG: Final = "enable-auto-scale"
# As Go's flag package reads a boolean.
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})

logger = structlog.get_logger(__name__)


class _Service(msgspec.Struct, frozen=True):
    name: str = ""
    path: str = ""


class _ClientConfig(msgspec.Struct, frozen=True):
    service: _Service | None = None


class _Webhook(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = _ClientConfig()

    def is_the_operators(self) -> bool:
        service = self.client_config.service
        at_its_path = service is not None and service.path in _WEBHOOK_PATHS and _SERVICE in service.name
        return self.name == _WEBHOOK or at_its_path


class WebhookConfiguration(msgspec.Struct, frozen=True):
    """A MutatingWebhookConfiguration, as far as the operator can be told by it."""

    metadata: ObjectMeta = ObjectMeta()
    webhooks: list[_Webhook] | None = None


class _Container(msgspec.Struct, frozen=True):
    command: list[str] | None = None
    args: list[str] | None = None


class _PodSpec(msgspec.Struct, frozen=True):
    containers: list[_Container] = []


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _DeploymentSpec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


class OperatorDeployment(msgspec.Struct, frozen=True):
    """A Deployment, as far as the operator's flags stand in it."""

    metadata: ObjectMeta = ObjectMeta()
    spec: _DeploymentSpec = _DeploymentSpec()

    def autoscales(self) -> bool:
        """Whether any container is told to scale vGPUs by itself; the last word counts, as in Go."""
        return any(
            _switched_on([*(container.command or ()), *(container.args or ())])
            for container in self.spec.template.spec.containers
        )


@dataclass(frozen=True, slots=True)
class Operator:
    """What there is of TensorFusion's operator.

    Attributes:
        webhooks: names of the MutatingWebhookConfigurations that call it.
        autoscaling: namespaces and names of its Deployments whose own autoscaler is on.
        unchecked: what could not be looked at, for want of rights.
    """

    webhooks: tuple[str, ...] = ()
    autoscaling: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


class OperatorPresent(StartupError):
    """Standalone, and the operator is there: both would make, and change, the same workloads."""

    exit_code: ClassVar[int] = ExitCode.CLUSTER

    def __init__(self, webhooks: Sequence[str]) -> None:
        super().__init__(
            f"TensorFusion's operator is registered in this cluster (MutatingWebhookConfiguration "
            f"{', '.join(webhooks)}), and the setting mode is 'standalone': both would write the same "
            "TensorFusionWorkloads, and the operator deletes pods over that; set mode to 'companion', "
            "or remove the operator's webhook configuration with the operator"
        )


class OperatorAutoscales(StartupError):
    """Companion, and the operator's own autoscaler is on: both would write the same status."""

    exit_code: ClassVar[int] = ExitCode.CLUSTER

    def __init__(self, deployments: Sequence[str]) -> None:
        super().__init__(
            f"TensorFusion's operator runs with its own autoscaler (flag -{_FLAG} of Deployment "
            f"{', '.join(deployments)}), and the setting mode is 'companion': both would write the "
            f"recommendation of the same workloads; take the flag -{_FLAG} away from the operator"
        )


async def require_mode(client: KubeClient, mode: Mode) -> None:
    """Make sure that a service may run in this mode in this cluster; what cannot be looked at is logged.

    Args:
        client: the connection to kube-apiserver.
        mode: what the service is told to be.

    Raises:
        OperatorPresent: the service is to be standalone beside the operator.
        OperatorAutoscales: the service is to be a companion of an operator that scales by itself.
        KubeError: kube-apiserver does not answer.
    """
    found = await find_operator(client, deployments=mode == "companion")
    if found.unchecked:
        logger.warning(
            "TensorFusion's operator is not looked for everywhere: listing is not allowed",
            mode=mode,
            missing=found.unchecked,
        )
    if mode == "standalone":
        if found.webhooks:
            raise OperatorPresent(found.webhooks)
        return
    if found.autoscaling:
        raise OperatorAutoscales(found.autoscaling)
    if not found.webhooks and not found.unchecked:
        logger.warning(
            "mode is 'companion', but TensorFusion's operator is not registered: nobody makes workloads",
            webhook=_WEBHOOK,
        )


async def find_operator(client: KubeClient, *, deployments: bool) -> Operator:
    """Look for TensorFusion's operator.

    Args:
        client: the connection to kube-apiserver.
        deployments: whether its Deployments are looked at too.

    Raises:
        KubeError: kube-apiserver does not answer.
    """
    unchecked: list[str] = []
    configurations = await _listed(client, MUTATING_WEBHOOKS, WebhookConfiguration, unchecked)
    operators = (
        await _listed(client, DEPLOYMENTS, OperatorDeployment, unchecked, selector=_COMPONENT)
        if deployments
        else ()
    )
    return Operator(
        webhooks=tuple(
            each.metadata.name
            for each in configurations
            if any(webhook.is_the_operators() for webhook in each.webhooks or ())
        ),
        autoscaling=tuple(
            f"{each.metadata.namespace}/{each.metadata.name}" for each in operators if each.autoscales()
        ),
        unchecked=tuple(unchecked),
    )


T = TypeVar("T")


async def _listed(
    client: KubeClient,
    resource: ResourceType,
    kind: type[T],
    unchecked: list[str],
    *,
    selector: str | None = None,
) -> Sequence[T]:
    try:
        items, _ = await client.list(resource, type=kind, label_selector=selector)
    except Forbidden:
        unchecked.append(f"list {resource.full_name}")
        return ()
    return items


def _switched_on(arguments: Iterable[str]) -> bool:
    on = False
    for argument in arguments:
        name, given, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == _FLAG:
            on = not given or value in _TRUE
    return on
