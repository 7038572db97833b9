"""Which pods an exporter measures."""

from vgpu.usage_sources import MeasuredPods


def test_a_pod_that_was_busy_once_is_measured() -> None:
    measured = MeasuredPods[str]()
    measured.add(["a"])
    assert "a" in measured
    assert "b" not in measured


def test_of_very_many_pods_those_are_forgotten_that_were_idle_longest() -> None:
    measured = MeasuredPods[str](most=2)
    measured.add(["a", "b"])
    measured.add(["a", "c"])
    assert ["a" in measured, "b" in measured, "c" in measured] == [True, False, True]
