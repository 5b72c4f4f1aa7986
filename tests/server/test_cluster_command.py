"""`quartet cluster`: three real nodes under mutual TLS, one of them killed, all of them ended."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import grpc
import pytest
from harness.quartet import Cluster, cluster, quartet
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet_server.cli.processes import Process

pytestmark = pytest.mark.slow


def _list(endpoint: str, *, serializable: bool = False) -> list[str]:
    with grpc.insecure_channel(endpoint) as channel:
        listed = files_pb2_grpc.FileServiceStub(channel).List(
            files_pb2.ListRequest(path="/", serializable=serializable), timeout=20, wait_for_ready=True
        )
        return [entry.name for entry in listed.entries]


def _mkdir(endpoint: str, path: str) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        for attempt in range(100):
            try:
                stub.Mkdir(files_pb2.MkdirRequest(path=path, request_id=f"mkdir{path}"), timeout=20)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == 99:
                    raise
            else:
                return


def _alive(pid: int) -> bool:
    try:
        return Process.of(pid).alive
    except ProcessLookupError:
        return False


def _check_shape(running: Cluster) -> None:
    assert len(running.endpoints) == len(running.http) == len(running.pids) == 3
    assert len({*running.endpoints, *running.http}) == 6
    assert running.leader in running.endpoints
    assert all(_alive(pid) for pid in running.pids)


def test_a_cluster_comes_up_survives_kill_9_of_its_leader_and_goes_down(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as running:
        _check_shape(running)
        _mkdir(running.endpoints[0], "/one")
        again = quartet("cluster", "up", "--data-dir", tmp_path / "c")
        assert again.code == 1
        assert "hint: quartet cluster status" in again.err

        put = quartet("objects", "put", __file__, "--endpoints", running.endpoints[0], "-o", "json")
        assert put.code == 0, put.err
        got = quartet("objects", "get", put.json[0]["digest"], "--endpoints", running.endpoints[1])
        assert got.out == Path(__file__).read_text()

        before = running.status()
        assert {node["state"] for node in before["nodes"]} == {"ready"}
        assert before["leader"] == running.leader
        dead = running.endpoints.index(running.leader)
        os.kill(running.pids[dead], signal.SIGKILL)
        others = [endpoint for endpoint in running.endpoints if endpoint != running.leader]
        _mkdir(others[0], "/two")
        assert [_list(endpoint) for endpoint in others] == [["one", "two"]] * 2
        after = running.status()
        assert after["nodes"][dead]["state"] == "down"
        assert after["leader"] in others
        assert quartet("cluster", "status", "--data-dir", tmp_path / "c").code == 1

        logs = quartet("cluster", "logs", "--data-dir", tmp_path / "c", "--node", "n1", "--lines", "3")
        assert (logs.code, len(logs.out.splitlines())) == (0, 3)

        down = quartet("cluster", "down", "--data-dir", tmp_path / "c", "-o", "json")
        assert sorted(down.json["ended"]) == sorted(pid for pid in running.pids if pid != running.pids[dead])
        assert down.json["killed"] == []
        assert not any(_alive(pid) for pid in running.pids)

        restarted = running.up()
        assert restarted.endpoints == running.endpoints
        for endpoint in restarted.endpoints:
            assert _list(endpoint) == ["one", "two"]


def test_raft_ports_speak_tls_only_and_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with cluster(tmp_path / "c"):
        for key in (tmp_path / "c" / "certs").glob("*.key"):
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
        text = (tmp_path / "c" / "n1.toml").read_text()
        raft = next(line.split('"')[1] for line in text.splitlines() if line.startswith("listen_raft"))
        host, port = raft.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as stranger:
            stranger.settimeout(10)
            stranger.sendall(b"\0\0\0\x04quartet, are you there?" * 4)
            received = b""
            try:
                while data := stranger.recv(100):
                    received += data
            except ConnectionResetError:
                pass
        assert received[:1] in (b"", b"\x15")  # nothing, or a TLS alert (RFC 8446 6)


@pytest.mark.parametrize("flags", [("--insecure",), ()])
def test_one_node_is_a_cluster_too_and_opens_no_raft_port(flags: tuple[str, ...], tmp_path: Path) -> None:
    with cluster(tmp_path / "c", 1, *flags) as running:
        assert running.leader == running.endpoints[0]
        text = (tmp_path / "c" / "n1.toml").read_text()
        raft = next(line.split('"')[1] for line in text.splitlines() if line.startswith("listen_raft"))
        host, port = raft.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)
        more = quartet("cluster", "down", "--data-dir", tmp_path / "c")
        assert more.code == 0
        more = quartet("cluster", "up", "--nodes", "3", "--data-dir", tmp_path / "c")
        assert more.code == 1
        assert "hint: quartet cluster up --nodes 1" in more.err


def _first_of_free(count: int) -> int:
    """A port with free ones behind it, below those the system gives to whoever asks for any."""
    for first in range(20_000 + os.getpid() % 100 * 100, 32_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports in a row")


def test_a_node_that_cannot_start_ends_the_others_and_shows_its_log(tmp_path: Path) -> None:
    with socket.socket() as taken:
        port = _first_of_free(30)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        ran = quartet("cluster", "up", "--nodes", "3", "--data-dir", tmp_path, "--port", str(port))
    assert (ran.code, ran.out) == (1, "")
    assert "n1 ended with exit code 1" in ran.err
    assert "cannot listen on" in ran.err
    assert f"hint: less {tmp_path.resolve() / 'n1.log'}" in ran.err
    status = quartet("cluster", "status", "--data-dir", tmp_path, "-o", "json")
    assert [node["state"] for node in status.json["nodes"]] == ["down"] * 3


def test_variables_that_would_give_every_node_the_same_port_do_not_reach_the_nodes(tmp_path: Path) -> None:
    env = {"QUARTET_SERVE_LISTEN": "127.0.0.1:1", "QUARTET_CONFIG": "/none.toml", "QUARTET_LOG_FORMAT": "json"}
    try:
        ran = quartet("cluster", "up", "--nodes", "1", "--data-dir", tmp_path, "-o", "json", env=env)
        assert ran.code == 0, ran.err
        assert ran.json["endpoints"] != ["127.0.0.1:1"]
        assert (tmp_path / "n1.log").read_text().startswith("{")
    finally:
        quartet("cluster", "down", "--data-dir", tmp_path)


def test_with_client_tls_a_command_needs_the_clients_certificate(tmp_path: Path) -> None:
    """The gRPC port takes no caller without a certificate of the cluster's authority."""
    with cluster(tmp_path / "c", 1, "--client-tls") as one:
        certs = one.directory / "certs"
        where = {"QUARTET_CLIENT_ENDPOINTS": one.endpoints[0]}
        trusted = where | {"QUARTET_CLIENT_CA": str(certs / "ca.crt")}
        known = trusted | {
            "QUARTET_CLIENT_CERT": str(certs / "client.crt"),
            "QUARTET_CLIENT_KEY": str(certs / "client.key"),
        }
        assert quartet("mkdir", "qt:/here", env=known).code == 0
        assert quartet("ls", "qt:/", "-o", "json", env=known).json
        refused = quartet("ls", "qt:/", env=trusted)
        assert refused.code == 1
        assert "QUARTET_CLIENT_CERT" in refused.err
