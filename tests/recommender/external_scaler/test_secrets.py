import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from recommender.external_scaler.errors import SecretUnusable
from recommender.external_scaler.secrets import Tokens
from tests.support.fake_kube import FakeKube
from vgpu.annotations import EXTERNAL_SCALER
from vgpu.api import ExternalScaler
from vgpu.api.autoscaling import SecretReference
from vgpu.kube.resources import SECRETS

LABELLED = {EXTERNAL_SCALER: "true"}


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube() as fake:
        yield fake


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def named(name: str = "key", namespace: str = "") -> ExternalScaler:
    reference = SecretReference(name=name, namespace=namespace)
    return ExternalScaler(enable=True, url="https://a", api_key_secret_ref=reference)


def put(
    kube: FakeKube, data: Mapping[str, bytes], *, namespace: str = "team", labels: Any = LABELLED
) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": "key", "namespace": namespace, "labels": labels}
    kube.put(SECRETS, {"metadata": metadata, "data": encoded})


async def read(kube: FakeKube, scaler: ExternalScaler | None = None) -> str | None:
    async with kube.client() as client:
        token = await Tokens(client=client, clock=Clock()).of("team", scaler or named())
        assert "hush" not in f"{token!r} {token}"
        return token.get_secret_value() if token is not None else None


async def unusable(kube: FakeKube, scaler: ExternalScaler | None = None) -> str:
    with pytest.raises(SecretUnusable) as raised:
        await read(kube, scaler)
    assert "hush" not in f"{raised.value!r} {raised.value.__cause__!r}"
    return str(raised.value)


@pytest.mark.parametrize("key", ["apiKey", "token", "key"])
async def test_the_token_stands_under_one_of_three_keys_without_its_line_end(
    kube: FakeKube, key: str
) -> None:
    put(kube, {key: b"hush\n", "other": b"no"})
    assert await read(kube) == "hush"


async def test_the_first_of_the_keys_counts(kube: FakeKube) -> None:
    put(kube, {"key": b"c", "token": b"b", "apiKey": b"a"})
    assert await read(kube) == "a"


async def test_a_scaler_that_names_no_secret_gets_no_token(kube: FakeKube) -> None:
    assert await read(kube, ExternalScaler(enable=True, url="https://a")) is None
    assert kube.requests == []


@pytest.mark.parametrize("labels", [{}, None, {EXTERNAL_SCALER: "false"}, {EXTERNAL_SCALER: "True"}])
async def test_a_secret_without_the_label_is_not_sent(kube: FakeKube, labels: Any) -> None:
    put(kube, {"token": b"hush"}, labels=labels)
    assert "lacks the label" in await unusable(kube)


async def test_a_secret_of_another_namespace_is_not_read(kube: FakeKube) -> None:
    put(kube, {"token": b"hush"}, namespace="other")
    assert "there is no Secret team/key" in await unusable(kube)
    asked = len(kube.requests)
    assert "own namespace 'team' only" in await unusable(kube, named(namespace="other"))
    assert len(kube.requests) == asked


@pytest.mark.parametrize("name", ["..", "../../other/secrets/key", "key?x=y", "Key"])
async def test_a_name_that_leads_elsewhere_is_not_read(kube: FakeKube, name: str) -> None:
    put(kube, {"token": b"hush"}, namespace="other")
    assert "no Secret can be called" in await unusable(kube, named(name))
    assert not any("secrets" in each.path for each in kube.requests)


@pytest.mark.parametrize(
    "token", [b"", b"two words", b"hush\r\nX-Evil: 1", b"\xff", b"h\xc3\xbcsh", b"x" * 5000]
)
async def test_a_token_that_no_header_can_carry_is_not_sent(kube: FakeKube, token: bytes) -> None:
    put(kube, {"token": token})
    assert "is not one word" in await unusable(kube)


async def test_a_secret_that_may_not_be_read_or_has_no_token_is_told(kube: FakeKube) -> None:
    put(kube, {"password": b"hush"})
    assert "has none of the keys apiKey, token, key" in await unusable(kube)
    kube.fail("/secrets/", code=403)
    assert "cannot be read: Forbidden" in await unusable(kube)


async def test_a_token_is_read_once_a_minute_and_anew_when_it_was_refused(kube: FakeKube) -> None:
    put(kube, {"token": b"first"})
    clock = Clock()
    async with kube.client() as client:
        tokens = Tokens(client=client, clock=clock)

        async def now() -> str:
            token = await tokens.of("team", named())
            assert token is not None
            return token.get_secret_value()

        assert await now() == "first"
        put(kube, {"token": b"second"})
        clock.now = 59
        assert await now() == "first"
        clock.now = 60
        assert await now() == "second"
        put(kube, {"token": b"third"})
        tokens.forget("team", named())
        assert await now() == "third"


async def test_no_more_tokens_are_kept_than_there_is_room_for(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.external_scaler.secrets._MOST_KEPT", 2)
    for namespace in ("a", "b", "c"):
        put(kube, {"token": b"hush"}, namespace=namespace)
    async with kube.client() as client:
        tokens = Tokens(client=client, clock=Clock())
        for namespace in ("a", "b", "c", "b", "a"):
            await tokens.of(namespace, named())
    assert [request.path.split("/")[4] for request in kube.requests] == ["a", "b", "c", "a"]
