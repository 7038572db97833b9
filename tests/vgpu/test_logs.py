import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from vgpu.logs import configure_logging


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logging.getLogger(name).level for name in ("aiohttp.access", "asyncio", "kubernetes_asyncio")
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def fail(secret: str) -> None:
    raise ValueError("broken")


def test_a_log_line_is_one_json_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    structlog.get_logger("recommender.engine").info("pass finished", workloads=3)
    (line,) = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "recommender.engine",
        "message": "pass finished",
        "workloads": 3,
    }


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="warning", format="json")
    log = structlog.get_logger("x")
    log.info("quiet")
    log.warning("loud")
    assert [line["message"] for line in lines(capsys)] == ["loud"]


def test_logs_of_libraries_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    logging.getLogger("some.library").warning("tried %d times", 3)
    (line,) = lines(capsys)
    assert (line["logger"], line["level"], line["message"]) == ("some.library", "warning", "tried 3 times")


def test_an_exception_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    try:
        fail("")
    except ValueError:
        structlog.get_logger("x").exception("pass failed")
    (line,) = lines(capsys)
    assert "ValueError: broken" in line["exception"]


def test_a_value_that_json_does_not_know_is_written_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    structlog.get_logger("x").info("found", kind=ValueError("odd"))
    assert lines(capsys)[0]["kind"] == "odd"


def test_a_number_that_is_not_finite_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    structlog.get_logger("test").info("age", age=float("inf"), value=float("nan"))
    [line] = lines(capsys)
    assert (line["age"], line["value"]) == (None, None)


def test_bound_context_is_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    with structlog.contextvars.bound_contextvars(request="a1"):
        structlog.get_logger("x").info("admitted")
        logging.getLogger("library").info("seen")
    assert [line["request"] for line in lines(capsys)] == ["a1", "a1"]


def test_debug_lines_of_the_kubernetes_client_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="debug", format="json")
    logging.getLogger("kubernetes_asyncio.client.rest").debug("response body: a token")
    assert lines(capsys) == []


def test_text_is_readable_and_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="text")
    try:
        fail("hunter" * 2)
    except ValueError:
        structlog.get_logger("x").exception("pass failed")
    text = capsys.readouterr().err
    assert "pass failed" in text
    assert "ValueError: broken" in text
    assert "hunterhunter" not in text


def test_configuring_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    configure_logging(level="info", format="json")
    structlog.get_logger("x").info("once")
    assert len(lines(capsys)) == 1


def test_python_warnings_become_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(level="info", format="json")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "old way" in lines(capsys)[0]["message"]
