import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from recommender.bank.kernels import NumpyKernels
from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex
from recommender.cluster.view import Cluster
from recommender.errors import MissingPermissions, TermOver, UnusableDirectory
from recommender.main import Recommender, run, serve
from recommender.permissions import ACCESS_REVIEWS
from recommender.settings import RecommenderSettings
from recommender.term import Term
from tests.support.fake_kube import FakeKube
from tests.support.fake_prometheus import FakePrometheus
from tests.support.recommending import recommending
from tests.support.waiting import until
from vgpu.errors import ExitCode
from vgpu.gpu_peaks import load_models
from vgpu.kube.errors import ApiUnreachable, KubeConfigError, MissingCrds
from vgpu.kube.resources import HPAS, NAMESPACES, PROFILES, WORKLOADS
from vgpu.prometheus import BadQuery, PrometheusClient
from vgpu.serving import ServingError
from vgpu.settings import SettingsError, load_settings
from vgpu.usage_sources import TENSORFUSION


class HeldForEver:
    """The Lease of a replica that is alone."""

    def remaining(self) -> float:
        return math.inf


BAD = b'{"status":"error","errorType":"bad_data","error":"parse error: unexpected <by>"}'


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube() as fake:
        fake.api.served.add(ACCESS_REVIEWS)
        grant(fake)
        fake.put(NAMESPACES, {"metadata": {"name": "vgpu-autoscaler"}})
        yield fake


@pytest.fixture
async def prometheus() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as fake:
        yield fake


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[NumpyKernels]:
    """The kernels that were set up, none of which is compiled."""
    kernels: list[NumpyKernels] = []

    def make() -> NumpyKernels:
        assert threading.current_thread() is not threading.main_thread()
        kernels.append(NumpyKernels())
        return kernels[-1]

    monkeypatch.setattr("recommender.main.best_kernels", make)
    return kernels


def grant(kube: FakeKube, *, all_but: str = "") -> None:
    """Let the fake answer access reviews; everything is allowed but one verb on one resource."""
    answer = kube.api.answer

    def answer_reviews(asked: Any) -> Any:
        if not asked.path.endswith(ACCESS_REVIEWS.plural):
            return answer(asked)
        wanted = asked.body["spec"]["resourceAttributes"]
        return {"status": {"allowed": f"{wanted['verb']} {wanted['resource']}" != all_but}}

    kube.api.answer = answer_reviews  # type: ignore[method-assign]  # the fake has no authorization of its own


def settings(kube: FakeKube, prometheus: FakePrometheus, **more: Any) -> RecommenderSettings:
    given = {
        "kubeconfig": kube.kubeconfig,
        "prometheus_url": prometheus.url,
        "ops_host": "127.0.0.1",
        "ops_port": 0,
        "startup_timeout": 5,
        **more,
    }
    return RecommenderSettings(**given)


@asynccontextmanager
async def serving(chosen: RecommenderSettings) -> AsyncIterator[str]:
    """The address of the ops server of a recommender that runs, and then is asked to stop."""
    stop = asyncio.Event()
    with capture_logs() as logs:
        task = asyncio.create_task(serve(chosen, stop))
        await until(lambda: list(_port(logs)) or task.done())
        yield f"http://127.0.0.1:{next(_port(logs))}"
        stop.set()
        async with asyncio.timeout(3):
            await task


def _port(logs: list[Any]) -> Iterator[int]:
    return (entry["ops_port"] for entry in logs if entry["event"] == "ready to recommend")


async def fetch(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def became(url: str, status: int, *, told: str = "") -> None:
    async with asyncio.timeout(5):
        while True:
            code, text = await fetch(url)
            if code == status and told in text:
                return


async def failure(chosen: RecommenderSettings) -> Exception:
    """The one error that a start ends with."""
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(8):
            await serve(chosen, asyncio.Event())
    error: Exception = raised.value
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    return error


async def test_it_gets_ready_shows_metrics_and_stops_when_asked(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    async with serving(settings(kube, prometheus)) as url:
        await became(f"{url}/readyz", 200)
        assert await fetch(f"{url}/healthz") == (200, "ok\n")
        status, text = await fetch(f"{url}/metrics")
        assert status == 200
        assert "vgpu_recommender_workloads 0.0" in text


async def test_loops_are_set_up_once_for_all_terms(
    kube: FakeKube,
    prometheus: FakePrometheus,
    made: list[NumpyKernels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[object] = []

    async def end_at_once(self: Recommender, _: object) -> Term:
        begun.append(self._kernels)
        raise TermOver("another one follows")

    monkeypatch.setattr("recommender.leadership.tenure._PAUSE", 0)
    monkeypatch.setattr(Recommender, "begin_term", end_at_once)
    async with serving(settings(kube, prometheus, leader_election=False)):
        await until(lambda: len(begun) > 2)
    [kernels] = made
    assert {id(each) for each in begun} == {id(kernels)}


async def test_it_is_not_ready_before_its_loops_are_set_up(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    async with kube.client() as client, PrometheusClient(prometheus.url) as source:
        subject = Recommender(
            settings=settings(kube, prometheus, checkpoint_store="none"),
            client=client,
            source=source,
            preset=TENSORFUSION,
        )
        assert "the loops over histograms are being set up" in subject.not_ready()
        await subject.begin_term(HeldForEver())
        assert "the loops over histograms are being set up" not in subject.not_ready()


async def test_a_source_that_is_away_is_no_reason_not_to_start_but_not_to_be_ready(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    await prometheus.stop()
    async with serving(settings(kube, prometheus, interval=0.1, settle=0)) as url:
        await became(f"{url}/readyz", 503, told="the metric source fails")
        await prometheus.start()
        await became(f"{url}/readyz", 200)


async def test_bad_promql_ends_the_start_and_names_setting_and_reason(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    prometheus.answer_next(400, BAD, headers={"Content-Type": "application/json"})
    error = await failure(settings(kube, prometheus))
    assert isinstance(error, BadQuery)
    assert "'preset'" in str(error)
    assert "unexpected <by>" in str(error)
    assert error.exit_code == ExitCode.METRIC_SOURCE


async def test_missing_crds_end_the_start_and_are_named(kube: FakeKube, prometheus: FakePrometheus) -> None:
    kube.unserve(WORKLOADS)
    kube.unserve(PROFILES)
    error = await failure(settings(kube, prometheus))
    assert isinstance(error, MissingCrds)
    assert "tensorfusionworkloads.tensor-fusion.ai, workloadprofiles.tensor-fusion.ai" in str(error)
    assert "manifests/crds" in str(error)


async def test_missing_permissions_end_the_start_and_are_named(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    grant(kube, all_but="patch tensorfusionworkloads")
    error = await failure(settings(kube, prometheus))
    assert isinstance(error, MissingPermissions)
    assert "patch tensorfusionworkloads.tensor-fusion.ai/status" in str(error)
    assert "list pods" not in str(error)
    assert error.exit_code == ExitCode.CLUSTER


async def test_a_place_for_checkpoints_that_is_not_there_ends_the_start_and_is_named(
    kube: FakeKube, prometheus: FakePrometheus, tmp_path: Path
) -> None:
    place = tmp_path / "volume"
    error = await failure(
        settings(kube, prometheus, checkpoint_store="directory", checkpoint_directory=place)
    )
    assert isinstance(error, UnusableDirectory)
    assert f"checkpoint_directory '{place}'" in str(error)
    assert error.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("plural", ["deployments", "statefulsets", "daemonsets", "cronjobs", "jobs"])
async def test_every_kind_that_owns_pods_must_be_readable(
    kube: FakeKube, prometheus: FakePrometheus, plural: str
) -> None:
    grant(kube, all_but=f"get {plural}")
    assert f"get {plural}" in str(await failure(settings(kube, prometheus)))


async def test_a_reflector_that_hears_nothing_for_long_makes_it_unready() -> None:
    async with recommending() as rig:
        assert not any("out of date" in reason for reason in rig.recommender.not_ready())
        rig.recommender.cluster.hpas._last_contact -= 301
        [reason] = [each for each in rig.recommender.not_ready() if "out of date" in each]
        assert reason.startswith("hpas may be out of date")
        assert rig.recommender.registry.get_sample_value(
            "vgpu_kube_last_contact_seconds", {"resource": HPAS.full_name}
        ) == pytest.approx(301, abs=5)


async def test_all_that_is_listed_at_the_start_has_one_deadline() -> None:
    async with FakeKube() as kube, kube.client() as client:
        cluster = Cluster(client, Changes(), Claims(PodIndex(OwnerLookup(client))), load_models())
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(0.4):
                await cluster.wait_synced(0.1)


async def test_an_unreachable_api_server_ends_the_start_and_is_named(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    await kube.stop()
    error = await failure(settings(kube, prometheus, startup_timeout=0.3))
    assert isinstance(error, ApiUnreachable)
    assert kube.url in str(error)


async def test_a_missing_kubeconfig_ends_the_start(kube: FakeKube, prometheus: FakePrometheus) -> None:
    error = await failure(settings(kube, prometheus, kubeconfig="/nonexistent/kubeconfig"))
    assert isinstance(error, KubeConfigError)


async def test_a_port_that_is_taken_ends_the_start_and_names_the_setting(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    error = await failure(settings(kube, prometheus, ops_port=kube.port))
    assert isinstance(error, ServingError)
    assert "ops_port" in str(error)


async def test_it_stops_when_asked_while_it_still_waits_for_the_cluster(
    kube: FakeKube, prometheus: FakePrometheus
) -> None:
    await kube.stop()
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings(kube, prometheus, startup_timeout=60), stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(3):
        await task


def test_the_command_line_finds_the_settings_model() -> None:
    assert run.__annotations__["settings"] is RecommenderSettings


def test_a_sample_comes_once_an_interval_unless_a_step_is_set() -> None:
    assert RecommenderSettings(interval="30s").step == 30
    assert RecommenderSettings(interval="30s", usage_step="10s").step == 10


def test_a_half_life_that_is_too_short_for_the_peak_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="half_life 1800 s is too short for peak_window 86400 s"):
        RecommenderSettings(half_life="30m")
    assert RecommenderSettings(half_life="36m").half_life == 2160
    assert RecommenderSettings(half_life="30s", peak_window="10s").half_life == 30


@pytest.mark.parametrize("setting", ["interval", "usage_step"])
def test_a_step_that_prometheus_cannot_tell_from_none_is_refused(setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"'{setting.replace('_', '.')}'.*greater than or equal to 0.1"):
        load_settings(
            RecommenderSettings,
            file=None,
            flags={"prometheus_url": "http://prometheus:9090", setting: "0.4ms"},
            environ={},
        )
