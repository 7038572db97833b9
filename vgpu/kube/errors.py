"""What can go wrong between a service and kube-apiserver: each error says what, where and what to do."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What msgspec raises over JSON that is not what its type promises, is nested too deep, or is not UTF-8."""


class KubeError(Exception):
    """Anything wrong with Kubernetes access."""


class KubeConfigError(KubeError):
    """No usable kubeconfig or service account: the message names the file and what is wrong with it."""


class ApiUnreachable(KubeError):
    """No answer from kube-apiserver: refused, cut off, or too slow."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"kube-apiserver at {server} does not answer: {reason}")
        self.server = server
        self.reason = reason


class MissingCrds(KubeError):
    """Custom resource definitions that the service needs are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"custom resource definitions are missing in the cluster: {', '.join(names)}; "
            "install them with `kubectl create -k manifests/crds`"
        )
        self.names = tuple(names)


class NotSynced(KubeError):
    """The objects of a type could not be listed in time; `last_error` says why."""

    def __init__(self, resource: str, timeout: float, last_error: KubeError | None) -> None:
        reason = last_error or "kube-apiserver has not answered yet"
        super().__init__(f"{resource} could not be listed within {timeout:g} s: {reason}")
        self.last_error = last_error


class BadAnswer(KubeError):
    """An answer that is not what the API promises, perhaps from something that is not kube-apiserver."""

    def __init__(self, verb: str, path: str, reason: str) -> None:
        super().__init__(f"{verb} {path}: the answer cannot be read: {reason}")
        self.verb = verb
        self.path = path
        self.reason = reason


class ApiError(KubeError):
    """An answer that says no; the subclass says which no.

    `retry_after` (seconds) is set where the server says when to come back.
    """

    hint: ClassVar[str] = ""

    def __init__(
        self, *, verb: str, path: str, code: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        text = f"{verb} {path}: {code} {reason}: {message}"
        super().__init__(f"{text}; {self.hint}" if self.hint else text)
        self.verb = verb
        self.path = path
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: kube-apiserver does not know who is asking."""

    hint = "the credentials in the kubeconfig or service account are missing, wrong or expired"


class Forbidden(ApiError):
    """403: the permission that is missing is in the server's message."""

    hint = "grant it to the service's user with a Role or ClusterRole and a binding"


class NotFound(ApiError):
    """404: no such object, or no such resource type."""


class Conflict(ApiError):
    """409: somebody else changed the object, or owns the field that was applied."""


class AlreadyExists(ApiError):
    """409 on create: there is one of that name."""


class Gone(ApiError):
    """410: the resource version or page is too old; list again."""


class Invalid(ApiError):
    """400 or 422: kube-apiserver refuses the object as it is."""


class Throttled(ApiError):
    """429: too many requests; wait for `retry_after`."""


class ServerFailure(ApiError):
    """5xx: kube-apiserver itself is in trouble."""


class _Status(msgspec.Struct):
    """The Kubernetes Status object that carries an error."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


_CLASSES: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Throttled,
}


def error_from_answer(
    *, verb: str, path: str, code: int, body: bytes, retry_after: str | None = None
) -> ApiError:
    """The error that an answer or a watch's ERROR event means.

    Args:
        verb: the HTTP method.
        path: the path that was asked for.
        code: the HTTP status; 0 in a watch, where only the body carries it.
        body: a Kubernetes Status, or whatever a proxy in between said.
        retry_after: the header of that name; its form as a date is not used by kube-apiserver and is ignored.
    """
    status = _decode_status(body)
    code = code or status.code
    reason = status.reason or "Error"
    return _error_class(code, reason)(
        verb=verb,
        path=path,
        code=code,
        reason=reason,
        message=status.message or "no message",
        retry_after=float(retry_after) if retry_after and retry_after.isdecimal() else None,
    )


def _error_class(code: int, reason: str) -> type[ApiError]:
    if reason == "AlreadyExists":
        return AlreadyExists
    return ServerFailure if code >= 500 else _CLASSES.get(code, ApiError)


def _decode_status(body: bytes) -> _Status:
    try:
        status = msgspec.json.decode(body, type=_Status)
    except UNREADABLE:
        status = _Status()
    return status if status.kind == "Status" else _Status(message=body[:200].decode(errors="replace").strip())
