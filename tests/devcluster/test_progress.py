import io

from rich.console import Console

from devcluster.progress import show_build
from devcluster.steps import Phase, Progress


def step(phase: Phase, elapsed: float, *, tool: str = "etcd", done: int = 0, item: str = "") -> Progress:
    return Progress(
        tool=tool, position=1, count=7, phase=phase, elapsed=elapsed, done=done, total=581, item=item
    )


def shown(*steps: Progress, terminal: bool = False) -> str:
    output = io.StringIO()
    with show_build(Console(file=output, force_terminal=terminal, width=120)) as report:
        for each in steps:
            report(each)
    return output.getvalue()


def test_nothing_is_shown_where_nothing_is_built() -> None:
    assert shown() == ""
    assert shown(terminal=True) == ""


def test_the_first_step_says_how_long_it_takes_and_why() -> None:
    assert shown(step(Phase.RESOLVING, 0)).startswith(
        "The control plane (etcd, Kubernetes, kwok, Prometheus) is compiled"
    )


def test_a_line_says_what_is_compiled_how_far_and_since_when() -> None:
    text = shown(step(Phase.COMPILING, 83, done=105, item="net/http"))
    assert "  1:23 [1/7] etcd: compiling 105 of 581 packages net/http\n" in text


def test_without_a_terminal_a_line_comes_now_and_then_only() -> None:
    lines = shown(*(step(Phase.COMPILING, second, done=second) for second in range(60))).splitlines()
    assert [line for line in lines if "compiling" in line] == [
        "  0:00 [1/7] etcd: compiling 0 of 581 packages",
        "  0:20 [1/7] etcd: compiling 20 of 581 packages",
        "  0:40 [1/7] etcd: compiling 40 of 581 packages",
    ]


def test_each_change_of_phase_is_a_line_of_its_own() -> None:
    text = shown(
        step(Phase.COMPILING, 1),
        step(Phase.LINKING, 2),
        step(Phase.DONE, 3),
        step(Phase.COMPILING, 4, tool="kwok"),
    )
    said = [line.partition("] ")[2].removesuffix(" 0 of 581 packages") for line in text.splitlines()[1:]]
    assert said == ["etcd: compiling", "etcd: linking", "etcd: done", "kwok: compiling"]


def test_waiting_for_another_process_is_said() -> None:
    assert "waiting for another process that builds the same" in shown(step(Phase.WAITING, 0))


def test_a_terminal_shows_a_bar_for_each_program() -> None:
    text = shown(
        step(Phase.COMPILING, 1, done=105, item="net/http"),
        step(Phase.DONE, 2),
        step(Phase.LINKING, 3, tool="kwok"),
        terminal=True,
    )
    assert "etcd" in text
    assert "581/581" in text
    assert "kwok" in text
