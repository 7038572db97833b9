import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from devcluster.errors import ChildDied, ChildNotReady, ChildOutOfSpace, PortTaken
from devcluster.processes import Child, Ready, Supervisor
from tests.support.waiting import until

FOREVER = ["sleep", "300"]


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path) as running:
        yield running


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def there(path: Path) -> Ready:
    """Ready when the child has made this file."""

    async def probe() -> bool:
        return path.exists()  # noqa: ASYNC240 - one look, no waiting

    return probe


def ended(process: psutil.Process) -> bool:
    """Whether a process is no more, or waits only for somebody to ask how it ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_child_writes_its_output_and_errors_to_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    child = await supervisor.start(
        "talker",
        shell(f"echo out; echo err >&2; touch {tmp_path}/up; exec sleep 300"),
        ready=there(tmp_path / "up"),
    )
    assert child.log == tmp_path / "talker.log"
    assert child.log.read_text() == "out\nerr\n"


async def test_starting_waits_until_the_child_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    script = f"echo x > {tmp_path}/up.new; mv {tmp_path}/up.new {tmp_path}/up; exec sleep 300"
    await supervisor.start("server", shell(script), ready=there(tmp_path / "up"))
    assert (tmp_path / "up").exists()


async def test_a_child_that_dies_before_it_is_ready_shows_the_end_of_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(ChildDied) as caught:
        await supervisor.start("server", shell("seq 100; exit 3"), ready=there(tmp_path / "never"))
    text = str(caught.value)
    assert "server ended unexpectedly (exit status 3)" in text
    assert "    81\n" in text
    assert "    80\n" not in text
    assert str(tmp_path / "server.log") in text


async def test_a_child_that_is_not_ready_in_time_is_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(
        ChildNotReady, match=r"server was not ready after 0\.4 s; the end of its log:\n    busy\n"
    ):
        await supervisor.start(
            "server",
            shell(f"echo busy; echo $$ > {tmp_path}/pid; exec sleep 300"),
            ready=there(tmp_path / "never"),
            timeout=0.4,
        )
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_a_child_that_dies_later_fails_the_supervisor(supervisor: Supervisor) -> None:
    child = await supervisor.start("server", FOREVER)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildDied, match=r"server ended unexpectedly \(killed by SIGKILL\); its log is empty"):
        await asyncio.wait_for(supervisor.failed, timeout=10)


async def test_a_taken_port_is_told_from_the_log(supervisor: Supervisor) -> None:
    await supervisor.start(
        "server", shell("echo 'listen tcp 127.0.0.1:20000: bind: address already in use'; exit 1")
    )
    with pytest.raises(PortTaken, match="start again, the ports are then chosen anew"):
        await asyncio.wait_for(supervisor.failed, timeout=10)


async def test_a_full_disk_is_told_from_the_log_above_a_long_stack(supervisor: Supervisor) -> None:
    panic = "echo 'panic: write data: no space left on device'; seq 100; exit 2"
    await supervisor.start("server", shell(panic))
    with pytest.raises(ChildOutOfSpace, match=r"is full: make room, or choose another folder.* --dir"):
        await asyncio.wait_for(supervisor.failed, timeout=10)


async def test_a_program_that_is_not_there_is_named(supervisor: Supervisor) -> None:
    await supervisor.start("server", ["/nowhere/server"])
    with pytest.raises(ChildDied, match=r"exit status 127.*\n    cannot run /nowhere/server: No such file"):
        await asyncio.wait_for(supervisor.failed, timeout=10)


async def test_a_child_that_is_stopped_has_not_failed(supervisor: Supervisor) -> None:
    child = await supervisor.start("server", FOREVER)
    await supervisor.stop(child)
    assert not child.running
    assert not supervisor.failed.done()


async def test_a_child_gets_the_chance_to_end_by_itself(supervisor: Supervisor, tmp_path: Path) -> None:
    script = f"trap 'echo bye; exit 0' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    child = await supervisor.start("polite", shell(script), ready=there(tmp_path / "up"))
    await supervisor.stop(child)
    assert child.log.read_text().endswith("bye\n")


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 1; done"
        child = await supervisor.start("stubborn", shell(script), ready=there(tmp_path / "up"), patience=0.1)
    assert child.process.returncode == -signal.SIGKILL


async def test_what_a_child_started_ends_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    child = await supervisor.start("parent", shell(script), ready=there(tmp_path / "pid"))
    grandchild = psutil.Process(int((tmp_path / "pid").read_text()))
    await supervisor.stop(child)
    # It was sent its signal with the child, and dies of it whenever the kernel lets it run.
    await until(lambda: ended(grandchild), timeout=10, what="the grandchild has ended")


async def test_leaving_stops_the_children_in_reverse_order(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        for name in ("first", "second", "third"):
            farewell = f"trap 'echo {name} >> {tmp_path}/order; exit 0' TERM"
            script = f"{farewell}; touch {tmp_path}/{name}; while :; do sleep 0.01; done"
            await supervisor.start(name, shell(script), ready=there(tmp_path / name))
    assert (tmp_path / "order").read_text().split() == ["third", "second", "first"]


async def test_leaving_after_an_error_says_which_child_died_before(tmp_path: Path) -> None:
    async def work() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.start("server", shell("exit 3"))
            await asyncio.wait({supervisor.failed}, timeout=10)
            raise RuntimeError("connection refused")

    with pytest.raises(RuntimeError) as caught:
        await work()
    assert "server ended unexpectedly (exit status 3)" in caught.value.__notes__[0]


async def test_an_interrupted_leaving_kills_every_child(tmp_path: Path) -> None:
    children: list[Child] = []
    leaving = asyncio.Event()

    class Observed(Supervisor):
        async def stop(self, child: Child, *, kill: bool = False) -> None:
            leaving.set()
            await super().stop(child, kill=kill)

    async def work() -> None:
        async with Observed(tmp_path) as supervisor:
            for name in ("one", "two"):
                script = f"trap '' TERM; touch {tmp_path}/{name}; while :; do sleep 1; done"
                ready = there(tmp_path / name)
                children.append(await supervisor.start(name, shell(script), ready=ready))

    task = asyncio.create_task(work())
    await leaving.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert [child.process.returncode for child in children] == [-signal.SIGKILL] * 2


async def test_guarded_work_gives_its_result(supervisor: Supervisor) -> None:
    async def answer() -> int:
        return 42

    assert await supervisor.guard(answer()) == 42


async def test_guarded_work_ends_when_a_child_dies(supervisor: Supervisor) -> None:
    await supervisor.start("server", shell("exit 3"))
    with pytest.raises(ChildDied):
        await supervisor.guard(asyncio.sleep(60))


async def test_a_child_has_the_environment_it_was_given(supervisor: Supervisor, tmp_path: Path) -> None:
    script = f"echo $COLOUR > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/colour; exec sleep 300"
    await supervisor.start(
        "server",
        shell(script),
        env={"COLOUR": "green", "PATH": "/usr/bin:/bin"},
        ready=there(tmp_path / "colour"),
    )
    assert (tmp_path / "colour").read_text() == "green\n"


PARENT = """
import asyncio, sys
from pathlib import Path
from devcluster.interruption import until_interrupted
from devcluster.processes import Child, Ready, Supervisor

async def main():
    async with Supervisor(Path(sys.argv[1])) as supervisor:
        child = await supervisor.start("child", ["sleep", "300"])
        script = "trap '' TERM INT HUP; echo up; while :; do sleep 0.1; done"
        stubborn = await supervisor.start("stubborn", ["sh", "-c", script], patience=0.2)
        while not stubborn.log.read_text():
            await asyncio.sleep(0.01)
        print(child.pid, stubborn.pid, flush=True)
        await supervisor.failed

print(asyncio.run(until_interrupted(main())))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT], ids=["kill-9", "crash"])
async def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    with parent(tmp_path) as process:
        children = [psutil.Process(int(pid)) for pid in read_line(process).split()]
        process.send_signal(number)
        process.wait(timeout=10)
    await until(lambda: not any(map(lives, children)), timeout=10)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
async def test_no_child_outlives_a_parent_that_is_asked_to_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    with parent(tmp_path) as process:
        children = [psutil.Process(int(pid)) for pid in read_line(process).split()]
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    await until(lambda: not any(map(lives, children)), timeout=10)


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; init may take its time to take note of that."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def parent(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True)


def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()
