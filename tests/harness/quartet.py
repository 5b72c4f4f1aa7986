"""The `quartet` command as a user runs it, and local clusters that end with the test."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.forked import start


@dataclass(frozen=True)
class Ran:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that configures Quartet, as narrow as a user's terminal is wide."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("QUARTET_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **(extra or {})}


def command(*arguments: str | Path) -> list[str]:
    """The command line of `quartet` with these arguments."""
    return [sys.executable, "-m", "quartet_server", *map(str, arguments)]


def quartet(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 100
) -> Ran:
    """Run `quartet` to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = start(command(*arguments), env=environment(env), out=out.fileno(), err=err.fileno(), cwd=cwd)
        try:
            code = child.wait(timeout)
        finally:
            child.kill()
        out.seek(0)
        err.seek(0)
        return Ran(code, out.read(), err.read())


@dataclass
class Cluster:
    """A running local cluster.

    Attributes:
        directory: Its --data-dir.
        endpoints: HOST:PORT of the gRPC ports.
        http: HOST:PORT of the HTTP ports, same order.
        pids: Same order.
        leader: HOST:PORT of the leader's gRPC port when it came up.
    """

    directory: Path
    endpoints: list[str]
    http: list[str]
    pids: list[int]
    leader: str

    def status(self) -> dict[str, Any]:
        """What `quartet cluster status` says."""
        return dict(quartet("cluster", "status", "--data-dir", self.directory, "-o", "json").json)

    def up(self) -> Cluster:
        """Start it again, after its nodes have ended; returns it as it is now."""
        return _up(self.directory, len(self.endpoints))


@contextmanager
def cluster(directory: Path, nodes: int = 3, *flags: str) -> Iterator[Cluster]:
    """A cluster of `nodes` processes below `directory`, ended when the block ends."""
    try:
        yield _up(directory, nodes, *flags)
    finally:
        quartet("cluster", "down", "--data-dir", directory)


def _up(directory: Path, nodes: int, *flags: str) -> Cluster:
    ran = quartet("cluster", "up", "--nodes", str(nodes), "--data-dir", directory, "-o", "json", *flags)
    assert ran.code == 0, ran.err
    return Cluster(directory, **ran.json)
