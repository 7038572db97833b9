import pytest
from structlog.testing import capture_logs

from tests.support.kube_in_memory import KubeInMemory, Trouble
from tests.support.operators import operator_deployment, operator_webhook
from vgpu.errors import ExitCode
from vgpu.kube.resources import DEPLOYMENTS, MUTATING_WEBHOOKS
from vgpu.kube.transport import Call
from vgpu.operator import OperatorAutoscales, OperatorPresent, find_operator, require_mode

MANAGER = ("test", "Update", "")


def cluster(*flags: str, webhook: dict[str, object] | None = None) -> KubeInMemory:
    kube = KubeInMemory()
    kube.store.create(MUTATING_WEBHOOKS, "", webhook or operator_webhook(), MANAGER)
    kube.store.create(DEPLOYMENTS, "tensor-fusion-sys", operator_deployment(*flags), MANAGER)
    return kube


async def test_standalone_refuses_to_start_beside_the_operator_and_says_what_to_do() -> None:
    with pytest.raises(OperatorPresent, match=r"mutating-webhook.*set mode to 'companion'") as told:
        await require_mode(cluster().client(), "standalone")
    assert told.value.exit_code == ExitCode.CLUSTER


async def test_standalone_starts_where_there_is_no_operator() -> None:
    kube = KubeInMemory()
    other = {**operator_webhook("hami-webhook"), "webhooks": [{"name": "vgpu.hami.io"}]}
    kube.store.create(MUTATING_WEBHOOKS, "", other, MANAGER)
    await require_mode(kube.client(), "standalone")


async def test_the_operators_webhook_is_known_by_its_service_too() -> None:
    kube = cluster(webhook=operator_webhook("renamed", webhook_name="mpod.example.com"))
    found = await find_operator(kube.client(), deployments=False)
    assert found.webhooks == ("renamed",)


@pytest.mark.parametrize(
    "flags",
    [
        ("-enable-auto-scale",),
        ("--enable-auto-scale=true",),
        ("-enable-auto-scale=false", "-enable-auto-scale=T"),
    ],
)
async def test_a_companion_refuses_beside_the_operators_own_autoscaler(flags: tuple[str, ...]) -> None:
    with pytest.raises(OperatorAutoscales, match=r"tensor-fusion-sys/.*-controller.*take the flag"):
        await require_mode(cluster(*flags).client(), "companion")


@pytest.mark.parametrize("flags", [(), ("-enable-auto-scale=false",), ("-enable-auto-scale-not=true",)])
async def test_a_companion_starts_beside_an_operator_that_does_not_scale(flags: tuple[str, ...]) -> None:
    with capture_logs() as logged:
        await require_mode(cluster(*flags).client(), "companion")
    assert logged == []


async def test_a_companion_without_an_operator_starts_and_warns() -> None:
    with capture_logs() as logged:
        await require_mode(KubeInMemory().client(), "companion")
    assert "nobody makes workloads" in logged[0]["event"]


async def test_what_may_not_be_listed_is_said_and_stops_nothing() -> None:
    def forbidden(call: Call) -> Trouble:
        return Trouble(refused=403 if call.path.startswith("/apis/admissionregistration") else 0)

    with capture_logs() as logged:
        await require_mode(cluster().client(forbidden), "standalone")
    assert logged[0]["missing"] == ("list mutatingwebhookconfigurations.admissionregistration.k8s.io",)
