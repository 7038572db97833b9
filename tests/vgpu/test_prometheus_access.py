"""How the client of the metric source shows who it is, on real connections, and follows files that rotate."""

import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs
from tenacity import wait_none

from tests.support.fake_prometheus import FakePrometheus
from vgpu import prometheus_transport
from vgpu.authority import Authority, Pair
from vgpu.prometheus import Access, AccessError, BadAnswer, PrometheusClient, PrometheusUnreachable
from vgpu.prometheus_access import Credentials

NOW = datetime.now(UTC)
EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_transport, "_BACKOFF", wait_none())


@dataclass
class Guarded:
    """A server that wants a token or a certificate, and what it was shown."""

    url: str = ""
    token: str = ""
    seen: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        peer = request.transport.get_extra_info("peercert") if request.transport else None
        if peer:
            self.subjects.append(dict(part[0] for part in peer["subject"])["commonName"])
        if self.token and self.seen[-1] != f"Bearer {self.token}":
            return web.Response(status=401, text="who are you?")
        return web.Response(body=EMPTY, content_type="application/json")


@asynccontextmanager
async def guarded(*, context: ssl.SSLContext | None = None, token: str = "") -> AsyncIterator[Guarded]:
    server = Guarded(token=token)
    app = web.Application()
    app.router.add_post("/api/v1/query", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def renew(path: Path, content: str | bytes) -> None:
    """Put another file in its place, as the kubelet does."""
    new = path.with_suffix(".new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.replace(path)


def replace_unseen(path: Path, content: str) -> None:
    """Change a file to one as long and, by its times, as old as before."""
    found = path.stat()
    path.write_text(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def authority() -> Authority:
    return Authority("metrics CA", now=NOW)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def server_context(pair: Pair, directory: Path, *, ca: bytes | None = None) -> ssl.SSLContext:
    """TLS of a server; with a CA it wants to see a certificate."""
    path = directory / "server.pem"
    path.write_bytes(pair.certificate + pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    if ca is not None:
        context.load_verify_locations(cadata=ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client(url: str, **access: Any) -> PrometheusClient:
    return PrometheusClient(url, timeout=5, retries=2, access=Access(**access))


async def test_a_user_and_the_password_of_a_file_are_shown(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("pässwörd\n")
    async with guarded() as server, client(server.url, username="me", password_file=password) as source:
        await source.query("m")
    assert server.seen == ["Basic " + base64.b64encode("me:pässwörd".encode()).decode()]


async def test_a_password_may_be_given_itself() -> None:
    async with guarded() as server, client(server.url, username="me", password=SecretStr("x")) as source:
        await source.query("m")
    assert server.seen == ["Basic " + base64.b64encode(b"me:x").decode()]


async def test_a_token_that_is_renewed_is_shown_from_then_on(token: Path) -> None:
    async with guarded() as server, client(server.url, bearer_token_file=token) as source:
        await source.query("m")
        renew(token, "second")
        await source.query("m")
    assert server.seen == ["Bearer first", "Bearer second"]


async def test_a_refused_token_is_read_again_and_tried_once_more(token: Path) -> None:
    async with guarded(token="fresh") as server, client(server.url, bearer_token_file=token) as source:
        replace_unseen(token, "fresh\n")
        assert await source.query("m") == []
    assert server.seen == ["Bearer first", "Bearer fresh"]


async def test_a_refused_token_that_is_the_same_is_not_tried_again(token: Path) -> None:
    async with guarded(token="other") as server, client(server.url, bearer_token_file=token) as source:
        with pytest.raises(
            BadAnswer, match=r"HTTP 401\): who are you\?; it is shown what prometheus_"
        ) as caught:
            await source.query("m")
    assert server.seen == ["Bearer first"]
    assert "first" not in str(caught.value)


async def test_a_token_that_vanishes_goes_on_to_be_shown(token: Path) -> None:
    async with guarded() as server, client(server.url, bearer_token_file=token) as source:
        remove(token)
        await source.query("m")
        await source.query("m")
    assert server.seen == ["Bearer first", "Bearer first"]


async def test_a_token_that_becomes_no_token_is_not_taken_and_never_logged(token: Path) -> None:
    async with guarded() as server, client(server.url, bearer_token_file=token) as source:
        renew(token, "se cond\r\nX-Evil: 1")
        with capture_logs() as logs:
            await source.query("m")
            await source.query("m")
    assert server.seen == ["Bearer first", "Bearer first"]
    assert [entry["event"] for entry in logs] == ["secret for the metric source cannot be read again"]
    assert "cond" not in str(logs)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"two words", "holds no token"),
        (b"a\nX-Evil: 1", "holds no token"),
        ("schlüssel".encode(), "holds no token"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * (1 << 20) + b"y", "is larger than any"),
    ],
)
async def test_a_file_that_holds_no_token_ends_the_start(token: Path, content: bytes, problem: str) -> None:
    renew(token, content)
    with pytest.raises(AccessError, match=rf"{token} {problem}") as caught:
        async with client("http://127.0.0.1:1", bearer_token_file=token):
            pass
    assert caught.value.exit_code == 4
    assert "Evil" not in str(caught.value)


async def test_a_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"password cannot be read: No such file or directory"):
        async with client("http://127.0.0.1:1", username="me", password_file=tmp_path / "password"):
            pass


def test_no_secret_is_in_what_is_shown_of_an_access() -> None:
    access = Access(username="me", password=SecretStr("hunter2"), headers={"X": SecretStr("hunter3")})
    assert "hunter" not in repr(access)
    assert "hunter" not in repr(Credentials(access))
    assert "hunter" not in repr(PrometheusClient("http://x", access=access))


@pytest.mark.parametrize(
    ("url", "access", "expected"),
    [
        ("http://prometheus.monitoring.svc", {"username": "me", "password": SecretStr("x")}, 1),
        ("http://me:x@prometheus.monitoring.svc", {}, 1),
        ("http://prometheus.monitoring.svc", {"headers": {"authorization": SecretStr("x")}}, 1),
        ("http://prometheus.monitoring.svc", {"headers": {"X-Scope-OrgID": SecretStr("x")}}, 0),
        ("http://127.0.0.1:9090", {"username": "me", "password": SecretStr("x")}, 0),
        ("http://localhost:9090", {"username": "me", "password": SecretStr("x")}, 0),
        ("https://prometheus.monitoring.svc", {"username": "me", "password": SecretStr("x")}, 0),
    ],
)
async def test_secrets_without_encryption_are_warned_about_once(
    url: str, access: dict[str, Any], expected: int
) -> None:
    with capture_logs() as logs:
        async with client(url, **access):
            pass
    assert [entry["event"] for entry in logs] == [
        "secrets go to the metric source without encryption"
    ] * expected
    assert all(entry["url"] == "http://prometheus.monitoring.svc" for entry in logs)


async def test_a_server_is_trusted_by_the_ca_of_a_file(tmp_path: Path, authority: Authority) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    pair = authority.server("prometheus", names=(), addresses=("127.0.0.1",))
    context = server_context(pair, tmp_path)
    async with guarded(context=context) as server, client(server.url, ca_file=ca) as source:
        assert await source.query("m") == []


async def test_a_server_of_another_ca_is_not_asked_twice_and_the_setting_is_named(
    tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(Authority("another CA", now=NOW).certificate)
    pair = authority.server("prometheus", names=(), addresses=("127.0.0.1",))
    context = server_context(pair, tmp_path)
    async with guarded(context=context) as server, client(server.url, ca_file=ca) as source:
        with capture_logs() as logs, pytest.raises(PrometheusUnreachable, match="see prometheus_ca_file"):
            await source.query("m")
    assert logs == []
    assert server.seen == []


async def test_a_certificate_for_another_name_does_where_that_name_is_set(
    tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    pair = authority.server("prometheus", names=("prometheus.example",))
    async with guarded(context=server_context(pair, tmp_path)) as server:
        async with client(server.url, ca_file=ca) as source:
            with pytest.raises(PrometheusUnreachable, match="cannot be trusted"):
                await source.query("m")
        async with client(server.url, ca_file=ca, server_name="prometheus.example") as source:
            assert await source.query("m") == []


async def test_the_client_certificate_is_shown_and_a_renewed_one_from_the_next_connection_on(
    tmp_path: Path, authority: Authority
) -> None:
    ca, certificate, key = (tmp_path / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ca.write_bytes(authority.certificate)
    first, second = authority.client("first"), authority.client("second")
    certificate.write_bytes(first.certificate)
    key.write_bytes(first.key)
    pair = authority.server("prometheus", names=(), addresses=("127.0.0.1",))
    context = server_context(pair, tmp_path, ca=authority.certificate)
    async with (
        guarded(context=context) as server,
        client(server.url, ca_file=ca, client_certificate=certificate, client_key=key) as source,
    ):
        await source.query("m")
        renew(certificate, second.certificate)
        with capture_logs() as logs:
            await source.query("m")  # the key does not fit yet
        renew(key, second.key)
        await source.query("m")
    assert server.subjects == ["first", "first", "second"]
    assert [entry["event"] for entry in logs] == ["certificates for the metric source cannot be read again"]


@pytest.mark.parametrize("wrong", ["ca", "certificate", "key"])
async def test_files_that_do_not_fit_together_end_the_start(
    tmp_path: Path, authority: Authority, wrong: str
) -> None:
    pair, other = authority.client("me"), authority.client("you")
    contents = {"ca": authority.certificate, "certificate": pair.certificate, "key": pair.key}
    contents[wrong] = other.key if wrong == "key" else b"nonsense"
    files = {name: tmp_path / name for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    with pytest.raises(
        AccessError, match=rf"{files['ca' if wrong == 'ca' else 'certificate']}.*cannot be used"
    ):
        async with client(
            "https://127.0.0.1:1",
            ca_file=files["ca"],
            client_certificate=files["certificate"],
            client_key=files["key"],
        ):
            pass


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with FakePrometheus() as prometheus, client(prometheus.url) as source:
        assert await source.query("m") == []
