"""AdmissionReview v1, in and out.

Reading is strict about what makes a body a review (version, kind, uid) and leaves the object in it undecoded:
whether that is a pod is the business of whoever handles it, and no reason to refuse the review.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from vgpu.kube.patches import PatchOperation
from webhook.errors import BadReviewError

MAX_WARNING_CHARACTERS = 120
MAX_WARNINGS = 10
"""kube-apiserver cuts all warnings of a request at 4096 bytes together; a person reads fewer."""


class GroupVersionKind(msgspec.Struct, frozen=True):
    """Of what kind the object is."""

    group: str = ""
    version: str = ""
    kind: str = ""


class AdmissionRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The question: may this object be created? Everything but the uid may be missing."""

    uid: Annotated[str, msgspec.Meta(min_length=1)]
    kind: GroupVersionKind | None = None
    operation: str | None = None
    namespace: str | None = None
    sub_resource: str | None = None
    object: msgspec.Raw = msgspec.Raw(b"null")


class AdmissionReview(msgspec.Struct, frozen=True, rename="camel"):
    """A review as kube-apiserver sends it."""

    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: AdmissionRequest


class _AdmissionResponse(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    uid: str
    allowed: bool
    patch: str | None = None
    patch_type: str | None = None
    warnings: list[str] = []
    audit_annotations: Mapping[str, str] = {}


class _AnsweredReview(msgspec.Struct, frozen=True, rename="camel"):
    response: _AdmissionResponse
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    code: int
    reason: str
    message: str
    api_version: str = "v1"
    kind: str = "Status"
    metadata: Mapping[str, str] = {}
    status: str = "Failure"


_review_decoder = msgspec.json.Decoder(AdmissionReview)
_encoder = msgspec.json.Encoder()


def decode_review(body: bytes) -> AdmissionRequest:
    """The request in a body.

    Raises:
        BadReviewError: the body is no AdmissionReview of admission.k8s.io/v1 with a uid; says why.
    """
    try:
        return _review_decoder.decode(body).request
    except RecursionError as error:
        raise BadReviewError("the body is not an AdmissionReview: it is nested too deeply") from error
    except ValueError as error:  # msgspec's own errors and invalid UTF-8
        raise BadReviewError(f"the body is not an AdmissionReview of admission.k8s.io/v1: {error}") from error


def encode_admitted(
    request: AdmissionRequest,
    *,
    operations: Sequence[PatchOperation] = (),
    warnings: Sequence[str] = (),
    audit_annotations: Mapping[str, str] | None = None,
) -> bytes:
    """The answer that admits the object, changed by the operations; without any, it carries no patch."""
    patch = base64.b64encode(_encoder.encode(list(operations))).decode("ascii") if operations else None
    return _encoder.encode(
        _AnsweredReview(
            _AdmissionResponse(
                uid=request.uid,
                allowed=True,
                patch=patch,
                patch_type="JSONPatch" if patch else None,
                warnings=[presentable(warning) for warning in warnings[:MAX_WARNINGS]],
                audit_annotations=audit_annotations or {},
            )
        )
    )


def encode_status(*, code: int, reason: str, message: str) -> bytes:
    """A Kubernetes Status that tells a client what is wrong with its request."""
    return _encoder.encode(_Status(code=code, reason=reason, message=message))


def presentable(warning: str) -> str:
    """A warning as an HTTP header can carry it and a kubectl user can read it: one line, not too long."""
    printable = "".join(character if character.isprintable() else " " for character in warning)
    line = " ".join(printable.split())
    return line if len(line) <= MAX_WARNING_CHARACTERS else f"{line[: MAX_WARNING_CHARACTERS - 3]}..."
