"""The demonstration's cluster: started and ended by the command, one node of it killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from quartet import TLS

SECONDS = 60.0


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


def quartet(*arguments: str) -> dict[str, Any]:
    """Run `quartet … -o json` and return what it printed. Raises DemoError with its words."""
    command = [sys.executable, "-m", "quartet_server", *arguments, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very program
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise DemoError(done.stderr or done.stdout) from error
    return document


class DemoCluster:
    """Nodes in `directory`; a context manager.

    Attributes:
        endpoints: HOST:PORT of every node's gRPC port.
        http: HOST:PORT of every node's HTTP port, in the same order.
    """

    def __init__(self, directory: Path, nodes: int) -> None:
        """Prepare; nothing is started."""
        self._directory = directory
        self._count = nodes
        self._pids: list[int] = []
        self._revived: list[subprocess.Popen[bytes]] = []
        self.endpoints: list[str] = []
        self.http: list[str] = []

    def __enter__(self) -> DemoCluster:
        """Start the nodes and wait until all are ready. Raises DemoError."""
        up = quartet("cluster", "up", "--client-tls", "--nodes", str(self._count), "--data-dir", str(self._directory))
        self.endpoints, self.http, self._pids = up["endpoints"], up["http"], up["pids"]
        return self

    @property
    def tls(self) -> TLS:
        """What a client of this cluster shows and expects."""
        certs = self._directory / "certs"
        return TLS(ca=certs / "ca.crt", cert=certs / "client.crt", key=certs / "client.key")

    def __exit__(self, *error: object) -> None:
        """End the nodes."""
        for process in self._revived:
            process.terminate()
        try:
            quartet("cluster", "down", "--data-dir", str(self._directory))
        finally:
            for process in self._revived:
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()

    def facts(self, node: int) -> dict[str, Any]:
        """Return what the node's /readyz says; empty when it does not answer or is not ready."""
        try:
            with urllib.request.urlopen(f"http://{self.http[node]}/readyz", timeout=1) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except OSError:
            return {}

    def leader(self) -> int:
        """Return the index of the node that leads. Raises DemoError when none does for a while."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for node in range(self._count):
                if self.facts(node).get("role") == "leader":
                    return node
            time.sleep(0.05)
        raise DemoError("nobody leads the cluster")

    def kill(self, node: int) -> int:
        """Send SIGKILL to a node; returns its pid."""
        os.kill(self._pids[node], signal.SIGKILL)
        return self._pids[node]

    def revive(self, node: int) -> None:
        """Start a killed node on the data it left. Raises DemoError when it is not as far as the leader after a minute."""
        name = f"n{node + 1}"
        command = [sys.executable, "-m", "quartet_server", "serve", "--config", str(self._directory / f"{name}.toml")]
        with (self._directory / f"{name}.log").open("ab") as log:
            self._revived.append(subprocess.Popen(command, stdout=log, stderr=log))  # noqa: S603 - this very program
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until every node has applied what the leader has applied by now. Raises DemoError."""
        wanted = int(self.facts(self.leader()).get("applied_index", 0))
        end = time.monotonic() + SECONDS
        while any(int(self.facts(node).get("applied_index", -1)) < wanted for node in range(self._count)):
            if time.monotonic() > end:
                raise DemoError(f"a node is still behind: see the logs in {self._directory}")
            time.sleep(0.05)

    def metrics(self, node: int) -> dict[str, float]:
        """Return name -> sum over all labels of what the node's /metrics shows."""
        with urllib.request.urlopen(f"http://{self.http[node]}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums
