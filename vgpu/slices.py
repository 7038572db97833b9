"""A vGPU slice: how much of one GPU a pod requests, and where its limit stands."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

from vgpu.quantities import (
    INT64_MAX,
    QuantityError,
    format_tflops,
    format_vram,
    parse_tflops,
    parse_vram,
)

_DIGEST_LENGTH: Final = 8

# Every pod of a template says the same; what is longer than any quantity must not fill the cache.
_CACHED_AMOUNTS: Final = 4096
_CACHED_LENGTH: Final = 40


class Resource(StrEnum):
    """The two resources of a slice."""

    TFLOPS = "tflops"
    VRAM = "vram"


_PARSERS: Final[Mapping[Resource, Callable[[str | float], int]]] = {
    Resource.TFLOPS: parse_tflops,
    Resource.VRAM: parse_vram,
}
_FORMATTERS: Final[Mapping[Resource, Callable[[int], str]]] = {
    Resource.TFLOPS: format_tflops,
    Resource.VRAM: format_vram,
}


@dataclass(frozen=True, slots=True)
class Amounts:
    """The requests or the limits of a slice.

    Attributes:
        tflops: milli-TFLOPS, or None where none are given.
        vram: bytes, or None where none are given.
    """

    tflops: int | None = None
    vram: int | None = None

    def get(self, resource: Resource) -> int | None:
        """The amount of one resource, or None where it is not given."""
        return self.tflops if resource is Resource.TFLOPS else self.vram

    def replace(self, resource: Resource, value: int | None) -> "Amounts":
        """The same amounts but for one resource."""
        if resource is Resource.TFLOPS:
            return Amounts(tflops=value, vram=self.vram)
        return Amounts(tflops=self.tflops, vram=value)

    def to_json(self) -> dict[str, str]:
        """The amounts as canonical quantities; what is not given is left out."""
        return {
            resource.value: _FORMATTERS[resource](amount)
            for resource in Resource
            if (amount := self.get(resource)) is not None
        }


@dataclass(frozen=True, slots=True)
class VgpuSlice:
    """Requests and limits for one GPU; a pod with several GPUs holds that many equal slices."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()

    def with_resource(self, resource: Resource, *, request: int | None, limit: int | None) -> "VgpuSlice":
        """The same slice but for the request and limit of one resource."""
        return VgpuSlice(
            requests=self.requests.replace(resource, request), limits=self.limits.replace(resource, limit)
        )

    def to_json(self) -> dict[str, dict[str, str]]:
        """The slice as it stands in a spec or a status: `{"requests": {...}, "limits": {...}}`."""
        parts = {"requests": self.requests.to_json(), "limits": self.limits.to_json()}
        return {name: amounts for name, amounts in parts.items() if amounts}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Read what `to_json` or a person writes: keys in any case, quantities as text or number.

        Raises:
            QuantityError: a field is not a quantity; the message begins with the field, like `requests.vram`.
        """
        parts = _lowered(value)
        return cls(
            requests=_read_amounts(parts.get("requests"), "requests"),
            limits=_read_amounts(parts.get("limits"), "limits"),
        )


def parse_amount(resource: Resource, value: object) -> int:
    """An amount of a resource in its internal unit, from a quantity as text or number.

    Raises:
        QuantityError: the value is not a quantity, or a negative one.
    """
    if isinstance(value, str) and len(value) <= _CACHED_LENGTH:
        return _parsed(resource, value)
    if isinstance(value, (str, int, float)):
        return _PARSERS[resource](value)
    raise QuantityError(f"{value!r} is not a quantity, which is a text or a number")


@lru_cache(maxsize=_CACHED_AMOUNTS)
def _parsed(resource: Resource, text: str) -> int:
    return _PARSERS[resource](text)


def format_amount(resource: Resource, amount: int) -> str:
    """An amount of a resource as its canonical quantity."""
    return _FORMATTERS[resource](amount)


def _lowered(value: Mapping[str, object]) -> dict[str, object]:
    return {str(key).lower(): item for key, item in value.items()}


def _read_amounts(value: object, path: str) -> Amounts:
    if value is None:
        return Amounts()
    if not isinstance(value, Mapping):
        raise QuantityError(f"{path}: {value!r} is not a mapping of tflops and vram to quantities")
    amounts = Amounts()
    for resource, item in _named_resources(value):
        try:
            amounts = amounts.replace(resource, parse_amount(resource, item))
        except QuantityError as error:
            raise QuantityError(f"{path}.{resource}: {error}") from error
    return amounts


def _named_resources(value: Mapping[str, object]) -> list[tuple[Resource, object]]:
    given = _lowered(value)
    return [(resource, given[resource]) for resource in Resource if given.get(resource) is not None]


def limit_for(request: int, *, baseline_request: int, baseline_limit: int) -> tuple[int, bool]:
    """The limit that goes with a request so that the baseline's ratio of limit to request is kept.

    Exact integer arithmetic, rounded down, as in the Vertical Pod Autoscaler's `GetProportionalLimit`.

    Args:
        request: the new request.
        baseline_request: the request that the user wrote, above zero.
        baseline_limit: the limit that the user wrote.

    Returns:
        The limit, never below the request, and whether it had to be cut to INT64_MAX.

    Raises:
        ValueError: the baseline's request is not positive, so there is no ratio to keep.
    """
    if baseline_request <= 0:
        raise ValueError(f"no ratio to keep: the baseline's request is {baseline_request}, not above zero")
    limit = max(request, request * baseline_limit // baseline_request)
    return min(limit, INT64_MAX), limit > INT64_MAX


def merge_rule(rule: VgpuSlice, histogram: VgpuSlice | None, current: VgpuSlice) -> VgpuSlice:
    """What a workload shall have while a cron rule is active.

    For each resource the larger request of rule and histogram counts, and its limit goes with it. A field
    that the rule does not name keeps its current value. No request of the result exceeds its limit.

    Args:
        rule: the slice that the active rule asks for.
        histogram: the recommendation from usage, or None where the rule alone decides.
        current: the slice that is in force now.
    """
    merged = current
    for resource in Resource:
        request, limit = _of_rule(rule, current, resource)
        if histogram is not None:
            request, limit = _larger((request, limit), _pair(histogram, resource), current, resource)
        merged = merged.with_resource(resource, request=request, limit=limit)
    return merged


_Pair = tuple[int | None, int | None]


def _pair(slice_: VgpuSlice, resource: Resource) -> _Pair:
    return slice_.requests.get(resource), slice_.limits.get(resource)


def _of_rule(rule: VgpuSlice, current: VgpuSlice, resource: Resource) -> _Pair:
    request, limit = _pair(rule, resource)
    current_request, current_limit = _pair(current, resource)
    if request is None and limit is not None:
        # Only the limit is named: the rule's word holds, and the request that was there gives way to it.
        return _at_most(current_request, limit), limit
    return _ordered(
        current_request if request is None else request, current_limit if limit is None else limit
    )


def _larger(of_rule: _Pair, of_histogram: _Pair, current: VgpuSlice, resource: Resource) -> _Pair:
    request, limit = of_histogram
    if request is None or (of_rule[0] is not None and of_rule[0] >= request):
        return of_rule
    return _ordered(request, current.limits.get(resource) if limit is None else limit)


def _at_most(value: int | None, bound: int) -> int | None:
    return None if value is None else min(value, bound)


def _ordered(request: int | None, limit: int | None) -> _Pair:
    """The pair with the limit raised to the request where it stood below."""
    if request is None or limit is None:
        return request, limit
    return request, max(request, limit)


def applied_digest(written: VgpuSlice) -> str:
    """A short name for what is written on a pod: a digest for each resource, with a dash between.

    Equal for equal requests and limits, in any process.
    """
    return "-".join(_digest(_pair(written, resource)) for resource in Resource)


def still_written(digest: str, carried: VgpuSlice) -> frozenset[Resource]:
    """The resources of which a pod still carries the request and limit that were written.

    Args:
        digest: what `applied_digest` made of the slice that was written; any text is taken.
        carried: the slice that is on the pod.
    """
    parts = zip(Resource, digest.split("-"), applied_digest(carried).split("-"), strict=False)
    return frozenset(resource for resource, written, now in parts if written == now)


def _digest(pair: _Pair) -> str:
    return hashlib.sha256(json.dumps(pair).encode()).hexdigest()[:_DIGEST_LENGTH]
