"""Ten thousand clients at once: who is too many is told so, memory stays bounded, the leader stays, nothing is lost."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from fuzz.targets import GROWTH, Target, raftmeta_members

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.serving import frames

CLIENTS = 10_000
CONNECTIONS = 200
LARGE = 60
IDLE = 600
PATIENCE = 240.0
STALL = 2.0
"""Seconds for which followers are held still: less than the election timeout that this cluster has."""
TRIES = 5
FLAGS = ("--max-pending", "300", "--election-ms", "3000", "--heartbeat-ms", "100")
TOO_MANY = "RESOURCE_EXHAUSTED: etcdserver: too many requests"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Three members that let few writes wait and are patient with their leader."""
    with raftmeta_members(tmp_path_factory.mktemp("overload"), 3, *FLAGS) as running:
        yield running


class Crowd:
    """Clients in a process of their own, of which the greatest growth of the members is noted."""

    def __init__(self, process: subprocess.Popen[str], target: Target) -> None:
        self.process = process
        self.target = target
        self.growth = 0

    def go(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self, patience: float = PATIENCE) -> str:
        """Return the next line it prints; empty when it prints none in time."""
        assert self.process.stdout is not None
        until = time.monotonic() + patience
        while time.monotonic() < until:
            self._measure()
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                return self.process.stdout.readline().strip()
        return ""

    def _measure(self) -> None:
        sizes = [psutil.Process(pid).memory_info().rss for pid in self.target.pids]
        grown = max(now - before for now, before in zip(sizes, self.target.sizes, strict=True))
        self.growth = max(self.growth, grown)

    def outcome(self) -> dict[str, Any]:
        """Wait for its end; return what its clients were told."""
        while not (line := self.line()).startswith("{"):
            assert line, "the crowd said nothing more"
        return dict(json.loads(line))


@contextmanager
def crowd(target: Target, kind: str, count: int, *endpoints: str) -> Iterator[Crowd]:
    """Run clients that wait to begin until `go`."""
    program = Path(__file__).with_name("crowd.py")
    command = [sys.executable, str(program), kind, str(count), str(CONNECTIONS), *(endpoints or target.endpoints)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        running = Crowd(process, target)
        assert running.line() == "ready"
        yield running
    finally:
        process.kill()
        process.communicate()


def leadership(target: Target) -> tuple[int, int]:
    """Return (leader, term) as every member sees them."""
    seen = set()
    for endpoint in target.endpoints:
        with grpc.insecure_channel(endpoint) as channel:
            status = rpc.MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=60)
            seen.add((status.leader, status.raftTerm))
    assert len(seen) == 1, seen
    return seen.pop()


def leader_of(target: Target) -> int:
    """Return the position of the member that leads."""
    for position, endpoint in enumerate(target.endpoints):
        with grpc.insecure_channel(endpoint) as channel:
            status = rpc.MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=60)
            if status.leader == status.header.member_id:
                return position
    raise AssertionError("nobody leads")


@contextmanager
def held_still(pids: list[int]) -> Iterator[None]:
    """Stop processes, and let them go on at the end."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def acknowledged(target: Target) -> set[int]:
    """Return the numbers of the clients whose key is there."""
    with grpc.insecure_channel(target.endpoints[0], options=[("grpc.max_receive_message_length", -1)]) as channel:
        request = pb.RangeRequest(key=b"crowd/", range_end=b"crowd0", keys_only=True)
        found = rpc.KVStub(channel).Range(request, timeout=60)
    return {int(item.key.rpartition(b"/")[2]) for item in found.kvs}


def test_more_writes_than_may_wait_are_refused_and_the_rest_is_kept(target: Target) -> None:
    before, position = leadership(target), leader_of(target)
    followers = [pid for number, pid in enumerate(target.pids) if number != position]
    with crowd(target, "puts", CLIENTS, target.endpoints[position]) as clients:
        with held_still(followers):
            clients.go()
            said = clients.line(STALL)
        for _ in range(TRIES):
            if said:
                break
            said = clients.line(STALL)
            with held_still(followers):
                said = said or clients.line(STALL)
        result = clients.outcome() if not said.startswith("{") else dict(json.loads(said))
    assert set(result["told"]) == {"OK", TOO_MANY}, result["told"]
    assert sum(result["told"].values()) == CLIENTS
    assert clients.growth < GROWTH
    assert leadership(target) == before
    assert set(result["acknowledged"]) <= acknowledged(target)
    target.check()


def test_reads_by_ten_thousand_clients_are_all_answered(target: Target) -> None:
    before = leadership(target)
    with crowd(target, "ranges", CLIENTS) as clients:
        clients.go()
        result = clients.outcome()
    assert result["told"] == {"OK": CLIENTS}
    assert clients.growth < GROWTH
    assert leadership(target) == before
    target.check()


def test_ten_thousand_watches_see_an_event_each(target: Target) -> None:
    before = leadership(target)
    with crowd(target, "watches", CLIENTS) as clients:
        clients.go()
        assert clients.line() == "created"
        with grpc.insecure_channel(target.endpoints[0]) as channel:
            rpc.KVStub(channel).Put(pb.PutRequest(key=b"watched", value=b"1"), timeout=60)
        clients.go()
        result = clients.outcome()
    assert result["told"] == {"OK": CLIENTS}
    assert result["saw"] == CLIENTS
    assert clients.growth < GROWTH
    assert leadership(target) == before
    target.check()


def test_watches_nobody_reads_hold_no_more_than_a_bound(target: Target) -> None:
    with ExitStack() as open_ones:
        for number in range(50):
            channel = open_ones.enter_context(grpc.insecure_channel(target.endpoints[number % 3]))
            create = pb.WatchCreateRequest(key=b"much/", range_end=b"much0", prev_kv=True)
            stream = rpc.WatchStub(channel).Watch(iter([pb.WatchRequest(create_request=create)]), timeout=PATIENCE)
            assert next(stream).created
        with grpc.insecure_channel(target.endpoints[0]) as channel:
            for number in range(100):  # 100 MB for each of them
                request = pb.PutRequest(key=b"much/%d" % (number % 10), value=bytes(500_000))
                rpc.KVStub(channel).Put(request, timeout=60)
        target.check()


def test_messages_that_are_too_large_are_refused_without_being_kept(target: Target) -> None:
    with crowd(target, "large", LARGE) as clients:
        clients.go()
        result = clients.outcome()
    assert {told.partition(":")[0] for told in result["told"]} == {"RESOURCE_EXHAUSTED"}, result["told"]
    assert sum(result["told"].values()) == LARGE
    assert clients.growth < GROWTH
    target.check()


def test_hundreds_of_idle_connections_hold_up_nobody(target: Target) -> None:
    with ExitStack() as open_ones:
        for number in range(IDLE):
            host, _, port = target.endpoints[number % 3].rpartition(":")
            idle = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=60))
            idle.sendall(frames.PREFACE[: number % 30])
        target.check()
    target.check()
