import base64
import json
from typing import Any

import pytest

from tests.support.admission import review
from tests.support.builders import pod
from webhook.errors import BadReviewError
from webhook.review import (
    MAX_WARNING_CHARACTERS,
    AdmissionRequest,
    decode_review,
    encode_admitted,
    encode_status,
    presentable,
)


def body(**changes: Any) -> bytes:
    return json.dumps({**review(pod()), **changes}).encode()


def request() -> AdmissionRequest:
    return decode_review(body())


def test_a_review_is_read() -> None:
    found = request()
    assert (found.uid, found.namespace, found.operation) == ("review-1", "default", "CREATE")
    assert json.loads(bytes(found.object))["metadata"]["name"] == "web-0"


def test_a_review_with_nothing_but_a_uid_is_one() -> None:
    assert decode_review(body(request={"uid": "x"})).uid == "x"


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
        body(apiVersion="admission.k8s.io/v1beta1"),
        body(kind="Pod"),
        body(request={}),
        body(request={"uid": ""}),
        body(request={"uid": 7}),
        body(request=None),
        body(request={"uid": "x", "namespace": ["default"]}),
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"\xff"}}',
        b'{"deep":' + b"[" * 100_000,
    ],
)
def test_what_is_not_a_review_is_refused(bad: bytes) -> None:
    with pytest.raises(BadReviewError, match="the body is not an AdmissionReview"):
        decode_review(bad)


def test_the_refusal_says_what_is_missing() -> None:
    with pytest.raises(BadReviewError, match=r"missing required field `uid` - at `\$\.request`"):
        decode_review(body(request={}))


def test_an_answer_repeats_version_kind_and_uid() -> None:
    answer = json.loads(encode_admitted(request()))
    assert answer == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "review-1", "allowed": True},
    }


def test_a_patch_is_base64_of_json_patch() -> None:
    operations = [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    response = json.loads(encode_admitted(request(), operations=operations))["response"]
    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == operations


def test_warnings_and_audit_annotations_are_passed_on() -> None:
    answer = encode_admitted(request(), warnings=["careful"], audit_annotations={"rule": "night"})
    response = json.loads(answer)["response"]
    assert (response["warnings"], response["auditAnnotations"]) == (["careful"], {"rule": "night"})


def test_more_warnings_than_a_person_reads_are_cut() -> None:
    answer = encode_admitted(request(), warnings=[str(number) for number in range(50)])
    assert len(json.loads(answer)["response"]["warnings"]) == 10


def test_a_warning_is_one_short_line() -> None:
    text = presentable("first\r\nsecond\tthird\x00\x7f " + "long " * 100)
    assert text.startswith("first second third long")
    assert text.isprintable()
    assert len(text) == MAX_WARNING_CHARACTERS
    assert text.endswith("...")


def test_a_short_warning_stays_as_it_is() -> None:
    assert presentable("profile 'x' not found") == "profile 'x' not found"


def test_a_status_is_a_kubernetes_status() -> None:
    assert json.loads(encode_status(code=404, reason="NotFound", message="no such path")) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": 404,
        "reason": "NotFound",
        "message": "no such path",
    }
