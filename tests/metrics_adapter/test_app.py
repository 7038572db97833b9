import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from yarl import URL

from metrics_adapter.app import build_app
from metrics_adapter.authentication import FrontProxy
from metrics_adapter.catalog import CUSTOM_METRICS
from metrics_adapter.discovery import AGGREGATED_TYPE
from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.snapshot import Snapshot
from tests.support.adapter import NOW, front_proxy_ca, plain_client, proxy_client, table_with
from tests.support.examples import examples
from vgpu.authority import Authority
from vgpu.certificates import issue_serving_pair, server_context
from vgpu.serving import HttpsServer

BASE = "/apis/custom.metrics.k8s.io/v1beta2"
UTILIZATION = f"{BASE}/namespaces/default/pods/*/gpu_utilization"
FRONT_PROXY = {"X-Remote-User": "system:serviceaccount:kube-system:horizontal-pod-autoscaler"}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """The adapter's application behind real TLS, and clients with and without a certificate."""

    port: int
    registry: CollectorRegistry
    authority: Authority
    server_ca: bytes
    directory: Path
    snapshot: Snapshot = field(default_factory=Snapshot)
    reasons: list[str] = field(default_factory=list)
    now: float = NOW

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        certificate: str | None = "front-proxy-client",
        authority: Authority | None = None,
    ) -> Answer:
        """Send one request, the path byte for byte as it stands here."""
        context = plain_client(self.server_ca)
        if certificate is not None:
            signer = authority or self.authority
            context = proxy_client(signer, self.directory, name=certificate, server_ca=self.server_ca)
        url = URL(f"https://localhost:{self.port}{path}", encoded=True)
        sent = FRONT_PROXY if headers is None else headers
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.request(method, url, headers=sent) as response,
        ):
            return Answer(response.status, response.headers, await response.read())

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"vgpu_adapter_{name}", labels)


@asynccontextmanager
async def running(directory: Path, **values: float) -> AsyncIterator[Running]:
    authority = front_proxy_ca()
    pair = issue_serving_pair(dns_names=["localhost"], now=datetime.now(UTC), common_name="adapter")
    registry = CollectorRegistry()
    app = build_app(
        groups=[CUSTOM_METRICS],
        front_proxy=FrontProxy(authority.certificate, frozenset({"front-proxy-client"})),
        snapshot=lambda: made.snapshot,
        freshness=60,
        metrics=AdapterMetrics(registry),
        not_ready=lambda: made.reasons,
        clock=lambda: made.now,
    )
    context = server_context(pair, client_ca_pem=authority.certificate)
    async with HttpsServer(app, host="127.0.0.1", port=0, ssl_context=context) as server:
        made = Running(server.port, registry, authority, pair.ca_pem, directory)
        made.snapshot = Snapshot(table_with(values or {"a": 5.0}))
        yield made


def assert_status(answer: Answer, code: int, reason: str, message: str) -> None:
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {},
        "code": code,
    }
    assert answer.status == code


@pytest.mark.parametrize("star", ["*", "%2A", "%2a"])
async def test_all_pods_are_asked_for_with_a_star_encoded_or_not(tmp_path: Path, star: str) -> None:
    async with running(tmp_path, a=5.0, b=2.5) as adapter:
        answer = await adapter.ask(f"{BASE}/namespaces/default/pods/{star}/gpu_utilization")
        assert answer.status == 200
        assert [item["value"] for item in answer.json["items"]] == ["50", "25"]


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
async def test_each_version_answers_in_its_own_form(tmp_path: Path, version: str) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(UTILIZATION.replace("v1beta2", version))
        assert answer.json["apiVersion"] == f"custom.metrics.k8s.io/{version}"
        assert ("metricName" in answer.json["items"][0]) == (version == "v1beta1")


async def test_one_pod_is_asked_for_by_name(tmp_path: Path) -> None:
    async with running(tmp_path, a=5.0, b=2.5) as adapter:
        answer = await adapter.ask(f"{BASE}/namespaces/default/pods/b/gpu_tflops")
        assert [item["value"] for item in answer.json["items"]] == ["2500m"]


async def test_the_controller_manager_asks_for_protobuf_and_gets_json(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        accept = {"Accept": "application/vnd.kubernetes.protobuf, */*"}
        answer = await adapter.ask(UTILIZATION, headers={**FRONT_PROXY, **accept})
        assert answer.headers["Content-Type"].split(";")[0] == "application/json"
        assert answer.json["kind"] == "MetricValueList"


async def test_a_label_selector_is_read_from_the_query(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        query = "labelSelector=" + quote("tensor-fusion.ai/enabled in (true),!canary")
        assert len((await adapter.ask(f"{UTILIZATION}?{query}")).json["items"]) == 1
        assert (await adapter.ask(f"{UTILIZATION}?labelSelector=app%3Dnone")).json["items"] == []


async def test_a_bad_label_selector_is_a_bad_request(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(f"{UTILIZATION}?labelSelector=app+in+b")
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
        assert answer.json["message"].startswith("unable to parse labelSelector 'app in b': expected")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/namespaces/default/pods/*/nonsense",
            "the server could not find the metric nonsense for pods",
        ),
        (
            "/namespaces/default/pods/gone/gpu_utilization",
            "the server could not find the metric gpu_utilization for pods gone",
        ),
        (
            "/namespaces/default/metrics/gpu_utilization",
            "the server could not find the metric gpu_utilization for namespaces default",
        ),
        ("/nodes/*/gpu_utilization", "the server could not find the metric gpu_utilization for nodes"),
        ("/pods", "the server could not find the requested resource"),
    ],
)
async def test_what_is_not_served_is_a_status_that_names_it(tmp_path: Path, path: str, message: str) -> None:
    async with running(tmp_path) as adapter:
        assert_status(await adapter.ask(BASE + path), 404, "NotFound", message)


async def test_a_source_that_is_down_is_unavailable(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        adapter.snapshot = Snapshot(adapter.snapshot.table, failing=True)
        adapter.now += 61
        message = (
            "the metric source does not answer: its last values are 61 s old and are not used after 60 s"
        )
        assert_status(await adapter.ask(UTILIZATION), 503, "ServiceUnavailable", message)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_metrics_are_read_only(tmp_path: Path, method: str) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(UTILIZATION, method=method)
        assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")
        assert answer.headers["Allow"] == "GET, HEAD"


async def test_head_is_get_without_a_body(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(UTILIZATION, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")


async def test_aggregated_discovery_has_its_exact_content_type_and_is_not_sent_twice(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as adapter:
        headers = {**FRONT_PROXY, "Accept": AGGREGATED_TYPE}
        first = await adapter.ask("/apis", headers=headers)
        assert first.headers["Content-Type"] == AGGREGATED_TYPE
        assert first.json["kind"] == "APIGroupDiscoveryList"
        again = await adapter.ask("/apis", headers={**headers, "If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        changed = await adapter.ask("/apis", headers={**headers, "If-None-Match": '"older"'})
        assert changed.body == first.body


async def test_legacy_discovery_leads_from_the_groups_to_the_metrics(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        (group,) = (await adapter.ask("/apis")).json["groups"]
        assert (await adapter.ask(f"/apis/{group['name']}")).json["kind"] == "APIGroup"
        for version in group["versions"]:
            listed = await adapter.ask(f"/apis/{version['groupVersion']}")
            assert len(listed.json["resources"]) == 4


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", f"/openapi/v3{BASE}", "/version"])
async def test_documents_for_everybody_need_no_certificate(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(path, certificate=None, headers={})
        assert answer.status == 200
        assert answer.json


async def test_health_needs_no_certificate_and_readiness_says_what_is_missing(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        for path in ("/healthz", "/livez", "/readyz"):
            answer = await adapter.ask(path, certificate=None, headers={})
            assert (answer.status, answer.body) == (200, b"ok\n")
        adapter.reasons.append("the pods have not been listed yet")
        answer = await adapter.ask("/readyz", certificate=None, headers={})
        assert (answer.status, answer.body) == (503, b"not ready: the pods have not been listed yet\n")


@pytest.mark.parametrize("path", [UTILIZATION, "/apis", "/apis/custom.metrics.k8s.io", BASE, "/elsewhere"])
async def test_a_forged_user_without_the_front_proxys_certificate_gets_nothing(
    tmp_path: Path, path: str
) -> None:
    async with running(tmp_path) as adapter:
        forged = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
        answer = await adapter.ask(path, certificate=None, headers=forged)
        assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
        assert 'User "system:anonymous"' in answer.json["message"]


async def test_another_certificate_of_the_same_ca_is_unauthorized(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        answer = await adapter.ask(UTILIZATION, certificate="mallory")
        assert_status(answer, 401, "Unauthorized", "Unauthorized")


async def test_a_certificate_of_another_ca_does_not_get_a_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await adapter.ask(UTILIZATION, authority=front_proxy_ca("evil"))


async def test_requests_are_counted_by_verb_metric_and_code(tmp_path: Path) -> None:
    async with running(tmp_path) as adapter:
        await adapter.ask(UTILIZATION)
        await adapter.ask(f"{BASE}/namespaces/default/pods/*/made-up-1")
        await adapter.ask(f"{BASE}/namespaces/default/pods/*/made-up-2")
        await adapter.ask(BASE)
        assert adapter.figure("requests_total", verb="get", metric="gpu_utilization", code="200") == 1
        assert adapter.figure("requests_total", verb="get", metric="unknown", code="404") == 2
        assert adapter.figure("requests_total", verb="get", metric="", code="200") == 1
        assert adapter.figure("request_duration_seconds_count", verb="get", metric="gpu_utilization") == 1


async def test_a_mistake_of_our_own_is_a_status_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("metrics_adapter.app.answer", fail)
    async with running(tmp_path) as adapter:
        message = "an error on the server: see the log of the metrics adapter"
        assert_status(await adapter.ask(UTILIZATION), 500, "InternalError", message)


_segments = st.text(max_size=8).map(lambda text: quote(text, safe="")) | st.sampled_from(
    ["*", "%2A", "%2F", "%00", "%FF", "%ED%A0%80", "..", ".", "namespaces", "pods", "metrics", "%", "%zz"]
)
_queries = st.dictionaries(
    st.sampled_from(["labelSelector", "metricLabelSelector", "x"]),
    st.text(max_size=12).map(lambda text: quote(text, safe=""))
    | st.sampled_from(["%FF", "%", "a%20in%20(", "+"]),
)


@given(requests=st.lists(st.tuples(st.lists(_segments, max_size=6), _queries), min_size=20, max_size=20))
@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_path_and_no_query_is_an_internal_error(
    tmp_path: Path, requests: list[tuple[list[str], dict[str, str]]]
) -> None:
    async with running(tmp_path) as adapter:
        context = proxy_client(adapter.authority, tmp_path, server_ca=adapter.server_ca)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            for segments, query in requests:
                path = "/".join([BASE, *segments])
                text = "&".join(f"{key}={value}" for key, value in query.items())
                url = URL(f"https://localhost:{adapter.port}{path}?{text}", encoded=True)
                async with session.get(url, headers=FRONT_PROXY) as response:
                    assert response.status in {200, 400, 404}
