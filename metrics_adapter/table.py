"""The table: every value the adapter can answer with, as of one poll. Built whole, never changed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

import msgspec

from metrics_adapter.catalog import POD_RESOURCE, Metric
from metrics_adapter.samples import Drop, GpuSample, GpuSamples
from vgpu.dialects import dialect_of
from vgpu.kube.objects import Pod
from vgpu.quantities import format_decimal
from vgpu.slices import Amounts, Resource


class DescribedObject(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The object that a value describes, as it stands in answers; root-scoped objects have no namespace."""

    kind: str
    name: str
    api_version: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of one object.

    Attributes:
        described: The object.
        labels: The object's labels, for selectors.
        time: Epoch seconds of the oldest sample in it: the value is no newer than that.
        quantity: The value as a canonical Kubernetes quantity.
    """

    described: DescribedObject
    labels: Mapping[str, str]
    time: float
    quantity: str


Rows = Mapping[str, Value]
"""Values of one metric in one namespace: object name to value, in the order of the names."""


@dataclass(frozen=True, slots=True)
class Table:
    """What one poll found.

    Attributes:
        time: Epoch seconds at which the source was asked.
        values: Rows by (resource, metric), then by namespace.
        drops: How many series or pods were left out, by reason.
    """

    time: float
    values: Mapping[tuple[str, str], Mapping[str, Rows]] = field(default_factory=dict)
    drops: Mapping[Drop, int] = field(default_factory=dict)

    def rows(self, resource: str, metric: str, namespace: str) -> Rows:
        """The values of one metric for such objects in a namespace; empty where there are none."""
        return self.values.get((resource, metric), {}).get(namespace, {})

    def sizes(self) -> Mapping[str, int]:
        """How many values there are of each metric."""
        sizes: Counter[str] = Counter()
        for (_, metric), namespaces in self.values.items():
            sizes[metric] += sum(len(rows) for rows in namespaces.values())
        return sizes


FindPod = Callable[[str, str], Pod | None]
"""The pod of a namespace and name, if it is one of ours."""


def build_table(
    samples: Mapping[Resource, GpuSamples], *, find_pod: FindPod, now: float, drops: Counter[Drop]
) -> Table:
    """Make the table of all pods that have samples of their own and can be judged by them.

    The HPA takes a missing pod for one at its target when it scales down and for an idle one when it scales
    up: the careful reading both times. So what is not known is left out and never becomes a zero.

    Args:
        samples: The newest sample of each GPU, in TFLOPS and in bytes.
        find_pod: Looks a pod up.
        now: Epoch seconds at which the source was asked.
        drops: Is counted up: GPUs and pods left out, by reason.
    """
    grouped = {resource: _by_pod(of_gpus) for resource, of_gpus in samples.items()}
    values: dict[tuple[str, str], dict[str, dict[str, Value]]] = {}
    for key in sorted(set().union(*grouped.values())):
        pod = _counted_pod(find_pod(*key), drops)
        if pod is None:
            continue
        requests = _requests(pod)
        for resource, of_pods in grouped.items():
            own = _own_samples(pod, of_pods.get(key, ()), drops)
            for metric, value in _values(pod, own, _MEASURES[resource], requests.get(resource), drops):
                rows = values.setdefault((POD_RESOURCE, metric.value), {}).setdefault(key[0], {})
                rows[value.described.name] = value
    return Table(time=now, values=values, drops=drops)


_PodKey = tuple[str, str]


def _by_pod(samples: GpuSamples) -> Mapping[_PodKey, Sequence[GpuSample]]:
    grouped: dict[_PodKey, list[GpuSample]] = defaultdict(list)
    for gpu, sample in samples.items():
        grouped[gpu.namespace, gpu.pod].append(sample)
    return grouped


def _counted_pod(pod: Pod | None, drops: Counter[Drop]) -> Pod | None:
    """The pod if its values may count; else the reason is counted."""
    if pod is None:
        drops[Drop.NO_POD] += 1
        return None
    if pod.status.phase != "Running" or pod.metadata.deletion_timestamp is not None:
        drops[Drop.NOT_RUNNING] += 1
        return None
    return pod


def _own_samples(pod: Pod, samples: Sequence[GpuSample], drops: Counter[Drop]) -> Sequence[GpuSample]:
    """The samples without those of an earlier pod of the same name: a StatefulSet uses names again."""
    stamps = (pod.metadata.creation_timestamp, pod.status.start_time)
    born = max((datetime.fromisoformat(stamp).timestamp() for stamp in stamps if stamp), default=0.0)
    own = [sample for sample in samples if sample.time >= born]
    drops[Drop.OLDER_THAN_POD] += len(samples) - len(own)
    return own


def _values(
    pod: Pod, samples: Sequence[GpuSample], measure: "_Measure", request: int | None, drops: Counter[Drop]
) -> Iterator[tuple[Metric, Value]]:
    """What the pod uses of a resource: the sum over its GPUs, and their mean as percent of the request.

    One GPU of which nothing is known leaves the pod without a value: those of the others alone would look as
    if it were idle, and a busy service would be scaled down.
    """
    if not samples:
        return
    used = [sample.value for sample in samples if sample.value is not None]
    if len(used) < len(samples):
        drops[Drop.BAD_VALUE] += 1
        return
    oldest = min(sample.time for sample in samples)
    yield measure.amount, _value(pod, oldest, sum(used))
    if not request:
        drops[Drop.NO_REQUEST] += 1
        return
    yield measure.utilization, _value(pod, oldest, 100 * fmean(used) * measure.scale / request)


@dataclass(frozen=True, slots=True)
class _Measure:
    """The metrics of a resource; `scale` is how many units of a request make one unit of a sample."""

    amount: Metric
    utilization: Metric
    scale: int


_MEASURES: Mapping[Resource, _Measure] = {
    Resource.TFLOPS: _Measure(Metric.GPU_TFLOPS, Metric.GPU_UTILIZATION, 1000),
    Resource.VRAM: _Measure(Metric.GPU_MEMORY_BYTES, Metric.GPU_MEMORY_UTILIZATION, 1),
}


def _requests(pod: Pod) -> Amounts:
    """What the pod itself runs with, after admission: not the template's and not a newer recommendation."""
    dialect = dialect_of(pod)
    return Amounts() if dialect is None else dialect.read(pod).slice.requests


def _value(pod: Pod, time: float, number: float) -> Value:
    described = DescribedObject("Pod", pod.metadata.name, "v1", pod.metadata.namespace)
    return Value(described, pod.metadata.labels or {}, time, format_decimal(number))
