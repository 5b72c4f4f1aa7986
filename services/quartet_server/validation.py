"""What is wrong with a configuration, found before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quartet_server.addresses import Address
from quartet_server.config import SERVICES, Config, Objects, Records, masked
from quartet_server.rpc.port import PortRefused
from quartet_server.rpc.port import check as check_port
from raftmeta.tls import TlsError, TlsFiles, server_context

EXTERNAL = "etcd://"
POSTGRESQL = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a node from starting.

    Attributes:
        message: What is wrong, one sentence.
        hint: What helps.
    """

    message: str
    hint: str


def problems(config: Config) -> Iterator[Problem]:
    """Yield everything that is wrong; nothing when the node can start as far as the configuration goes."""
    yield from _addresses(config)
    for name in config.serve.services.split(","):
        if name.strip() and name.strip() not in SERVICES:
            yield Problem(f"there is no service {name.strip()!r}", f"--services takes {', '.join(SERVICES)}")
    yield from _metastore(config)
    yield from _certificates(config)
    if not 0 < config.raft.heartbeat < config.raft.election_min <= config.raft.election_max:
        yield Problem(
            "the Raft timers need 0 < heartbeat < election_min <= election_max", "leave them out for the defaults"
        )
    for key in ("message_bytes", "concurrent_calls", "default_deadline", "max_deadline"):
        if getattr(config.limits, key) <= 0:
            yield Problem(f"limits.{key} must be above 0", "leave it out for the default")
    yield from _objects(config.objects)
    yield from _records(config.records)
    yield from _upkeep(config)
    if config.files.cache_entries < 0:
        yield Problem("files.cache_entries must not be negative", "0 keeps nothing in memory")
    if not 0 <= config.files.trash_seconds < float("inf"):
        yield Problem("files.trash_seconds must be a number from 0 on", "0 leaves the trash to those who empty it")
    if config.parsed.max_bytes < 0 or config.parsed.ttl < 1:
        yield Problem(
            "parsed.max_bytes must not be negative, and parsed.ttl at least 1", "leave them out for the defaults"
        )
    if config.limits.drain < 0:
        yield Problem("limits.drain must not be negative", "0 ends calls in flight at once")


def _objects(objects: Objects) -> Iterator[Problem]:
    """Yield what is wrong with how blobs are copied between nodes."""
    bounds = {
        "replicas": (1, 7),
        "absent_seconds": (10, 1e9),
        "peer_seconds": (0.5, 60),
        "repair_bytes": (1 << 16, 1 << 50),
    }
    for key, (least, most) in bounds.items():
        if not least <= getattr(objects, key) <= most:
            yield Problem(f"objects.{key} must be from {least} to {most:g}", "leave it out for the default")


def _records(records: Records) -> Iterator[Problem]:
    """Yield what is wrong with where records are kept."""
    if records.url and not records.url.startswith(POSTGRESQL):
        yield Problem(
            f"records.url {masked(records.url)!r} is no URL of PostgreSQL",
            "postgresql://USER@HOST:PORT/NAME, or nothing for SQLite's files in the data directory",
        )
    if records.scope == "shared" and not records.url:
        yield Problem("records.scope is shared, but there is no database to share", "--records-url postgresql://...")
    if records.queue < 1:
        yield Problem("records.queue must be at least 1", "leave it out for the default")
    if records.slow_query_ms < 0:
        yield Problem("records.slow_query_ms must not be negative", "0 logs no statement as slow")


def tls_files(config: Config) -> TlsFiles | None:
    """Return the files of the gRPC port, or None for plaintext. Raises PortRefused when one of the three is missing."""
    tls = config.tls
    return _files("tls", client_ca=tls.client_ca, cert=tls.cert, key=tls.key)


def raft_tls_files(config: Config) -> TlsFiles | None:
    """Return the files of the Raft port, or None for plaintext. Raises PortRefused when one of the three is missing."""
    raft = config.raft
    return _files("raft", ca=raft.ca, cert=raft.cert, key=raft.key)


def initial_cluster(config: Config) -> dict[str, str]:
    """Return name -> HOST:PORT of the founding members. Raises ValueError with a sentence for people."""
    members: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in config.raft.initial_cluster.split(","))):
        name, equals, address = part.partition("=")
        if not (equals and name):
            raise ValueError(f"{part!r} in the initial cluster is not NAME=HOST:PORT")
        if name in members:
            raise ValueError(f"{name!r} is in the initial cluster twice")
        members[name] = str(Address.parse(address))
    if members and config.serve.name not in members:
        raise ValueError(f"this node, {config.serve.name!r}, is not in the initial cluster {', '.join(members)}")
    return members


def joined(config: Config) -> list[str]:
    """Return HOST:PORT of the nodes to ask when joining; empty when this node joins nothing. Raises ValueError."""
    return [str(Address.parse(part.strip())) for part in config.raft.join.split(",") if part.strip()]


def opens_raft_port(config: Config) -> bool:
    """Tell whether other members can exist: a single node opens no Raft port."""
    if config.serve.metastore:
        return False
    return bool(config.raft.initial_cluster or config.raft.join or config.raft.cert)


def external_endpoints(config: Config) -> list[str]:
    """Return HOST:PORT of the external store's members; empty when the store is embedded. Raises ValueError."""
    url = config.serve.metastore
    if not url:
        return []
    if not url.startswith(EXTERNAL):
        raise ValueError(f"{url!r} is not etcd://HOST:PORT,...")
    return [str(Address.parse(part.strip())) for part in url.removeprefix(EXTERNAL).rstrip("/").split(",")]


def _addresses(config: Config) -> Iterator[Problem]:
    serve = config.serve
    for key in ("listen", "listen_http", "listen_raft", "advertise", "advertise_raft"):
        text = getattr(serve, key)
        if not text and key in ("advertise", "advertise_raft", "listen_http"):
            continue
        try:
            Address.parse(text)
        except ValueError as error:
            yield Problem(f"serve.{key}: {error}", f"--{key.replace('_', '-')} HOST:PORT")


def _metastore(config: Config) -> Iterator[Problem]:
    try:
        external_endpoints(config)
    except ValueError as error:
        yield Problem(str(error), "--metastore etcd://127.0.0.1:2379, or nothing for the embedded store")
    try:
        members = initial_cluster(config)
    except ValueError as error:
        yield Problem(str(error), "--raft-initial-cluster n1=HOST:PORT,n2=HOST:PORT,n3=HOST:PORT")
    else:
        if config.serve.metastore and (members or config.raft.join):
            yield Problem(
                "an external metadata store and a Raft membership exclude each other",
                "leave out --metastore, or --raft-initial-cluster and --raft-join",
            )
        if opens_raft_port(config) and config.serve.listen_raft.endswith(":0"):
            yield Problem("other members cannot find a Raft port that changes", "--listen-raft HOST:PORT, not port 0")
    try:
        joined(config)
    except ValueError as error:
        yield Problem(str(error), "--raft-join HOST:PORT of a running node's gRPC port")


def _upkeep(config: Config) -> Iterator[Problem]:
    objects = config.objects
    if objects.gc_grace <= objects.touch_seconds:
        yield Problem(
            f"objects.gc_grace, {objects.gc_grace:g} s, is not longer than objects.touch_seconds, {objects.touch_seconds:g} s:"
            " what was just asked for could be collected",
            "an hour is usual; it must be longer than any client takes between storing bytes and referring to them",
        )
    for key in ("gc_every", "scrub_every"):
        if getattr(objects, key) < 0:
            yield Problem(f"objects.{key} must not be negative", "0 leaves it to whoever asks for it")
    if objects.scrub_bytes_per_second <= 0:
        yield Problem("objects.scrub_bytes_per_second must be above 0", "leave it out for the default")


def _certificates(config: Config) -> Iterator[Problem]:
    raft_tls: TlsFiles | None = None
    for read in (tls_files, raft_tls_files):
        try:
            files = read(config)
            if files is not None:
                server_context(files)
        except PortRefused as error:
            yield Problem(str(error), error.hint)
            return
        except TlsError as error:
            yield Problem(str(error), "quartet cert --help")
            return
        if read is raft_tls_files:
            raft_tls = files
    try:
        check_port(Address.parse(config.serve.listen), tls_files(config), insecure=config.serve.insecure)
    except ValueError:
        pass  # told as an address
    except PortRefused as error:
        yield Problem(str(error), error.hint)
    if opens_raft_port(config) and raft_tls is None and not config.serve.insecure:
        yield Problem(
            "the Raft port would be plaintext",
            "make certificates with `quartet cert ca`, `quartet cert node` and give --raft-ca, --raft-cert and"
            " --raft-key; or say --insecure",
        )


def _files(section: str, **paths: Path | None) -> TlsFiles | None:
    """Make a TlsFiles of three paths in the order authority, certificate, key: all or none of them."""
    missing = [f"--{section}-{key.replace('_', '-')}" for key, path in paths.items() if path is None]
    if len(missing) == len(paths):
        return None
    if missing:
        raise PortRefused(f"[{section}] is incomplete: {' and '.join(missing)} missing", "give all three, or none")
    authority, certificate, key = (path for path in paths.values() if path is not None)
    return TlsFiles(authority, certificate, key)
