"""Histograms as one would write them at first, to measure the bank against: an object for each workload."""

import json
import math
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import DevClusterError
from devcluster.toolchain import Go, find_go
from recommender.bank.buckets import ExponentialBuckets

_EPSILON = 1e-4
_PROGRAMS = Path(__file__).parent
_BUILD_PATIENCE = 600.0
_RUN_PATIENCE = 300.0


@dataclass(slots=True)
class ObjectHistogram:
    """The Vertical Pod Autoscaler's decaying histogram in plain Python."""

    buckets: ExponentialBuckets
    half_life: float
    reference: float
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = [0.0] * self.buckets.count

    def add(self, value: float, weight: float, time: float) -> None:
        scaled = value * (self.buckets.ratio - 1) / self.buckets.first + 1
        bucket = min(int(math.log(scaled) / math.log(self.buckets.ratio)), self.buckets.count - 1)
        self.weights[bucket] += weight * 2 ** ((time - self.reference) / self.half_life)

    def percentile(self, p: float) -> float:
        counting = [bucket for bucket, weight in enumerate(self.weights) if weight >= _EPSILON]
        if not counting:
            return 0.0
        threshold, partial = p * sum(self.weights), 0.0
        for bucket in range(counting[0], counting[-1] + 1):
            partial += self.weights[bucket]
            if partial >= threshold:
                break
        return float(self.buckets.ends[bucket])


@dataclass(frozen=True, slots=True)
class PerObject:
    """What an object costs.

    Attributes:
        ingest: Nanoseconds for a sample.
        percentiles: Nanoseconds for three percentiles.
        size: Bytes in memory.
    """

    ingest: float
    percentiles: float
    size: float


class NoReferenceError(Exception):
    """The Vertical Pod Autoscaler's histogram cannot be measured here; the text says why."""


class VpaProgram:
    """The Vertical Pod Autoscaler's own histogram (`vpa/main.go`), compiled into a folder.

    Raises:
        NoReferenceError: There is no Go, or what is compiled could not be fetched.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._go = find_go(os.environ, modules=_PROGRAMS)
        except DevClusterError as error:
            raise NoReferenceError("there is no Go that is new enough") from error
        self._binary = folder / "vpa"
        _run([str(self._go.executable), "build", "-o", str(self._binary), "."], self._go, _BUILD_PATIENCE)

    def measure(self, *, objects: int, fill: int) -> PerObject:
        """Measures so many objects that hold so many samples each."""
        arguments = [str(self._binary), f"--objects={objects}", f"--fill={fill}"]
        found = json.loads(_run(arguments, self._go, _RUN_PATIENCE))
        return PerObject(found["ingest_nanoseconds"], found["percentiles_nanoseconds"], found["bytes"])


def _run(command: list[str], go: Go, patience: float) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return subprocess.run(
                command,
                cwd=_PROGRAMS / "vpa",
                env={**go.environ, "GOTMPDIR": folder},
                capture_output=True,
                text=True,
                timeout=patience,
                check=True,
            ).stdout
        except subprocess.CalledProcessError as error:
            raise NoReferenceError(f"{Path(command[0]).name} fails: {error.stderr.strip()[-300:]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoReferenceError(f"{Path(command[0]).name} fails: {error}") from error
