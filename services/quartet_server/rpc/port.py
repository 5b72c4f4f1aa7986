"""The gRPC port: its options, its credentials, and the refusal to be reachable without them."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio

from quartet_server.addresses import Address
from quartet_server.config import Limits
from raftmeta.tls import TlsError, TlsFiles, grpc_server_credentials


class PortRefused(Exception):  # noqa: N818 - it says what happened
    """A port may not, or cannot, be opened.

    Attributes:
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        """Say what is wrong and what helps."""
        super().__init__(message)
        self.hint = hint


def create(interceptors: Sequence[aio.ServerInterceptor], limits: Limits) -> aio.Server:
    """Return a server that takes messages and calls within `limits`; it has no port yet."""
    return aio.server(
        interceptors=interceptors,
        maximum_concurrent_rpcs=limits.concurrent_calls,
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", -1),  # etcd's ranges and snapshots have no such limit
            ("grpc.so_reuseport", 0),  # two nodes on one port by mistake: the second must fail
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )


def check(address: Address, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Refuse a port that other machines can reach without TLS and client certificates. Raises PortRefused."""
    if not (address.loopback or tls or insecure):
        raise PortRefused(
            f"{address} can be reached by other machines and would be plaintext",
            "make certificates with `quartet cert ca`, `quartet cert node` and give --tls-cert, --tls-key and"
            " --tls-client-ca; or say --insecure",
        )


def bind(server: aio.Server, address: Address, tls: TlsFiles | None) -> Address:
    """Open the port and return its address with the port number in use. Raises PortRefused.

    With `tls` every caller must show a certificate, and a new handshake uses what the files hold then.
    """
    try:
        if tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), grpc_server_credentials(tls))
    except TlsError as error:
        raise PortRefused(str(error), "quartet cert node --help") from error
    except RuntimeError as error:
        raise PortRefused(f"cannot listen on {address}: {error}", "choose another with --listen HOST:PORT") from error
    return Address(address.host, port)
