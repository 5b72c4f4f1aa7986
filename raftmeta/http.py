"""The HTTP port of a member that runs alone: /health, /metrics, /version, as etcd has them."""

from __future__ import annotations

import asyncio
import contextlib
import json

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metrics import NodeMetrics
from raftmeta.node import VERSION, Node

_MAX_HEAD = 8 * 1024
_TIMEOUT = 10.0
_MAX_CONNECTIONS = 200
"""More are closed unread: each takes a descriptor from the ports that matter."""
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class HttpPort:
    """A small HTTP/1.1 server: one GET per connection, nothing kept open."""

    def __init__(self, node: Node) -> None:
        """Serve `node`."""
        self._node = node
        self._registry = CollectorRegistry()
        self._registry.register(NodeMetrics(node))
        self._server: asyncio.Server | None = None
        self._connections = 0
        self.address = ""

    async def start(self, listen: str) -> None:
        """Bind HOST:PORT; port 0 takes any free one, then `address` tells which. Raises OSError."""
        host, _, port = listen.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=_MAX_HEAD)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return (status, content type, body) of a GET."""
        if path == "/health":
            return await self._health()
        if path == "/version":
            return (
                200,
                "application/json",
                _json({"etcdserver": VERSION, "etcdcluster": VERSION.rsplit(".", 1)[0] + ".0"}),
            )
        if path == "/metrics":
            text = await asyncio.get_running_loop().run_in_executor(None, generate_latest, self._registry)
            return 200, CONTENT_TYPE_LATEST, text
        return 404, "text/plain", b"404 page not found\n"

    async def _health(self) -> tuple[int, str, bytes]:
        """Healthy: there is a leader, no alarm, and a linearizable read comes back."""
        reason = ""
        if not self._node.has_leader:
            reason = "RAFT NO LEADER"
        elif any(self._node.machine.alarms(0)):
            reason = "ALARM " + pb.AlarmType.Name(self._node.machine.alarms(0)[0].alarm)
        else:
            try:
                async with asyncio.timeout(1.0):
                    await self._node.reads.confirmed()
            except (MetastoreError, TimeoutError):
                reason = "RANGE ERROR"
        return (
            (503 if reason else 200),
            "application/json",
            _json({"health": "false" if reason else "true", "reason": reason}),
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_TIMEOUT):
                    if self._connections <= _MAX_CONNECTIONS:
                        await self._converse(reader, writer)
        finally:
            self._connections -= 1
            writer.transport.abort()  # nothing where all was taken

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, kind, body = await self._respond(head)
        writer.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(body)
        writer.close()
        await writer.wait_closed()

    async def _respond(self, head: bytes) -> tuple[int, str, bytes]:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400, "text/plain", b"400 bad request\n"
        if words[0] != b"GET":
            return 405, "text/plain", b"405 method not allowed\n"
        return await self.answer(words[1].split(b"?")[0].decode("latin-1"))


def _json(document: dict[str, str]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
