"""Snapshots such as a recommender takes."""

import uuid

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import TFLOPS, VRAM, ExponentialBuckets, FloatArray
from recommender.bank.percentiles import WeightArray
from recommender.checkpoints.snapshot import OpenPeaks, Snapshot, Weights
from recommender.keys import WorkloadKey

NOW = 1_700_000_040.0
DAY = 86_400.0
HALF_LIFE = DAY
DEPTH = 8


def random_snapshot(count: int, *, pods: int = 1, namespace: str = "team", seed: int = 0) -> Snapshot:
    """`count` workloads of `pods` pods each, after a day of one sample a minute."""
    random = np.random.default_rng([seed, *namespace.encode()])
    first = NOW - DAY + 60 * random.integers(0, 600, count).astype(np.float64)
    return Snapshot(
        keys=_keys(random, count, namespace),
        first=first,
        last=np.full(count, NOW),
        touched=np.full(count, NOW),
        until=np.full(count, NOW),
        samples=np.asarray((NOW - first) / 60 * pods, dtype=np.int64),
        tflops=Weights(NOW - DAY / 3, HALF_LIFE, TFLOPS, _tflops(random, first)),
        vram=Weights(NOW - DAY / 3, HALF_LIFE, VRAM, _vram(random, count)),
        peaks=_peaks(random, first, pods),
        preallocation=_preallocation(random, count),
        cursor=NOW,
        written=NOW + 7.25,
    )


def _keys(random: np.random.Generator, count: int, namespace: str) -> tuple[WorkloadKey, ...]:
    letters = np.array(list("bcdfghjklmnpqrstvwxz2456789"))
    names = letters[random.integers(0, len(letters), (count, 10))]
    spaces = random.integers(0, 1 + count // 40, count)
    return tuple(
        WorkloadKey(f"{namespace}-{space}", f"inference-{row}-{''.join(name)}")
        for row, (space, name) in enumerate(zip(spaces, names, strict=True))
    )


def _tflops(random: np.random.Generator, first: FloatArray) -> WeightArray:
    """A sample a minute, log-normal: some 25 buckets each."""
    weights = np.zeros((len(first), TFLOPS.count), np.float64)
    middle = random.uniform(np.log(2), np.log(200), len(first))
    rows = np.arange(len(first))
    for minute in range(0, 1440, 10):
        values = np.exp(random.normal(middle, 0.3))
        ages = (first + 60 * minute - (NOW - DAY / 3)) / HALF_LIFE
        amounts = np.where(first + 60 * minute <= NOW, np.exp2(ages), 0.0)
        weights[rows, TFLOPS.find(values)] += amounts
    return weights.astype(np.float32)


def _vram(random: np.random.Generator, count: int) -> WeightArray:
    """The peaks of four days, each in a bucket of its own."""
    weights = np.zeros((count, VRAM.count), np.float64)
    bucket = random.integers(60, 120, count)
    for day in range(4):
        amounts = np.exp2(random.uniform(0, 1, count) - day)
        weights[np.arange(count), bucket + random.integers(-4, 5, count)] += amounts
    return weights.astype(np.float32)


def _peaks(random: np.random.Generator, first: FloatArray, pods: int) -> OpenPeaks:
    rows = np.repeat(np.arange(len(first)), pods)
    peaks = np.full((len(rows), DEPTH), np.nan)
    peaks[:, 0] = middle_of(VRAM, random.integers(60, 120, len(rows)))
    return OpenPeaks(
        uids=_uids(random, len(rows)),
        row=rows,
        opened=first[rows],
        newest=np.zeros(len(rows), np.int64),
        peaks=peaks,
        window=DAY,
    )


def _uids(random: np.random.Generator, count: int) -> tuple[str, ...]:
    return tuple(str(uuid.UUID(bytes=random.bytes(16), version=4)) for _ in range(count))


def _preallocation(random: np.random.Generator, count: int) -> FloatArray:
    """Every workload has been seen under one limit so far."""
    known = np.full((count, 6), np.nan)
    known[:, 0] = 2.0**30 * random.choice([8, 16, 24, 40, 80], count)
    known[:, 2] = np.round(known[:, 0] * random.uniform(0.1, 1, count) / 2**20) * 2**20
    return known


def middle_of(buckets: ExponentialBuckets, numbers: npt.ArrayLike) -> FloatArray:
    """A value well inside of each bucket."""
    numbers = np.asarray(numbers)
    return np.asarray((buckets.starts[numbers] + buckets.starts[numbers + 1]) / 2)
