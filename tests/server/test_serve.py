"""`quartet serve` as a process: what it prints, how signals end it, what keeps it from starting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.quartet import command, environment, quartet
from quartet.files.v1 import files_pb2, files_pb2_grpc

from raftmeta import pki
from raftmeta.etcd import rpc_pb2, rpc_pb2_grpc
from raftmeta.tls import grpc_channel_credentials

JSON = ("-o", "json", "--log-format", "json")
FREE = {"QUARTET_SERVE_LISTEN": "127.0.0.1:0", "QUARTET_SERVE_LISTEN_HTTP": "127.0.0.1:0"}
"""Any free ports, as variables, so that a test's own flags win."""


@contextmanager
def _serving(directory: Path, *flags: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A node as a child process, and what it announced; killed if it still runs at the end of the block."""
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command("serve", "--data-dir", directory / "data", *JSON, *flags),
            env=environment({**FREE, **env}), stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (directory / "log").read_text()
        yield process, json.loads(line)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _log(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log").read_text().splitlines()]


def test_ports_0_are_announced_and_sigterm_ends_the_node_in_order(tmp_path: Path) -> None:
    with _serving(tmp_path) as (process, announced):
        assert (announced["name"], announced["pid"]) == ("n1", process.pid)
        with urllib.request.urlopen(f"http://{announced['http']}/healthz", timeout=10) as answer:
            assert answer.status == 200
        with grpc.insecure_channel(announced["grpc"]) as channel:
            stub = files_pb2_grpc.FileServiceStub(channel)
            stub.Mkdir(files_pb2.MkdirRequest(path="/a"), timeout=20, wait_for_ready=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    events = [line["event"] for line in _log(tmp_path)]
    assert events.index("started") < events.index("ready") < events.index("shutting down")


def test_a_second_signal_exits_at_once(tmp_path: Path) -> None:
    with _serving(tmp_path, "--limits-drain", "60") as (process, announced):
        with grpc.insecure_channel(announced["grpc"]) as channel:
            watch = rpc_pb2_grpc.LeaseStub(channel).LeaseKeepAlive(iter(()), timeout=20)
            grpc.channel_ready_future(channel).result(20)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            code = process.wait(20)
            watch.cancel()
        assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_sigint_is_a_shutdown_too(tmp_path: Path) -> None:
    with _serving(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_systemd_is_told_when_the_node_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = tmp_path / "notify"
        notified.bind(str(path))
        notified.settimeout(20)
        with _serving(tmp_path, NOTIFY_SOCKET=str(path)) as (process, _):
            assert notified.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert notified.recv(100) == b"STOPPING=1"
            assert process.wait(20) == 0


def test_an_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    for expected in ([], ["kept"]):
        with _serving(tmp_path) as (process, announced), grpc.insecure_channel(announced["grpc"]) as channel:
            stub = files_pb2_grpc.FileServiceStub(channel)
            listed = stub.List(files_pb2.ListRequest(path="/"), timeout=20, wait_for_ready=True)
            assert [entry.name for entry in listed.entries] == expected
            if not expected:
                stub.Mkdir(files_pb2.MkdirRequest(path="/kept"), timeout=20)
                process.kill()


@pytest.mark.parametrize("flag", ["--listen", "--listen-http"])
def test_a_port_that_is_taken_is_told_with_the_flag_that_chooses_another(flag: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = quartet(
            "serve", "--data-dir", tmp_path / "d", *JSON, flag, f"127.0.0.1:{taken.getsockname()[1]}", env=FREE
        )
    assert (ran.code, ran.out) == (1, "")
    assert "cannot listen on" in ran.err
    assert f"hint: choose another with {flag}" in ran.err
    assert "Traceback" not in ran.err


def test_a_data_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    with _serving(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    ran = quartet("serve", "--data-dir", tmp_path / "data", *JSON, "--name", "n2", env=FREE)
    assert (ran.code, ran.out) == (1, "")
    assert "n1" in ran.err
    assert "n2" in ran.err
    assert "Traceback" not in ran.err


def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    with _serving(tmp_path):
        ran = quartet("serve", "--data-dir", tmp_path / "data", *JSON, env=FREE)
    assert (ran.code, ran.out) == (1, "")
    assert "Traceback" not in ran.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ran = quartet("serve", "--data-dir", tmp_path / "data", *JSON, env=FREE)
    assert ran.code == 1
    assert "--data-dir" in ran.err


def test_insecure_is_said_aloud_and_only_then_is_a_plaintext_port_open_to_others(tmp_path: Path) -> None:
    with _serving(tmp_path, "--listen", "0.0.0.0:0", "--insecure") as (_, announced):
        port = announced["grpc"].rpartition(":")[2]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            files_pb2_grpc.FileServiceStub(channel).Stat(
                files_pb2.StatRequest(path="/"), timeout=20, wait_for_ready=True
            )
    assert "warning: --insecure" in (tmp_path / "log").read_text()


def test_with_certificates_a_port_for_others_serves_their_holders_only(tmp_path: Path) -> None:
    authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    node, client = pki.files_of(tmp_path, "n1"), pki.files_of(tmp_path, "client")
    pki.issue_node(authority, "n1", ["127.0.0.1"], node.certificate, node.key)
    pki.issue_client(authority, "client", ["default"], client.certificate, client.key)
    flags = ("--tls-cert", str(node.certificate), "--tls-key", str(node.key), "--tls-client-ca", str(node.ca))
    with _serving(tmp_path, "--listen", "0.0.0.0:0", *flags) as (_, announced):
        address = f"127.0.0.1:{announced['grpc'].rpartition(':')[2]}"
        with grpc.secure_channel(address, grpc_channel_credentials(client)) as channel:
            stub = files_pb2_grpc.FileServiceStub(channel)
            stub.Stat(files_pb2.StatRequest(path="/"), timeout=20, wait_for_ready=True)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Stat(files_pb2.StatRequest(path="/"), metadata=(("quartet-zone", "blue"),), timeout=20)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            kv = rpc_pb2_grpc.KVStub(channel)
            kv.Put(rpc_pb2.PutRequest(key=b"k", value=b"v"), timeout=20)
        with grpc.insecure_channel(address) as channel:
            stub = files_pb2_grpc.FileServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Stat(files_pb2.StatRequest(path="/"), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
