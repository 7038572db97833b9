import asyncio
import gzip
import json
import math
from collections.abc import AsyncIterator

import pytest
import structlog

from tests.support.fake_prometheus import FakePrometheus
from vgpu.prometheus import (
    AnswerTooLarge,
    BadAnswer,
    BadQuery,
    PrometheusClient,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Series,
)

NOW = 1_700_000_000.0
VRAM = "tf_worker_usage_memory_bytes"


@pytest.fixture
async def prometheus() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus(clock=lambda: NOW) as running:
        yield running


@pytest.fixture
async def client(prometheus: FakePrometheus) -> AsyncIterator[PrometheusClient]:
    async with PrometheusClient(prometheus.url, timeout=5) as connected:
        yield connected


def vector(*values: str) -> bytes:
    result = [{"metric": {"pod": str(index)}, "value": [NOW, value]} for index, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


async def test_a_selector_gives_the_latest_value_of_each_series(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.add(VRAM, {"pod": "a"}, [(NOW - 30, 1.0), (NOW - 15, 2.0)])
    assert await client.query(VRAM) == [Series({"__name__": VRAM, "pod": "a"}, [NOW], [2.0])]


async def test_a_range_selector_gives_raw_samples_with_their_own_times(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.add(VRAM, {"pod": "a"}, [(NOW - 60, 1.0), (NOW - 30.25, 2.0), (NOW, 3.0)])
    (series,) = await client.query(f"{VRAM}[1m]", time=NOW)
    assert (series.times, series.values) == ([NOW - 30.25, NOW], [2.0, 3.0])


async def test_a_range_query_gives_a_point_for_each_step(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.add(VRAM, {"pod": "a"}, [(NOW + second, float(second)) for second in range(0, 121, 15)])
    (series,) = await client.query_range(f"max_over_time({VRAM}[1m])", start=NOW, end=NOW + 120, step=60)
    assert (series.times, series.values) == ([NOW, NOW + 60, NOW + 120], [0.0, 60.0, 120.0])


async def test_a_scalar_is_one_series_without_labels(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(200, b'{"status":"success","data":{"resultType":"scalar","result":[7,"1.5"]}}')
    assert await client.query("1.5") == [Series({}, [7.0], [1.5])]


async def test_special_floats_are_read(prometheus: FakePrometheus, client: PrometheusClient) -> None:
    for index, value in enumerate([math.nan, math.inf, -math.inf, 1e21, 1e-7]):
        prometheus.add("m", {"pod": str(index)}, [(NOW, value)])
    found = {series.labels["pod"]: series.values[0] for series in await client.query("m")}
    assert math.isnan(found.pop("0"))
    assert found == {"1": math.inf, "2": -math.inf, "3": 1e21, "4": 1e-7}


async def test_native_histograms_are_passed_over(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    body = {"resultType": "vector", "result": [{"metric": {}, "histogram": [NOW, {"count": "1"}]}]}
    prometheus.answer_next(200, json.dumps({"status": "success", "data": body}).encode())
    assert await client.query("m") == []


async def test_no_series_is_an_empty_list(client: PrometheusClient) -> None:
    assert await client.query("m") == []


async def test_a_query_goes_as_a_form_to_the_server_and_its_path(prometheus: FakePrometheus) -> None:
    async with PrometheusClient(f"{prometheus.url}/", headers={"X-Scope-OrgID": "team"}) as client:
        await client.query_range("m", start=NOW, end=NOW + 1, step=0.5)
    (request,) = prometheus.requests
    assert (request.endpoint, request.method) == ("query_range", "POST")
    assert request.headers["X-Scope-OrgID"] == "team"
    assert request.form == {"query": "m", "start": "1700000000.000", "end": "1700000001.000", "step": "0.500"}


async def test_a_server_without_post_is_asked_by_get_from_then_on(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.allow_post = False
    await client.query("m")
    await client.query("m")
    assert [request.method for request in prometheus.requests] == ["POST", "GET", "GET"]


async def test_a_compressed_answer_is_read(prometheus: FakePrometheus, client: PrometheusClient) -> None:
    prometheus.answer_next(200, gzip.compress(vector("4")), headers={"Content-Encoding": "gzip"})
    assert [series.values for series in await client.query("m")] == [[4.0]]


async def test_a_bad_query_repeats_the_servers_reason(client: PrometheusClient) -> None:
    with pytest.raises(
        BadQuery, match=r"refuses the query: .*unexpected 'm\{'.*; the query was 'm\{'"
    ) as caught:
        await client.query("m{")
    assert caught.value.query == "m{"
    assert "unexpected" in caught.value.reason


async def test_a_bad_query_in_a_setting_names_the_setting(client: PrometheusClient) -> None:
    with pytest.raises(BadQuery, match=r"setting 'vram_query': http://.*refuses the query") as caught:
        await client.require_valid("rate(m", setting="vram_query")
    assert caught.value.exit_code == 4


async def test_a_good_query_without_data_is_valid(client: PrometheusClient) -> None:
    await client.require_valid("m", setting="vram_query")


async def test_nothing_is_said_about_a_query_while_the_server_is_away(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    await prometheus.stop()
    with pytest.raises(
        PrometheusUnreachable, match=r"cannot be reached: Connection refused; the query was 'm\{'"
    ):
        await client.require_valid("m{", setting="vram_query")


async def test_a_server_that_comes_back_is_used_again(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    await client.query("m")
    await prometheus.stop()
    with pytest.raises(PrometheusUnreachable):
        await client.query("m")
    await prometheus.start()
    assert await client.query("m") == []


async def test_a_slow_server_times_out(prometheus: FakePrometheus) -> None:
    prometheus.delay = 60
    async with PrometheusClient(prometheus.url, timeout=0.05) as client:
        with pytest.raises(PrometheusTimeout, match=r"did not answer within 0.05 s; the query was 'm'"):
            await client.query("m")


async def test_a_query_that_the_server_gives_up_is_a_timeout(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(503, b'{"status":"error","errorType":"timeout","error":"query timed out"}')
    with pytest.raises(PrometheusTimeout, match="gave up: query timed out"):
        await client.query("m")


@pytest.mark.parametrize("status", [500, 503, 401, 404])
async def test_an_error_without_json_is_shown_with_its_status(
    prometheus: FakePrometheus, client: PrometheusClient, status: int
) -> None:
    prometheus.fail_next(status)
    with pytest.raises(BadAnswer, match=rf"failed \(HTTP {status}\): Service Unavailable"):
        await client.query("m")


async def test_a_query_that_fails_while_it_runs_is_not_a_bad_query(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(422, b'{"status":"error","errorType":"execution","error":"too many samples"}')
    with pytest.raises(BadAnswer, match=r"failed \(HTTP 422\): too many samples"):
        await client.query("m")


async def test_a_truncated_answer_is_a_bad_answer(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.truncate_next()
    with pytest.raises(BadAnswer, match="truncated"):
        await client.query("m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"[]",
        b"\xff\xfe",
        b'{"status":"success"}',
        b'{"status":"success","data":{"resultType":"string","result":[1,"a"]}}',
        b'{"status":"success","data":{"resultType":"vector","result":{}}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,2]]}]}}',
        vector("many"),
        b'{"status":"success","data":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"\xff"}}]}}',
    ],
)
async def test_an_answer_of_something_else_is_a_bad_answer(
    prometheus: FakePrometheus, client: PrometheusClient, body: bytes
) -> None:
    prometheus.answer_next(200, body)
    with pytest.raises(BadAnswer, match="the query was 'm'"):
        await client.query("m")


async def test_a_redirect_is_shown_and_not_followed(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(302, b"", headers={"Location": "https://login.example/"})
    with pytest.raises(BadAnswer, match=r"redirects to https://login\.example/; give that server's address"):
        await client.query("m")
    assert len(prometheus.requests) == 1


async def test_an_answer_beyond_the_bound_is_not_read_to_its_end(prometheus: FakePrometheus) -> None:
    prometheus.answer_next(200, gzip.compress(vector(*["1"] * 5000)), headers={"Content-Encoding": "gzip"})
    async with PrometheusClient(prometheus.url, max_answer_bytes=10_000) as client:
        with pytest.raises(AnswerTooLarge, match="more than 10000 bytes; make the query select less"):
            await client.query("m")


async def test_a_warning_is_logged_once(prometheus: FakePrometheus, client: PrometheusClient) -> None:
    prometheus.warnings = ["a store is away"]
    with structlog.testing.capture_logs() as logs:
        await client.query("m")
        await client.query("m")
    assert [entry["warning"] for entry in logs] == ["a store is away"]


async def test_the_password_of_the_address_is_used_and_never_shown(prometheus: FakePrometheus) -> None:
    address = prometheus.url.replace("//", "//me:hunter2@")
    async with PrometheusClient(address) as client:
        with pytest.raises(BadQuery) as caught:
            await client.query("m{")
    assert "hunter2" not in str(caught.value)
    assert prometheus.requests[0].headers["Authorization"].startswith("Basic ")


async def test_a_very_long_query_is_cut_in_errors(client: PrometheusClient) -> None:
    with pytest.raises(BadQuery) as caught:
        await client.query("m{" + "x" * 5000)
    assert len(str(caught.value)) < 1000


async def test_queries_at_the_same_time_do_not_mix(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    for index in range(20):
        prometheus.add(f"m{index}", {}, [(NOW, float(index))])
    answers = await asyncio.gather(*(client.query(f"m{index}") for index in range(20)))
    assert [series.values for (series,) in answers] == [[float(index)] for index in range(20)]


async def test_every_error_belongs_to_one_tree_with_exit_code_4() -> None:
    kinds = [AnswerTooLarge, BadAnswer, BadQuery, PrometheusTimeout, PrometheusUnreachable]
    assert all(issubclass(kind, PrometheusError) and kind.exit_code == 4 for kind in kinds)
