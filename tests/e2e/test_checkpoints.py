"""What was learned outlives the process: whenever it is killed, and however many shards there are then."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.story import NotYet, until
from recommender.checkpoints.config_maps import LABELS
from recommender.checkpoints.directory import DirectoryStore
from recommender.checkpoints.snapshot import Snapshot
from recommender.checkpoints.store import Generation
from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard
from tests.e2e.objects import PROFILED, QUICK, deployment, profile
from tests.e2e.trial import GENERATION, SAMPLES, STEP, Scene, now
from tests.support.altered_recommender import halting, in_parts
from tests.support.kube_proxy import KubeProxy, KubeRequest
from vgpu.kube.objects import PartialObject
from vgpu.kube.resources import CONFIG_MAPS

APPS = ("one", "two")
PARTS = 5
CHECKPOINT_INTERVAL = 2.0

# Without back-fill a history that was lost would stay lost. A scrape may take as long as the pause between
# two, and Prometheus some time to have it: what comes later than `settle` is never read.
UNFORGIVING = {"checkpoint-interval": f"{CHECKPOINT_INTERVAL}s", "no-backfill": "", "settle": "3s"}
# Nobody but us is to be waited for.
STRICT = {**UNFORGIVING, "no-leader-election": ""}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in the writing of a checkpoint: at which of its parts, and whether that is written.

    Part 0 is written last, and completes it.
    """

    name: str
    part: int
    written: bool = False

    def is_reached_by(self, request: KubeRequest) -> bool:
        """Whether a request writes that part."""
        part = f"-{self.part}"
        return request.writes and "/configmaps" in request.path and request.name.endswith(part)


MOMENTS = (
    Moment("before its first part is written", 1),
    Moment("between its parts", 1, written=True),
    Moment("before the part that completes it", 0),
    Moment("after the part that completes it, which nobody confirms", 0, written=True),
)


async def deploy(scene: Scene, *apps: str) -> None:
    """Deploy applications that use a GPU, once all recommenders would miss none of their samples."""
    for name in scene.running():
        await scene.reading(name)
    await scene.view.apply(profile("quick", QUICK), *(deployment(app, annotations=PROFILED) for app in apps))


async def parts_of_newest(scene: Scene) -> int:
    """How many ConfigMaps the checkpoints are kept in, a generation's share of them."""
    selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
    found, _ = await scene.trial.client.list(
        CONFIG_MAPS, type=PartialObject, namespace=scene.namespace, label_selector=selector
    )
    slots = [each.metadata.name.rsplit("-", 2)[1] for each in found]
    return min(slots.count(slot) for slot in set(slots))


def require_at_most_an_interval_is_lost(generation: Generation, killed: float) -> None:
    """The newest checkpoint is no older than the pause between two, and what writing and waiting take."""
    assert killed - generation.written < 3 * CHECKPOINT_INTERVAL


async def test_sigkill_in_mid_write_of_a_checkpoint_loses_nothing_and_counts_nothing_twice(
    scene: Scene, tmp_path: Path
) -> None:
    async with KubeProxy(scene.trial.cluster.kubeconfig) as proxy:
        settings = {**STRICT, "kubeconfig": str(proxy.write_kubeconfig(tmp_path / "kubeconfig"))}
        await scene.start(settings=settings, program=in_parts(PARTS))
        await deploy(scene, *APPS)
        await scene.metrics_when(
            lambda shown: all(scene.samples(shown, app) >= 3 for app in APPS), step="some samples"
        )
        for moment in MOMENTS:
            # Both slots are in use by now, so that a part is replaced and not only added.
            await scene.metrics_when(lambda shown: (shown.value(GENERATION) or 0) >= 2, step="a checkpoint")
            killed, complete = await kill_at(scene, moment, proxy)

            generation, left = await scene.checkpoint()
            assert generation.number == complete
            require_at_most_an_interval_is_lost(generation, killed)
            await scene.require_complete(left, APPS)
            await scene.start(settings=settings, program=in_parts(PARTS))
            await scene.caught_up(killed)
            await a_checkpoint_from(scene, killed)
        await scene.stop()
    _, last = await scene.checkpoint()
    await scene.require_complete(last, APPS)


async def kill_at(scene: Scene, moment: Moment, proxy: KubeProxy) -> tuple[float, int]:
    """Kill the recommender at a moment of its next checkpoint; the time, and the newest that is complete."""
    assert await parts_of_newest(scene) >= PARTS, "a checkpoint has parts to be killed between"
    hold = proxy.hold(moment.is_reached_by, answered=moment.written)
    await until(f"a checkpoint {moment.name}", lambda: reached(hold.reached.is_set()), timeout=20)
    confirmed = int((await scene.metrics()).value(GENERATION) or 0)
    killed = now()
    await scene.stop(kill=True)
    hold.drop()
    completes = moment.part == 0 and moment.written
    return killed, confirmed + completes


async def reached(there: bool) -> bool | NotYet:
    """For `until`: a fact, or not yet."""
    return there or NotYet("it was not")


async def a_checkpoint_from(scene: Scene, since: float) -> Snapshot:
    """Wait for a checkpoint that holds usage from beyond a time, and whose histories lack nothing."""

    async def look() -> Snapshot | NotYet:
        _, snapshot = await scene.checkpoint()
        return snapshot if (snapshot.cursor or 0) > since else NotYet(f"{snapshot.cursor} before {since}")

    snapshot = await until("a checkpoint of what came after", look, timeout=20)
    await scene.require_complete(snapshot, APPS)
    return snapshot


async def test_sigkill_in_mid_write_of_a_file_loses_nothing_and_counts_nothing_twice(
    scene: Scene, tmp_path: Path
) -> None:
    folder, marker = tmp_path / "checkpoints", tmp_path / "in mid-write"
    folder.mkdir()
    settings = {**STRICT, "checkpoint-store": "directory", "checkpoint-directory": str(folder)}
    await scene.start(settings=settings, program=halting(5, marker))
    await deploy(scene, *APPS)
    await until("a checkpoint to be half written", lambda: reached(marker.exists()), timeout=60)
    killed = now()
    await scene.stop(kill=True)
    assert [path for path in folder.iterdir() if path.name.endswith(".unfinished")]

    generation, left = await scene.checkpoint(DirectoryStore(folder))
    require_at_most_an_interval_is_lost(generation, killed)
    await scene.require_complete(left, APPS)
    await scene.start(settings=settings)
    await scene.caught_up(killed)
    await scene.stop()

    _, last = await scene.checkpoint(DirectoryStore(folder))
    await scene.require_complete(last, APPS)
    assert not [path for path in folder.iterdir() if path.name.endswith(".unfinished")]


def shard_settings(shard: Shard) -> dict[str, str]:
    """The flags of one shard's recommender."""
    return {
        **UNFORGIVING,
        "shard-index": str(shard.index),
        "shard-count": str(shard.count),
    }


async def start_shards(scene: Scene, count: int) -> list[str]:
    """Start a recommender for each of `count` shards; their names."""
    names = []
    for shard in (Shard(index, count) for index in range(count)):
        names.append(f"recommender-{shard}")
        await scene.start(names[-1], settings=shard_settings(shard))
    return names


async def served(scene: Scene, name: str) -> set[str]:
    """The applications that a recommender shows figures of."""
    shown = await scene.metrics(name)
    return {
        dict(labels)["workload"]
        for labels in shown.samples.get(SAMPLES, {})
        if dict(labels)["namespace"] == scene.namespace
    }


def owned(scene: Scene, shard: Shard, apps: Iterable[str]) -> set[str]:
    """The applications that are a shard's by the hash of their names."""
    return {app for app in apps if shard.owns(WorkloadKey(scene.namespace, app))}


async def all_served(scene: Scene, names: list[str], apps: tuple[str, ...]) -> None:
    """Wait until each application is shown by the recommender whose it is."""
    count = len(names)
    wanted = [owned(scene, Shard(index, count), apps) for index in range(count)]

    async def look() -> bool | NotYet:
        found = [await served(scene, name) for name in names]
        return True if found == wanted else NotYet(f"{found} instead of {wanted}")

    await until(f"each of {count} shards to serve its own", look, timeout=40)


async def test_each_shard_serves_its_own_and_histories_move_to_another_number_of_shards(
    scene: Scene,
) -> None:
    apps = tuple(f"app-{number}" for number in range(6))
    names = await start_shards(scene, 2)
    await deploy(scene, *apps)
    await all_served(scene, names, apps)
    for name in names:
        await scene.caught_up(now() + STEP, name=name)
    for name in names:
        await scene.stop(name)
    before: dict[WorkloadKey, int] = {}
    for index in range(2):
        _, snapshot = await scene.checkpoint(shard=Shard(index, 2))
        mine = owned(scene, Shard(index, 2), apps)
        assert {key.name for key in snapshot.keys if key.namespace == scene.namespace} == mine
        await scene.require_complete(snapshot, sorted(mine))
        before |= dict(zip(snapshot.keys, snapshot.samples.tolist(), strict=True))

    moved = now()
    names = await start_shards(scene, 3)
    await all_served(scene, names, apps)
    for name in names:
        await scene.caught_up(moved, name=name)
        await scene.stop(name)

    for index in range(3):
        _, snapshot = await scene.checkpoint(shard=Shard(index, 3))
        mine = owned(scene, Shard(index, 3), apps)
        await scene.require_complete(snapshot, sorted(mine))
        for app in mine:
            key = WorkloadKey(scene.namespace, app)
            assert snapshot.samples[snapshot.keys.index(key)] > before[key]
