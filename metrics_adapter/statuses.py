"""Errors as Kubernetes Status objects, which kubectl, client-go and the HPA controller read."""

import msgspec

from metrics_adapter.errors import RequestRefused


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """A `v1` Status that says no."""

    message: str
    reason: str
    code: int
    kind: str = "Status"
    api_version: str = "v1"
    metadata: dict[str, str] = {}
    status: str = "Failure"
    details: dict[str, str] = {}


def status_of(refused: RequestRefused) -> Status:
    """The Status that tells why a request was refused."""
    return Status(message=str(refused), reason=refused.reason, code=refused.code)


def internal_error() -> Status:
    """The Status of a mistake of our own; what it was stands in the log, not in the answer."""
    return Status(
        message="an error on the server: see the log of the metrics adapter", reason="InternalError", code=500
    )
