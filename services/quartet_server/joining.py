"""How a node with an empty data directory becomes a member: by a token, and by what it wrote down since.

In the data directory are then `join.json`, which says how the cluster is reached, and, under TLS, `certs/` with the
authorities from the token and the node's own key and certificate. A restart needs nothing else.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from quartet import TLS, CallError, Client
from quartet.cluster.storage.v1.storage_pb2 import JoinTicket

from quartet_server import validation
from quartet_server.addresses import Address
from quartet_server.cluster import tokens
from quartet_server.config import Config
from raftmeta import identity, pki
from raftmeta.tls import TlsFiles

_RECORD = "join.json"
_VERSION = 1
_PATIENCE = 30.0
_RETRY = 0.25
_AGAIN = frozenset(
    {"LIMIT_REACHED", "TOO_MANY_REQUESTS", "NO_LEADER", "OUTCOME_UNKNOWN", "NODE_NOT_READY", "CONTENTION"}
)
"""Reasons for which the same request is sent again: it is done once."""
_log = structlog.get_logger("quartet.join")


class JoinRefused(Exception):  # noqa: N818 - it says what happened
    """The node did not join.

    Attributes:
        hint: The command, or the words, that help.
        usage: The command line is wrong, rather than the world.
    """

    def __init__(self, message: str, hint: str, *, usage: bool = False) -> None:
        """Say what is wrong and what helps."""
        super().__init__(message)
        self.hint = hint
        self.usage = usage


@dataclass(frozen=True, slots=True)
class Joined:
    """What `join.json` says.

    Attributes:
        endpoints: HOST:PORT of gRPC ports of the cluster that was joined.
        secure: They speak TLS, and so shall this node's.
    """

    endpoints: list[str]
    secure: bool

    @classmethod
    def load(cls, data_dir: Path) -> Joined | None:
        """Read it; None when this node did not join by a token. Raises JoinRefused when it is damaged."""
        path = data_dir / _RECORD
        try:
            document = json.loads(path.read_text())
            if document["version"] != _VERSION:
                raise JoinRefused(f"{path} was written by another version", "use that version")
            return cls(list(document["endpoints"]), bool(document["secure"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise JoinRefused(f"{path} is damaged: {error}", f"remove {data_dir} and join again") from error

    def save(self, data_dir: Path) -> None:
        """Write it whole."""
        temporary = data_dir / f".{_RECORD}.new"
        temporary.write_text(json.dumps({"version": _VERSION, "endpoints": self.endpoints, "secure": self.secure}))
        temporary.replace(data_dir / _RECORD)


def certificates(data_dir: Path) -> TlsFiles:
    """Where a node that joined keeps what it was given."""
    return pki.files_of(data_dir / "certs", "node")


def effective(config: Config) -> Config:
    """Return the configuration with what this node wrote down when it joined; what it is told otherwise wins.

    Raises JoinRefused.
    """
    joined = Joined.load(config.serve.data_dir)
    if joined is None:
        return config
    files = certificates(config.serve.data_dir)
    raft, tls = config.raft, config.tls
    if not (raft.join or raft.initial_cluster):
        raft = replace(raft, join=",".join(joined.endpoints))
    if files.certificate.exists():
        if not (raft.ca or raft.cert or raft.key):
            raft = replace(raft, ca=files.ca, cert=files.certificate, key=files.key)
        if joined.secure and not (tls.client_ca or tls.cert or tls.key):
            tls = replace(tls, client_ca=files.ca, cert=files.certificate, key=files.key)
    return replace(config, raft=raft, tls=tls)


def join(config: Config, sleep: Callable[[float], None] = time.sleep) -> None:
    """Join the cluster of `serve.join` unless this node has done so: only an empty data directory joins.

    Raises JoinRefused; then this node is no member, and a token that is still good can be used again.
    """
    data_dir = config.serve.data_dir
    if not config.serve.join or Joined.load(data_dir) is not None:
        return
    if identity.load(data_dir) is not None:
        raise JoinRefused(f"{data_dir} belongs to a member already", "leave out --join, or choose another --data-dir")
    try:
        ticket = tokens.ticket_of(config.serve.join)
        peer = Address.parse(config.serve.advertise_raft or config.serve.listen_raft)
    except ValueError as error:
        raise JoinRefused(str(error), "make a token with `quartet node token`", usage=True) from error
    if not peer.port:
        raise JoinRefused("other members cannot find a Raft port that changes", "--listen-raft HOST:PORT", usage=True)
    if not ticket.authorities and not config.serve.insecure:
        raise JoinRefused("the cluster speaks plaintext on its Raft ports", "say --insecure too", usage=True)
    own = validation.raft_tls_files(config)
    data_dir.mkdir(parents=True, exist_ok=True)
    request = _request(config) if ticket.authorities and own is None else b""
    with ExitStack() as stack:
        tls = _client_tls(ticket, config, stack)
        client = stack.enter_context(Client(list(ticket.endpoints), tls=tls))
        certificate = _ask(client, config, str(peer), request, sleep)
    if request:
        _keep(ticket, certificate, data_dir)
    Joined(list(ticket.endpoints), ticket.secure).save(data_dir)
    _log.info("joined", name=config.serve.name, cluster=list(ticket.endpoints))


def _request(config: Config) -> bytes:
    """Make a key and a signing request, or take those of an attempt that was interrupted: the token knows them."""
    files = certificates(config.serve.data_dir)
    path = files.key.with_suffix(".csr")
    try:
        if not (path.exists() and files.key.exists()):
            pki.write_certificate(path, pki.request_node(config.serve.name, files.key, overwrite=True))
        return path.read_bytes()
    except pki.PkiError as error:
        raise JoinRefused(str(error), "--data-dir DIR") from error


def _client_tls(ticket: JoinTicket, config: Config, stack: ExitStack) -> TLS | None:
    """Return how to call a node: with the certificate in the token, or with this node's own."""
    if not ticket.secure:
        return None
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quartet-join-")))
    ca = directory / "ca.crt"
    pki.write_bundle(ca, list(ticket.authorities))
    own = validation.tls_files(config) or validation.raft_tls_files(config)
    if ticket.certificate:
        certificate, key = directory / "joining.crt", directory / "joining.key"
        pki.write_bundle(certificate, [ticket.certificate])
        pki.write_key(key, ticket.key)
        return TLS(ca=ca, cert=certificate, key=key)
    if own is None:
        raise JoinRefused(
            "the node that made the token cannot sign certificates, and this node has none",
            f"where ca.key is: quartet cert node {config.serve.name} --dir DIR; then, beside --join: --raft-ca DIR/ca.crt"
            f" --raft-cert DIR/{config.serve.name}.crt --raft-key DIR/{config.serve.name}.key",
        )
    return TLS(ca=ca, cert=own.certificate, key=own.key)


def _ask(client: Client, config: Config, peer: str, request: bytes, sleep: Callable[[float], None]) -> bytes:
    """Call Join, again while that can help; returns the certificate."""
    serve = config.serve
    token = serve.join.strip().partition(".")[0]
    client_address = serve.advertise or ("" if _unknown(serve.listen) else serve.listen)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return client.cluster.join(token, serve.name, peer, client_address, certificate_request=request).certificate
        except CallError as error:
            if error.reason not in _AGAIN or time.monotonic() > until:
                raise JoinRefused(f"{error.message} [{error.reason or error.code.name}]", error.hint) from error
            _log.info("joining is tried again", reason=error.message)
        sleep(_RETRY)


def _unknown(listen: str) -> bool:
    """Tell whether an address is settled only when the port is open."""
    address = Address.parse(listen)
    return not address.port or address.host in ("0.0.0.0", "::")


def _keep(ticket: JoinTicket, certificate: bytes, data_dir: Path) -> None:
    """Write down what was given, once it is sure that the token's cluster gave it."""
    files = certificates(data_dir)
    try:
        if not pki.issued(certificate, list(ticket.authorities)):
            raise JoinRefused(
                "the answer's certificate is not from an authority in the token", "make sure whom the token is from"
            )
        pki.write_bundle(files.ca, list(ticket.authorities))
        pki.write_certificate(files.certificate, certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
    except (pki.PkiError, ssl.SSLError) as error:
        raise JoinRefused(f"the certificate in the answer cannot be used: {error}", "quartet node token") from error
