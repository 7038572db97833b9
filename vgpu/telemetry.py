"""What every service's own metrics registry begins with."""

import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import vgpu
from vgpu.kube.contact import Contact
from vgpu.kube.reflector import Reflector

REQUEST_BUCKETS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Seconds; for histograms of answers that take from half a millisecond up to a webhook's time limit."""


class LateGauge(Collector):
    """A gauge that has no series until its value is known: an unknown time is not the year 1970.

    Args:
        name: of the metric.
        documentation: what it tells.
        registry: where it is shown.
    """

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._value: float | None = None
        registry.register(self)

    def set(self, value: float) -> None:
        """Show a value from now on."""
        self._value = value

    def clear(self) -> None:
        """Show nothing any more: the value is not known."""
        self._value = None

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metric without its series."""
        return [GaugeMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The metric as it is now."""
        return [GaugeMetricFamily(self._name, self._documentation, value=self._value)]


class CountedElsewhere(Collector):
    """A counter that somebody else keeps, read at the time of the scrape.

    Args:
        name: of the metric, without `_total`.
        documentation: what it tells.
        labels: the names of its labels.
        read: the values of the labels and the count, for each series.
        registry: where it is shown.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self.labels = tuple(labels)
        self._read = read
        registry.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """The metric without its series."""
        return [CounterMetricFamily(self._name, self._documentation, labels=self.labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The metric as it is now."""
        (family,) = self.describe()
        for values, count in self._read():
            family.add_metric(values, count)
        return [family]


def new_registry(*, service: str) -> CollectorRegistry:
    """A registry of its own for one service: process and garbage collector figures, and what is running.

    Args:
        service: The subcommand's name: recommender, webhook or metrics-adapter.
    """
    # A series beside each counter that says since when it counts: the text format has no use for it.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library annotates only parts of itself
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    build = Info("vgpu_autoscaler_build", "What is running", registry=registry)
    build.info({"service": service, "version": vgpu.__version__, "python": platform.python_version()})
    return registry


def watch_reflectors(registry: CollectorRegistry, reflectors: Iterable[Reflector[Any]]) -> None:
    """Show how current the service's copies of Kubernetes objects are, read at the time of the scrape.

    Args:
        registry: The service's own.
        reflectors: All of the service, one for each resource type.
    """
    contact = Gauge(
        "vgpu_kube_last_contact_seconds",
        "Seconds since kube-apiserver last told of the objects of a type, if only that nothing changed",
        ["resource"],
        registry=registry,
    )
    unreadable = Gauge(
        "vgpu_kube_unreadable_objects",
        "Objects of a type that are left out because they cannot be read; the log names them",
        ["resource"],
        registry=registry,
    )
    reflectors = tuple(reflectors)
    CountedElsewhere(
        "vgpu_kube_watch_interruptions",
        "Times that the objects of a type could not be listed or watched, by the error",
        ("resource", "error"),
        lambda: (
            ((reflector.resource.full_name, error), count)
            for reflector in reflectors
            for error, count in reflector.interruptions.items()
        ),
        registry=registry,
    )
    for reflector in reflectors:
        contact.labels(reflector.resource.full_name).set_function(reflector.silence)
        unreadable.labels(reflector.resource.full_name).set_function(reflector.unreadable)


def watch_requests(registry: CollectorRegistry, contact: Contact) -> None:
    """Show how often kube-apiserver says no, or does not answer, read at the time of the scrape.

    Args:
        registry: The service's own.
        contact: Of its client.
    """
    CountedElsewhere(
        "vgpu_kube_request_errors",
        "Requests to kube-apiserver that it refused or did not answer, by the error",
        ("error",),
        lambda: (((error,), count) for error, count in contact.errors.items()),
        registry=registry,
    )
