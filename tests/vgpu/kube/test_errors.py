import json

import pytest

from vgpu.kube import errors
from vgpu.kube.errors import ApiError, MissingCrds, error_from_answer


def answer(code: int, reason: str = "", message: str = "no", retry_after: str | None = None) -> ApiError:
    body = json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message})
    return error_from_answer(
        verb="GET", path="/api/v1/pods", code=code, body=body.encode(), retry_after=retry_after
    )


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", errors.Invalid),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.Throttled),
        (500, "InternalError", errors.ServerFailure),
        (504, "Timeout", errors.ServerFailure),
        (405, "MethodNotAllowed", errors.ApiError),
    ],
)
def test_each_answer_has_its_error(code: int, reason: str, expected: type[ApiError]) -> None:
    assert type(answer(code, reason)) is expected


def test_the_message_names_verb_path_and_what_the_server_said() -> None:
    error = answer(404, "NotFound", 'pods "web-0" not found')
    assert str(error) == 'GET /api/v1/pods: 404 NotFound: pods "web-0" not found'


def test_a_missing_permission_is_told_with_what_to_do() -> None:
    said = 'pods is forbidden: User "system:serviceaccount:a:b" cannot list resource "pods"'
    error = answer(403, "Forbidden", said)
    assert said in str(error)
    assert "Role" in str(error)


def test_the_time_to_come_back_is_read() -> None:
    assert answer(429, retry_after="7").retry_after == 7.0


def test_a_time_to_come_back_that_is_no_number_is_left_out() -> None:
    assert answer(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None


def test_what_a_proxy_says_instead_of_a_status_is_kept_in_short() -> None:
    body = b"<html>" + b"bad gateway " * 100
    error = error_from_answer(verb="GET", path="/", code=502, body=body)
    assert isinstance(error, errors.ServerFailure)
    assert "bad gateway" in str(error)
    assert len(str(error)) < 300


def test_json_that_is_no_status_is_not_taken_for_one() -> None:
    error = error_from_answer(verb="GET", path="/", code=404, body=b'{"detail": "no route"}')
    assert isinstance(error, errors.NotFound)
    assert "no route" in str(error)


def test_in_a_watch_the_code_comes_from_the_status() -> None:
    body = b'{"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}'
    assert isinstance(error_from_answer(verb="GET", path="/", code=0, body=body), errors.Gone)


def test_missing_crds_are_named_with_the_command_that_installs_them() -> None:
    error = MissingCrds(["tensorfusionworkloads.tensor-fusion.ai"])
    assert "tensorfusionworkloads.tensor-fusion.ai" in str(error)
    assert "kubectl create -k manifests/crds" in str(error)
