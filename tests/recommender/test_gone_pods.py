"""What becomes of usage of pods that go before it is read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recommender.histories.memory import Memory
from tests.recommender.checkpoints.keeping import loaded
from tests.support import builders
from tests.support.recommending import Rig, recommending
from vgpu.annotations import AUTO_RESOURCES
from vgpu.kube.resources import CRON_JOBS, JOBS, PODS, STATEFUL_SETS, WORKLOADS

GATED = {AUTO_RESOURCES: "true"}


def kept_in(directory: Path) -> dict[str, Any]:
    return {"checkpoint_store": "directory", "checkpoint_directory": directory}


async def deployed(rig: Rig, *, replicas: int = 1) -> None:
    rig.deploy("web", annotations=GATED, replicas=replicas)
    await rig.settle()


def use(rig: Rig, pod: str, *, tflops: float, minutes: float) -> None:
    """Samples of a pod from now on, four a minute."""
    labels = {"namespace": "default", "pod": pod, "uuid": "GPU-0"}
    times = [rig.now + 15 * index for index in range(1, round(4 * minutes) + 1)]
    rig.prometheus.add("tf_worker_usage_compute_tflops", labels, [(at, tflops) for at in times])
    rig.prometheus.add("tf_worker_usage_memory_bytes", labels, [(at, 2e9) for at in times])


def delete_pod(rig: Rig, suffix: str = "pod0") -> None:
    rig.kube.delete(PODS, "default", f"web-{builders.TEMPLATE_HASH}-{suffix}")


def samples(rig: Rig, workload: str = "web") -> float | None:
    return rig.figure("samples_total", workload)


def outcome(rig: Rig, name: str) -> float | None:
    return rig.metric("samples_total", outcome=name)


async def windows(rig: Rig, directory: Path) -> int:
    """How many pods have an open VRAM window."""
    await rig.engine.checkpoint()
    return len((await loaded(directory)).peaks.uids)


def timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bear(rig: Rig, name: str, *, uid: str, owner: dict[str, Any]) -> None:
    """A pod that is made now."""
    pod = builders.pod(name, owner=builders.owner_reference(owner), annotations=GATED)
    pod["metadata"] |= {"uid": uid, "creationTimestamp": timestamp(rig.now)}
    rig.kube.put(PODS, pod)


def stateful_set(rig: Rig) -> dict[str, Any]:
    metadata = builders.metadata(STATEFUL_SETS, "db")
    made: dict[str, Any] = rig.kube.put(
        STATEFUL_SETS, {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {}}
    )
    return made


def cron_job(rig: Rig, run: str) -> dict[str, Any]:
    """A run of a CronJob that is there or not."""
    nightly = rig.kube.find(CRON_JOBS, "default", "nightly")
    nightly = nightly or rig.kube.put(CRON_JOBS, builders.cron_job())
    made: dict[str, Any] = rig.kube.put(JOBS, builders.job(run, owner=builders.owner_reference(nightly)))
    return made


async def test_the_last_step_of_a_pod_that_went_is_read_and_then_it_is_forgotten(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig, replicas=2)
        rig.use("web", tflops=3.0, vram=2e9, minutes=5)
        await rig.skip(minutes=4)
        rig.now += 30
        delete_pod(rig)
        await rig.settle()
        rig.now += 30
        await rig.engine.feed()
        assert (samples(rig), await windows(rig, tmp_path)) == (5, 1)
        await rig.pass_time(minutes=1)
        assert (samples(rig), await windows(rig, tmp_path)) == (5, 0)
        assert len(rig.recommender._around.known) == 0


async def test_usage_of_a_pod_from_after_its_end_is_left_out() -> None:
    async with recommending() as rig:
        await deployed(rig, replicas=2)
        rig.use("web", tflops=3.0, vram=2e9, minutes=10)
        await rig.skip(minutes=4)
        delete_pod(rig)
        await rig.settle()
        rig.now += 3 * 60
        await rig.engine.feed()
        assert (samples(rig), outcome(rig, "finished_pod")) == (4, 6)
        await rig.skip(minutes=1)
        assert outcome(rig, "unknown_pod") == 2


async def test_a_job_that_comes_and_goes_while_no_usage_can_be_read_leaves_it_behind(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        bear(rig, "nightly-1-a", uid="a", owner=cron_job(rig, "nightly-1"))
        await rig.settle()
        use(rig, "nightly-1-a", tflops=3.0, minutes=2)
        await rig.skip(minutes=2)
        rig.kube.delete(PODS, "default", "nightly-1-a")
        await rig.settle()
        await rig.pass_time(minutes=2)
        assert samples(rig, "nightly-cronjob") == 2
        await rig.prometheus.stop()
        await rig.pass_time(minutes=10)
        bear(rig, "nightly-2-b", uid="b", owner=cron_job(rig, "nightly-2"))
        await rig.settle()
        use(rig, "nightly-2-b", tflops=4.0, minutes=5)
        await rig.pass_time(minutes=5)
        rig.kube.delete(PODS, "default", "nightly-2-b")
        await rig.settle()
        rig.now += 90 * 60
        await rig.pass_time(minutes=1)
        assert samples(rig, "nightly-cronjob") == 2
        await rig.prometheus.start()
        await rig.pass_time(minutes=1)
        assert samples(rig, "nightly-cronjob") == 7
        assert await windows(rig, tmp_path) == 0


async def test_a_reborn_pod_and_its_predecessor_have_each_their_own_usage(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        database = stateful_set(rig)
        bear(rig, "db-0", uid="former", owner=database)
        await rig.settle()
        use(rig, "db-0", tflops=3.0, minutes=3)
        await rig.skip(minutes=2)
        assert samples(rig, "db-statefulset") == 2
        await rig.prometheus.stop()
        rig.now += 60
        rig.kube.delete(PODS, "default", "db-0")
        await rig.settle()
        rig.now += 60
        bear(rig, "db-0", uid="latter", owner=database)
        await rig.settle()
        use(rig, "db-0", tflops=5.0, minutes=4)
        rig.now += 2 * 60
        await rig.prometheus.start()
        fed: dict[str, list[float]] = {}
        feed = Memory.feed

        async def watched(self: Memory, usage: Any, pending: Any) -> Any:
            for of, value in zip(usage.tflops.of.tolist(), usage.tflops.values.tolist(), strict=True):
                fed.setdefault(usage.tflops.pods[of].uid, []).append(value)
            return await feed(self, usage, pending)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Memory, "feed", watched)
            await rig.pass_time(minutes=1)
        assert fed == {"former": [3.0], "latter": [5.0, 5.0, 5.0]}
        assert samples(rig, "db-statefulset") == 6
        await rig.engine.checkpoint()
        assert (await loaded(tmp_path)).peaks.uids == ("latter",)


async def test_a_namesake_whose_owner_cannot_be_asked_for_gives_its_predecessor_nothing() -> None:
    async with recommending() as rig:
        bear(rig, "nightly-1-a", uid="a", owner=cron_job(rig, "nightly-1"))
        await rig.settle()
        use(rig, "nightly-1-a", tflops=3.0, minutes=10)
        await rig.skip(minutes=2)
        rig.kube.fail("/jobs/", code=403, times=99)
        rig.kube.delete(PODS, "default", "nightly-1-a")
        bear(rig, "nightly-1-a", uid="b", owner=cron_job(rig, "nightly-9"))
        await rig.settle()
        await rig.pass_time(minutes=3)
        assert samples(rig, "nightly-cronjob") == 2


async def test_another_leader_reads_usage_of_pods_that_it_saw_go(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig, replicas=2)
        rig.use("web", tflops=3.0, vram=2e9, minutes=20)
        await rig.skip(minutes=5)
        await rig.engine.checkpoint()
        rig.recommender.term = None
        rig.now += 5 * 60
        delete_pod(rig)
        await rig.caught_up()
        await rig.recommender._around.standby.keep_up()
        await rig.begin_term()
        await rig.settle()
        await rig.pass_time(minutes=5)
        assert samples(rig) == 10


async def test_who_stands_by_does_not_remember_pods_for_ever() -> None:
    async with recommending() as rig:
        await deployed(rig, replicas=2)
        delete_pod(rig)
        await rig.caught_up()
        around = rig.recommender._around
        for passed, remembered in ((0, 1), (3500, 1), (200, 0)):
            rig.now += passed
            await around.standby.keep_up()
            assert len(around.known) == remembered


async def test_a_pod_that_goes_while_its_usage_is_read_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig, replicas=2)
        for pod in ("pod0", "pod1"):
            rig.use("web", tflops=3.0, vram=2e9, minutes=20, pod=pod)
        await rig.skip(minutes=10)
        feed = Memory.feed

        async def feed_later(self: Memory, *args: Any) -> Any:
            delete_pod(rig, "pod1")
            await rig.settle()
            monkeypatch.undo()
            return await feed(self, *args)

        monkeypatch.setattr(Memory, "feed", feed_later)
        rig.now += 60
        await rig.engine.feed()
        assert await windows(rig, tmp_path) == 2
        await rig.pass_time(minutes=2)
        assert await windows(rig, tmp_path) == 1


async def test_pods_of_a_crowd_that_are_let_go_are_forgotten_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.cluster.known_pods._MOST_GONE", 0)
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig, replicas=2)
        rig.use("web", tflops=3.0, vram=2e9, minutes=6)
        await rig.skip(minutes=5)
        delete_pod(rig)
        await rig.settle()
        assert await windows(rig, tmp_path) == 0
        await rig.skip(minutes=1)
        assert (samples(rig), outcome(rig, "unknown_pod")) == (5, 2)


async def test_a_workload_that_is_gone_with_its_pods_keeps_nothing() -> None:
    async with recommending() as rig:
        await deployed(rig)
        rig.use("web", tflops=3.0, vram=2e9, minutes=20)
        await rig.skip(minutes=10)
        rig.now += 30
        delete_pod(rig)
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        await rig.pass_time(minutes=2)
        assert (await rig.term._memory.snapshot(rig.now)).keys == ()


async def test_a_workload_that_is_gone_when_a_term_begins_gets_no_history(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        rig.use("web", tflops=3.0, vram=2e9, minutes=20)
        await rig.skip(minutes=10)
        await rig.engine.checkpoint()
        rig.recommender.term = None
        delete_pod(rig)
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.caught_up()
        await rig.begin_term()
        await rig.pass_time(minutes=2)
        assert (await rig.term._memory.snapshot(rig.now)).keys == ()
