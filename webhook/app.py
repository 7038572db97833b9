"""The HTTP application: reviews in, answers out, and never a 5xx because of what is in a body."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from webhook.edits import Label, Outcome
from webhook.errors import BadReviewError
from webhook.lookups import Lookups
from webhook.metrics import WebhookMetrics
from webhook.pods import decide
from webhook.registration import PODS_PATH, TIMEOUT_SECONDS
from webhook.review import AdmissionRequest, decode_review, encode_admitted, encode_status

MAX_BODY_BYTES = 3 * 1024**2 + 256 * 1024
"""The largest request that kube-apiserver itself takes (3 MiB), and slack for the review around it."""

_log = structlog.get_logger(__name__)


def build_app(
    *, lookups: Lookups, metrics: WebhookMetrics, clock: Callable[[], float] = time.time
) -> web.Application:
    """The application.

    Args:
        lookups: what is known of the cluster.
        metrics: what is counted.
        clock: seconds since the epoch.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_status_middleware(metrics)])
    app.router.add_post(PODS_PATH, _PodReviews(lookups=lookups, metrics=metrics, clock=clock).handle)
    return app


class _PodReviews:
    """Answers the reviews of pods."""

    def __init__(self, *, lookups: Lookups, metrics: WebhookMetrics, clock: Callable[[], float]) -> None:
        self._lookups = lookups
        self._metrics = metrics
        self._clock = clock

    async def handle(self, http_request: web.Request) -> web.Response:
        """One review.

        Raises:
            BadReviewError: the body is not a review.
            HTTPRequestEntityTooLarge: the body is too large.
        """
        body = await _read_body(http_request)
        with self._metrics.latency.time():
            answer = self._answer(decode_review(body))
        return web.Response(body=answer, content_type="application/json")

    def _answer(self, request: AdmissionRequest) -> bytes:
        try:
            outcome = decide(request, lookups=self._lookups, now=self._clock())
            answer = _encode(request, outcome)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not keep anybody's pod from starting
            _log.exception(
                "admission failed, pod admitted unchanged", namespace=request.namespace, uid=request.uid
            )
            outcome = Outcome(
                Label.FAILED,
                warnings=(f"pod admitted unchanged, internal error ({type(error).__name__}); see its log",),
            )
            answer = _encode(request, outcome)
        self._metrics.admissions.labels(outcome=outcome.label, dialect=outcome.dialect).inc()
        if outcome.warnings:
            _log.info(
                "pod admitted with warnings",
                namespace=request.namespace,
                uid=request.uid,
                outcome=outcome.label,
                warnings=outcome.warnings,
            )
        return answer


def _encode(request: AdmissionRequest, outcome: Outcome) -> bytes:
    return encode_admitted(
        request,
        operations=outcome.operations,
        warnings=[f"vgpu-autoscaler: {warning}" for warning in outcome.warnings],
        audit_annotations=outcome.audit_annotations,
    )


async def _read_body(request: web.Request) -> bytes:
    """The body; one that is still coming when kube-apiserver has given up is not waited for."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await request.read()
    except web.RequestPayloadError as error:
        raise BadReviewError(f"the body cannot be read: {' '.join(str(error).split())}") from error
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {TIMEOUT_SECONDS} s") from error


def _status_middleware(metrics: WebhookMetrics) -> Middleware:
    """Turns what is wrong with a request into a Kubernetes Status."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadReviewError as error:
            code, message, headers = HTTPStatus.BAD_REQUEST, str(error), {}
        except web.HTTPException as error:
            code, message = HTTPStatus(error.status), error.text or error.reason
            headers = {name: value for name, value in error.headers.items() if name == "Allow"}
        metrics.refused.labels(code=str(code.value)).inc()
        body = encode_status(code=code, reason=_REASONS.get(code, "BadRequest"), message=message)
        return web.Response(status=code, body=body, content_type="application/json", headers=headers)

    return middleware


_REASONS = {
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    HTTPStatus.REQUEST_TIMEOUT: "Timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RequestEntityTooLarge",
}
"""Reasons as in k8s.io/apimachinery's StatusReason."""
