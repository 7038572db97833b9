import base64
from typing import Any

import pytest

from tests.support.fake_kube import FakeKube
from vgpu.annotations import ENABLED_LABEL
from vgpu.kube.errors import Conflict, Forbidden
from vgpu.kube.ownership import MANAGED_BY
from vgpu.kube.resources import MUTATING_WEBHOOKS
from webhook.errors import RegistrationRefusedError
from webhook.registration import (
    CONFIGURATION_NAME,
    configuration,
    register,
    service_client,
    url_client,
)

URL = url_client("https://127.0.0.1:9443")


def body(*, client: dict[str, Any] = URL, ca: bytes = b"ca") -> dict[str, Any]:
    return configuration(client=client, ca_pem=ca, namespace="gpu")


def only_webhook(config: dict[str, Any]) -> dict[str, Any]:
    (webhook,) = config["webhooks"]
    found: dict[str, Any] = webhook
    return found


def registered(kube: FakeKube) -> dict[str, Any]:
    return kube.get(MUTATING_WEBHOOKS, "", CONFIGURATION_NAME)


def test_the_configuration_sorts_before_those_that_read_what_it_writes() -> None:
    assert min("hami-webhook", "tensor-fusion-webhook", CONFIGURATION_NAME) == CONFIGURATION_NAME


def test_only_gated_pods_are_sent_and_only_when_they_are_created() -> None:
    webhook = only_webhook(body())
    assert webhook["objectSelector"] == {"matchLabels": {ENABLED_LABEL: "true"}}
    (rule,) = webhook["rules"]
    assert (rule["operations"], rule["resources"], rule["apiGroups"]) == (["CREATE"], ["pods"], [""])


def test_the_webhook_does_not_gate_kube_system_or_itself() -> None:
    (expression,) = only_webhook(body())["namespaceSelector"]["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("NotIn", ["gpu", "kube-system"])


def test_an_outage_blocks_nobody() -> None:
    webhook = only_webhook(body())
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["timeoutSeconds"] == 5
    assert webhook["sideEffects"] == "None"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["matchPolicy"] == "Equivalent"
    assert webhook["admissionReviewVersions"] == ["v1"]


def test_a_url_is_registered_with_the_path_and_the_ca() -> None:
    assert only_webhook(body())["clientConfig"] == {
        "url": "https://127.0.0.1:9443/mutate/pods",
        "caBundle": base64.b64encode(b"ca").decode(),
    }


def test_a_service_is_registered_by_name() -> None:
    client = service_client(name="hook", namespace="gpu", port=443)
    assert only_webhook(body(client=client))["clientConfig"]["service"] == {
        "name": "hook",
        "namespace": "gpu",
        "port": 443,
        "path": "/mutate/pods",
    }


async def test_it_is_created_where_there_is_none() -> None:
    async with FakeKube() as kube, kube.client() as client:
        await register(client, body())
        assert only_webhook(registered(kube)) == only_webhook(body())


async def test_one_of_an_earlier_process_is_updated() -> None:
    async with FakeKube() as kube, kube.client() as client:
        await register(client, body(ca=b"old"))
        await register(client, body(ca=b"new"))
        bundle = only_webhook(registered(kube))["clientConfig"]["caBundle"]
        assert base64.b64decode(bundle) == b"new"


@pytest.mark.parametrize(
    ("labels", "said"),
    [({MANAGED_BY: "Helm"}, "is managed by 'Helm'"), (None, "does not say who manages it")],
)
async def test_one_that_is_not_ours_is_left_as_it_is(labels: dict[str, str] | None, said: str) -> None:
    foreign = body()
    foreign["metadata"]["labels"] = labels
    async with FakeKube() as kube, kube.client() as client:
        stored = kube.put(MUTATING_WEBHOOKS, foreign)
        with pytest.raises(RegistrationRefusedError, match=said) as refused:
            await register(client, body(ca=b"new"))
        assert refused.value.exit_code == 3
        assert registered(kube) == stored


async def test_when_another_process_creates_it_first_it_is_updated() -> None:
    async with FakeKube() as kube, kube.client() as client:
        await register(client, body(ca=b"other"))
        kube.fail(CONFIGURATION_NAME, code=404, method="GET", reason="NotFound")
        await register(client, body(ca=b"mine"))
        bundle = only_webhook(registered(kube))["clientConfig"]["caBundle"]
        assert base64.b64decode(bundle) == b"mine"


async def test_when_another_process_updates_it_at_the_same_time_it_is_read_again() -> None:
    async with FakeKube() as kube, kube.client() as client:
        await register(client, body(ca=b"old"))
        kube.fail(CONFIGURATION_NAME, code=409, method="PUT", reason="Conflict")
        await register(client, body(ca=b"mine"))
        assert base64.b64decode(only_webhook(registered(kube))["clientConfig"]["caBundle"]) == b"mine"


async def test_a_conflict_that_does_not_end_is_an_error() -> None:
    async with FakeKube() as kube, kube.client() as client:
        await register(client, body())
        kube.fail(CONFIGURATION_NAME, code=409, method="PUT", reason="Conflict", times=100)
        with pytest.raises(Conflict):
            await register(client, body(ca=b"mine"))


async def test_a_missing_permission_is_an_error_that_names_it() -> None:
    async with FakeKube() as kube, kube.client() as client:
        kube.fail("mutatingwebhookconfigurations", code=403, method="POST", reason="Forbidden")
        with pytest.raises(Forbidden, match="mutatingwebhookconfigurations"):
            await register(client, body())
