"""The gRPC port: its options, its credentials, and the refusal to be reachable without them."""

from __future__ import annotations

from dataclasses import fields

from quartet_server.addresses import Address
from quartet_server.rpc.status import DETAILS_KEY, from_metastore, to_status
from raftmeta import services as etcd
from raftmeta.errors import Fault, MetastoreError
from raftmeta.serving import CallLimits, Limits, Server, Wrap
from raftmeta.serving.stream import Ending
from raftmeta.tls import TlsError, TlsFiles

REAPI = ("/build.bazel.remote.execution.v2.", "/google.bytestream.")
"""Beginnings of the methods of the Remote Execution API: a contract of others, served with our errors and zones."""
OURS = ("/quartet.", *REAPI)
"""Beginnings of the methods whose callers get errors of our tree."""


class PortRefused(Exception):  # noqa: N818 - it says what happened
    """A port may not, or cannot, be opened.

    Attributes:
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        """Say what is wrong and what helps."""
        super().__init__(message)
        self.hint = hint


def create(limits: CallLimits, wrap: Wrap | None = None) -> Server:
    """Return a server that takes messages and calls within `limits` and wraps its methods; it has no port yet."""
    within = Limits(**{limit.name: getattr(limits, limit.name) for limit in fields(CallLimits)})
    return Server(within, wrap=wrap, too_many=too_many)


def too_many(path: str) -> Ending:
    """Return what a call gets for which the port has no place: callers of Quartet's services are told when to try again."""
    if not path.startswith(OURS):
        return etcd.too_many(path)
    error = from_metastore(MetastoreError(Fault.TOO_MANY_REQUESTS))
    return error.code, error.message, ((DETAILS_KEY, to_status(error).SerializeToString()),)


def check(address: Address, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Refuse a port that other machines can reach without TLS and client certificates. Raises PortRefused."""
    if not (address.loopback or tls or insecure):
        raise PortRefused(
            f"{address} can be reached by other machines and would be plaintext",
            "make certificates with `quartet cert ca`, `quartet cert node` and give --tls-cert, --tls-key and"
            " --tls-client-ca; or say --insecure",
        )


def bind(server: Server, address: Address, tls: TlsFiles | None) -> Address:
    """Open the port and return its address with the port number in use. Raises PortRefused.

    With `tls` every caller must show a certificate, and a new handshake uses what the files hold then.
    """
    try:
        port = server.listen(str(address), tls)
    except TlsError as error:
        raise PortRefused(str(error), "quartet cert node --help") from error
    except OSError as error:
        raise PortRefused(f"cannot listen on {address}: {error}", "choose another with --listen HOST:PORT") from error
    return Address(address.host, port)
