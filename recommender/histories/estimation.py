"""What the samples of many workloads say, in arrays, and what they say of one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray
from recommender.histories.estimators import BoolArray, Estimate
from recommender.histories.preallocation import Shares, holds
from recommender.keys import WorkloadKey
from vgpu.slices import Resource

IntArray = npt.NDArray[np.int64]

Estimates = Mapping[Resource, Estimate]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one workload's usage.

    Attributes:
        estimates: of the resources that have samples.
        samples: TFLOPS samples ever taken, of all pods.
        first: time of the first of them, in seconds since the epoch; None before it.
        shares: what its pods took of their VRAM limits, where that looks as if they took it in advance.
        touched: time of the latest sample of either resource, minus infinity before it.
    """

    estimates: Estimates
    samples: int = 0
    first: float | None = None
    shares: Shares | None = None
    touched: float = -math.inf


NO_EVIDENCE: Final = Evidence({})
"""Of a workload that never had a sample."""


@dataclass(frozen=True, slots=True)
class Estimation:
    """What is known of the usage of n workloads; amounts in whole milli-TFLOPS or bytes, never NaN.

    Attributes:
        keys: which workloads; the same object as of the last estimation while these are the same.
        positions: where in the arrays each of them stands.
        target: what a pod should request, shape (n,) for each resource.
        lower: a request below this is certainly too small, shape (n,) for each resource.
        upper: a request above this is certainly too large, shape (n,) for each resource.
        empty: where a resource has no samples, shape (n,) for each; amounts are 0 there and mean nothing.
        confidence: how far the bounds can be trusted, shape (n,).
        samples: TFLOPS samples ever taken, shape (n,).
        first: time of the first of them in seconds since the epoch, NaN before it, shape (n,).
        shares: peaks of VRAM under two limits, as `recommender.histories.preallocation` keeps them,
            shape (n, 4).
        preallocated: whether these tell of VRAM that is taken in advance, shape (n,).
        touched: time of the latest sample of either resource, minus infinity before it, shape (n,).
    """

    keys: tuple[WorkloadKey, ...]
    positions: Mapping[WorkloadKey, int]
    target: Mapping[Resource, FloatArray]
    lower: Mapping[Resource, FloatArray]
    upper: Mapping[Resource, FloatArray]
    empty: Mapping[Resource, BoolArray]
    confidence: FloatArray
    samples: IntArray
    first: FloatArray
    shares: FloatArray
    preallocated: BoolArray
    touched: FloatArray

    def __len__(self) -> int:
        """How many workloads these are."""
        return len(self.keys)

    def of(self, index: int) -> Estimates:
        """The estimates of the workload at a position; nothing of a resource without samples."""
        return {
            resource: Estimate(
                target=int(self.target[resource][index]),
                lower_bound=int(self.lower[resource][index]),
                upper_bound=int(self.upper[resource][index]),
                confidence=float(self.confidence[index]),
            )
            for resource in Resource
            if not self.empty[resource][index]
        }

    def evidence(self, key: WorkloadKey) -> Evidence:
        """All that is known of one workload; nothing of one that is not among the keys."""
        index = self.positions.get(key)
        if index is None:
            return NO_EVIDENCE
        first = float(self.first[index])
        return Evidence(
            estimates=self.of(index),
            samples=int(self.samples[index]),
            first=None if np.isnan(first) else first,
            shares=Shares(*self.shares[index].tolist()) if self.preallocated[index] else None,
            touched=float(self.touched[index]),
        )


def empty_estimation(keys: tuple[WorkloadKey, ...], positions: Mapping[WorkloadKey, int]) -> Estimation:
    """An estimation that knows nothing of any of these workloads, its arrays to be filled in."""
    count = len(keys)
    shares = np.full((count, 4), np.nan)
    return Estimation(
        keys=keys,
        positions=positions,
        target={resource: np.zeros(count) for resource in Resource},
        lower={resource: np.zeros(count) for resource in Resource},
        upper={resource: np.zeros(count) for resource in Resource},
        empty={resource: np.ones(count, dtype=np.bool_) for resource in Resource},
        confidence=np.zeros(count),
        samples=np.zeros(count, dtype=np.int64),
        first=np.full(count, np.nan),
        shares=shares,
        preallocated=holds(shares),
        touched=np.full(count, -np.inf),
    )
