"""What a recommender has to have read: raw samples of a real Prometheus, put on its grid by hand."""

from collections.abc import Mapping
from typing import Final

from vgpu.prometheus import PrometheusClient

PodUsage = Mapping[str, Mapping[float, float]]
"""Of each pod, by the end of each step: the most that one of its GPUs was seen to use in that step."""

METRICS: Final = {"tflops": "tf_worker_usage_compute_tflops", "vram": "tf_worker_usage_memory_bytes"}
"""What the development cluster's exporter calls the use of a resource."""

# Longer than any test takes.
_WINDOW: Final = "1h"


async def usage_on_grid(
    prometheus: PrometheusClient, resource: str, *, namespace: str, step: float, until: float
) -> dict[str, dict[float, float]]:
    """All samples of a namespace's pods, in TFLOPS or bytes.

    Args:
        prometheus: the real one.
        resource: `tflops` or `vram`.
        namespace: of the pods.
        step: seconds; a sample counts for the step that it lies in, which is open on the left.
        until: the end of the last step, epoch seconds.
    """
    selector = f'{METRICS[resource]}{{namespace="{namespace}"}}[{_WINDOW}]'
    milliseconds = round(step * 1000)
    found: dict[str, dict[float, float]] = {}
    for series in await prometheus.query(selector, time=until):
        of_pod = found.setdefault(series.labels["pod"], {})
        for time, value in zip(series.times, series.values, strict=True):
            end = -(-round(time * 1000) // milliseconds) * milliseconds / 1000
            of_pod[end] = max(of_pod.get(end, 0.0), value)
    return found


def of_app(usage: PodUsage, app: str) -> dict[str, Mapping[float, float]]:
    """The usage of a Deployment's pods, by their names."""
    return {pod: values for pod, values in usage.items() if pod.rsplit("-", 2)[0] == app}
