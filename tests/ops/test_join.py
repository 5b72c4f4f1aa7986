"""Nodes join by token and are removed again, as an operator does it: commands, processes, certificates."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from harness.fleet import Fleet, ServedNode
from harness.quartet import quartet
from quartet import CallError

pytestmark = pytest.mark.slow


@pytest.fixture(params=[False, True], ids=["plaintext-clients", "tls-clients"])
def secure(request: pytest.FixtureRequest) -> bool:
    """Whether the gRPC ports take callers with certificates only."""
    return bool(request.param)


def _refused(node: ServedNode, *flags: str) -> str:
    """Start a node that cannot join; what it says."""
    ran = quartet(*node.arguments, *flags)
    assert (ran.code, ran.out) in ((1, ""), (2, "")), ran.err
    assert "error: " in ran.err
    assert "hint: " in ran.err
    assert "Traceback" not in ran.err
    return ran.err


def test_a_node_joins_by_token_catches_up_votes_and_needs_no_token_again(tmp_path: Path, secure: bool) -> None:
    with Fleet(tmp_path, 1, secure=secure) as fleet:
        with fleet.client() as client:
            for number in range(20):
                client.files.mkdir(f"/before-{number}")
            client.settings.set("model.key", "s3cret", sensitive=True)
        for name in ("n2", "n3"):
            token = fleet.token("--hours", "0.5", at=fleet.node("n1"))
            node = fleet.add(name)
            node.start("--join", token)
            fleet.await_topology({one.name for one in fleet.nodes})
        third = fleet.node("n3")
        with fleet.client(third.endpoint) as client:
            assert len(list(client.files.list("/", serializable=True))) == 20
            client.files.mkdir("/from-n3")
        _reveals(fleet, third, "model.key", "s3cret")
        key = third.data_dir / "certs" / "node.key"
        assert key.stat().st_mode & 0o077 == 0
        assert "PRIVATE" not in token
        # the founder may go: two of three, both joined, are a majority
        assert third.terminate() == 0
        third.start()
        fleet.node("n1").kill()
        fleet.node("n1").ended()
        with fleet.client(third.endpoint, fleet.node("n2").endpoint) as client:
            client.files.mkdir("/without-n1")
        fleet.node("n1").start()


def _reveals(fleet: Fleet, node: ServedNode, name: str, value: str) -> None:
    """The node was handed the data key: it opens a sensitive setting by itself, at the latest after a moment."""
    deadline = time.monotonic() + 60
    told = ""
    with fleet.client(node.endpoint) as client:
        while not told and time.monotonic() < deadline:
            with contextlib.suppress(CallError):
                told = client.settings.get(name, reveal=True).value
    assert told == value


def test_a_token_that_is_wrong_expired_or_used_changes_nothing(tmp_path: Path) -> None:
    with Fleet(tmp_path, 1) as fleet:
        token = fleet.token()
        short = fleet.token("--hours", str(1 / 3600))
        node = fleet.add("n2")
        assert "not a join token" in _refused(node, "--join", "guessed")
        wrong = "0" * 64 + token[64:]
        assert "quartet node token" in _refused(node, "--join", wrong)
        assert "unknown or expired [JOIN_TOKEN_INVALID]" in _refused(node, "--join", wrong)
        _expired(fleet, short)
        assert "unknown or expired" in _refused(node, "--join", short)
        assert "NODE_EXISTS" in _refused(_impostor(fleet, "n1"), "--join", token)
        assert fleet.roles() == {"n1": "leader"}
        node.start("--join", token)
        fleet.await_topology({"n1", "n2"})
        third = fleet.add("n3")
        assert "used up" in _refused(third, "--join", token)
        assert set(fleet.roles()) == {"n1", "n2"}
        # the store holds no token, only a hash of it
        found = [
            path for path in (tmp_path / "n1").rglob("*") if path.is_file() and token[:64].encode() in path.read_bytes()
        ]
        assert found == []


def _impostor(fleet: Fleet, name: str) -> ServedNode:
    """A new node that claims the name of a member."""
    return ServedNode(fleet.directory / "impostor", name)


def _expired(fleet: Fleet, token: str) -> None:
    """Wait until the token's lease, of a second at least, has ended."""
    stranger = ServedNode(fleet.directory / "stranger", "n9")
    deadline = time.monotonic() + 60
    with fleet.client() as client:
        while time.monotonic() < deadline:
            with pytest.raises(CallError) as caught:  # the name is taken: an accepted token is not used up
                client.cluster.join(token.partition(".")[0], "n1", stranger.raft)
            if caught.value.reason == "JOIN_TOKEN_INVALID":
                return
            time.sleep(0.1)
    raise AssertionError("the token does not expire")


def test_without_the_authority_s_key_the_node_brings_its_own_certificate(tmp_path: Path) -> None:
    with Fleet(tmp_path, 1, secure=True, signs=False) as fleet:
        token = fleet.token()
        node = fleet.add("n2")
        assert "quartet cert node n2 --dir DIR" in _refused(node, "--join", token)
        assert fleet.roles() == {"n1": "leader"}
        made = quartet("cert", "node", "n2", "--dir", fleet.certs)
        assert made.code == 0, made.err
        files = fleet.files("n2")
        node.flags += ["--raft-ca", str(files.ca), "--raft-cert", str(files.certificate), "--raft-key", str(files.key)]
        node.flags += ["--tls-client-ca", str(files.ca), "--tls-cert", str(files.certificate)]
        node.flags += ["--tls-key", str(files.key)]
        node.start("--join", token)
        fleet.await_topology({"n1", "n2"})


def test_a_node_alone_without_a_raft_port_says_what_it_takes_to_be_joined(tmp_path: Path) -> None:
    node = ServedNode(tmp_path, "n1")
    try:
        node.start()
        ran = quartet("node", "token", "--endpoints", node.endpoint)
    finally:
        node.kill()
        node.ended()
    assert (ran.code, ran.out) == (1, "")
    assert "opens no Raft port" in ran.err
    assert "--listen-raft" in ran.err


def test_nodes_are_removed_alive_dead_or_leading_and_those_that_run_say_so_and_end(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3) as fleet:
        leader = fleet.leader()
        ran = fleet.quartet("node", "remove", leader.name)
        assert ran.code == 0, ran.err
        assert leader.ended() == 1
        _says_removed(leader.log())
        others = {node.name for node in fleet.nodes} - {leader.name}
        survivor, victim = (fleet.node(name) for name in sorted(others))
        fleet.await_topology(others, at=survivor)
        # a restart knows it at once
        _says_removed(_refused(leader))
        # a third again, so that a dead one can be lost
        fourth = fleet.add("n4")
        fourth.start("--join", fleet.token(at=survivor))
        fleet.await_topology({*others, "n4"}, at=survivor)
        victim.kill()
        victim.ended()
        with fleet.client(survivor.endpoint, fourth.endpoint) as client:
            client.cluster.leave(victim.name)
            client.files.mkdir("/after")
        fleet.await_topology({survivor.name, "n4"}, at=survivor)
        # the dead one comes back, and learns it from the others
        victim.launch()
        assert victim.ended() == 1
        _says_removed(victim.log())


def _says_removed(text: str) -> None:
    assert "error: this node was removed from the cluster" in text
    assert "hint: to have it back: quartet node token" in text
