"""Everything a node can be told: one nested dataclass that is the flags, the TOML file, the environment and the help.

A value comes from the first of: the flag `--listen`, the variable `QUARTET_SERVE_LISTEN`, the file's `[serve] listen`,
the default. Flags of sections other than `serve` bear the section's name: `--log-format`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, default_name_transform

from raftmeta.serving import CallLimits

SERVICES = (
    "agents",
    "cluster",
    "events",
    "files",
    "maintenance",
    "mounts",
    "objects",
    "ops",
    "parsed",
    "projects",
    "settings",
    "snapshots",
    "versions",
    "workspaces",
)
"""Names that `services` takes: the domain services that a node can offer."""

_SECRET = {("serve", "join")}


def _flags(section: str) -> Callable[[str], str]:
    """Name a section's flags after the section."""
    return lambda name: f"{section}-{default_name_transform(name)}"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The node and its ports."""

    name: str = "n1"
    """Name of the node, unique in its cluster."""
    data_dir: Path = Path("quartet-data")
    """Directory of everything the node keeps; created when missing."""
    listen: str = "127.0.0.1:7400"
    """HOST:PORT of the gRPC port; port 0 takes any free one and prints it."""
    listen_http: str = "127.0.0.1:7401"
    """HOST:PORT of /metrics, /healthz and /readyz; port 0 takes any free one, empty opens none."""
    listen_raft: str = "127.0.0.1:7402"
    """HOST:PORT for the other members; a single node opens none."""
    advertise: str = ""
    """HOST:PORT by which clients reach the gRPC port, when it is not --listen."""
    advertise_raft: str = ""
    """HOST:PORT by which members reach the Raft port, when it is not --listen-raft."""
    join: str = ""
    """Token of `quartet node token`: this node joins the cluster that made it; used when the data directory is empty."""
    services: str = ""
    """Services to offer, comma-separated; empty offers all of them."""
    metastore: str = ""
    """etcd://HOST:PORT,... keeps metadata in an external etcd and runs no Raft; empty keeps it here."""
    insecure: Annotated[bool, Parameter(negative="")] = False
    """Allow plaintext on the Raft port, and on client ports that other machines can reach."""


@Parameter(name="*", name_transform=_flags("tls"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates of the gRPC port, PEM; read again when they change."""

    cert: Path | None = None
    """Certificate chain of the server."""
    key: Path | None = None
    """Its private key."""
    client_ca: Path | None = None
    """Authority whose client certificates are taken; with it every call must bring one."""


@Parameter(name="*", name_transform=_flags("raft"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Raft:
    """Membership and timing of the metadata store."""

    initial_cluster: str = ""
    """NAME=HOST:PORT,... of all founding members, this one included; used when the data directory is empty."""
    join: str = ""
    """HOST:PORT,... of running nodes' gRPC ports: this node was added to their cluster and learns from them who it is."""
    token: str = "quartet"  # noqa: S105 - a name, not a secret
    """Name that keeps clusters with the same addresses apart; part of every member's id."""
    ca: Path | None = None
    """Authority that signs every member's certificate, PEM."""
    cert: Path | None = None
    """This member's certificate, PEM."""
    key: Path | None = None
    """Its private key, PEM."""
    ca_key: Path | None = None
    """The authority's private key, PEM: a node that has it signs the certificates of nodes that join."""
    heartbeat: float = 0.05
    """Seconds between the leader's heartbeats."""
    election_min: float = 0.4
    """Shortest election timeout in seconds."""
    election_max: float = 0.8
    """Longest election timeout in seconds."""
    quota_bytes: int = 2 * 1024**3
    """Size of the metadata store in bytes at which it takes no more writes."""


@Parameter(name="*", name_transform=_flags("secrets"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Keys of sensitive settings."""

    key_file: Path | None = None
    """File with the cluster data key; without it the cluster makes one and hands it to each member."""


@Parameter(name="*", name_transform=_flags("objects"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Where the bytes of files are kept."""

    url: str = ""
    """file:///DIR, memory://, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX; empty: objects/ in the data directory."""
    endpoint: str = ""
    """URL of an S3 server that is not Amazon's; credentials and region come from the environment, as AWS_ACCESS_KEY_ID."""
    mounts: str = ""
    """Beginnings of URLs that may be mounted, as s3://team/,file:///srv/blobs, and endpoints, comma-separated; empty: nothing may."""
    require_conditional_writes: bool = False
    """Refuse to start on a bucket whose server ignores the conditions of writes, instead of saying so."""
    pack_bytes: int = 64 * 1024**2
    """Length of a pack of small blobs in bytes at which the next is begun; on a local disk."""
    packed_bytes: int = 64 * 1024
    """Largest blob in bytes that goes into a pack, up to 1 MiB; larger ones get a file each; on a local disk."""
    verify_reads: bool = True
    """Check what is read by its SHA-256, large files on a local disk by the CRC-32C of each MiB; what is written is checked always."""
    touch_seconds: float = 60.0
    """A hit renews a blob's time only when it is older than this; a bucket is asked at most once a day."""
    replicas: int = 2
    """Nodes that keep each blob, 1 to 7, where they keep blobs on local disks; with fewer nodes, all of them. The same on all nodes."""
    absent_seconds: float = 900.0
    """Seconds after which the blobs of a node that is gone are copied to other nodes; from 10."""
    peer_seconds: float = 8.0
    """Seconds without progress after which another node's disk is done without, 0.5 to 60."""
    repair_bytes: int = 64 * 1024**2
    """Bytes a second, at the most, that a node copies to mend or to move copies; from 64 KiB."""
    gc_every: float = 3600.0
    """Seconds between two rounds in which the node collects blobs that nothing leads to; 0 for none by itself."""
    gc_grace: float = 3600.0
    """Seconds for which a blob that nothing leads to stays after it was put or asked for, and again after it was condemned; above touch_seconds."""
    scrub_every: float = 604800.0
    """Seconds between two readings of all blobs of the node, each compared with its digest; 0 for none by itself."""
    scrub_bytes_per_second: float = 20.0 * 1024**2
    """Bytes a second that such a reading takes at most, on average."""


@Parameter(name="*", name_transform=_flags("files"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The tree of files."""

    cache_entries: int = 100_000
    """Decoded inodes and directory entries kept in memory, about 400 bytes each; 0 keeps none. Not with an external store."""
    trash_seconds: float = 30 * 86_400
    """Seconds after which what is in the trash is deleted for good; 0 leaves it there until somebody empties it."""


@Parameter(name="*", name_transform=_flags("parsed"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The cache of what parsers made of files."""

    max_bytes: int = 256 * 1024**2
    """Bytes that the cache takes on the node's disk, about; 0 switches it off."""
    ttl: float = 7 * 86_400.0
    """Seconds for which an entry stays whose sender named none."""


@Parameter(name="*", name_transform=_flags("records"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Databases of records: events, conversations, projects."""

    url: str = ""
    """postgresql://USER@HOST:PORT/NAME; empty: a file of SQLite for each database, records/ in the data directory."""
    scope: Literal["node", "shared"] = "node"
    """node: databases of this node's own, and zones that have a home; shared: one PostgreSQL that all nodes use."""
    migrate: bool = True
    """Bring tables to this version's form at the start; without it a node whose tables are older does not start."""
    queue: int = 2048
    """Writes that may wait for a database, and reads; the next is refused, and told when to try again."""
    connections: int = 20
    """Connections that the node opens to PostgreSQL at most, from 2; half of them are for reads."""
    connect_seconds: float = 2.0
    """Seconds that one may take to open."""
    idle_seconds: float = 30.0
    """Seconds after which one that nobody uses is closed."""
    debug_sql: bool = False
    """Log every statement, without its values."""
    slow_query_ms: float = 500.0
    """Statements that take as many milliseconds are logged, without their values; 0 for none."""


@Parameter(name="*", name_transform=_flags("limits"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(CallLimits):
    """What one caller may ask of the node."""

    default_deadline: float = 30.0
    """Seconds for a unary call that named no deadline."""
    max_deadline: float = 300.0
    """Seconds for a unary call, whatever deadline it named."""
    drain: float = 10.0
    """Seconds that calls in flight get to finish at shutdown."""


@Parameter(name="*", name_transform=_flags("log"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What the node says on stderr."""

    format: Literal["console", "json"] = "console"
    """For people, or one JSON object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is said."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A node's configuration, by section."""

    serve: Annotated[Serve, Parameter(group="Node")] = field(default_factory=Serve)
    tls: Annotated[Tls, Parameter(group="Certificates of the gRPC port")] = field(default_factory=Tls)
    raft: Annotated[Raft, Parameter(group="Raft")] = field(default_factory=Raft)
    secrets: Annotated[Secrets, Parameter(group="Secrets")] = field(default_factory=Secrets)
    objects: Annotated[Objects, Parameter(group="Blobs")] = field(default_factory=Objects)
    files: Annotated[Files, Parameter(group="Files")] = field(default_factory=Files)
    parsed: Annotated[Parsed, Parameter(group="Parsed contents")] = field(default_factory=Parsed)
    records: Annotated[Records, Parameter(group="Records")] = field(default_factory=Records)
    limits: Annotated[Limits, Parameter(group="Limits")] = field(default_factory=Limits)
    log: Annotated[Log, Parameter(group="Log")] = field(default_factory=Log)

    @property
    def services(self) -> tuple[str, ...]:
        """The services to offer, each once, in the order of SERVICES."""
        named = {name.strip() for name in self.serve.services.split(",") if name.strip()}
        return tuple(name for name in SERVICES if name in named or not named)

    def entries(self) -> Iterator[tuple[str, str, object]]:
        """Yield (section, key, value) of everything, in order of declaration, secrets masked."""
        for section in fields(self):
            values = getattr(self, section.name)
            for key in fields(values):
                value = getattr(values, key.name)
                secret = value and (section.name, key.name) in _SECRET
                yield section.name, key.name, "****" if secret else masked(value)


def masked(value: object) -> object:
    """Return a value of the configuration with the password hidden that a URL may have inside."""
    return re.sub(r"(?<=://)[^@/]*@", "****@", value) if isinstance(value, str) else value
