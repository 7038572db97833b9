"""Keepers of checkpoints over stores in this process, and what they told."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recommender.checkpoints.config_maps import ConfigMapStore
from recommender.checkpoints.directory import DirectoryStore
from recommender.checkpoints.keeper import CheckpointKeeper, KeeperTiming
from recommender.checkpoints.snapshot import Snapshot
from recommender.checkpoints.store import CheckpointStore
from recommender.leadership.shards import Shard
from tests.recommender.checkpoints.making import HALF_LIFE, NOW
from tests.support.fake_kube import FakeKube
from vgpu.kube.client import KubeClient

NAMESPACE = "vgpu-autoscaler"
PART = 4 * 1024
ALONE = Shard()


class Killed(BaseException):
    """SIGKILL, as far as a test can tell: nothing that comes after it is done."""


@dataclass
class KillSwitch:
    """Kills at the step whose number it is given, and at all after it; None never does."""

    at: int | None = None
    steps: int = 0

    def __call__(self) -> None:
        self.steps += 1
        if self.at is not None and self.steps > self.at:
            raise Killed


@dataclass
class Told:
    """What a keeper told its metrics."""

    saved: list[dict[str, float]] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def checkpoint_loaded(self, *, written: float) -> None:
        self.loaded.append(written)

    def checkpoint_saved(self, *, size: int, seconds: float, generation: int, now: float) -> None:
        self.saved.append({"size": size, "seconds": seconds, "generation": generation, "now": now})

    def checkpoint_failed(self, reason: str) -> None:
        self.failed[reason] += 1


@asynccontextmanager
async def kube() -> AsyncIterator[tuple[FakeKube, KubeClient]]:
    async with FakeKube() as fake, fake.client() as client:
        yield fake, client


def config_maps(client: KubeClient, check: Callable[[], None] | None = None) -> ConfigMapStore:
    """A store of small parts, as a process that has just started has it."""
    return ConfigMapStore(client.guarded(check) if check else client, namespace=NAMESPACE, part_bytes=PART)


def keeper(
    store: CheckpointStore | Path,
    *,
    shard: Shard = ALONE,
    told: Told | None = None,
    now: float = NOW,
    half_life: float = HALF_LIFE,
    timing: KeeperTiming | None = None,
) -> CheckpointKeeper:
    """A keeper, as a process that has just started has it."""
    return CheckpointKeeper(
        store=DirectoryStore(store) if isinstance(store, Path) else store,
        shard=shard,
        metrics=told or Told(),
        clock=lambda: now,
        half_life=half_life,
        timing=timing or KeeperTiming(patience=0, timeout=10),
    )


async def saved(store: CheckpointStore | Path, *snapshots: Snapshot, shard: Shard = ALONE) -> None:
    """What a process saved, one after the other, before it was stopped."""
    keeping = keeper(store, shard=shard)
    await keeping.load()
    for snapshot in snapshots:
        await keeping.save(snapshot)


async def loaded(store: CheckpointStore | Path, *, shard: Shard = ALONE) -> Snapshot:
    """What a process that starts finds, which is something."""
    found = await keeper(store, shard=shard).load()
    assert found is not None
    return found
