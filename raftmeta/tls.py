"""TLS for both ports: contexts that follow their files, and what a certificate says about its holder."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import grpc
import structlog

NODE_URI = "quartet://node/"
ZONE_URI = "quartet://zone/"

_log = structlog.get_logger("raftmeta.tls")


class TlsError(Exception):
    """The files for TLS cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a process finds its identity.

    Attributes:
        ca: PEM certificates that are trusted to issue members' and clients' certificates.
        certificate: PEM certificate of this process, its intermediates after it.
        key: PEM private key of the certificate, unencrypted, readable by its owner only.
    """

    ca: Path
    certificate: Path
    key: Path

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Something that differs once any of the files was replaced or rewritten. Raises TlsError."""
        try:
            found = [os.stat(path) for path in (self.ca, self.certificate, self.key)]
        except OSError as error:
            raise _unreadable(error) from error
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Contents of ca, certificate and key. Raises TlsError."""
        try:
            return self.ca.read_bytes(), self.certificate.read_bytes(), self.key.read_bytes()
        except OSError as error:
            raise _unreadable(error) from error


def _unreadable(error: OSError) -> TlsError:
    return TlsError(
        f"{error.filename}: {error.strerror}; `quartet cert node` makes a certificate and key, `quartet cert ca` the CA"
    )


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 for the accepting end; the other end must show a certificate of our CA. Raises TlsError."""
    return _context(files, ssl.PROTOCOL_TLS_SERVER)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 for the dialling end.

    The chain is verified here and the holder by its SAN URI (`node_names`), not by host name: members move between
    addresses. Raises TlsError.
    """
    return _context(files, ssl.PROTOCOL_TLS_CLIENT)


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    files.stamp()  # names the missing file, which ssl does not
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cafile=files.ca)
        context.load_cert_chain(files.certificate, files.key, password="")  # an encrypted key fails, it never prompts
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"{files.certificate}, {files.key}, {files.ca}: {error}; the key must belong to the certificate and all"
            " must be PEM"
        ) from error
    return context


class FollowedContext:
    """A TLS context that is made anew when its files change, so that certificates rotate without a restart.

    While the new files are unusable (half copied, key and certificate of different pairs) the last good context stays
    in use and one warning per change is logged.
    """

    def __init__(self, files: TlsFiles, make: Callable[[TlsFiles], ssl.SSLContext]) -> None:
        """Load at once: raises TlsError when the files cannot be used."""
        self._files = files
        self._make = make
        self._stamp = files.stamp()
        self._context = make(files)

    def current(self) -> ssl.SSLContext:
        """The context for the next handshake. Costs three stat(2) calls."""
        try:
            stamp = self._files.stamp()
        except TlsError:
            return self._context  # being replaced right now
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._make(self._files)
                _log.info("certificates reloaded", certificate=str(self._files.certificate))
            except TlsError as error:
                _log.warning("new certificates cannot be used, the old ones stay", error=str(error))
        return self._context


def node_uri(name: str) -> str:
    """SAN URI of the member called `name`."""
    return NODE_URI + quote(name, safe="")


def zone_uri(zone: str) -> str:
    """SAN URI that lets a client name `zone`."""
    return ZONE_URI + quote(zone, safe="")


def node_names(certificate: dict[str, Any] | None) -> frozenset[str]:
    """Member names in a verified certificate, as `SSLObject.getpeercert()` returns it."""
    found = (certificate or {}).get("subjectAltName", ())
    return frozenset(
        unquote(value.removeprefix(NODE_URI)) for kind, value in found if kind == "URI" and value.startswith(NODE_URI)
    )


def grpc_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Context of a gRPC server that requires client certificates. Raises TlsError."""
    context = server_context(files)
    context.set_alpn_protocols(["h2"])
    return context


def grpc_channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Credentials of a gRPC client with its own certificate; made anew for each channel. Raises TlsError."""
    client_context(files)
    ca, certificate, key = files.read()
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)
