"""What can go wrong in the adapter: requests that are refused, and starts that cannot go on."""

from typing import ClassVar

from vgpu.errors import AutoscalerError, ExitCode, StartupError


class AdapterError(AutoscalerError):
    """Anything wrong in the adapter."""


class RequestRefused(AdapterError):
    """A request that gets a Status object instead of what it asked for.

    `code` and `reason` are those of the Kubernetes API; the message is what kubectl and HPA events show.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"


class BadSelector(RequestRefused):
    """A label selector that Kubernetes would not take either."""

    code = 400
    reason = "BadRequest"

    def __init__(self, parameter: str, text: str, problem: str) -> None:
        super().__init__(f"unable to parse {parameter} {text!r}: {problem}")


class Unauthenticated(RequestRefused):
    """Credentials that are not valid here."""

    code = 401
    reason = "Unauthorized"


class AccessDenied(RequestRefused):
    """Whoever asks may not have this."""

    code = 403
    reason = "Forbidden"


class UnknownPath(RequestRefused):
    """Nothing is served at the path."""

    code = 404
    reason = "NotFound"

    def __init__(self) -> None:
        super().__init__("the server could not find the requested resource")


class MetricNotFound(RequestRefused):
    """No such metric for such objects, or no fresh value of it for the named object."""

    code = 404
    reason = "NotFound"

    def __init__(self, metric: str, resource: str, name: str | None = None) -> None:
        of_what = f"{resource} {name}" if name else resource
        super().__init__(f"the server could not find the metric {metric} for {of_what}")


class MethodNotAllowed(RequestRefused):
    """Metrics are only read."""

    code = 405
    reason = "MethodNotAllowed"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"the server does not allow {method} on the requested resource: metrics are read-only"
        )


class SourceUnavailable(RequestRefused):
    """The metric source cannot be asked, and what it said last is too old to be passed on."""

    code = 503
    reason = "ServiceUnavailable"


class FrontProxyUnknown(AdapterError, StartupError):
    """The cluster does not say how to recognise kube-apiserver."""

    exit_code = ExitCode.CLUSTER


class RegistrationRefused(AdapterError, StartupError):
    """Something else holds the place in the cluster that the adapter would take."""

    exit_code = ExitCode.CLUSTER
