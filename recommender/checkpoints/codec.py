"""A snapshot as bytes, and back. Pure.

Everything comes back as it was, but for two things. Histograms are rounded as `quantising` says, so that no
percentile moves, ties aside. And of a VRAM peak its bucket is kept, which is all that a histogram ever sees
of it: it comes back as a value inside of that bucket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from recommender.bank.buckets import ExponentialBuckets, FloatArray
from recommender.checkpoints.errors import CheckpointCorrupt
from recommender.checkpoints.packing import Column, Packer, Unpacker
from recommender.checkpoints.parts import Document, cut, join
from recommender.checkpoints.quantising import Units, quantised, restored
from recommender.checkpoints.snapshot import OpenPeaks, PendingBackfill, Snapshot, Weights
from recommender.checkpoints.uids import CompactUids, compacted, expanded
from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard

_MOST_WORKLOADS: Final = 2_000_000
"""More than any cluster has: bounds what a forged checkpoint makes of memory."""
_MOST_BUCKETS: Final = 1000

_NO_PEAK: Final = np.iinfo(np.uint16).max
_TIMES: Final = ("first", "last", "touched", "until")


class _Histograms(msgspec.Struct, frozen=True):
    """Which histograms the weights are of."""

    reference: float
    half_life: float
    first: float
    ratio: float
    maximum: float


class _Contents(msgspec.Struct, frozen=True):
    """What a payload holds."""

    workloads: int
    namespaces: int
    names: int
    pods: int
    depth: int
    window: float
    cursor: float | None
    written: float
    tflops: _Histograms
    vram: _Histograms
    columns: list[Column]


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot, and what it was saved as."""

    shard: Shard
    generation: int
    snapshot: Snapshot


def encode(snapshot: Snapshot, *, shard: Shard, generation: int, part_bytes: int) -> tuple[bytes, ...]:
    """A snapshot in parts of at most `part_bytes` bytes, each of which says what it belongs to.

    Raises:
        ValueError: A name contains a NUL character.
    """
    packer = Packer()
    namespaces, names = _pack_names(packer, snapshot)
    _pack_counts(packer, snapshot)
    _pack_weights(packer, "tflops", snapshot.tflops)
    _pack_weights(packer, "vram", snapshot.vram)
    _pack_peaks(packer, snapshot.peaks, snapshot.vram.buckets)
    contents = _Contents(
        workloads=len(snapshot),
        namespaces=namespaces,
        names=names,
        pods=len(snapshot.peaks.uids),
        depth=snapshot.peaks.depth,
        window=snapshot.peaks.window,
        cursor=snapshot.cursor,
        written=snapshot.written,
        tflops=_described(snapshot.tflops),
        vram=_described(snapshot.vram),
        columns=packer.columns,
    )
    return cut(Document(shard, generation, msgspec.json.encode(contents), packer.payload()), part_bytes)


def decode(parts: Sequence[bytes]) -> Saved:
    """The snapshot that parts, in any order, are of.

    Raises:
        CheckpointUnreadable: They are no whole checkpoint, as it was written, of a format known here.
    """
    document = join(parts)
    try:
        contents = msgspec.json.decode(document.contents, type=_Contents)
        snapshot = _snapshot(contents, Unpacker(contents.columns, document.payload))
    except (ValueError, ArithmeticError, IndexError, msgspec.MsgspecError) as error:
        raise CheckpointCorrupt(str(error)) from error
    return Saved(document.shard, document.generation, snapshot)


def _snapshot(contents: _Contents, columns: Unpacker) -> Snapshot:
    rows = contents.workloads
    if not 0 <= rows <= _MOST_WORKLOADS:
        raise ValueError(f"{rows} workloads are too many")
    names = _unpack_names(columns, contents)
    times = {name: columns.array(name, np.float64, rows) for name in _TIMES}
    vram = _unpack_weights(columns, "vram", contents.vram, rows)
    return Snapshot(
        keys=tuple(names[:rows]),
        **times,
        samples=columns.array("samples", np.int64, rows),
        tflops=_unpack_weights(columns, "tflops", contents.tflops, rows),
        vram=vram,
        peaks=_unpack_peaks(columns, contents, vram.buckets),
        preallocation=np.ascontiguousarray(columns.array("preallocation", np.float64, 6, rows).T),
        cursor=contents.cursor,
        written=contents.written,
        backfill=_unpack_backfill(columns, names),
    )


def _pack_names(packer: Packer, snapshot: Snapshot) -> tuple[int, int]:
    """Packs the names of all workloads, those with histories first, and what of their past is to be read."""
    pending = [key for each in snapshot.backfill for key in each.keys]
    numbers = {key: number for number, key in enumerate(dict.fromkeys((*snapshot.keys, *pending)))}
    spaces = dict.fromkeys(key.namespace for key in numbers)
    namespaces = {name: number for number, name in enumerate(spaces)}
    packer.texts("namespaces", tuple(namespaces))
    packer.array("namespace", _integers([namespaces[key.namespace] for key in numbers]))
    packer.texts("names", [key.name for key in numbers])
    packer.array("backfill_workloads", _integers([numbers[key] for key in pending]))
    packer.array("backfill_counts", _integers([len(each.keys) for each in snapshot.backfill]))
    packer.array("backfill_begins", np.array([each.begin for each in snapshot.backfill], np.float64))
    packer.array("backfill_ends", np.array([each.end for each in snapshot.backfill], np.float64))
    return len(namespaces), len(numbers)


def _unpack_names(columns: Unpacker, contents: _Contents) -> list[WorkloadKey]:
    namespaces = columns.texts("namespaces", contents.namespaces)
    numbers = columns.array("namespace", np.int64, contents.names)
    names = columns.texts("names", contents.names)
    _require_inside(numbers, len(namespaces))
    return [
        WorkloadKey(namespaces[number], name) for number, name in zip(numbers.tolist(), names, strict=True)
    ]


def _unpack_backfill(columns: Unpacker, names: Sequence[WorkloadKey]) -> tuple[PendingBackfill, ...]:
    workloads = columns.array("backfill_workloads", np.int64)
    counts = columns.array("backfill_counts", np.int64)
    begins = columns.array("backfill_begins", np.float64, len(counts)).tolist()
    ends = columns.array("backfill_ends", np.float64, len(counts)).tolist()
    _require_inside(workloads, len(names))
    _require_inside(counts, len(workloads) + 1)
    if counts.sum() != len(workloads):
        raise ValueError(f"{len(workloads)} workloads to back-fill are not those of the stretches")
    groups = np.split(workloads, np.cumsum(counts)[:-1]) if len(counts) else []
    return tuple(
        PendingBackfill(tuple(names[number] for number in group.tolist()), begin, end)
        for group, begin, end in zip(groups, begins, ends, strict=True)
    )


def _pack_counts(packer: Packer, snapshot: Snapshot) -> None:
    for name in _TIMES:
        packer.array(name, getattr(snapshot, name))
    packer.array("samples", snapshot.samples)
    packer.array("preallocation", snapshot.preallocation.T)


def _described(weights: Weights) -> _Histograms:
    buckets = weights.buckets
    return _Histograms(weights.reference, weights.half_life, buckets.first, buckets.ratio, buckets.maximum)


def _pack_weights(packer: Packer, name: str, weights: Weights) -> None:
    units = quantised(weights.weights)
    packer.array(f"{name}_exponents", units.exponents)
    packer.array(f"{name}_counts", units.counts)
    packer.array(f"{name}_gaps", units.gaps)
    packer.array(f"{name}_units", units.units)


def _unpack_weights(columns: Unpacker, name: str, described: _Histograms, rows: int) -> Weights:
    buckets = ExponentialBuckets(described.first, described.ratio, described.maximum)
    if buckets.count > _MOST_BUCKETS:
        raise ValueError(f"{buckets.count} buckets are too many")
    units = Units(
        exponents=columns.array(f"{name}_exponents", np.int16, rows),
        counts=columns.array(f"{name}_counts", np.uint16, rows),
        gaps=columns.array(f"{name}_gaps", np.uint16),
        units=columns.array(f"{name}_units", np.uint32),
    )
    return Weights(described.reference, described.half_life, buckets, restored(units, buckets.count))


def _pack_peaks(packer: Packer, peaks: OpenPeaks, buckets: ExponentialBuckets) -> None:
    uids = compacted(peaks.uids)
    packer.array("pod_uid_known", uids.known)
    packer.array("pod_uuids", uids.uuids)
    packer.texts("pod_uids", uids.others)
    packer.array("pod_rows", np.diff(peaks.row, prepend=0).astype(np.int64))
    packer.array("pod_opened", peaks.opened)
    packer.array("pod_newest", peaks.newest)
    known = ~np.isnan(peaks.peaks)
    numbers = np.full(peaks.peaks.shape, _NO_PEAK, np.uint16)
    numbers[known] = buckets.find(peaks.peaks[known])
    packer.array("pod_peaks", numbers.T)


def _unpack_peaks(columns: Unpacker, contents: _Contents, buckets: ExponentialBuckets) -> OpenPeaks:
    pods = contents.pods
    known = columns.array("pod_uid_known", np.uint8, pods) > 0
    uids = CompactUids(
        known=known,
        uuids=columns.array("pod_uuids", np.uint8).reshape(-1, 16),
        others=tuple(columns.texts("pod_uids", pods - int(known.sum()))),
    )
    numbers = columns.array("pod_peaks", np.uint16, contents.depth, pods).T
    _require_inside(numbers[numbers != _NO_PEAK], buckets.count)
    inside = np.append(_insides(buckets), np.nan)
    return OpenPeaks(
        uids=expanded(uids),
        row=np.cumsum(columns.array("pod_rows", np.int64, pods)).astype(np.intp),
        opened=columns.array("pod_opened", np.float64, pods),
        newest=columns.array("pod_newest", np.int64, pods),
        peaks=inside[np.minimum(numbers, buckets.count)],
        window=contents.window,
    )


def _insides(buckets: ExponentialBuckets) -> FloatArray:
    """A value well inside of each bucket, shape (count,); the last is taken to end as the others do."""
    ends = buckets.starts * buckets.ratio + buckets.first
    return np.asarray((buckets.starts + ends) / 2)


def _integers(numbers: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, dtype=np.int64)


def _require_inside(numbers: np.ndarray[tuple[int, ...], np.dtype[np.integer]], count: int) -> None:
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < count):
        raise ValueError(f"a number is not below {count}")
