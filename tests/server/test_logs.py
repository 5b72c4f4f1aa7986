"""What the node says: one line an event, for people or machines, and never a local variable."""

from __future__ import annotations

import json
import logging
from io import StringIO

import pytest
import structlog
from quartet_server import logs


def _fail() -> None:
    password = "hunter2"  # noqa: F841 - what must not be shown
    raise ValueError("message")


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_shows_where_and_why_but_no_local_variable(style: str) -> None:
    out = StringIO()
    logs.configure("json" if style == "json" else "console", "info", out)
    try:
        _fail()
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    text = out.getvalue()
    assert "ValueError" in text
    assert "_fail" in text
    assert '= "hunter2"' not in text.replace('password = "hunter2"  # noqa', "")
    assert "'password'" not in text


def test_json_lines_are_one_object_each_whoever_logs() -> None:
    out = StringIO()
    logs.configure("json", "info", out)
    structlog.get_logger("a").info("first", number=1)
    logging.getLogger("library").warning("second %s", 2)
    structlog.get_logger("a").debug("too small")
    logging.getLogger("uvicorn.error").info("no news")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("first", "info"), ("second 2", "warning")]
    assert lines[0]["number"] == 1
    assert lines[1]["logger"] == "library"
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_console_lines_are_plain_off_a_terminal() -> None:
    out = StringIO()
    logs.configure("console", "warning", out)
    structlog.get_logger().warning("careful", reason="x")
    structlog.get_logger().info("not said")
    assert out.getvalue().count("\n") == 1
    assert "\x1b[" not in out.getvalue()
    assert "careful" in out.getvalue()
