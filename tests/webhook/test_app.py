"""The application over a real TLS connection."""

import asyncio
import gzip
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import aiohttp
import jsonpatch
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.admission import (
    NOON,
    RECOMMENDED_ANNOTATIONS,
    FixedLookups,
    knowing,
    patch_of,
    review,
    web,
)
from tests.support.builders import Json
from tests.support.examples import examples
from vgpu.certificates import ServingPair, issue_serving_pair, server_context
from vgpu.serving import HttpsServer
from webhook import app as webhook_app
from webhook.app import MAX_BODY_BYTES, build_app
from webhook.metrics import WebhookMetrics
from webhook.registration import PODS_PATH


@pytest.fixture(scope="module")
def pair() -> ServingPair:
    return issue_serving_pair(dns_names=["localhost"], now=datetime.now(UTC), common_name="webhook")


class Served:
    """A served application and a client that trusts it."""

    def __init__(self, *, session: aiohttp.ClientSession, port: int, metrics: WebhookMetrics) -> None:
        self.session = session
        self.port = port
        self._metrics = metrics

    async def post(self, body: bytes, *, path: str = PODS_PATH, **headers: str) -> tuple[int, Json]:
        async with self.session.post(path, data=io.BytesIO(body), headers=headers) as response:
            answer: Json = await response.json()
            return response.status, answer

    async def admit(self, obj: Any, **request: Any) -> Json:
        status, answer = await self.post(json.dumps(review(obj, **request)).encode())
        assert status == 200
        return answer

    def count(self, name: str, **labels: str) -> float | None:
        return self._metrics.registry.get_sample_value(name, labels)


def trusting(pair: ServingPair) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pair.ca_pem.decode())


@asynccontextmanager
async def served(pair: ServingPair, lookups: FixedLookups | None = None) -> AsyncIterator[Served]:
    metrics = WebhookMetrics(CollectorRegistry())
    app = build_app(lookups=lookups or FixedLookups(), metrics=metrics, clock=lambda: NOON)
    server = HttpsServer(
        app, host="127.0.0.1", port=0, ssl_context=server_context(pair), shutdown_timeout=0.1
    )
    connector = aiohttp.TCPConnector(ssl=trusting(pair))
    async with (
        server,
        aiohttp.ClientSession(f"https://localhost:{server.port}", connector=connector) as session,
    ):
        yield Served(session=session, port=server.port, metrics=metrics)


async def test_a_pod_is_rewritten_over_tls(pair: ServingPair) -> None:
    subject = web()
    async with served(pair, knowing()) as client:
        answer = await client.admit(subject, uid="42")
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert (answer["response"]["uid"], answer["response"]["allowed"]) == ("42", True)
    annotations = jsonpatch.apply_patch(subject, patch_of(answer))["metadata"]["annotations"]
    assert RECOMMENDED_ANNOTATIONS.items() <= annotations.items()


async def test_a_pod_that_stays_as_it_is_gets_no_patch_at_all(pair: ServingPair) -> None:
    async with served(pair) as client:
        response = (await client.admit(web(gated=False)))["response"]
    assert response == {"uid": "review-1", "allowed": True}


async def test_a_dry_run_gets_the_same_answer(pair: ServingPair) -> None:
    async with served(pair, knowing()) as client:
        assert await client.admit(web(), dryRun=True) == await client.admit(web(), dryRun=False)


async def test_the_deadline_in_the_query_does_not_matter(pair: ServingPair) -> None:
    async with served(pair) as client:
        status, _ = await client.post(json.dumps(review(web())).encode(), path=f"{PODS_PATH}?timeout=5s")
    assert status == 200


async def test_warnings_are_short_and_say_who_warns(pair: ServingPair) -> None:
    async with served(pair, FixedLookups(missing=["jobs\n" * 100])) as client:
        (warning,) = (await client.admit(web()))["response"]["warnings"]
    assert warning.startswith("vgpu-autoscaler: pod admitted unchanged, the webhook is still reading")
    assert len(warning) <= 120
    assert "\n" not in warning


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"kind":"Pod"}',
        b"\xff",
        b"[" * 100_000,
        json.dumps(review(None, uid="")).encode(),
    ],
)
async def test_what_is_no_review_is_answered_with_a_status_400(pair: ServingPair, body: bytes) -> None:
    async with served(pair) as client:
        status, answer = await client.post(body)
        assert client.count("vgpu_webhook_refused_requests_total", code="400") == 1
    assert (status, answer["kind"], answer["code"], answer["reason"]) == (400, "Status", 400, "BadRequest")


async def test_a_body_that_does_not_unpack_is_answered_with_a_status_400(pair: ServingPair) -> None:
    async with served(pair) as client:
        status, answer = await client.post(b"not gzip", **{"Content-Encoding": "gzip"})
    assert (status, answer["kind"]) == (400, "Status")


async def test_the_largest_object_that_kubernetes_takes_is_read(pair: ServingPair) -> None:
    large = web(annotations={"notes": "x" * (3 * 1024**2)})
    async with served(pair) as client:
        response = (await client.admit(large))["response"]
    assert "annotations would be" in response["warnings"][0]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_that_is_too_large_is_answered_with_a_status_413(
    pair: ServingPair, packed: bool
) -> None:
    body, headers = b"x" * (MAX_BODY_BYTES + 1), {}
    if packed:
        body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
    async with served(pair) as client:
        status, answer = await client.post(body, **headers)
    assert (status, answer["kind"], answer["reason"]) == (413, "Status", "RequestEntityTooLarge")


async def test_another_method_is_answered_with_a_status_405(pair: ServingPair) -> None:
    async with served(pair) as client, client.session.get(PODS_PATH) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await response.json())["kind"] == "Status"


async def test_another_path_is_answered_with_a_status_404(pair: ServingPair) -> None:
    async with served(pair) as client:
        status, answer = await client.post(b"", path="/mutate/nodes")
    assert (status, answer["kind"], answer["reason"]) == (404, "Status", "NotFound")


async def test_a_body_that_does_not_come_is_not_waited_for(
    pair: ServingPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_app, "TIMEOUT_SECONDS", 0.05)
    async with served(pair) as client:
        reader, writer = await asyncio.open_connection(
            "localhost", client.port, ssl=trusting(pair), server_hostname="localhost"
        )
        writer.write(f"POST {PODS_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        status_line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    assert status_line.startswith(b"HTTP/1.1 408 ")


class BrokenLookups(FixedLookups):
    """A bug in the webhook itself."""

    def workload(self, namespace: str, name: str) -> NoReturn:
        raise ZeroDivisionError("secret detail")


async def test_a_bug_admits_the_pod_unchanged_and_is_logged_counted_and_warned_of(pair: ServingPair) -> None:
    with structlog.testing.capture_logs() as logs:
        async with served(pair, BrokenLookups()) as client:
            response = (await client.admit(web()))["response"]
            assert client.count("vgpu_webhook_admissions_total", outcome="failed", dialect="none") == 1
    assert response["allowed"] is True
    assert "patch" not in response
    (warning,) = response["warnings"]
    assert "internal error (ZeroDivisionError)" in warning
    assert "secret" not in warning
    (logged,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert logged["exc_info"]


async def test_admissions_are_counted_by_outcome_and_dialect(pair: ServingPair) -> None:
    async with served(pair, knowing()) as client:
        for subject in (web(), web(), web(gated=False)):
            await client.admit(subject)
        assert (
            client.count("vgpu_webhook_admissions_total", outcome="recommendation", dialect="tensorfusion")
            == 2
        )
        assert client.count("vgpu_webhook_admissions_total", outcome="ignored", dialect="none") == 1
        assert client.count("vgpu_webhook_admission_duration_seconds_count") == 3
        assert client.count("vgpu_webhook_admission_duration_seconds_bucket", le="0.0005") is not None


@given(
    bodies=st.lists(
        st.binary(max_size=200) | st.text().map(lambda text: json.dumps(review(text)).encode()), max_size=20
    )
)
@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_is_answered_with_a_server_error(pair: ServingPair, bodies: list[bytes]) -> None:
    async def statuses() -> set[int]:
        async with served(pair) as client:
            return {(await client.post(body))[0] for body in bodies}

    assert asyncio.run(statuses()) <= {200, 400}
