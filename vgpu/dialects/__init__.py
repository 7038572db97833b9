"""Dialects: how a vGPU slice stands on a pod.

A dialect is one module with one object that keeps the small Protocol; adding it to `DIALECTS` is all there is
to do. The first one that applies to a pod speaks for it.
"""

from functools import lru_cache
from typing import Final

import msgspec

from vgpu.annotations import ORIGINAL_RESOURCES
from vgpu.dialects.protocol import Dialect, SliceEdit, SliceReading
from vgpu.dialects.tensorfusion import TENSORFUSION
from vgpu.kube.objects import Pod
from vgpu.quantities import QuantityError
from vgpu.slices import VgpuSlice

__all__ = ["DIALECTS", "Dialect", "SliceEdit", "SliceReading", "baseline", "dialect_of"]

DIALECTS: Final[tuple[Dialect, ...]] = (TENSORFUSION,)

# As narrow as the record is: a decoder that takes anything can be sent into its recursion limit.
_Record = dict[str, dict[str, str | int | float | None] | None]

# The pods of a template all have the same record; what is longer than any we write must not fill the cache.
_CACHED_RECORDS: Final = 4096
_CACHED_LENGTH: Final = 400


def dialect_of(pod: Pod) -> Dialect | None:
    """The dialect that a pod speaks, or None for a pod without a vGPU slice."""
    return next((dialect for dialect in DIALECTS if dialect.applies(pod)), None)


def baseline(pod: Pod) -> SliceReading:
    """The slice that the pod's template asked for, before anything was recommended.

    It is what the webhook recorded on the pod; on a pod that the webhook has not seen, what the pod carries.
    A record that cannot be read is named in `problems`, and what the pod carries stands in for it.
    """
    recorded = (pod.metadata.annotations or {}).get(ORIGINAL_RESOURCES)
    if not recorded:
        return _carried(pod)
    read = _known_record if len(recorded) <= _CACHED_LENGTH else _record
    try:
        return SliceReading(slice=read(recorded))
    except (msgspec.DecodeError, QuantityError) as error:
        carried = _carried(pod)
        problem = f"annotation {ORIGINAL_RESOURCES}: {error}"
        return SliceReading(slice=carried.slice, problems=(problem, *carried.problems))


def _record(text: str) -> VgpuSlice:
    return VgpuSlice.from_json(msgspec.json.decode(text, type=_Record))


_known_record = lru_cache(maxsize=_CACHED_RECORDS)(_record)


def _carried(pod: Pod) -> SliceReading:
    dialect = dialect_of(pod)
    return SliceReading(slice=VgpuSlice()) if dialect is None else dialect.read(pod)
