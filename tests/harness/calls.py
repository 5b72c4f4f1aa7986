"""Calls of a servicer's methods without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from quartet_server.rpc.call import Call, enter


@contextmanager
def within(zone: str) -> Iterator[None]:
    """Serve a call in `zone`, as far as this task is concerned."""
    enter(Call("/test", "request", zone))
    yield
