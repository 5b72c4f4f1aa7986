"""Runs one member with its ports until it is told to stop."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from raftmeta.config import NodeConfig
from raftmeta.consensus import seeded
from raftmeta.garbage import collect_seldom
from raftmeta.http import HttpPort
from raftmeta.node import Node
from raftmeta.removal import Removal, RemovedError, was_removed
from raftmeta.services import add_services, too_many
from raftmeta.serving import Server
from raftmeta.tls import TlsFiles, grpc_channel_credentials

_GRACE = 2.0
SWITCH_INTERVAL = 0.0005
"""Seconds for which a thread in the background (a large range, a digest, a sweep) may keep the loop waiting: with the usual 5 ms
a put beside a digest took 2.7 to 3.4 ms, with this 0.8 to 1.2, and 1.0 beside nothing."""
_log = logging.getLogger(__name__)


class UsageError(Exception):
    """The configuration makes no sense; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a member listens, HOST:PORT; empty for a port that is not open."""

    client: str
    peer: str
    http: str


def check_security(config: NodeConfig, listen_client: str, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Refuse to talk in the clear by accident. Raises UsageError."""
    if tls is not None:
        if insecure:
            raise UsageError("--insecure and certificates contradict each other: give one of them")
        return
    if insecure:
        return
    if config.listen_peer:
        raise UsageError("the Raft port needs --ca, --cert and --key, or --insecure for development on one machine")
    if not _is_loopback(listen_client.rpartition(":")[0].strip("[]")):
        raise UsageError(f"{listen_client} is not a loopback address: give --ca, --cert and --key, or --insecure")


async def serve(
    config: NodeConfig,
    listen_client: str,
    listen_http: str,
    tls: TlsFiles | None,
    *,
    insecure: bool,
    started: Callable[[Ports], None],
) -> int:
    """Run a member until SIGTERM or SIGINT, then drain it; a second signal ends the process at once.

    `started` is told the ports once calls are taken. Returns the exit status: 0, or 1 when the member had to stop by
    itself. Raises UsageError, RemovedError when the member is or was removed from its cluster, and what `Node.start` raises.
    """
    check_security(config, listen_client, tls, insecure=insecure)
    try:
        bug = seeded.asked_for(os.environ, insecure=insecure)
    except ValueError as error:
        raise UsageError(f"{seeded.VARIABLE}: {error}") from error
    if was_removed(config.data_dir):
        raise RemovedError(config.data_dir)
    sys.setswitchinterval(SWITCH_INTERVAL)
    server = Server(too_many=too_many)
    port = _bind(server, listen_client, tls)
    client = f"{listen_client.rpartition(':')[0]}:{port}"
    join_credentials = grpc_channel_credentials(tls) if tls is not None and config.join else None
    config = dataclasses.replace(
        config, advertise_client=config.advertise_client or client, join_credentials=join_credentials, test_bug=bug
    )
    try:
        node = await Node.start(config)
    except ValueError as error:
        await server.stop(None)
        raise UsageError(str(error)) from error
    except BaseException:
        await server.stop(None)
        raise
    http = HttpPort(node)
    try:
        add_services(server, node)
        if listen_http:
            await http.start(listen_http)
        await server.start()
        collect_seldom()
        started(Ports(client, node.peer_address, http.address))
        await _until_told(node, lambda: grpc_channel_credentials(tls) if tls is not None else None)
    finally:
        await server.stop(_GRACE)
        await http.stop()
        await node.stop()
    return 1 if node.consensus.failure is not None else 0


def _bind(server: Server, listen: str, tls: TlsFiles | None) -> int:
    try:
        return server.listen(listen, tls)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot listen on {listen}: {error}; is another process using it?") from error


async def _until_told(node: Node, credentials: Callable[[], grpc.ChannelCredentials | None]) -> None:
    """Wait for a signal, or for the member to stop by itself. Raises RemovedError once it is removed from its cluster."""
    loop = asyncio.get_running_loop()
    told, removed = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        if told.is_set():
            os._exit(1)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)

    def gone() -> None:
        removed.set()
        told.set()

    node.consensus.on_failure(lambda error: told.set())
    removal = Removal(node, credentials, gone)
    removal.start()
    try:
        await told.wait()
    finally:
        await removal.close()
    if node.consensus.failure is not None:
        _log.critical("this member stopped: %s", node.consensus.failure)
    elif removed.is_set():
        raise RemovedError(node.config.data_dir)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
