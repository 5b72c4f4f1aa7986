"""A node inside this process, for `Client(":memory:")`: the only module that imports the server, and only when asked."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from quartet._errors import ConfigurationError

if TYPE_CHECKING:
    from quartet_server.node import RunningNode

MEMORY = ":memory:"


class MemoryNode:
    """A single node on a loop of its own, in a thread of its own.

    Attributes:
        address: HOST:PORT of its gRPC port, on loopback.
    """

    def __init__(self) -> None:
        """Start it and wait until it serves. Raises ConfigurationError when the server is not installed."""
        try:
            import structlog
            from quartet_server import logs
            from quartet_server.node import start_in_memory
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{MEMORY} needs the server package: {error}") from error
        if not structlog.is_configured():  # a library says nothing on stdout, and little on stderr
            logs.configure("console", "warning")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="quartet-memory", daemon=True)
        self._thread.start()
        try:
            self._node: RunningNode | None = asyncio.run_coroutine_threadsafe(start_in_memory(), self._loop).result()
        except BaseException:
            self._node = None
            self.close()
            raise
        self.address = str(self._node.address)

    def close(self) -> None:
        """Stop the node; what it kept is gone."""
        if self._loop.is_closed():
            return
        if self._node is not None:
            asyncio.run_coroutine_threadsafe(self._node.stop(), self._loop).result()
            self._node = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
