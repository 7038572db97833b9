import asyncio
import gzip
import json
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from pydantic import SecretStr

from recommender.external_scaler.addresses import Address
from recommender.external_scaler.answers import Answer
from recommender.external_scaler.client import LARGEST_ANSWER, ScalerClient, TokenRefused
from recommender.external_scaler.errors import InvalidAnswer, NotAllowed, ScalerError, Unreachable
from recommender.external_scaler.networks import Lookups
from tests.support.scaling import CONTENT, FakeScaler, recommending
from tests.support.waiting import until
from vgpu.certificates import issue_serving_pair, server_context
from vgpu.slices import Amounts

TOKEN = SecretStr("hush")


@pytest.fixture
async def scaler() -> AsyncIterator[FakeScaler]:
    async with FakeScaler() as fake:
        yield fake


async def ask(
    fake: FakeScaler, path: str = "", *, token: SecretStr | None = None, allow_local: bool = True
) -> Answer:
    async with ScalerClient(allow_local=allow_local, timeout=0.5) as client:
        return await client.ask(Address.parse(fake.url + path), b'{"workloadName": "web"}', token)


async def test_a_question_is_posted_as_json_with_the_token(scaler: FakeScaler) -> None:
    scaler.answer = recommending(tflops="20", reason="busy")
    assert await ask(scaler, "/a/b?c=d", token=TOKEN) == Answer(Amounts(tflops=20_000), "busy")
    [question] = scaler.asked
    assert (question.path, question.body) == ("/a/b?c=d", {"workloadName": "web"})
    assert question.headers["Authorization"] == "Bearer hush"
    assert question.headers["Content-Type"] == "application/json"


async def test_without_a_secret_nothing_shows_who_asks(scaler: FakeScaler) -> None:
    await ask(scaler)
    assert "Authorization" not in scaler.asked[0].headers


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, InvalidAnswer),
        (302, InvalidAnswer),
        (307, InvalidAnswer),
        (401, TokenRefused),
        (404, InvalidAnswer),
        (429, Unreachable),
        (503, Unreachable),
    ],
)
async def test_any_other_status_is_no_answer_and_redirects_are_not_followed(
    scaler: FakeScaler, status: int, error: type[ScalerError]
) -> None:
    headers = {"Location": f"{scaler.url}/elsewhere"}
    scaler.respond = lambda _: web.Response(status=status, headers=headers)
    with pytest.raises(error, match=f"HTTP {status}"):
        await ask(scaler, "/here")
    assert [question.path for question in scaler.asked] == ["/here"]


async def test_a_silent_scaler_is_given_up_in_time(scaler: FakeScaler) -> None:
    scaler.silent = lambda _: True
    with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
        await ask(scaler)
    await until(lambda: scaler.under_way == 0, what="the connection is closed")


async def test_an_answer_is_read_up_to_a_size_only(scaler: FakeScaler) -> None:
    scaler.answer = json.dumps({**CONTENT, "more": "x" * LARGEST_ANSWER}).encode()
    with pytest.raises(InvalidAnswer, match=f"more than {LARGEST_ANSWER} bytes"):
        await ask(scaler)


async def test_what_is_packed_is_not_unpacked(scaler: FakeScaler) -> None:
    body = gzip.compress(json.dumps({**CONTENT, "more": "x" * 1_000_000}).encode())
    scaler.respond = lambda _: web.Response(body=body, headers={"Content-Encoding": "gzip"})
    with pytest.raises(InvalidAnswer):
        await ask(scaler)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"])
async def test_local_addresses_are_not_connected_to(scaler: FakeScaler, host: str) -> None:
    async with ScalerClient(allow_local=False) as client:
        with pytest.raises(NotAllowed, match="is local"):
            await client.ask(Address.parse(f"http://{host}:{scaler.port}/"), b"{}", TOKEN)
    assert scaler.asked == []


async def test_a_name_that_leads_elsewhere_the_next_time_is_of_no_use(
    scaler: FakeScaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to = iter(["192.0.2.1", "127.0.0.1"])

    async def resolve(self: Lookups, host: str, port: int = 0, family: object = None) -> list[object]:
        found = {"hostname": host, "host": next(leads_to), "port": port, "proto": 0, "flags": 0}
        return [{**found, "family": socket.AF_INET}]

    monkeypatch.setattr(Lookups, "resolve", resolve)
    address = Address.parse(f"http://rebinding.example:{scaler.port}/")
    async with ScalerClient(allow_local=False, timeout=0.1) as client:
        with pytest.raises(Unreachable):
            await client.ask(address, b"{}", None)
        with pytest.raises(NotAllowed):
            await client.ask(address, b"{}", None)
    assert scaler.asked == []


async def test_proxies_of_the_environment_are_not_used(
    scaler: FakeScaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await ask(scaler, "/direct")
    assert scaler.asked[0].path == "/direct"


async def test_cookies_of_one_are_not_sent_for_another(scaler: FakeScaler) -> None:
    scaler.respond = lambda _: web.json_response(CONTENT, headers={"Set-Cookie": "who=team-a"})
    async with ScalerClient(allow_local=True) as client:
        for _ in range(2):
            await client.ask(Address.parse(scaler.url), b"{}", None)
    assert not any("Cookie" in question.headers for question in scaler.asked)


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted() -> None:
    pair = issue_serving_pair(
        dns_names=[], ip_addresses=["127.0.0.1"], now=datetime.now(UTC), common_name="scaler"
    )
    context = server_context(pair)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with ScalerClient(allow_local=True) as client:
            with pytest.raises(Unreachable, match="cannot be trusted"):
                await client.ask(Address.parse(f"https://127.0.0.1:{port}"), b"{}", TOKEN)


async def test_a_port_where_nobody_listens_is_told_without_anything_that_was_sent(
    scaler: FakeScaler, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a?b=hush"
    with caplog.at_level(logging.DEBUG):
        async with ScalerClient(allow_local=True) as client:
            with pytest.raises(Unreachable, match="Connection refused") as raised:
                await client.ask(Address.parse(url), b"{}", TOKEN)
    assert "hush" not in f"{raised.value!r} {caplog.text}"


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_what_is_no_http_is_no_answer(raw: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, ScalerClient(allow_local=True, timeout=2) as client:
        with pytest.raises(Unreachable):
            await client.ask(
                Address.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), b"{}", None
            )
