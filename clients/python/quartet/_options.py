"""What a client is told once: where the cluster is, how to reach it, how long to wait."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from quartet._errors import ConfigurationError

ENDPOINTS = "QUARTET_CLIENT_ENDPOINTS"
ZONE_KEY = "quartet-zone"
PRINCIPAL_KEY = "quartet-principal"
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),  # nodes are reached directly, as the question whether they listen is asked
    ("grpc.enable_retries", 0),  # what is safe to repeat is decided here
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """How to speak TLS with the cluster.

    Attributes:
        ca: PEM file with the authority that signed the nodes' certificates.
        cert: PEM file with this client's certificate; its names say which zones it may act in.
        key: PEM file with the certificate's private key.
        server_name: Name to expect in the nodes' certificates instead of the endpoint's.
    """

    ca: str | Path
    cert: str | Path | None = None
    key: str | Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises ConfigurationError."""
        try:
            return grpc.ssl_channel_credentials(
                Path(self.ca).read_bytes(),
                Path(self.key).read_bytes() if self.key else None,
                Path(self.cert).read_bytes() if self.cert else None,
            )
        except OSError as error:
            raise ConfigurationError(f"cannot read a certificate file: {error}") from error

    @classmethod
    def from_environment(cls) -> TLS | None:
        """Read QUARTET_CLIENT_CA, _CERT, _KEY and _SERVER_NAME; None without a CA."""
        ca = os.environ.get("QUARTET_CLIENT_CA", "")
        if not ca:
            return None
        return cls(
            ca=ca,
            cert=os.environ.get("QUARTET_CLIENT_CERT") or None,
            key=os.environ.get("QUARTET_CLIENT_KEY") or None,
            server_name=os.environ.get("QUARTET_CLIENT_SERVER_NAME", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What all calls of a client share.

    Attributes:
        endpoints: HOST:PORT of nodes, at least one; the first that answers is used until it fails.
        zone: The zone to act in; empty lets the server choose.
        principal: Whom to act for; empty for whom the certificate names, if there is one.
        tls: How to speak TLS; None for plaintext.
        timeout: Seconds for a call, repetitions included.
        connect_timeout: Seconds to look for a node that takes connections, within the timeout.
        channel: Further gRPC channel options; they win over the client's own.
    """

    endpoints: tuple[str, ...]
    zone: str = ""
    principal: str = ""
    tls: TLS | None = None
    timeout: float = 10.0
    connect_timeout: float = 3.0
    channel: tuple[tuple[str, int | str], ...] = ()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        named = ((ZONE_KEY, self.zone), (PRINCIPAL_KEY, self.principal))
        return tuple((key, value) for key, value in named if value)

    @property
    def channel_options(self) -> list[tuple[str, int | str]]:
        """Options of each channel."""
        options = dict(CHANNEL_OPTIONS)
        if self.tls is not None and self.tls.server_name:
            options["grpc.ssl_target_name_override"] = self.tls.server_name
        return list((options | dict(self.channel)).items())


def endpoints_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return HOST:PORT of nodes: `given` (a sequence, or text with commas), the environment's, or the default port's."""
    if given is None:
        given = os.environ.get(ENDPOINTS) or "127.0.0.1:7400"
    named = given.split(",") if isinstance(given, str) else given
    endpoints = tuple(name.strip() for name in named if name.strip())
    if not endpoints:
        raise ConfigurationError(f"no endpoint: give HOST:PORT, or set {ENDPOINTS}")
    if bad := [name for name in endpoints if not name.rpartition(":")[2].isdigit()]:
        raise ConfigurationError(f"{bad[0]} is not HOST:PORT")
    return endpoints
