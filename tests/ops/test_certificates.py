"""Certificates are replaced under a running cluster, and bind each member, also one that joined later, to its name."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from harness.fleet import Fleet
from harness.workload import Workload

from raftmeta import pki
from raftmeta.etcd import rpc_pb2, rpc_pb2_grpc
from raftmeta.tls import TlsFiles, client_context
from raftmeta.transport import Peer, PeerTransport

pytestmark = pytest.mark.slow


def _shown(address: str, files: TlsFiles) -> x509.Certificate:
    """The certificate that a port shows now."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        client_context(files).wrap_socket(plain) as stream,
    ):
        shown = stream.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


def _serial(files: TlsFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


def _await_certificates(fleet: Fleet, names: tuple[str, ...], caller: str) -> None:
    """Wait until new connections to the Raft ports of `names` get the certificates that are in the files now."""
    deadline = time.monotonic() + 60
    for name in names:
        while _shown(fleet.node(name).raft, fleet.files(caller)).serial_number != _serial(fleet.files(name)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_node_certificates_are_replaced_while_writes_go_on(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3, secure=True) as fleet, Workload(fleet) as load:
        load.more(20)
        before = {name: _serial(fleet.files(name)) for name in ("n1", "n2", "n3")}
        for name in before:
            fleet.issue(name)
        _await_certificates(fleet, ("n1", "n2", "n3"), "n1")
        assert all(_serial(fleet.files(name)) != serial for name, serial in before.items())
        load.more(20)
        # every connection anew, under the new certificates: each node dials and is dialled again
        follower = next(node for node in fleet.nodes if node is not fleet.leader())
        follower.kill()
        follower.ended()
        follower.start()
        load.more(20)
        load.assert_kept_everywhere()
    assert load.failures == []


def test_the_authority_itself_is_replaced_by_way_of_a_bundle_of_both(tmp_path: Path) -> None:
    names = ("n1", "n2", "n3")
    with Fleet(tmp_path, 3) as fleet, Workload(fleet) as load:
        load.more(10)
        ca = fleet.certs / "ca.crt"
        old = ca.read_bytes()
        new = pki.create_ca(tmp_path / "next" / "ca.crt", tmp_path / "next" / "ca.key", name="The next authority")
        stranger = pki.files_of(tmp_path / "stranger", "n1")  # of the old authority, which is to lose its say
        pki.issue_node(fleet.authority, "n1", ["127.0.0.1"], stranger.certificate, stranger.key)
        stranger.ca.write_bytes(old + (tmp_path / "next" / "ca.crt").read_bytes())

        _replace(ca, old + (tmp_path / "next" / "ca.crt").read_bytes())
        load.more(10)
        for name in names:
            fleet.issue(name, new)
        _await_certificates(fleet, names, "n1")
        # a node that connects anew between the steps, then one after the last
        fleet.node("n2").kill()
        fleet.node("n2").ended()
        fleet.node("n2").start()
        load.more(10)
        _replace(fleet.certs / "ca.key", (tmp_path / "next" / "ca.key").read_bytes())
        _replace(ca, (tmp_path / "next" / "ca.crt").read_bytes())
        _await_refusal(fleet.node("n1").raft, stranger)
        fleet.node("n3").kill()
        fleet.node("n3").ended()
        fleet.node("n3").start()
        load.more(10)
        load.assert_kept_everywhere()
        # and the new authority signs for a node that joins
        fourth = fleet.add("n4")
        fourth.start("--join", fleet.token())
        fleet.await_topology({*names, "n4"})
    assert load.failures == []


def _replace(path: Path, contents: bytes) -> None:
    """Replace a file whole, as tools that renew certificates do."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(contents)
    temporary.replace(path)


def _await_refusal(address: str, files: TlsFiles) -> None:
    """Wait until a port takes no certificate of the old authority any more."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            try:
                with client_context(files).wrap_socket(plain) as stream:
                    stream.settimeout(0.3)
                    if stream.recv(1) == b"":  # TLS 1.3: the client learns it with the first read
                        return
            except TimeoutError:
                continue
            except (ssl.SSLError, ConnectionError):
                return
    raise AssertionError("the old authority is still trusted")


async def test_a_node_certificate_of_another_name_cannot_speak_for_a_member_that_joined_later(tmp_path: Path) -> None:
    with Fleet(tmp_path, 1) as fleet:
        node = fleet.add("n2")
        node.start("--join", fleet.token())
        topology = fleet.await_topology({"n1", "n2"})
        first, second = (int(one.id, 16) for one in topology.nodes)
        with grpc.insecure_channel(node.endpoint) as channel:
            answer = rpc_pb2_grpc.MaintenanceStub(channel).Status(rpc_pb2.StatusRequest(), timeout=10)
        node.kill()
        node.ended()
        for name, believed in (("mallory", False), ("n2", True)):
            pki.issue_node(fleet.authority, name, ["127.0.0.1"], fleet.files(name).certificate, fleet.files(name).key)
            speaker = PeerTransport(
                asyncio.get_running_loop(),
                member_id=second,
                name=name,
                cluster_id=answer.header.cluster_id,
                listen="127.0.0.1:0",
                tls=fleet.files(name),
                advertise=node.raft,
            )
            heard = asyncio.Event()
            speaker.on_payload = lambda number, payload, more, heard=heard: heard.set()  # type: ignore[misc]
            await speaker.start()
            try:
                speaker.set_peers({first: Peer(fleet.node("n1").raft, "n1")})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(10 if believed else 2):
                        while not speaker.connected(first):
                            await asyncio.sleep(0.02)
                assert speaker.connected(first) is believed
            finally:
                await speaker.stop()
        assert "is 'n2' and came as 'mallory'" in fleet.node("n1").log()
