import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from recommender.external_scaler.scalers import Scalers
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.settings import RecommenderSettings
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.scaling import FakeScaler
from tests.support.waiting import until
from vgpu.api import parse_spec
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject


class Office:
    """The scalers of many workloads, all at one server, and the time."""

    def __init__(self, fake: FakeScaler, client: KubeClient, **settings: Any) -> None:
        self.fake = fake
        self.now = 1_800_000_000.0
        self.registry = CollectorRegistry()
        self.workloads: dict[WorkloadKey, CustomObject] = {}
        chosen = {"external_scaler_urls": (fake.url,), "external_scaler_allow_local": True, **settings}
        self.scalers = Scalers.from_settings(
            RecommenderSettings(prometheus_url="http://127.0.0.1:9090", **chosen),
            client=client,
            find=self.workloads.get,
            changed=lambda _: None,
            metrics=RecommenderMetrics(self.registry),
            clock=lambda: self.now,
        )

    def add(self, *names: str, path: str = "") -> None:
        spec = {"autoScalingConfig": {"externalScaler": {"enable": True, "url": f"{self.fake.url}{path}"}}}
        for name in names:
            live = builders.workload_struct(name)
            self.workloads[WorkloadKey("default", name)] = live
            self.scalers.book.consult(live, parse_spec(spec), self.now)

    def counted(self, outcome: str) -> float | None:
        name = "vgpu_recommender_external_scaler_requests_total"
        return self.registry.get_sample_value(name, {"outcome": outcome})


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Office]:
    async with FakeScaler() as fake, FakeKube() as kube, kube.client() as client:
        yield Office(fake, client, **settings)


@asynccontextmanager
async def asking(office: Office) -> AsyncIterator[None]:
    task = asyncio.create_task(office.scalers.asker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_no_more_is_asked_at_once_than_the_setting_allows() -> None:
    async with opened(external_scaler_concurrency=2) as office:
        office.fake.silent = lambda _: True
        office.add("a", "b", "c", "d")
        async with asking(office):
            await until(lambda: office.fake.under_way == 2, what="as many as may be are under way")
            assert len(office.fake.asked) == 2
        await until(lambda: office.fake.under_way == 0, what="all of them end with the term")


async def test_scalers_that_were_quick_do_not_wait_for_those_that_are_silent() -> None:
    async with opened(external_scaler_concurrency=1) as office:
        office.add("quick")
        async with asking(office):
            await until(lambda: office.counted("Answered") == 1, what="it is known to be quick")
            office.fake.silent = lambda question: question.body["workloadName"] != "quick"
            office.add("slow-a", "slow-b")
            await until(lambda: office.fake.under_way == 1, what="a silent one takes the other place")
            office.now += 60
            await until(lambda: office.counted("Answered") == 2, what="the quick one is asked again")


async def test_entries_of_the_list_do_not_wait_for_each_other() -> None:
    async with FakeScaler() as fake, FakeKube() as kube, kube.client() as client:
        urls = (f"{fake.url}/a", f"{fake.url}/b")
        office = Office(fake, client, external_scaler_concurrency=1, external_scaler_urls=urls)
        fake.silent = lambda question: question.path == "/a"
        office.add("slow", path="/a")
        async with asking(office):
            await until(lambda: fake.under_way == 1, what="the first is silent")
            office.add("web", path="/b")
            await until(lambda: office.counted("Answered") == 1, what="the second is asked")


async def test_a_mistake_of_ours_about_one_workload_stops_no_other() -> None:
    async with opened() as office:
        office.add("web", "broken")
        office.workloads[WorkloadKey("default", "broken")] = object()  # type: ignore[assignment]
        with capture_logs() as logs:
            await office.scalers.asker.ask_due()
        assert office.fake.workloads() == ["web"]
        assert (office.counted("Answered"), office.counted("Unreachable")) == (1, 1)
        assert any(entry["event"] == "an external scaler cannot be asked" for entry in logs)


async def test_a_workload_that_is_not_there_yet_is_asked_for_later() -> None:
    async with opened() as office:
        office.add("web")
        live = office.workloads.pop(WorkloadKey("default", "web"))
        await office.scalers.asker.ask_due()
        assert office.fake.asked == []
        office.workloads[WorkloadKey("default", "web")] = live
        office.now += 60
        await office.scalers.asker.ask_due()
        assert office.fake.workloads() == ["web"]


async def test_without_a_list_the_loop_ends_by_itself() -> None:
    async with opened(external_scaler_urls=()) as office:
        async with asyncio.timeout(1):
            await office.scalers.asker.run()
