"""Nodes of `quartet serve` as an operator runs them: one process each, certificates of one authority."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from quartet import TLS, Client
from quartet.cluster.v1 import cluster_pb2 as pb

from harness.forked import Child, start
from harness.ports import steady_ports
from harness.quartet import Ran, command, environment, quartet
from raftmeta import pki
from raftmeta.tls import TlsFiles, grpc_channel_credentials


class ServedNode:
    """One node: its ports, its files, its process.

    Attributes:
        name: Its name.
        endpoint: HOST:PORT of its gRPC port.
        http: HOST:PORT of its HTTP port.
        raft: HOST:PORT of its Raft port.
        data_dir: Where it keeps its data.
        flags: Its own flags.
        process: What runs it, or last ran it.
    """

    def __init__(self, directory: Path, name: str, *flags: str | Path) -> None:
        """Choose ports; nothing is started."""
        self.name = name
        self.endpoint, self.http, self.raft = (f"127.0.0.1:{port}" for port in steady_ports(3))
        self.data_dir = directory / name
        self.flags = list(map(str, flags))
        self.process: Child | subprocess.Popen[str] | None = None
        self._log = directory / f"{name}.log"

    @property
    def arguments(self) -> list[str]:
        """What `quartet` is called with."""
        ports = ["--listen", self.endpoint, "--listen-http", self.http, "--listen-raft", self.raft]
        return ["serve", "--name", self.name, "--data-dir", str(self.data_dir), *ports, "-o", "json", *self.flags]

    def launch(self, *flags: str | Path) -> None:
        """Start it, with further flags, and do not wait."""
        with self._log.open("a") as log:
            arguments = command(*self.arguments, *flags)
            self.process = start(arguments, env=environment(), out=None, err=log.fileno())

    def wait(self, timeout: float = 90.0) -> None:
        """Wait until it is ready; raises TimeoutError with the end of its log."""
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.facts().get("status") == "ready":
                return
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} is not ready (exit code {self.process.poll()}):\n{self.log()[-3000:]}")

    def start(self, *flags: str | Path) -> None:
        """Start it and wait until it is ready."""
        self.launch(*flags)
        self.wait()

    def facts(self) -> dict[str, Any]:
        """What /readyz says; empty when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=2) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except (OSError, ValueError):
            return {}

    def log(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text(errors="replace")

    def terminate(self, timeout: float = 60.0) -> int:
        """End it with SIGTERM; returns its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.ended(timeout)

    def kill(self) -> None:
        """Send SIGKILL, and do not wait."""
        assert self.process is not None
        self.process.kill()

    def ended(self, timeout: float = 60.0) -> int:
        """Wait until it has ended by itself; returns its exit code."""
        assert self.process is not None
        code = self.process.wait(timeout)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


class Fleet:
    """A cluster of ServedNodes with mutual TLS on the Raft ports; a context manager that leaves no process behind.

    Attributes:
        directory: Data, logs and certificates.
        certs: ca.crt, ca.key and every founder's certificate.
        nodes: The nodes, founders first.
    """

    def __init__(
        self, directory: Path, size: int = 3, *flags: str | Path, secure: bool = False, signs: bool = True
    ) -> None:
        """Prepare `size` founders; nothing is started before `__enter__`.

        With `secure` the gRPC ports speak mutual TLS too; with `signs` every node holds the authority's key.
        """
        self.directory = directory
        self.certs = directory / "certs"
        self.secure = secure
        self.authority = pki.create_ca(self.certs / "ca.crt", self.certs / "ca.key")
        files = self.operator()
        pki.issue_client(self.authority, "operator", ["*"], files.certificate, files.key)
        self.nodes = [ServedNode(directory, f"n{i + 1}", *flags) for i in range(size)]
        founders = ",".join(f"{node.name}={node.raft}" for node in self.nodes)
        for node in self.nodes:
            node.flags += ["--raft-initial-cluster", founders, *self.certified(node.name)]
            if signs:
                node.flags += ["--raft-ca-key", str(self.certs / "ca.key")]

    def files(self, name: str) -> TlsFiles:
        """The files of a founder."""
        return pki.files_of(self.certs, name)

    def issue(self, name: str, authority: pki.Authority | None = None) -> None:
        """Make, or replace, a node's certificate."""
        files, hosts = self.files(name), ["localhost", "127.0.0.1"]
        pki.issue_node(authority or self.authority, name, hosts, files.certificate, files.key, overwrite=True)

    def certified(self, name: str) -> list[str]:
        """Flags that name a node's own certificate, which is made."""
        self.issue(name)
        files = self.files(name)
        flags = ["--raft-ca", files.ca, "--raft-cert", files.certificate, "--raft-key", files.key]
        if self.secure:
            flags += ["--tls-client-ca", files.ca, "--tls-cert", files.certificate, "--tls-key", files.key]
        return list(map(str, flags))

    def add(self, name: str, *flags: str | Path) -> ServedNode:
        """Prepare one more node, without certificates; it ends with the fleet."""
        node = ServedNode(self.directory, name, *flags)
        self.nodes.append(node)
        return node

    @property
    def endpoints(self) -> list[str]:
        """HOST:PORT of every node's gRPC port."""
        return [node.endpoint for node in self.nodes]

    def node(self, name: str) -> ServedNode:
        """The node called `name`."""
        return next(node for node in self.nodes if node.name == name)

    def operator(self) -> TlsFiles:
        """The files of an operator's certificate."""
        return pki.files_of(self.certs, "operator")

    def client(self, *endpoints: str, timeout: float = 15.0) -> Client:
        """A client of some nodes, or of all."""
        tls = None
        if self.secure:
            files = self.operator()
            tls = TLS(ca=files.ca, cert=files.certificate, key=files.key)
        return Client(list(endpoints) or self.endpoints, tls=tls, timeout=timeout)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What a gRPC channel to a node needs."""
        return grpc_channel_credentials(self.operator()) if self.secure else None

    def quartet(self, *arguments: str | Path, at: ServedNode | None = None) -> Ran:
        """Run a command of `quartet` as an operator of this cluster."""
        env = {"QUARTET_CLIENT_ENDPOINTS": at.endpoint if at else ",".join(self.endpoints)}
        if self.secure:
            files = self.operator()
            env |= {
                "QUARTET_CLIENT_CA": str(files.ca),
                "QUARTET_CLIENT_CERT": str(files.certificate),
                "QUARTET_CLIENT_KEY": str(files.key),
            }
        return quartet(*arguments, env=env)

    def token(self, *arguments: str, at: ServedNode | None = None) -> str:
        """A new join token."""
        ran = self.quartet("node", "token", *arguments, at=at)
        assert ran.code == 0, ran.err
        return ran.out.strip()

    def roles(self, at: ServedNode | None = None) -> dict[str, str]:
        """Name -> role, as `quartet node list` tells."""
        ran = self.quartet("node", "list", "-o", "json", at=at)
        assert ran.code == 0, ran.err
        return {node["name"]: node["role"] for node in ran.json["nodes"]}

    def await_topology(self, wanted: set[str], at: ServedNode | None = None, timeout: float = 60.0) -> pb.Topology:
        """Wait until exactly the nodes in `wanted` are members, all voting, and one leads."""
        deadline = time.monotonic() + timeout
        with self.client(*([at.endpoint] if at else [])) as client:
            while True:
                found = client.cluster.topology()
                voters = {node.name for node in found.nodes if node.role != pb.NODE_ROLE_LEARNER}
                if voters == wanted == {node.name for node in found.nodes} and found.leader_id:
                    return found
                assert time.monotonic() < deadline, found
                time.sleep(0.05)

    def leader(self) -> ServedNode:
        """The node that leads now; waits for one."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for node in self.nodes:
                if node.process is not None and node.process.poll() is None and node.facts().get("role") == "leader":
                    return node
            time.sleep(0.05)
        raise TimeoutError("no node leads")

    def __enter__(self) -> Fleet:
        """Start the founders and wait until each is ready."""
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what still runs."""
        for node in self.nodes:
            if node.process is not None:
                if node.process.poll() is None:
                    node.kill()
                node.ended()
