"""The HTTP ports under hostile requests: endless, slow, huge or broken ones leave /metrics and the node served."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psutil
import pytest
from fuzz.budget import rounds
from fuzz.mutation import mutate
from fuzz.targets import GROWTH, Target, measured
from harness.quartet import cluster
from harness.raftmeta import RaftmetaCluster
from harness.sockets import established

BATCH = 150
CROWD = 600
MOST = 200
"""Connections that a port may hold of a crowd."""
PATIENCE = 120.0
GOOD = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nUser-Agent: fuzz\r\n\r\n"


@dataclass
class Port:
    """An HTTP port and the member behind it."""

    address: str
    target: Target

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Connect; what cannot be sent or read there is no error."""
        host, _, port = self.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as sock, suppress(OSError):
            sock.settimeout(5.0)
            yield sock

    def answered(self) -> bool:
        """Whether a good request gets an answer now."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=PATIENCE) as answer:
                return answer.status == 200 and len(answer.read()) > 1000
        except OSError:
            return False

    def check(self) -> None:
        """The port answers, soon if not at once, and the member serves and has not grown."""
        deadline = time.monotonic() + PATIENCE
        while not self.answered():
            assert time.monotonic() < deadline, "the port answers no more"
            time.sleep(0.05)
        self.target.check_served("an attack on its HTTP port")
        [pid], [size] = self.target.pids, self.target.sizes
        assert psutil.Process(pid).memory_info().rss - size < GROWTH


@pytest.fixture(scope="module", params=["raftmeta", "quartet"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "raftmeta":
        with RaftmetaCluster(directory, 1) as members:
            yield Port(members.http[0], measured(members))
    else:
        with cluster(directory, 1) as nodes:
            target = Target(nodes.endpoints, nodes.pids, quartet=True)
            target.prepare()
            yield Port(nodes.http[0], target)


def test_mutated_requests_leave_the_port_answering(port: Port) -> None:
    for _, dice in rounds(2, 0.03):
        for number in range(BATCH):
            with port.connected() as sock:
                sock.sendall(mutate(GOOD, dice, [GOOD]))
                if number % 10 == 0:
                    sock.settimeout(0.05)
                    sock.recv(65536)
        port.check()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 4_000_000,
        b"GET /" + b"a" * 4_000_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 500_000,
        b"GET / HTTP/1.1\r\n" + b" folded\r\n" * 200_000,
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n" + bytes(4_000_000),
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 500_000,
        b"\r\n" * 2_000_000,
        bytes(4_000_000),
        GOOD * 20_000,
    ],
    ids=["header", "path", "headers", "folds", "length", "chunks", "lines", "zeros", "pipeline"],
)
def test_a_request_without_measure_leaves_the_port_answering(port: Port, head: bytes) -> None:
    with port.connected() as sock:
        sock.sendall(head)
    port.check()


def test_a_crowd_that_never_ends_its_requests_is_bounded_and_goes_away(port: Port) -> None:
    with ExitStack() as open_ones:
        socks = []
        for number in range(CROWD):
            with suppress(OSError):
                sock = open_ones.enter_context(socket.create_connection(_split(port.address), timeout=PATIENCE))
                sock.settimeout(PATIENCE)
                sock.sendall(GOOD[: number % (len(GOOD) - 1)])
                socks.append(sock)
        port.target.check_served("a crowd on its HTTP port")
        deadline = time.monotonic() + PATIENCE
        while (held := established(_split(port.address)[1])) > MOST:
            assert time.monotonic() < deadline, held
            time.sleep(0.05)
        port.check()  # though none of them goes away by itself
        for sock in socks:
            with suppress(OSError):
                while sock.recv(65536):
                    pass


def test_answers_that_nobody_takes_are_given_up(port: Port) -> None:
    with ExitStack() as open_ones:
        for _ in range(5):
            sock = open_ones.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little of an answer is taken for us
            sock.settimeout(2.0)
            with suppress(OSError):
                sock.connect(_split(port.address))
                sock.sendall(GOOD * 2_000)
        port.check()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
