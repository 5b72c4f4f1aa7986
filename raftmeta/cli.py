"""The command line of a Metastore that runs alone: `python -m raftmeta`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
import structlog
from cyclopts import Parameter

from raftmeta import offline, saving
from raftmeta.config import NodeConfig
from raftmeta.removal import RemovedError
from raftmeta.serve import Ports, UsageError, serve
from raftmeta.tls import TlsFiles

Output = Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])]

app = cyclopts.App(
    name="raftmeta",
    help="A replicated, ordered, revisioned key-value store that speaks the etcd v3 API.",
    version_flags=[],
)


def _cluster(text: str) -> dict[str, str]:
    """Parse `n1=HOST:PORT,n2=HOST:PORT`; an address may be written as a URL."""
    peers: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        name, separator, address = item.partition("=")
        if not separator or ":" not in address:
            raise UsageError(f"--initial-cluster: {item!r} is not NAME=HOST:PORT")
        peers[name.strip()] = address.split("://")[-1].strip()
    return peers


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise UsageError("--ca, --cert and --key go together")
    return TlsFiles(ca, cert, key)


def _say(output: str, document: Mapping[str, object], text: str) -> None:
    print(json.dumps(document) if output == "json" else text, flush=True)


@app.default
def run(
    *,
    data_dir: Path,
    name: str = "default",
    listen_client: str = "127.0.0.1:2379",
    listen_peer: str = "",
    listen_http: str = "",
    advertise_client: str = "",
    advertise_peer: str = "",
    initial_cluster: str = "",
    join: str = "",
    cluster_token: str = "raftmeta",  # noqa: S107 - a name
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    insecure: bool = False,
    quota_bytes: int = 2 * 1024**3,
    heartbeat_ms: int = 50,
    election_ms: int = 400,
    snapshot_entries: int = 100_000,
    max_pending: int = 5_000,
    output: Output = "text",
) -> int:
    """Run a member until SIGTERM or SIGINT.

    Parameters
    ----------
    data_dir
        Directory of everything the member keeps.
    name
        The member's name, unique in the cluster.
    listen_client
        HOST:PORT of the gRPC port; port 0 takes any free one, which is printed.
    listen_peer
        HOST:PORT of the Raft port; a single node needs none.
    listen_http
        HOST:PORT for /health, /metrics and /version; empty opens none.
    advertise_client
        HOST:PORT by which clients reach this member; default: where it listens.
    advertise_peer
        HOST:PORT by which members reach this member; default: where it listens.
    initial_cluster
        All founding members, this one included: n1=HOST:PORT,n2=HOST:PORT. Used with an empty data directory only.
    join
        gRPC ports of running members, HOST:PORT,HOST:PORT: join their cluster, to which this member was added.
    cluster_token
        Distinguishes clusters founded at the same addresses.
    ca
        PEM file of the CA that issues members' and clients' certificates.
    cert
        PEM file of this member's certificate.
    key
        PEM file of its private key.
    insecure
        No TLS: for development on one machine.
    quota_bytes
        Size at which the NOSPACE alarm is raised.
    heartbeat_ms
        Milliseconds between heartbeats.
    election_ms
        Shortest election timeout in milliseconds; the longest is twice that.
    snapshot_entries
        Log entries after which a snapshot is taken and the log trimmed.
    max_pending
        Writes that may wait in this member; more are answered RESOURCE_EXHAUSTED, "too many requests".
    output
        Form of the line that says where the member listens.
    """
    tls = _tls(ca, cert, key)
    config = NodeConfig(
        data_dir=data_dir,
        name=name,
        cluster_token=cluster_token,
        listen_peer=listen_peer,
        advertise_peer=advertise_peer,
        advertise_client=advertise_client,
        client_tls=tls is not None,
        initial_cluster=_cluster(initial_cluster),
        join=tuple(filter(None, join.split(","))),
        peer_tls=tls,
        heartbeat=heartbeat_ms / 1000,
        election=(election_ms / 1000, 2 * election_ms / 1000),
        quota_bytes=quota_bytes,
        snapshot_entries=snapshot_entries,
        max_pending=max_pending,
    )

    def started(ports: Ports) -> None:
        text = f"{name} serves clients on {ports.client}"
        text += f", members on {ports.peer}" if ports.peer else ""
        text += f", HTTP on {ports.http}" if ports.http else ""
        _say(output, {"name": name, "client": ports.client, "peer": ports.peer, "http": ports.http}, text)

    return asyncio.run(serve(config, listen_client, listen_http, tls, insecure=insecure, started=started))


@app.command
def save(
    archive: Path,
    *,
    endpoint: str = "127.0.0.1:2379",
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    timeout: float = 600.0,
    output: Output = "text",
) -> int:
    """Save a running member's data, every keyspace of it, to a file for `restore`; `etcdctl snapshot save` does the same.

    Parameters
    ----------
    archive
        The file to make.
    endpoint
        HOST:PORT of the member's gRPC port.
    ca
        PEM file of the CA that issued the member's certificate; with cert and key, for a port that speaks TLS.
    cert
        PEM file of a client's certificate.
    key
        PEM file of its private key.
    timeout
        Seconds it may take.
    output
        Form of the result.
    """
    done = saving.save(endpoint, archive, _tls(ca, cert, key), timeout)
    _say(output, done, f"{archive}: saved, {done['bytes']} bytes")
    return 0


@app.command
def restore(
    archive: Path,
    *,
    data_dir: Path,
    name: str = "default",
    initial_cluster: str = "",
    cluster_token: str = "raftmeta",  # noqa: S107 - a name
    skip_hash_check: bool = False,
    output: Output = "text",
) -> int:
    """Make a new data directory out of what `save`, or `etcdctl snapshot save`, saved from raftmeta.

    Run it once for every member of the new cluster, each time with the same archive, --initial-cluster and
    --cluster-token.

    Parameters
    ----------
    archive
        The saved file.
    data_dir
        The directory to make; it must not exist, or be empty.
    name
        The member's name.
    initial_cluster
        All members of the new cluster, n1=HOST:PORT,...; empty for a single node.
    cluster_token
        The new cluster's token.
    skip_hash_check
        Take a file whose digest is missing or wrong.
    output
        Form of the result.
    """
    done = offline.restore(
        archive, data_dir, name, _cluster(initial_cluster), cluster_token, skip_digest=skip_hash_check
    )
    _say(output, done, f"{data_dir}: restored at revision {done['revision']} as member {done['member_id']} ({name})")
    return 0


@app.command
def force_new_cluster(*, data_dir: Path, advertise_peer: str = "", output: Output = "text") -> int:
    """Make a stopped member the only one of its cluster, after a majority was lost for good.

    Parameters
    ----------
    data_dir
        The member's data directory.
    advertise_peer
        HOST:PORT of its Raft port from now on; default: as before.
    output
        Form of the result.
    """
    done = offline.force_new_cluster(data_dir, advertise_peer)
    _say(output, done, f"{data_dir}: member {done['member_id']} is a cluster of its own; start it, then add members")
    return 0


@app.command
def check(*, data_dir: Path, output: Output = "text") -> int:
    """Verify a stopped member's log and store: every checksum, every record; exits 1 when it finds something.

    Parameters
    ----------
    data_dir
        The member's data directory.
    output
        Form of the findings.
    """
    report = offline.check(data_dir)
    if output == "json":
        print(json.dumps({"findings": report.findings, **report.facts}))
    else:
        for fact, value in report.facts.items():
            print(f"{fact}: {value}")
        for finding in report.findings:
            print(f"FOUND: {finding}")
        print(f"{len(report.findings)} findings")
    return 1 if report.findings else 0


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 2, the end of a removed member 1."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for answers
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        status = app(result_action="return_value")
    except RemovedError as error:
        print(f"raftmeta: {error}", file=sys.stderr)
        sys.exit(1)
    except offline.USER_ERRORS as error:
        print(f"raftmeta: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
