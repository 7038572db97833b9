import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from recommender.checkpoints.keeper import CheckpointKeeper, KeeperTiming
from recommender.errors import TermOver
from tests.recommender.checkpoints.keeping import loaded, saved
from tests.support import builders
from tests.support.recommending import CREATED, START, Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import AUTO_RESOURCES, WORKLOAD_PROFILE
from vgpu.kube.resources import CONFIG_MAPS, PODS, PROFILES, WORKLOADS

GATED = {AUTO_RESOURCES: "true"}
SINCE_CREATION = (START - CREATED) / 60
ESTIMATES = [
    f"{kind}_{unit}" for kind in ("target", "lower_bound", "upper_bound") for unit in ("tflops", "vram_bytes")
]


def kept_in(directory: Path) -> dict[str, Any]:
    return {"checkpoint_store": "directory", "checkpoint_directory": directory}


async def deployed(rig: Rig, *names: str, **arguments: Any) -> None:
    for name in names or ("web",):
        rig.deploy(name, annotations=GATED, **arguments)
    await rig.settle()


def use_in_waves(rig: Rig, *, minutes: int) -> None:
    """Usage that goes up and down, minute by minute."""
    begin = rig.now
    for minute in range(minutes):
        rig.now = begin + 60 * minute
        rig.use("web", tflops=1.0 + minute % 7 * 5, vram=1e9 + minute % 5 * 3e9, minutes=1)
    rig.now = begin


def samples(rig: Rig, workload: str = "web") -> float | None:
    return rig.figure("samples_total", workload)


# Histories


async def a_day_of_work(directory: Path, again: Callable[[Rig], Any]) -> dict[str, float | None]:
    """What is estimated after usage in which something has happened to the recommender."""
    async with recommending(**kept_in(directory)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=40)
        await rig.skip(minutes=20)
        await again(rig)
        await rig.skip(minutes=20)
        return {name: rig.figure(name) for name in [*ESTIMATES, "confidence_ratio", "samples_total"]}


async def test_a_restart_changes_no_estimate(tmp_path: Path) -> None:
    async def nothing(_: Rig) -> None:
        pass

    directories = [tmp_path / "a", tmp_path / "b"]
    for directory in directories:
        directory.mkdir()
    without = await a_day_of_work(directories[0], nothing)
    assert None not in without.values()
    assert await a_day_of_work(directories[1], Rig.restart) == without


@pytest.mark.parametrize("saved_at_the_end", [True, False])
async def test_what_was_missed_is_read_and_nothing_twice(tmp_path: Path, *, saved_at_the_end: bool) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=40)
        await rig.skip(minutes=10)
        await rig.engine.checkpoint()
        await rig.skip(minutes=10)
        rig.now += 10 * 60
        await rig.restart(save=saved_at_the_end)
        await rig.skip(minutes=10)
        assert samples(rig) == 40


async def test_histories_are_kept_in_config_maps_unless_told_otherwise() -> None:
    async with recommending(checkpoint_store="config_map") as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=10)
        await rig.skip(minutes=10)
        await rig.restart()
        assert rig.kube.objects(CONFIG_MAPS)
        await rig.engine.feed()
        assert samples(rig) == 10
        assert rig.metric("samples_total", outcome="accepted") == 0


async def test_pods_and_workloads_that_went_while_nobody_looked_are_forgotten(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig, "web", "gone", replicas=2)
        for name in ("web", "gone"):
            for pod in ("pod0", "pod1"):
                rig.use(name, tflops=3.0, vram=2e9, minutes=2, pod=pod)
        await rig.skip(minutes=2)
        await rig.engine.checkpoint()
        before = await loaded(tmp_path)
        assert (len(before.keys), len(before.peaks.uids)) == (2, 4)
        await rig.stop()
        for name in ("web-{}-pod1", "gone-{}-pod0", "gone-{}-pod1"):
            rig.kube.delete(PODS, "default", name.format(builders.TEMPLATE_HASH))
        rig.kube.delete(WORKLOADS, "default", "gone")
        await rig.start()
        await rig.engine.checkpoint()
        after = await loaded(tmp_path)
        assert [key.name for key in after.keys] == ["web"]
        [uid] = after.peaks.uids
        assert uid == rig.kube.get(PODS, "default", f"web-{builders.TEMPLATE_HASH}-pod0")["metadata"]["uid"]


async def test_a_pod_whose_owner_cannot_be_asked_for_keeps_its_peak(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=2)
        await rig.skip(minutes=2)
        await rig.engine.checkpoint()
        await rig.stop()
        rig.kube.fail("/replicasets/", code=403, times=99)
        await rig.start()
        await rig.engine.checkpoint()
        after = await loaded(tmp_path)
        assert (len(after.keys), len(after.peaks.uids)) == (1, 1)


async def test_usage_of_a_pod_that_went_while_it_was_read_makes_no_history(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=1)
        rig.now += 60
        async with rig.term._memory._lock:
            feeding = asyncio.create_task(rig.engine.feed())
            await until(lambda: rig.term._memory._lock._waiters)
            rig.recommender._around.pods.forget("default", f"web-{builders.TEMPLATE_HASH}-pod0")
        await feeding
        await rig.engine.checkpoint()
        assert (await loaded(tmp_path)).keys == ()


# The past


async def test_without_a_checkpoint_the_past_of_running_pods_is_read() -> None:
    async with recommending() as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=60)
        rig.now += 59 * 60
        await rig.pass_time(minutes=1)
        assert samples(rig) == 1
        await rig.read_the_past()
        await rig.engine.feed()
        assert samples(rig) == 60
        assert rig.metric("backfill_chunks_total", outcome="read") == 1


@pytest.mark.parametrize("installed", ["before", "afterwards"])
async def test_a_workload_that_wants_no_past_has_none_read(installed: str) -> None:
    async with recommending() as rig:
        config = {"autoSetResources": {"historyLength": "0s"}}
        rig.kube.put(PROFILES, builders.profile("new", spec={"autoScalingConfig": config}))
        use_in_waves(rig, minutes=60)
        rig.now += 59 * 60
        if installed == "afterwards":
            # Nobody has been able to make the workload when its first sample comes.
            rig.kube.fail("/tensorfusionworkloads/", code=403, method="PATCH", times=2)
        rig.deploy("web", annotations={WORKLOAD_PROFILE: "new"})
        await rig.settle()
        assert (rig.kube.find(WORKLOADS, "default", "web") is None) == (installed == "afterwards")
        await rig.pass_time(minutes=1)
        assert rig.metric("samples_total", outcome="accepted") == 2
        assert rig.metric("backfill_pending_workloads") == 0


async def test_back_fill_can_be_switched_off() -> None:
    async with recommending(backfill=False) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=60)
        rig.now += 59 * 60
        await rig.pass_time(minutes=1)
        assert rig.metric("backfill_pending_workloads") == 0


async def test_a_restart_in_the_middle_of_back_fill_goes_on_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.usage.lengths.MAX_POINTS", 200)
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=60)
        rig.now += 59 * 60
        await rig.pass_time(minutes=1)
        await rig.engine.feed_the_past()
        await rig.restart()
        await rig.read_the_past()
        await rig.engine.feed()
        assert samples(rig) == 60
        past = [request.form for request in rig.prometheus.requests[2::2]]
        asked = [(float(form["start"]), float(form["end"])) for form in past if form["start"] != form["end"]]
        assert sum((end - start) / 60 + 1 for start, end in asked) == SINCE_CREATION + 59


async def test_what_is_pending_of_workloads_that_went_is_not_read_after_a_restart(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=2)
        await rig.pass_time(minutes=1)
        assert rig.metric("backfill_pending_workloads") == 1
        await rig.engine.checkpoint()
        await rig.stop()
        for resource in (PODS, WORKLOADS):
            for each in rig.kube.objects(resource):
                rig.kube.delete(resource, "default", each["metadata"]["name"])
        await rig.start()
        assert rig.metric("backfill_pending_workloads") == 0


async def test_a_checkpoint_of_another_half_life_is_refused_and_the_past_is_read(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=60)
        await rig.skip(minutes=59)
        with capture_logs() as logs:
            await rig.restart(half_life="12h")
        warnings = [log for log in logs if log["log_level"] == "warning"]
        assert any("half_life" in str(log.get("error")) for log in warnings)
        await rig.pass_time(minutes=1)
        assert samples(rig) == 1
        await rig.read_the_past()
        await rig.engine.feed()
        assert samples(rig) == 60


# The store


def moved(directory: Path, to: Path | None = None) -> Path:
    """Take the store away, or bring it back."""
    return directory.rename(to or directory.with_name("away"))


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a store that cannot be reached not be waited for."""
    monkeypatch.setattr(CheckpointKeeper.__init__, "__kwdefaults__", {"timing": KeeperTiming(patience=0)})


async def test_a_store_that_cannot_be_reached_ends_the_term_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch)
    directory = tmp_path / "volume"
    directory.mkdir()
    async with recommending(**kept_in(directory)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=10)
        await rig.skip(minutes=10)
        await rig.engine.checkpoint()
        away = moved(directory)
        with capture_logs() as logs, pytest.raises(TermOver, match="checkpoint_directory"):
            await rig.recommender.lead(rig)
        assert [log["log_level"] for log in logs if "does not lead" in log["event"]] == ["error"]
        assert rig.recommender.term is None
        assert rig.metric("checkpoint_failures_total", reason="unavailable") == 1
        [reason] = rig.recommender.not_ready()
        assert reason.startswith("histories cannot be read: ")
        moved(away, directory)
        async with rig.leading():
            assert not any("histories" in reason for reason in rig.recommender.not_ready())
            await until(lambda: samples(rig) == 10)


async def test_who_leads_is_not_ready_while_histories_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, load = asyncio.Event(), CheckpointKeeper.load

    async def load_later(self: CheckpointKeeper) -> Any:
        await loading.wait()
        return await load(self)

    async with recommending(**kept_in(tmp_path)) as rig:
        monkeypatch.setattr(CheckpointKeeper, "load", load_later)
        rig.recommender.term = None
        assert rig.recommender.not_ready() == []
        term = asyncio.create_task(rig.recommender.lead(rig))
        await until(lambda: rig.recommender.not_ready() == ["histories are being loaded"])
        loading.set()
        await until(lambda: rig.recommender.not_ready() == [])
        term.cancel()
        await asyncio.wait((term,))
        assert rig.recommender.not_ready() == []


async def test_a_checkpoint_that_somebody_else_has_written_ends_the_term(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await rig.engine.checkpoint()
        await saved(tmp_path, await loaded(tmp_path))
        with pytest.raises(TermOver, match="second recommender"):
            await rig.engine.checkpoint()


async def test_a_checkpoint_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        away = moved(tmp_path)
        with capture_logs() as logs:
            await rig.engine.checkpoint()
        assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["checkpoint was not saved"]
        moved(away, tmp_path)
        await rig.engine.checkpoint()
        assert rig.metric("checkpoint_generation") == 1


# The Lease


async def test_who_has_lost_the_lease_writes_no_more_and_shows_no_figures(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=10)
        await rig.skip(minutes=10)
        async with rig.leading() as term:
            await until(lambda: samples(rig) is not None)
            rig.lease = 0
            before = len(rig.kube.writes())
            rig.deploy("other", annotations=GATED)
            await until(term.done)
        assert isinstance(term.exception(), ExceptionGroup)
        assert rig.kube.writes()[before:] == []
        assert samples(rig) is None
        assert not rig.metric("checkpoint_generation")
        rig.lease = float("inf")
        async with rig.leading():
            await until(lambda: rig.kube.find(WORKLOADS, "default", "other") is not None)


async def test_a_term_that_is_told_to_end_saves_while_the_lease_holds(tmp_path: Path) -> None:
    async with recommending(**kept_in(tmp_path)) as rig:
        await deployed(rig)
        use_in_waves(rig, minutes=10)
        await rig.skip(minutes=10)
        await rig.engine.checkpoint()
        async with rig.leading():
            await until(lambda: samples(rig) == 10)
            use_in_waves(rig, minutes=1)
            rig.now += 60
            await rig.engine.feed()
        found = await loaded(tmp_path)
        assert found.samples.tolist() == [11]


@pytest.mark.parametrize("lease", ["runs out", "is renewed for long"])
async def test_a_last_checkpoint_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease: str
) -> None:
    saving = asyncio.Event()

    async def save(*_: object) -> None:
        saving.set()
        if lease == "runs out":
            rig.lease = 1.0
        await asyncio.Event().wait()

    if lease == "is renewed for long":
        monkeypatch.setattr("recommender.term._LONGEST_LAST_WRITE", 0.05)
    async with recommending(**kept_in(tmp_path)) as rig:
        monkeypatch.setattr(CheckpointKeeper, "save", save)
        with capture_logs() as logs:
            async with rig.leading() as term:
                await until(lambda: rig.prometheus.requests)
                rig.lease = 1.05
            assert saving.is_set()
            assert term.cancelled()
        [log] = [log for log in logs if "not saved at the end" in log["event"]]
        assert log["error"] == "it took too long"


async def test_a_last_checkpoint_goes_on_while_the_lease_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renewed:
        """A Lease that is never held for long, and always for a while."""

        asked = 0
        often = asyncio.Event()

        def remaining(self) -> float:
            self.asked += 1
            if self.asked > 3:
                self.often.set()
            return 1.01

    held, saved_at_last = Renewed(), False

    async def save(*_: object) -> None:
        nonlocal saved_at_last
        await held.often.wait()
        saved_at_last = True

    async with recommending(**kept_in(tmp_path)) as rig:
        monkeypatch.setattr(CheckpointKeeper, "save", save)
        task = asyncio.create_task(rig.term.run(held))
        await until(lambda: rig.prometheus.requests)
        held.asked = 0
        task.cancel()
        await asyncio.wait((task,))
    assert saved_at_last


async def test_a_pass_that_was_broken_off_leaves_no_pod_out() -> None:
    async with recommending() as rig:
        rig.kube.delay("/replicasets/", 60, times=1)
        async with rig.leading() as term:
            rig.deploy("web", annotations=GATED)
            await until(lambda: any("/replicasets/" in request.path for request in rig.kube.requests))
            term.cancel()
        async with rig.leading():
            await until(lambda: rig.kube.find(WORKLOADS, "default", "web") is not None)
