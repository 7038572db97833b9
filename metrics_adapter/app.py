"""The HTTP application: what is served where, and to whom; every error is a Status object."""

import time
from collections.abc import Callable, Sequence

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

import vgpu
from metrics_adapter.authentication import FrontProxy
from metrics_adapter.catalog import MetricGroup
from metrics_adapter.custom_metrics import answer, read_request
from metrics_adapter.discovery import (
    AGGREGATED_TYPE,
    JSON_TYPE,
    Document,
    aggregated_groups,
    api_group,
    document,
    group_list,
    resource_list,
    wants_aggregated,
)
from metrics_adapter.errors import MethodNotAllowed, RequestRefused, UnknownPath
from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.openapi import swagger, v3_document, v3_index
from metrics_adapter.snapshot import Snapshot
from metrics_adapter.statuses import Status, internal_error, status_of
from vgpu.serving import alive, readiness

_HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
_OPEN_PATHS = frozenset({*_HEALTH_PATHS, "/version", "/openapi/v2", "/openapi/v3"})
_OPEN_PREFIX = "/openapi/v3/"
_VERBS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = structlog.get_logger(__name__)


def build_app(
    *,
    groups: Sequence[MetricGroup],
    front_proxy: FrontProxy,
    snapshot: Callable[[], Snapshot],
    freshness: float,
    metrics: AdapterMetrics,
    not_ready: Callable[[], Sequence[str]],
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """Put the application together.

    Args:
        groups: The API groups that are served.
        front_proxy: How kube-apiserver is recognised: nobody else gets metrics or discovery.
        snapshot: The latest table.
        freshness: Seconds after which a sample is not used any more.
        metrics: Count requests.
        not_ready: Why the service is not ready, a sentence for each reason.
        clock: Epoch seconds.
    """
    app = web.Application(middlewares=[_observe(groups, metrics), _authenticate(front_proxy)])
    app.add_routes([web.get("/healthz", alive), web.get("/livez", alive)])
    app.add_routes([web.get("/readyz", readiness(not_ready)), *_document_routes(groups)])
    for group in groups:
        app.add_routes(_metric_routes(group, snapshot, freshness=freshness, clock=clock))
    return app


def _metric_routes(
    group: MetricGroup, snapshot: Callable[[], Snapshot], *, freshness: float, clock: Callable[[], float]
) -> list[web.RouteDef]:
    async def of_objects(request: web.Request) -> web.Response:
        asked = read_request(request.match_info, request.query)
        body = answer(asked, group, snapshot(), now=clock(), freshness=freshness)
        return web.Response(body=body, content_type=JSON_TYPE)

    async def of_namespace(request: web.Request) -> web.Response:
        path = request.match_info
        described = {**path, "resource": "namespaces", "name": path["namespace"], "namespace": ""}
        asked = read_request(described, request.query)
        body = answer(asked, group, snapshot(), now=clock(), freshness=freshness)
        return web.Response(body=body, content_type=JSON_TYPE)

    base = f"/apis/{group.name}/{{version:{'|'.join(group.versions)}}}"
    return [
        web.get(f"{base}/namespaces/{{namespace}}/metrics/{{metric}}", of_namespace),
        web.get(f"{base}/namespaces/{{namespace}}/{{resource}}/{{name}}/{{metric}}", of_objects),
        web.get(f"{base}/{{resource}}/{{name}}/{{metric}}", of_objects),
    ]


def _document_routes(groups: Sequence[MetricGroup]) -> list[web.RouteDef]:
    legacy = document(group_list(groups))
    aggregated = document(aggregated_groups(groups), content_type=AGGREGATED_TYPE)

    async def root(request: web.Request) -> web.StreamResponse:
        accept = ",".join(request.headers.getall("Accept", ()))
        return _answer_document(request, aggregated if wants_aggregated(accept) else legacy)

    major, minor, *_ = vgpu.__version__.split(".")
    version = {"major": major, "minor": minor, "gitVersion": f"v{vgpu.__version__}"}
    routes = [
        web.get("/apis", root),
        _fixed("/version", document(version)),
        _fixed("/openapi/v2", document(swagger(groups))),
        _fixed("/openapi/v3", document(v3_index(groups))),
    ]
    for group in groups:
        routes.append(_fixed(f"/apis/{group.name}", document(api_group(group))))
        for name in group.versions:
            path = f"apis/{group.name}/{name}"
            routes.append(_fixed(f"/{path}", document(resource_list(group, name))))
            routes.append(_fixed(f"/openapi/v3/{path}", document(v3_document(group, name))))
    return routes


def _fixed(path: str, content: Document) -> web.RouteDef:
    async def show(request: web.Request) -> web.StreamResponse:
        return _answer_document(request, content)

    return web.get(path, show)


def _answer_document(request: web.Request, content: Document) -> web.StreamResponse:
    known = {tag.value for tag in request.if_none_match or ()}
    # A client's cache is told by ETag alone, and that of one form is never the other's.
    headers = {"ETag": content.etag, "Vary": "Accept"}
    if content.etag.strip('"') in known or "*" in known:
        return web.Response(status=304, headers=headers)
    return web.Response(body=content.body, headers={**headers, "Content-Type": content.content_type})


def _authenticate(front_proxy: FrontProxy) -> Middleware:
    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN_PATHS and not request.path.startswith(_OPEN_PREFIX):
            connection = request.get_extra_info("ssl_object")
            certificate = connection.getpeercert() if connection is not None else None
            front_proxy.require(certificate, request.headers)
        return await handler(request)

    return authenticate


def _observe(groups: Sequence[MetricGroup], metrics: AdapterMetrics) -> Middleware:
    known = {info.name for group in groups for info in group.metrics}

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response = await _answer_in_kind(request, handler)
        asked = request.match_info.get("metric", "")
        metrics.answered(
            # Whatever is asked for, the number of label values stays small.
            verb=request.method.lower() if request.method in _VERBS else "other",
            metric=asked if asked in known or not asked else "unknown",
            code=response.status,
            seconds=time.perf_counter() - started,
        )
        return response

    return observe


async def _answer_in_kind(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or what went wrong as a Status."""
    try:
        return await handler(request)
    except RequestRefused as refused:
        return _answer_status(status_of(refused))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _answer_status(status_of(MethodNotAllowed(request.method)), {"Allow": allowed})
    except web.HTTPNotFound:
        return _answer_status(status_of(UnknownPath()))
    except Exception:  # noqa: BLE001 - the client gets a Status for our own mistakes too; the log gets the traceback
        _log.exception("request failed", path=request.path)
        return _answer_status(internal_error())


def _answer_status(status: Status, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status.code, body=msgspec.json.encode(status), content_type=JSON_TYPE, headers=headers
    )
