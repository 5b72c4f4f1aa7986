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


class Nobody:
    """The context of a call that came without metadata and without a certificate."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Nothing was sent along."""
        return ()

    def auth_context(self) -> dict[str, list[bytes]]:
        """Nothing is known of the caller."""
        return {}
