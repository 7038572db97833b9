"""Requests for custom metrics: what they ask for, and the answer from the table."""

from collections.abc import Mapping
from dataclasses import dataclass

from metrics_adapter.catalog import MetricGroup
from metrics_adapter.errors import BadSelector, MetricNotFound
from metrics_adapter.selectors import Operator, Selector, SelectorError, parse_selector
from metrics_adapter.snapshot import Snapshot
from metrics_adapter.table import Value
from metrics_adapter.wire import encode_values

ALL_OBJECTS = "*"
_COMPARISONS = {Operator.GREATER_THAN, Operator.LESS_THAN}


@dataclass(frozen=True, slots=True)
class MetricRequest:
    """One request, read.

    Attributes:
        version: Version of the API.
        namespace: Empty for root-scoped objects.
        resource: Plural name of the objects, with `.group` where they have one.
        name: Of the object, or `*` for all that `selector` selects.
        metric: Name of the metric.
        selector: Selects objects by their labels.
        metric_selector: Selects a metric's series by the metric's own labels.
    """

    version: str
    namespace: str
    resource: str
    name: str
    metric: str
    selector: Selector
    metric_selector: Selector


def read_request(path: Mapping[str, str], query: Mapping[str, str]) -> MetricRequest:
    """Read the variable parts of a path (already percent-decoded) and the query.

    Raises:
        BadSelector: a selector in the query is none.
    """
    metric_selector = _selector(query, "metricLabelSelector")
    if any(requirement.operator in _COMPARISONS for requirement in metric_selector.requirements):
        # The answer repeats it as a LabelSelector object, which has no comparisons.
        raise BadSelector(
            "metricLabelSelector", query["metricLabelSelector"], "> and < cannot be used for metrics"
        )
    return MetricRequest(
        version=path["version"],
        namespace=path.get("namespace", ""),
        resource=path["resource"],
        name=path["name"],
        metric=path["metric"],
        selector=_selector(query, "labelSelector"),
        metric_selector=metric_selector,
    )


def _selector(query: Mapping[str, str], parameter: str) -> Selector:
    text = query.get(parameter, "")
    try:
        return parse_selector(text)
    except SelectorError as error:
        raise BadSelector(parameter, text, str(error)) from error


def answer(
    request: MetricRequest, group: MetricGroup, snapshot: Snapshot, *, now: float, freshness: float
) -> bytes:
    """The JSON that answers a request.

    Of all objects, the list in the order of their names, empty where none has a fresh value; of one object
    that has none, an error.

    Raises:
        MetricNotFound: no such metric for such objects, or no fresh value for the object.
        SourceUnavailable: nobody knows, because the metric source does not answer.
    """
    if not group.has(request.resource, request.metric):
        raise _not_found(request)
    table = snapshot.require_table(now=now, freshness=freshness)
    rows = table.rows(request.resource, request.metric, request.namespace)
    # The values of pods carry no labels of their own.
    if not request.metric_selector.matches({}):
        raise _not_found(request)
    values = snapshot.only_fresh(_selected(request, rows), now=now, freshness=freshness)
    if request.name != ALL_OBJECTS and not values:
        raise _not_found(request)
    return encode_values(
        values,
        group=group.name,
        version=request.version,
        metric=request.metric,
        selector=request.metric_selector,
    )


def _selected(request: MetricRequest, rows: Mapping[str, Value]) -> list[Value]:
    if request.name != ALL_OBJECTS:
        return [rows[request.name]] if request.name in rows else []
    return [value for value in rows.values() if request.selector.matches(value.labels)]


def _not_found(request: MetricRequest) -> MetricNotFound:
    one = None if request.name == ALL_OBJECTS else request.name
    return MetricNotFound(request.metric, request.resource, one)
