"""kube-apiserver is killed while hundreds of statuses are being written, and comes back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import psutil

from devcluster.components import KUBE_APISERVER
from devcluster.services import RECOMMENDER
from devcluster.story import NotYet, until
from recommender.rhythm import WRITERS
from tests.e2e.crowd import NEW, OFF, ON, Crowd, Told, at_rest, passed, rule
from tests.e2e.objects import PROFILED, QUICK, deployment, profile
from tests.e2e.test_cron_rules import cron
from tests.e2e.trial import LEADER, Scene, now

APPS = ("one", "two")
SIZES = {"first": 150, "second": 150, "third": 100}
# Without back-fill a history that was lost would stay lost.
STRICT = {"checkpoint-interval": "2s", "no-backfill": "", "settle": "3s"}
# On a slow machine kube-apiserver takes ten seconds and more to start: a short outage is to leave the Lease.
LONG_LEASE = {"lease-duration": "25s", "lease-renew-deadline": "20s"}

PROMISED = 30.0
"""Seconds after kube-apiserver is back within which all is right."""
ATTEMPTS = 4
"""Of each request, with back-off in between."""
MOST_AT_FIRST = ATTEMPTS * (WRITERS + 10)
"""Requests that are on their way when nobody answers any more: of writers, watches, the Lease, an Event."""
MOST_A_SECOND = 12
"""Requests after that: of one writer that tries, the Lease, and watches."""
MOST_BUSY = 0.5
"""Of a core; usage is read and judged every two seconds all along."""
MINUTE = timedelta(minutes=1)
LEAD = timedelta(seconds=30)
"""For the crowd to be made, and told of for the first time, before its rule begins."""

ERRORS = "vgpu_kube_request_errors_total"
INTERRUPTIONS = "vgpu_kube_watch_interruptions_total"
WATCHED = {"pods", "tensorfusionworkloads.tensor-fusion.ai"}
TERMS = "vgpu_recommender_leader_transitions_total"

Record = Callable[[str, object], None]


class Outage:
    """A time without kube-apiserver, as the recommender spends it.

    Args:
        scene: where the recommender runs.
    """

    def __init__(self, scene: Scene) -> None:
        self.seconds = self.busy = self.refused = 0.0
        self._scene = scene
        self._process = psutil.Process(scene.trial.services.pid(RECOMMENDER))
        self._begun = self._used = self._refused = 0.0

    async def begin(self) -> None:
        """Kill kube-apiserver."""
        self._refused = await self._unanswered()
        self._begun, self._used = time.monotonic(), self._cpu()
        await self._scene.trial.cluster.stop_component(KUBE_APISERVER, kill=True)

    async def end(self) -> float:
        """Start kube-apiserver again; when it is ready, in seconds since the epoch."""
        self.seconds = time.monotonic() - self._begun
        self.busy = (self._cpu() - self._used) / self.seconds
        self.refused = await self._unanswered() - self._refused
        await self._scene.trial.cluster.restart_component(KUBE_APISERVER)
        return time.time()

    async def _unanswered(self) -> float:
        return (await self._scene.metrics()).total(ERRORS, error="ApiUnreachable")

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


async def says_why_it_is_not_ready(scene: Scene) -> str:
    """Wait until the recommender is not ready; why."""

    async def look() -> str | NotYet:
        url = scene.trial.services.url(RECOMMENDER, "/readyz")
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            said = await answer.text()
            return said if answer.status == 503 and "kube-apiserver" in said else NotYet(said)

    return await until("the recommender not to be ready", look, timeout=15)


async def usage_is_known(scene: Scene) -> None:
    """Have two Deployments with usage, some of which is in a checkpoint."""
    await scene.reading()
    await scene.view.apply(profile("quick", QUICK), *(deployment(app, annotations=PROFILED) for app in APPS))
    await scene.metrics_when(
        lambda shown: all(scene.samples(shown, app) >= 3 for app in APPS), step="some samples"
    )


async def a_part_tells(crowd: Crowd, wanted: Told) -> bool | NotYet:
    """For `until`: whether some statuses tell what is wanted, and not all of them."""
    written = crowd.count(wanted)
    return crowd.size / 10 < written < crowd.size or NotYet(f"{written} of {crowd.size}")


def begins_soon() -> datetime:
    """The first minute that is far enough away."""
    earliest = datetime.now(UTC) + LEAD + timedelta(seconds=59)
    return earliest.replace(second=0, microsecond=0)


async def fall_out(scene: Scene, crowd: Crowd, wanted: Told, *, past_the_lease: bool) -> str:
    """Kill kube-apiserver when some tell what is wanted, and bring it back; what there is to tell of that."""
    await until("some to be written", lambda: a_part_tells(crowd, wanted), timeout=30)
    outage = Outage(scene)
    await outage.begin()
    why = await says_why_it_is_not_ready(scene)
    if past_the_lease:
        await scene.metrics_when(lambda shown: shown.value(LEADER) == 0, step="the Lease to be lost")
    left = crowd.size - crowd.count(wanted)
    back = await outage.end()
    took = await crowd.all_tell(wanted, by=back + PROMISED) - back

    assert left > 0
    assert f"kube-apiserver at {scene.trial.cluster.server} does not answer" in why
    assert outage.busy <= MOST_BUSY
    assert outage.refused <= MOST_AT_FIRST + MOST_A_SECOND * outage.seconds
    told = f"{left} of {crowd.size} left, all right {took:.1f} s after {outage.seconds:.0f} s"
    return f"{told}; {outage.busy:.2f} of a core, {outage.refused:.0f} requests refused"


async def test_all_is_right_soon_after_kube_apiserver_is_back(
    scene: Scene, record_testsuite_property: Record
) -> None:
    crowd = Crowd(scene.trial.client, {f"{scene.namespace}-{name}": size for name, size in SIZES.items()})
    async with crowd.watched():
        await scene.start(settings={**STRICT, **LONG_LEASE})
        await usage_is_known(scene)
        begins = begins_soon()
        await crowd.create(rule(cron(begins), cron(begins + MINUTE)))
        await crowd.all_have_a_status(timeout=60)
        await at_rest(scene, timeout=30)
        assert datetime.now(UTC) < begins, "this machine is too slow: the rule began before all was made"

        for wanted, at, terms in ((ON, begins, 1), (OFF, begins + MINUTE, 2)):
            await passed(at.timestamp())
            told = await fall_out(scene, crowd, wanted, past_the_lease=terms > 1)
            record_testsuite_property(f"kube-apiserver away, terms of the recommender: {terms}", told)
            shown = await scene.metrics()
            assert shown.value(TERMS) == terms
            assert shown.label_values(INTERRUPTIONS, "resource") >= WATCHED
        await scene.caught_up(now())
        assert await scene.is_ready()
        assert scene.running() == [RECOMMENDER]
        await scene.stop()
    for key in set(crowd.told):
        course = [told for each, told in crowd.turns if each == key]
        assert course in ([NEW, ON, OFF], [ON, OFF]), f"nothing wrong was written of {key}"
    _, histories = await scene.checkpoint()
    await scene.require_complete(histories, APPS)
