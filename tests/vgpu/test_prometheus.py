import asyncio
import contextlib
import gzip
import json
import math
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tenacity import wait_chain, wait_fixed, wait_none

from tests.support.fake_prometheus import FakePrometheus
from vgpu import prometheus_transport
from vgpu.prometheus import (
    Access,
    AnswerTooLarge,
    BadAnswer,
    BadQuery,
    PrometheusClient,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Series,
)
from vgpu.prometheus_answers import Question, read_answer

NOW = 1_700_000_000.0
VRAM = "tf_worker_usage_memory_bytes"
HINTS = {"partial_response": "false", "deny_partial_response": "1", "latency_offset": "1ms"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_transport, "_BACKOFF", wait_none())


@pytest.fixture
async def prometheus() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus(clock=lambda: NOW) as running:
        yield running


@pytest.fixture
async def client(prometheus: FakePrometheus) -> AsyncIterator[PrometheusClient]:
    async with PrometheusClient(prometheus.url, timeout=5, retries=2) as connected:
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
    access = Access(headers={"X-Scope-OrgID": SecretStr("team")})
    async with PrometheusClient(f"{prometheus.url}/", access=access) as client:
        await client.query_range("m", start=NOW, end=NOW + 1, step=0.5)
    (request,) = prometheus.requests
    assert (request.endpoint, request.method) == ("query_range", "POST")
    assert request.headers["X-Scope-OrgID"] == "team"
    asked = {"query": "m", "start": "1700000000.000", "end": "1700000001.000", "step": "0.500"}
    assert request.form == {**asked, **HINTS}


async def test_servers_are_told_to_give_whole_and_fresh_answers_at_one_time_too(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    await client.query("m")
    assert prometheus.requests[0].form == {"query": "m", **HINTS}


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
    with pytest.raises(BadQuery, match=r"refuses the query: .*unexpected .*; the query was 'm\{'") as caught:
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
    prometheus.fail_next(status, status, status)
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


async def test_an_infinite_value_among_many_is_read(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(200, vector("1.5", "+Inf", "NaN", "-Inf", "1e-7"))
    values = [series.values[0] for series in await client.query("m")]
    assert values[:2] == [1.5, math.inf]
    assert math.isnan(values[2])
    assert values[3:] == [-math.inf, 1e-7]


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_every_number_comes_as_the_server_wrote_it(numbers: list[float]) -> None:
    """Go writes the shortest digits that give the same number again; so what is read is exactly that."""
    points = [[NOW + at, repr(number)] for at, number in enumerate(numbers)]
    data = {"resultType": "matrix", "result": [{"metric": {"pod": "a"}, "values": points}]}
    body = json.dumps({"status": "success", "data": data}).encode()
    [series] = read_answer(body, status=200, question=Question("http://prometheus", "m")).series
    assert series.times == [NOW + at for at in range(len(numbers))]
    assert [repr(value) for value in series.values] == [repr(number) for number in numbers]


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
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,[]]]}]}}',
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
        with pytest.raises(
            AnswerTooLarge, match=r"more than 10000 bytes; .* in parts.* raise prometheus_max_answer"
        ):
            await client.query("m")


async def test_a_warning_is_logged_once(prometheus: FakePrometheus, client: PrometheusClient) -> None:
    prometheus.warnings = ["a store is away"]
    with structlog.testing.capture_logs() as logs:
        await client.query("m")
        await client.query("m")
    assert [entry["warning"] for entry in logs] == ["a store is away"]


async def test_a_remark_of_the_server_is_logged_once_and_is_no_warning(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    body = json.loads(vector("1")) | {"infos": ["might not be a counter"]}
    for _ in range(2):
        prometheus.answer_next(200, json.dumps(body).encode())
    with structlog.testing.capture_logs() as logs:
        await client.query("m")
        await client.query("m")
    assert [(entry["log_level"], entry["info"]) for entry in logs] == [("info", "might not be a counter")]


async def test_an_answer_in_part_is_no_answer(prometheus: FakePrometheus, client: PrometheusClient) -> None:
    whole = json.loads(vector("1")) | {"isPartial": False}
    partial = whole | {"isPartial": True, "warnings": ["10.0.0.1 is away"]}
    prometheus.answer_next(200, json.dumps(partial).encode())
    prometheus.answer_next(200, json.dumps(whole).encode())
    with pytest.raises(BadAnswer, match=r"in part only: 10\.0\.0\.1 is away"):
        await client.query("m")
    assert len(await client.query("m")) == 1


def refusal(kind: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": "no" * 10**6}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, refusal("bad_data")),
        (422, refusal("execution")),
        (503, refusal("timeout")),
        (200, b'{"status":"success","data":{"resultType":"%s","result":[]}}' % (b"x" * 10**6)),
        (200, vector("x" * 10**6)),
    ],
)
async def test_a_reason_without_end_is_cut(
    prometheus: FakePrometheus, client: PrometheusClient, status: int, body: bytes
) -> None:
    prometheus.answer_next(status, body)
    with pytest.raises(PrometheusError) as caught:
        await client.query("m")
    assert len(str(caught.value)) < 1000
    assert len(getattr(caught.value, "reason", "")) < 400


async def test_a_warning_without_end_is_cut_before_it_is_kept(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.warnings = ["w" * 10**6]
    with structlog.testing.capture_logs() as logs:
        await client.query("m")
    assert len(logs[0]["warning"]) < 400
    assert max(map(len, client._warned)) < 400


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (302, b"", {"Location": "/login"}, False),
        (401, b"who?", {}, False),
        (403, b"no", {}, False),
        (404, b"nothing here", {}, False),
        (429, b"slow down", {}, False),
        (200, b"<html>", {}, False),
        (400, refusal("bad_data"), {}, True),
        (422, refusal("execution"), {}, True),
        (500, b"out of memory", {}, True),
        (503, refusal("timeout"), {}, True),
        (422, refusal("execution"), {"Retry-After": "60"}, False),
        (503, b"busy", {"Retry-After": "60"}, False),
        (503, refusal("timeout"), {"Retry-After": "60"}, False),
    ],
)
async def test_an_error_tells_whether_less_at_once_may_be_answered(
    prometheus: FakePrometheus, status: int, body: bytes, headers: dict[str, str], *, expected: bool
) -> None:
    prometheus.answer_next(status, body, headers=headers)
    async with PrometheusClient(prometheus.url, timeout=5) as client:
        with pytest.raises(PrometheusError) as caught:
            await client.query("m")
    assert caught.value.halving_helps is expected


def test_a_timeout_and_too_many_bytes_are_better_asked_for_in_halves() -> None:
    assert PrometheusTimeout("").halving_helps
    assert AnswerTooLarge("").halving_helps
    assert not PrometheusUnreachable("").halving_helps


async def test_warnings_without_end_are_neither_kept_nor_logged(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    with structlog.testing.capture_logs() as logs:
        prometheus.warnings = [f"sample {number} is odd" for number in range(300)]
        await client.query("m")
    assert len(logs) == 100


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_trouble_that_passes_is_not_seen(
    prometheus: FakePrometheus, client: PrometheusClient, status: int
) -> None:
    prometheus.fail_next(status, status)
    assert await client.query("m") == []
    assert len(prometheus.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_pass_is_asked_once(
    prometheus: FakePrometheus, client: PrometheusClient, status: int
) -> None:
    prometheus.fail_next(status, status)
    with pytest.raises(BadAnswer):
        await client.query("m")
    assert len(prometheus.requests) == 1


async def test_a_query_that_takes_the_server_too_long_is_asked_once(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(503, b'{"status":"error","errorType":"timeout","error":"query timed out"}')
    with pytest.raises(PrometheusTimeout):
        await client.query("m")
    assert len(prometheus.requests) == 1


async def test_a_connection_that_breaks_off_is_made_again(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.answer_next(200, vector("1"), headers={"Content-Encoding": "gzip"})
    assert await client.query("m") == []
    assert len(prometheus.requests) == 2


async def test_nothing_is_tried_again_unless_it_is_set() -> None:
    async with FakePrometheus() as prometheus:
        async with PrometheusClient(prometheus.url) as client:
            prometheus.fail_next(503)
            with pytest.raises(BadAnswer):
                await client.query("m")
        assert len(prometheus.requests) == 1


async def test_after_a_failed_query_each_is_tried_once_until_one_is_answered(
    prometheus: FakePrometheus, client: PrometheusClient
) -> None:
    prometheus.fail_next(*[503] * 5)
    counts = []
    for _ in range(5):
        before = len(prometheus.requests)
        with contextlib.suppress(BadAnswer):
            await client.query("m")
        counts.append(len(prometheus.requests) - before)
        if counts == [3, 1, 1, 1]:
            prometheus.fail_next(503, 503)
    assert counts == [3, 1, 1, 1, 3]


async def test_a_server_that_wants_more_time_than_there_is_gets_no_second_query(
    prometheus: FakePrometheus,
) -> None:
    prometheus.answer_next(429, b"slow down", headers={"Retry-After": "60"})
    async with PrometheusClient(prometheus.url, timeout=5, retries=2) as client:
        with pytest.raises(BadAnswer, match=r"failed \(HTTP 429\): slow down"):
            await client.query("m")
    assert len(prometheus.requests) == 1


async def test_the_time_a_server_wants_is_waited_for(prometheus: FakePrometheus) -> None:
    prometheus.answer_next(429, b"slow down", headers={"Retry-After": "0"})
    prometheus.answer_next(503, b"starting", headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})
    async with PrometheusClient(prometheus.url, timeout=5, retries=2) as client:
        assert await client.query("m") == []
    assert len(prometheus.requests) == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_the_time_a_server_wants_is_seconds_or_a_date(header: str, seconds: float) -> None:
    assert prometheus_transport._seconds(header) == seconds


def test_a_date_to_come_is_so_many_seconds_away() -> None:
    header = formatdate(time.time() + 1000, usegmt=True)
    assert prometheus_transport._seconds(header) == pytest.approx(1000, abs=10)


async def test_no_attempt_begins_after_the_time_that_one_query_may_take(
    prometheus: FakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second attempt is made at once, and the third would be when the time is over: nobody waits for it.
    monkeypatch.setattr(prometheus_transport, "_BACKOFF", wait_chain(wait_none(), wait_fixed(30)))
    prometheus.fail_next(*[503] * 11)
    async with PrometheusClient(prometheus.url, timeout=30, retries=10) as client:
        with pytest.raises(BadAnswer):
            await client.query("m")
    assert len(prometheus.requests) == 2


async def test_the_password_of_the_address_is_used_and_never_shown(prometheus: FakePrometheus) -> None:
    address = prometheus.url.replace("//", "//me:hunter2@")
    async with PrometheusClient(address) as client:
        with pytest.raises(BadQuery) as caught:
            await client.query("m{")
    assert "hunter2" not in str(caught.value)
    assert prometheus.requests[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:p@sekrit@host:1/path", "http://host:1/path"),
        ("http://user:sek/rit@host", "an address that cannot be read"),
        ("http://sek/rit@host/path", "an address that cannot be read"),
        ("http://[::1]:9090", "http://[::1]:9090"),
        ("http://u:sekrit@[::1", "an address that cannot be read"),
        ("https://Host/x?token=sekrit#sekrit", "https://host/x"),
        ("/login?token=sekrit", "/login"),
    ],
)
def test_of_an_address_only_host_port_and_path_are_shown(url: str, shown: str) -> None:
    assert prometheus_transport.without_password(url) == shown


@pytest.mark.parametrize("secret", ["p@sekrit", "sek/rit", "sek rit"])
async def test_no_part_of_a_password_that_is_not_encoded_is_in_an_error(secret: str) -> None:
    async with PrometheusClient(f"http://user:{secret}@127.0.0.1:1", timeout=1) as client:
        with pytest.raises(PrometheusUnreachable) as caught:
            await client.query("m")
    assert "sek" not in str(caught.value)
    assert "rit" not in str(caught.value)


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
