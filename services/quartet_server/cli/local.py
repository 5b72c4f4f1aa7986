"""A cluster of this machine: where its files are, what was started, who answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quartet_server.cli.output import CommandError
from quartet_server.cli.processes import Process

_STATE = "cluster.json"
_VERSION = 1
_OWN_SECTIONS = ("QUARTET_SERVE_", "QUARTET_TLS_", "QUARTET_RAFT_", "QUARTET_CONFIG")


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of the cluster.

    Attributes:
        name: n1, n2, ...
        endpoint: HOST:PORT of its gRPC port.
        http: HOST:PORT of its HTTP port.
        raft: HOST:PORT of its Raft port.
        process: What runs it, or last ran it; None before its first start.
    """

    name: str
    endpoint: str
    http: str
    raft: str
    process: Process | None = None

    @property
    def alive(self) -> bool:
        """Its process runs."""
        return self.process is not None and self.process.alive

    def facts(self) -> dict[str, Any]:
        """Ask /readyz; empty when nothing answers within a second."""
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=1) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except (OSError, ValueError):
            return {}


class LocalCluster:
    """The files of a cluster below one directory: certificates, each node's configuration, data and log, and the record
    of what was started.

    Attributes:
        directory: Where they are.
    """

    def __init__(self, directory: Path) -> None:
        """Take the directory; nothing is read or written yet."""
        self.directory = directory

    def nodes(self) -> list[LocalNode]:
        """Return the recorded nodes, none when there is no record. Raises CommandError for a damaged record."""
        try:
            document = json.loads((self.directory / _STATE).read_text())
            if document["version"] != _VERSION:
                raise CommandError(f"{self.directory / _STATE} was written by another version", "use that version")
            return [_node(record) for record in document["nodes"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(
                f"{self.directory / _STATE} is damaged: {error}", "end its processes by hand, then remove the file"
            ) from error

    def save(self, nodes: Sequence[LocalNode]) -> None:
        """Record the nodes; the file is replaced whole."""
        temporary = self.directory / f".{_STATE}.new"
        temporary.write_text(json.dumps({"version": _VERSION, "nodes": [asdict(node) for node in nodes]}, indent=1))
        temporary.replace(self.directory / _STATE)

    def log(self, node: LocalNode) -> Path:
        """Return where a node's log is."""
        return self.directory / f"{node.name}.log"

    def log_tail(self, node: LocalNode, lines: int) -> str:
        """Return the last lines of a node's log."""
        try:
            return "\n".join(self.log(node).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def certify(self, nodes: Sequence[LocalNode]) -> None:
        """Make the authority, each node's certificate and a client's for every zone, as far as they are missing."""
        from raftmeta import pki  # with a library for certificates, for which other commands need not wait

        certs = self.directory / "certs"
        authority_files = certs / "ca.crt", certs / "ca.key"
        exists = all(path.exists() for path in authority_files)
        authority = pki.load_ca(*authority_files) if exists else pki.create_ca(*authority_files)
        hosts = ["localhost", "127.0.0.1", "::1"]
        for node in nodes:
            files = pki.files_of(certs, node.name)
            if not (files.certificate.exists() and files.key.exists()):
                pki.issue_node(authority, node.name, hosts, files.certificate, files.key, overwrite=True)
        files = pki.files_of(certs, "client")
        if not (files.certificate.exists() and files.key.exists()):
            pki.issue_client(authority, "client", ["*"], files.certificate, files.key, overwrite=True)

    def configure(self, nodes: Sequence[LocalNode], *, insecure: bool, client_tls: bool = False) -> None:
        """Write each node's configuration, so that it can also be started by hand: quartet serve --config n1.toml."""
        from raftmeta import pki

        cluster = ",".join(f"{node.name}={node.raft}" for node in nodes)
        for node in nodes:
            sections: dict[str, dict[str, str | bool]] = {
                "serve": {
                    "name": node.name,
                    "data_dir": str(self.directory / node.name),
                    "listen": node.endpoint,
                    "listen_http": node.http,
                    "listen_raft": node.raft,
                    "insecure": insecure,
                },
                "raft": {"token": f"local-{self.directory.name}"},
            }
            if len(nodes) > 1:
                sections["raft"]["initial_cluster"] = cluster
            files = pki.files_of(self.directory / "certs", node.name)
            if client_tls:
                sections["tls"] = {
                    "cert": str(files.certificate),
                    "key": str(files.key),
                    "client_ca": str(files.ca),
                }
            if len(nodes) > 1 and not insecure:
                sections["raft"] |= {"ca": str(files.ca), "cert": str(files.certificate), "key": str(files.key)}
                sections["raft"]["ca_key"] = str(files.ca.with_suffix(".key"))  # so that nodes may join by token
            self._file(node).write_text(_toml(sections))

    def spawn(self, node: LocalNode, environ: Mapping[str, str]) -> tuple[LocalNode, subprocess.Popen[bytes]]:
        """Start a node in a session of its own, its output going to its log; variables about ports do not reach it."""
        inherited = {key: value for key, value in environ.items() if not key.startswith(_OWN_SECTIONS)}
        with self.log(node).open("ab") as log:
            popen = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "quartet_server", "serve", "--config", str(self._file(node))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=inherited,
                start_new_session=True,
            )
        return LocalNode(node.name, node.endpoint, node.http, node.raft, Process.of(popen.pid)), popen

    def _file(self, node: LocalNode) -> Path:
        return self.directory / f"{node.name}.toml"


def plan(count: int, first_port: int) -> list[LocalNode]:
    """Return `count` nodes on loopback: ports from `first_port`, ten apart, or free ones when it is 0."""
    fixed = [first_port + 10 * i + j for i in range(count) for j in range(3)]
    addresses = [f"127.0.0.1:{port}" for port in (fixed if first_port else _free_ports(3 * count))]
    return [
        LocalNode(f"n{i // 3 + 1}", addresses[i], addresses[i + 1], addresses[i + 2]) for i in range(0, 3 * count, 3)
    ]


def _free_ports(count: int) -> list[int]:
    """Return distinct loopback ports that are free at the moment; whoever is quicker may still take one."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _node(record: dict[str, Any]) -> LocalNode:
    process = record.pop("process")
    return LocalNode(**record, process=Process(**process) if process else None)


def _toml(sections: Mapping[str, Mapping[str, str | bool]]) -> str:
    """Write strings and booleans as TOML; a JSON string is a TOML basic string."""
    lines = []
    for section, table in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
