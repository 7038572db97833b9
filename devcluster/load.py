"""The load of a GPU that is not there: real request rates, turned into what an inference engine would use.

A request keeps an engine busy for some milliseconds. So the utilization of a replica is the request rate,
shared by the replicas, times the GPU seconds of a request, and at most 1. Its VRAM is that of the weights and
of a cache for every request in flight. Rates are those of `data/inference-load`; noise has a fixed seed.
"""

import csv
import random
from dataclasses import dataclass
from importlib import resources

import msgspec

from vgpu.slices import VgpuSlice

WINDOW = 600.0
"""Seconds that one recorded request rate covers."""

LOAD_ANNOTATION = "devcluster.vgpu-autoscaler/load"
"""Annotation on the pod template that holds a `LoadProfile` as JSON."""

NOISE = 0.04
"""Relative spread of the noise on a rate."""


class LoadProfileError(ValueError):
    """The load annotation of a pod cannot be used."""


class LoadProfile(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How the simulated engine behind a pod behaves.

    Attributes:
        client: Column of the recorded request rates.
        start_hour: Hour of the recording at which the workload begins.
        gpu_seconds_per_request: Seconds that one request keeps the engine busy.
        latency_seconds: Seconds that one request is in flight.
        engine_tflops: TFLOPS that the engine computes while it is busy.
        weights_bytes: VRAM that is always held.
        cache_bytes_per_request: VRAM of one request in flight.
    """

    client: str = "steady_diurnal"
    start_hour: float = 0.0
    gpu_seconds_per_request: float = 0.002
    latency_seconds: float = 2.0
    engine_tflops: float = 30.0
    weights_bytes: float = 3 * 2.0**30
    cache_bytes_per_request: float = 4 * 2.0**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What one GPU slice of a pod uses: TFLOPS and bytes."""

    tflops: float
    vram: float


class RecordedRates:
    """The recorded request rates, by client; they repeat when their two weeks are over."""

    def __init__(self, rates: dict[str, list[float]]) -> None:
        self._rates = rates

    @classmethod
    def load(cls) -> "RecordedRates":
        """Reads the rates that come with the package."""
        text = (
            resources.files("devcluster").joinpath("data/inference-load/request-rate.csv").read_text("utf-8")
        )
        rows = list(csv.DictReader(text.splitlines()))
        return cls(
            {client: [float(row[client]) for row in rows] for client in rows[0] if client != "seconds"}
        )

    @property
    def clients(self) -> list[str]:
        """The names of the recorded clients."""
        return sorted(self._rates)

    def rate(self, client: str, recorded: float) -> float:
        """Requests a second of `client` at `recorded` seconds into the recording, interpolated."""
        rates = self._rates[client]
        window, rest = divmod(recorded / WINDOW, 1.0)
        index = int(window) % len(rates)
        return rates[index] * (1 - rest) + rates[(index + 1) % len(rates)] * rest


def parse_profile(text: str | None, *, clients: list[str]) -> LoadProfile:
    """Reads the load annotation; without one the defaults of `LoadProfile` hold.

    Raises:
        LoadProfileError: It is not JSON of that form, or names a client that was not recorded.
    """
    if text is None:
        return LoadProfile()
    try:
        profile = msgspec.json.decode(text, type=LoadProfile)
    except msgspec.DecodeError as error:
        raise LoadProfileError(f"annotation {LOAD_ANNOTATION}: {error}") from error
    if profile.client not in clients:
        raise LoadProfileError(
            f"annotation {LOAD_ANNOTATION}: no recorded client {profile.client!r}; "
            f"there are {', '.join(clients)}"
        )
    return profile


def usage(
    profile: LoadProfile, rates: RecordedRates, slice_: VgpuSlice, *, elapsed: float, replicas: int, seed: str
) -> Usage:
    """What one replica uses `elapsed` recorded seconds after its workload began.

    Like a real vGPU it obeys its slice: the usage never exceeds the limit.

    Args:
        profile: The engine behind the pod.
        rates: The recorded request rates.
        slice_: The slice that the pod carries.
        elapsed: Recorded seconds since the workload began.
        replicas: How many replicas share the requests.
        seed: Names the pod; the same pod has the same noise in the same window.
    """
    recorded = profile.start_hour * 3600.0 + elapsed
    noise = random.Random(f"{seed}/{int(recorded / WINDOW)}").gauss(1.0, NOISE)  # noqa: S311 - noise, no secret
    rate = rates.rate(profile.client, recorded) * max(noise, 0.0) / max(replicas, 1)
    tflops = min(1.0, rate * profile.gpu_seconds_per_request) * profile.engine_tflops
    vram = profile.weights_bytes + rate * profile.latency_seconds * profile.cache_bytes_per_request
    limit = slice_.limits
    return Usage(
        tflops=tflops if limit.tflops is None else min(tflops, limit.tflops / 1000),
        vram=vram if limit.vram is None else min(vram, float(limit.vram)),
    )
