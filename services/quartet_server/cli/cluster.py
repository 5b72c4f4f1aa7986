"""`quartet cluster`: a cluster on this machine, for development; its nodes run on when the command has ended."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from quartet_server.cli.local import LocalCluster, LocalNode, plan
from quartet_server.cli.output import CommandError, Format, Output, print_json, print_table, say
from quartet_server.cli.processes import Process, end

_DIRECTORY = Path("quartet-cluster")
_GRACE = 15.0
_TAIL = 15
_Directory = Annotated[Path, Parameter(name="--data-dir", help="Directory of the cluster's data, logs and record.")]
_Nodes = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=7))]
_FirstPort = Annotated[int, Parameter(name="--port", validator=validators.Number(gte=0, lte=65_000))]
_Lines = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def register(app: App, environ: Mapping[str, str]) -> None:
    """Add the commands to `app`; nodes inherit `environ`, but for what it says about their ports."""
    cluster = App(name="cluster", help="Run a cluster on this machine, for development.")
    app.command(cluster)

    @cluster.command
    def up(
        *,
        nodes: _Nodes = 3,
        data_dir: _Directory = _DIRECTORY,
        port: _FirstPort = 0,
        insecure: Annotated[bool, Parameter(negative="")] = False,
        client_tls: Annotated[bool, Parameter(negative="")] = False,
        timeout: float = 60.0,
        output: Output = "table",
    ) -> None:
        """Start a cluster and return when every node is ready; a cluster that was down keeps its data and ports.

        Certificates of the Raft ports are made as needed. If a node does not start, the others are ended again.

        **Examples**: `quartet cluster up`, `quartet cluster up --nodes 3 --data-dir ./demo -o json`

        Args:
            nodes: How many, 1 to 7; an odd number survives the most failures.
            data_dir: Directory of the cluster's data, logs and record.
            port: gRPC port of the first node; HTTP and Raft follow, the next node is 10 higher. 0 takes free ports.
            insecure: No TLS between the nodes.
            client_tls: Mutual TLS on the gRPC ports too; clients use certs/client.crt, as QUARTET_CLIENT_CA, _CERT and
                _KEY say.
            timeout: Seconds to wait until all are ready.
            output: How data is printed.
        """
        local = _at(data_dir)
        with _alone(local):
            recorded = local.nodes()
            running = [node for node in recorded if node.alive]
            if running:
                raise CommandError(
                    f"the cluster in {data_dir} is up: {', '.join(node.name for node in running)}",
                    f"quartet cluster status --data-dir {data_dir}; quartet cluster down --data-dir {data_dir}",
                )
            if recorded and len(recorded) != nodes:
                raise CommandError(
                    f"the cluster in {data_dir} has {len(recorded)} nodes, not {nodes}",
                    f"quartet cluster up --nodes {len(recorded)} --data-dir {data_dir}, or another --data-dir",
                )
            from raftmeta.pki import PkiError  # takes a while to import

            chosen = recorded or plan(nodes, port)
            try:
                if client_tls or not insecure:
                    local.certify(chosen)
            except PkiError as error:
                raise CommandError(str(error), "quartet cert --help") from error
            local.configure(chosen, insecure=insecure, client_tls=client_tls)
            if insecure:
                say("warning: --insecure: whoever reaches the Raft ports can change everything in this cluster")
            started = _start(local, chosen, environ, timeout)
        _show_up(started, output)

    @cluster.command
    def status(*, data_dir: _Directory = _DIRECTORY, output: Output = "table") -> int:
        """Show every node and whether it is ready. Exits 1 when one is not.

        **Example**: `quartet cluster status --data-dir ./demo -o json`
        """
        local, rows = _known(data_dir), []
        for node in local.nodes():
            facts = node.facts() if node.alive else {}
            rows.append(
                {
                    "name": node.name,
                    "state": facts.get("status", "not answering") if node.alive else "down",
                    "role": facts.get("role"),
                    "endpoint": node.endpoint,
                    "http": node.http,
                    "pid": node.process.pid if node.alive and node.process else None,
                    "term": facts.get("term"),
                    "applied_index": facts.get("applied_index"),
                }
            )
        leader = next((str(row["endpoint"]) for row in rows if row["role"] == "leader"), "")
        if output == "json":
            print_json({"leader": leader, "nodes": rows})
        else:
            print_table(rows, ("name", "state", "role", "endpoint", "http", "pid", "term", "applied_index"))
        return 0 if all(row["state"] == "ready" for row in rows) else 1

    @cluster.command
    def logs(*, data_dir: _Directory = _DIRECTORY, node: str = "", lines: _Lines = 20) -> None:
        """Print the last lines of every node's log, or of one node's.

        **Example**: `quartet cluster logs --node n2 --lines 100`
        """
        local = _known(data_dir)
        nodes = [one for one in local.nodes() if node in ("", one.name)]
        if not nodes:
            raise CommandError(f"there is no node {node!r}", f"quartet cluster status --data-dir {data_dir}", 2)
        for one in nodes:
            if len(nodes) > 1:
                print(f"==> {local.log(one)} <==")
            print(local.log_tail(one, lines))

    @cluster.command
    def down(*, data_dir: _Directory = _DIRECTORY, output: Output = "table") -> None:
        """End the cluster's nodes, and no other process; the data stays.

        **Example**: `quartet cluster down --data-dir ./demo`
        """
        local = _known(data_dir)
        with _alone(local):
            nodes = local.nodes()
            running = [node.process for node in nodes if node.alive and node.process]
            killed = end(running, _GRACE)
        document: dict[str, Any] = {
            "ended": [process.pid for process in running],
            "killed": [process.pid for process in killed],
        }
        if killed:
            say(f"warning: did not end within {_GRACE:g} s and were killed: {document['killed']}")
        if output == "json":
            print_json(document)
        else:
            say(f"{len(running)} nodes ended; their data is in {data_dir}")


def _at(data_dir: Path) -> LocalCluster:
    """Make the directory if it is missing."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot use {data_dir}: {error.strerror}", "--data-dir DIR") from error
    return LocalCluster(data_dir.resolve())


def _known(data_dir: Path) -> LocalCluster:
    """Return the cluster recorded in a directory; it is an error when there is none."""
    local = LocalCluster(data_dir.resolve())
    if not local.nodes():
        raise CommandError(f"there is no cluster in {data_dir}", f"quartet cluster up --data-dir {data_dir}")
    return local


@contextlib.contextmanager
def _alone(local: LocalCluster) -> Iterator[None]:
    """Keep other `up` and `down` of the same directory out."""
    with (local.directory / "cluster.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"another command is at work in {local.directory}", "try again when it is done"
            ) from error
        yield


def _start(
    local: LocalCluster, nodes: Sequence[LocalNode], environ: Mapping[str, str], timeout: float
) -> list[LocalNode]:
    """Start every node, record them, wait until all are ready; on any failure end what was started."""
    started: list[LocalNode] = []
    popens: list[subprocess.Popen[bytes]] = []
    try:
        for node in nodes:
            running, popen = local.spawn(node, environ)
            started.append(running)
            popens.append(popen)
        local.save(started)
        _wait_ready(local, started, popens, timeout)
    except BaseException:
        end([node.process for node in started if node.process], 2.0)
        for popen in popens:
            popen.wait()
        raise
    for popen in popens:
        popen.returncode = 0  # detached on purpose: no warning that it still runs
    return started


def _wait_ready(
    local: LocalCluster, nodes: Sequence[LocalNode], popens: Sequence[subprocess.Popen[bytes]], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    waiting = list(zip(nodes, popens, strict=True))
    while waiting:
        for node, popen in waiting:
            if popen.poll() is not None:
                raise CommandError(
                    f"{node.name} ended with exit code {popen.returncode}; the end of its log:\n"
                    + local.log_tail(node, _TAIL),
                    f"less {local.log(node)}",
                )
        waiting = [(node, popen) for node, popen in waiting if not _settled(node.facts())]
        if waiting and time.monotonic() > deadline:
            node = waiting[0][0]
            raise CommandError(
                f"{node.name} is not ready after {timeout:g} s: {node.facts().get('reason', 'it does not answer')};"
                f" the end of its log:\n{local.log_tail(node, _TAIL)}",
                f"less {local.log(node)}",
            )
        time.sleep(0.05 if waiting else 0)


def _settled(facts: Mapping[str, Any]) -> bool:
    """Tell whether a node is ready and can say where the leader takes calls."""
    return facts.get("status") == "ready" and bool(facts.get("leader"))


def _show_up(nodes: Sequence[LocalNode], output: Format) -> None:
    leader = str(nodes[0].facts().get("leader", ""))
    processes = [node.process for node in nodes if isinstance(node.process, Process)]
    document = {
        "endpoints": [node.endpoint for node in nodes],
        "http": [node.http for node in nodes],
        "pids": [process.pid for process in processes],
        "leader": leader,
    }
    if output == "json":
        print_json(document)
        return
    rows = [
        {"name": node.name, "endpoint": node.endpoint, "http": node.http, "pid": process.pid,
         "leader": node.endpoint == leader}
        for node, process in zip(nodes, processes, strict=True)
    ]  # fmt: skip
    print_table(rows, ("name", "endpoint", "http", "pid", "leader"))
    say(f"export QUARTET_CLIENT_ENDPOINTS={','.join(node.endpoint for node in nodes)}")
