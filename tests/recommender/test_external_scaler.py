"""External scalers in a whole recommender: a real HTTP server, and what its answers do to the status."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support import builders
from tests.support.recommending import Rig, recommending
from tests.support.scaling import CONTENT, FakeScaler
from tests.support.scaling import recommending as asking_for
from tests.support.waiting import until
from vgpu.annotations import AUTO_RESOURCES, AUTO_SCALE_TARGET_RESOURCE, EXTERNAL_SCALER, WORKLOAD_PROFILE
from vgpu.kube.resources import PROFILES, SECRETS, WORKLOADS

PROFILED = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all", WORKLOAD_PROFILE: "advised"}
AVAILABLE = "ExternalScalerAvailable"
GIB = 1 << 30


@asynccontextmanager
async def advised(
    *, config: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Rig, FakeScaler]]:
    """A workload `web`, asking for 10 of 40 TFLOPS and 8 GiB, whose scaler has not been asked yet."""
    async with FakeScaler() as scaler:
        allowed = {"external_scaler_urls": (scaler.url,), "external_scaler_allow_local": True}
        async with recommending(**{**allowed, **settings}) as rig:
            configure(rig, scaler, **(config or {}))
            rig.deploy("web", annotations=PROFILED)
            await rig.settle()
            yield rig, scaler


def configure(rig: Rig, fake: FakeScaler, **config: Any) -> None:
    written = {"enable": True, "url": f"{fake.url}/advise", **config.pop("scaler", {})}
    quick = {"autoSetResources": {"minSamples": 3, "confidenceInterval": "1s"}}
    spec = {"autoScalingConfig": {**quick, "externalScaler": written, **config}}
    rig.kube.put(PROFILES, builders.profile("advised", spec=spec))


async def ask(rig: Rig, *, minutes: int = 0) -> None:
    """Ask whoever is due after so many minutes, and bring everything in step with the answers."""
    rig.now += 60 * minutes
    await rig.term.scalers.asker.ask_due()
    await rig.settle()


def requests(rig: Rig) -> dict[str, str]:
    found: dict[str, str] = rig.status()["recommendation"]["requests"]
    return found


def reason(rig: Rig, type_: str = AVAILABLE) -> str | None:
    condition = rig.condition(type_=type_)
    return condition["reason"] if condition is not None else None


async def test_what_the_scaler_asks_for_is_recommended_with_its_reason() -> None:
    async with advised() as (rig, scaler):
        own = rig.kube.get(WORKLOADS, "default", "web")["spec"]["resources"]
        scaler.answer = asking_for(tflops="20", reason="queue is long")
        await ask(rig)
        [question] = scaler.asked
        assert question.path == "/advise"
        assert question.body == {"workloadName": "web", "namespace": "default", "currentResources": own}
        assert requests(rig) == {"tflops": "20", "vram": own["requests"]["vram"]}
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "ExternalScalerRecommended"
        assert condition["message"] == "TFLOPS scaled up due to external scaler (20): queue is long"
        assert (reason(rig), rig.status()["estimation"]["tflops"]["source"]) == ("Answered", "ExternalScaler")


async def test_the_limit_keeps_the_ratio_of_the_template() -> None:
    async with advised() as (rig, scaler):
        own = rig.kube.get(WORKLOADS, "default", "web")["spec"]["resources"]
        ratio = int(own["limits"]["tflops"]) // int(own["requests"]["tflops"])
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        assert rig.status()["recommendation"]["limits"]["tflops"] == str(20 * ratio)


async def test_an_answer_counts_in_place_of_usage_for_what_it_names_alone() -> None:
    async with advised() as (rig, scaler):
        rig.use("web", tflops=30.0, vram=2e9, minutes=60)
        await rig.skip(minutes=5)
        vram = requests(rig)["vram"]
        scaler.answer = asking_for(tflops="5")
        await ask(rig)
        await rig.pass_time(minutes=2)
        assert requests(rig) == {"tflops": "5", "vram": vram}
        assert "source" not in rig.status()["estimation"]["vram"]


async def test_an_answer_is_bounded_like_any_recommendation() -> None:
    async with advised(config={"autoSetResources": {"maxAllowed": {"tflops": "15"}}}) as (rig, scaler):
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        assert requests(rig)["tflops"] == "15"
        condition = rig.condition()
        assert condition is not None
        assert "TFLOPS reduced due to target (20) exceed max allowed (15)" in condition["message"]


async def test_a_scaler_that_is_content_leaves_what_it_asked_for() -> None:
    async with advised() as (rig, scaler):
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        scaler.answer = CONTENT
        for _ in range(6):
            await ask(rig, minutes=1)
        assert requests(rig)["tflops"] == "20"
        assert scaler.asked[-1].body["currentResources"]["requests"]["tflops"] == "20"
        before = rig.status_writes()
        await ask(rig, minutes=1)
        assert rig.status_writes() == before


async def test_a_failure_leaves_the_last_recommendation_and_is_told() -> None:
    async with advised() as (rig, scaler):
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        scaler.answer = b"not JSON"
        for _ in range(5):
            await ask(rig, minutes=1)
        assert reason(rig) == "InvalidAnswer"
        assert requests(rig)["tflops"] == "20"


async def test_usage_decides_again_once_the_last_answer_is_too_old() -> None:
    async with advised() as (rig, scaler):
        rig.use("web", tflops=30.0, vram=2e9, minutes=60)
        await rig.skip(minutes=5)
        scaler.answer = asking_for(tflops="2")
        await ask(rig)
        scaler.answer = b"not JSON"
        for _ in range(2):
            await ask(rig, minutes=1)
            assert requests(rig)["tflops"] == "2"
        await ask(rig, minutes=1)
        assert int(requests(rig)["tflops"].removesuffix("m")) > 30_000
        assert reason(rig, "RecommendationProvided") == "OutOfEstimatedBound"


async def test_an_active_rule_counts_where_it_asks_for_more() -> None:
    rule = builders.cron_rule("day", start="0 0 * * *", end="59 23 * * *")
    rule["desiredResources"] = {"requests": {"tflops": "15"}}
    async with advised(config={"cronScalingRules": [rule]}) as (rig, scaler):
        scaler.answer = asking_for(tflops="5")
        await ask(rig)
        assert requests(rig)["tflops"] == "15"
        scaler.answer = asking_for(tflops="30")
        await ask(rig, minutes=1)
        assert requests(rig)["tflops"] == "30"


async def test_a_restart_keeps_what_the_scaler_asked_for() -> None:
    async with advised() as (rig, scaler):
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        before = rig.status_writes()
        await rig.restart(save=False)
        assert requests(rig)["tflops"] == "20"
        scaler.answer = CONTENT
        await ask(rig)
        assert (requests(rig)["tflops"], rig.status_writes()) == ("20", before)


async def test_a_scaler_that_is_switched_off_has_no_say_any_more() -> None:
    async with advised() as (rig, scaler):
        scaler.answer = asking_for(tflops="20")
        await ask(rig)
        configure(rig, scaler, scaler={"enable": False})
        await rig.settle()
        own = rig.kube.get(WORKLOADS, "default", "web")["spec"]["resources"]
        assert requests(rig)["tflops"] == own["requests"]["tflops"]
        assert reason(rig) == "Disabled"
        await ask(rig, minutes=5)
        assert len(scaler.asked) == 1


async def test_without_the_operators_list_nobody_is_asked_and_no_secret_is_read() -> None:
    async with advised(config={"scaler": {"apiKeySecretRef": {"name": "key"}}}, external_scaler_urls=()) as (
        rig,
        scaler,
    ):
        await ask(rig, minutes=1)
        assert (scaler.asked, reason(rig)) == ([], "Disabled")
        assert not [request for request in rig.kube.requests if "/secrets/" in request.path]


async def test_an_address_that_is_not_listed_is_not_asked() -> None:
    async with advised(external_scaler_urls=("https://scaler.example.com",)) as (rig, scaler):
        await ask(rig)
        assert (scaler.asked, reason(rig)) == ([], "NotAllowed")


async def test_a_local_address_is_not_asked_unless_the_operator_says_so() -> None:
    async with advised(external_scaler_allow_local=False) as (rig, scaler):
        await ask(rig)
        assert (scaler.asked, reason(rig)) == ([], "NotAllowed")


async def test_a_scaler_is_not_asked_before_the_workload_is_old_enough() -> None:
    # The fake cluster's objects are ten hours old.
    async with advised(config={"scaler": {"initialDelayPeriod": "601m"}}) as (rig, scaler):
        await ask(rig)
        assert scaler.asked == []
        await ask(rig, minutes=1)
        assert len(scaler.asked) == 1


async def test_a_scaler_is_asked_once_in_its_interval() -> None:
    async with advised(config={"scaler": {"interval": "5m"}}) as (rig, scaler):
        for _ in range(11):
            await ask(rig, minutes=1)
        assert len(scaler.asked) == 3


async def test_a_token_goes_from_the_labelled_secret_to_the_scaler_and_nowhere_else() -> None:
    async with advised(config={"scaler": {"apiKeySecretRef": {"name": "key"}}}) as (rig, scaler):
        await ask(rig)
        assert (scaler.asked, reason(rig)) == ([], "SecretUnusable")
        secret = {
            "metadata": {"name": "key", "namespace": "default", "labels": {EXTERNAL_SCALER: "true"}},
            "data": {"token": base64.b64encode(b"hush\n").decode()},
        }
        rig.kube.put(SECRETS, secret)
        scaler.answer = asking_for(tflops="20", reason="you sent me hush")
        await ask(rig, minutes=1)
        assert scaler.asked[0].headers["Authorization"] == "Bearer hush"
        assert reason(rig) == "Answered"
        assert "hush" not in str(rig.status())


async def test_a_term_asks_by_itself_and_a_silent_scaler_holds_up_nobody() -> None:
    async with advised(interval=0.2) as (rig, scaler):
        for number in range(3):
            rig.deploy(f"slow-{number}", annotations=PROFILED)
        scaler.silent = lambda question: question.body["workloadName"] != "web"
        scaler.answer = asking_for(tflops="20")
        rig.run_clock(begin=rig.now)
        async with rig.leading():
            await until(lambda: scaler.workloads().count("web") > 3, what="web is asked for again and again")
            await until(lambda: reason(rig) == "Answered", what="the answer is told")
            assert scaler.under_way == 3
            assert requests(rig)["tflops"] == "20"
        await until(lambda: scaler.under_way == 0, what="the requests end with the term")
