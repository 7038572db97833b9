"""The custom metrics API's objects as JSON (k8s.io/metrics: custom_metrics/v1beta1 and v1beta2).

They are instantaneous values, so the optional window is left out, as the API's types ask for.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from metrics_adapter.selectors import Selector
from metrics_adapter.table import DescribedObject, Value


class LabelSelectorRequirement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One condition of a LabelSelector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """A `meta/v1` LabelSelector."""

    match_expressions: tuple[LabelSelectorRequirement, ...]


class MetricIdentifier(msgspec.Struct, frozen=True):
    """A metric's name and the selector it was asked with."""

    name: str
    selector: LabelSelector | None


class MetricValueV1beta1(msgspec.Struct, frozen=True, rename="camel"):
    """An item of a v1beta1 list."""

    described_object: DescribedObject
    metric_name: str
    timestamp: datetime
    value: str
    selector: LabelSelector | None


class MetricValueV1beta2(msgspec.Struct, frozen=True, rename="camel"):
    """An item of a v1beta2 list."""

    described_object: DescribedObject
    metric: MetricIdentifier
    timestamp: datetime
    value: str


class MetricValueList(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a request for metrics."""

    api_version: str
    items: list[MetricValueV1beta1] | list[MetricValueV1beta2]
    kind: str = "MetricValueList"
    metadata: dict[str, str] = {}


def encode_values(
    values: Iterable[Value], *, group: str, version: str, metric: str, selector: Selector
) -> bytes:
    """The list of values in the given version of the API."""
    items = _ENCODERS[version](values, metric, _label_selector(selector))
    return msgspec.json.encode(MetricValueList(api_version=f"{group}/{version}", items=items))


def _v1beta1(
    values: Iterable[Value], metric: str, selector: LabelSelector | None
) -> list[MetricValueV1beta1]:
    return [
        MetricValueV1beta1(value.described, metric, _timestamp(value.time), value.quantity, selector)
        for value in values
    ]


def _v1beta2(
    values: Iterable[Value], metric: str, selector: LabelSelector | None
) -> list[MetricValueV1beta2]:
    identifier = MetricIdentifier(metric, selector)
    return [
        MetricValueV1beta2(value.described, identifier, _timestamp(value.time), value.quantity)
        for value in values
    ]


_ENCODERS: Mapping[
    str,
    Callable[
        [Iterable[Value], str, LabelSelector | None], list[MetricValueV1beta1] | list[MetricValueV1beta2]
    ],
] = {"v1beta1": _v1beta1, "v1beta2": _v1beta2}


def _timestamp(time: float) -> datetime:
    # Whole seconds, rounded down: metav1.Time has no fractions, and a sample is never shown newer than it is.
    return _second(int(time))


@lru_cache(maxsize=256)
def _second(second: int) -> datetime:
    # The values of an answer are of a few scrapes, so of a few seconds.
    return datetime.fromtimestamp(second, UTC)


def _label_selector(selector: Selector) -> LabelSelector | None:
    if not selector:
        return None
    return LabelSelector(
        tuple(
            LabelSelectorRequirement(requirement.key, requirement.operator.value, requirement.values)
            for requirement in selector.requirements
        )
    )
