"""The cluster under test: real processes with real directories, every Raft connection through the proxies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from faults.disk.layer import DiskLayer
from faults.links import Network, Pair
from grpc import aio
from harness import certificates
from harness.ports import steady_ports
from harness.raftmeta import RaftmetaCluster
from harness.sockets import holder

from raftmeta import pki
from raftmeta.tls import TlsFiles, grpc_channel_credentials

SNAPSHOT_ENTRIES = 100
"""Log entries between trims: few, so that a member that was away for seconds needs a snapshot."""
START = 60.0
"""Seconds a member may take to start: long, for no run may fail because the machine was busy."""


class Cluster(RaftmetaCluster):
    """Members that can be killed, frozen, cut off, added and removed; every number is a member's for good.

    Attributes:
        network: The proxies.
        secure: Whether all ports speak mutual TLS.
        certs: Where the authority and the members' certificates are, then.
        fronts: HOST:PORT that members advertise to each other, in the order of `names`.
        disks: The layer below every member, by its number.
        joined: Numbers of members that were added later.
        gone: Numbers of members that were removed: they are not started again.
        exits: Exit status of every process that ended, with its member's number, in order.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        seed: int,
        started: Callable[[str], None] = lambda name: None,
        *extra: str,
        secure: bool = False,
    ) -> None:
        """Prepare `size` founders; `started` is told the name of every member that is about to be started.

        With `secure` all ports speak mutual TLS. Raises DiskLayerUnavailable.
        """
        super().__init__(directory, 0, "--snapshot-entries", str(SNAPSHOT_ENTRIES), *extra)
        self.network = Network(seed, self._owner if secure else None)
        self.certs = directory / "certs"
        self.secure = secure
        if secure:
            self._client = certificates.client(self.certs, "*")
        self.fronts: list[str] = []
        self.disks: dict[int, DiskLayer] = {}
        self.joined: set[int] = set()
        self.gone: set[int] = set()
        self.exits: list[tuple[int, int]] = []
        self._started = started
        for _ in range(size):
            self._number()
        self._cluster = ",".join(f"{name}={front}" for name, front in zip(self.names, self.fronts, strict=True))

    def _number(self) -> int:
        """Prepare one more member; returns its number."""
        member = len(self.names)
        addresses = [f"127.0.0.1:{port}" for port in steady_ports(4)]
        for known, address in zip((self.endpoints, self.peers, self.http, self.fronts), addresses, strict=True):
            known.append(address)
        self.names.append(f"m{member}")
        self.processes.append(None)
        if self.secure:
            self.certify(member)
        self.disks[member] = DiskLayer(self.data_dir(member))
        return member

    def command(self, member: int) -> list[str]:
        """See `RaftmetaCluster.command`; the Raft port is advertised as its front."""
        command = super().command(member)
        if self.secure:
            files, plain = self.files(member), command.index("--insecure")
            named = ("--ca", str(files.ca), "--cert", str(files.certificate), "--key", str(files.key))
            command[plain : plain + 1] = named
        at = command.index("--initial-cluster") if "--initial-cluster" in command else len(command)
        if member in self.joined:
            others = [self.endpoints[other] for other in self.running() if other != member]
            command[at : at + 2] = ["--join", ",".join(others)]
        return [*command, "--advertise-peer", self.fronts[member]]

    def environment(self, member: int) -> dict[str, str]:
        """See `RaftmetaCluster.environment`; the disk layer is put in front."""
        return super().environment(member) | self.disks[member].environment()

    def launch(self, member: int) -> None:
        """See `RaftmetaCluster.launch`."""
        self._started(self.names[member])
        super().launch(member)

    def certify(self, member: int) -> None:
        """Make, or replace, a member's certificate."""
        certificates.node(self.certs, self.names[member], overwrite=True)

    def files(self, member: int) -> TlsFiles:
        """A member's certificate and key, where all ports speak TLS."""
        return pki.files_of(self.certs, self.names[member])

    def channel(self, member: int, options: Sequence[tuple[str, int]]) -> aio.Channel:
        """Open a client's channel to a member."""
        if not self.secure:
            return aio.insecure_channel(self.endpoints[member], options=options)
        return aio.secure_channel(self.endpoints[member], grpc_channel_credentials(self._client), options=options)

    def _owner(self, port: int) -> str:
        """The name of the member whose connection has a local port; `?` when there is none."""
        names = {self.pid(member): self.names[member] for member in self.running()}
        return names.get(holder(port, names), "?")

    @property
    def members(self) -> list[int]:
        """Numbers of all members that belong to the cluster, running or not."""
        return [member for member in range(len(self.names)) if member not in self.gone]

    def running(self) -> list[int]:
        """Numbers of the members whose process runs, frozen ones included."""
        return [
            member
            for member, process in enumerate(self.processes)
            if process is not None and process.poll() is None and member not in self.gone
        ]

    def pid(self, member: int) -> int:
        """The member's process id; 0 when it does not run."""
        process = self.processes[member]
        return 0 if process is None else process.pid

    async def open(self) -> None:
        """Open the proxies and start every founder; returns when all take calls. Raises TimeoutError, OSError."""
        for member in self.members:
            await self.network.open(self.names[member], self.fronts[member], self.peers[member])
        await self.up(*self.members)

    async def close(self) -> None:
        """Kill what runs and close the proxies."""
        for member, process in enumerate(self.processes):
            if process is not None:
                self.strike(member)
        await self.network.close()

    async def up(self, *members: int) -> None:
        """Start members and wait until each takes calls. Raises TimeoutError with the end of its log."""
        for member in members:
            self.launch(member)
        for member in members:
            await asyncio.to_thread(self.wait, member, START)

    async def revive(self) -> None:
        """Start every member that does not run. Raises TimeoutError."""
        for member in self.members:
            process = self.processes[member]
            if process is not None and process.poll() is not None:
                self._reap(member)
        await self.up(*(member for member in self.members if self.processes[member] is None))

    def retake(self, member: int) -> None:
        """After somebody changed a stopped member's files: what they are now counts as being on its disk."""
        self.disks[member].close()
        self.disks[member] = DiskLayer(self.data_dir(member))

    def strike(self, *members: int) -> None:
        """Kill members with SIGKILL, all before the first is waited for."""
        for member in members:
            process = self.processes[member]
            assert process is not None
            process.kill()  # nothing when it has ended by itself
        for member in members:
            self._reap(member)

    async def down(self, member: int) -> int:
        """End a member with SIGTERM; returns its exit status. Raises subprocess.TimeoutExpired after a minute."""
        return await asyncio.to_thread(self.terminate, member, START)

    def freeze(self, *members: int) -> None:
        """Stop members with SIGSTOP."""
        for member in members:
            os.kill(self.pid(member), signal.SIGSTOP)

    def thaw(self, *members: int) -> None:
        """Let frozen members go on."""
        for member in members:
            os.kill(self.pid(member), signal.SIGCONT)

    def frozen(self, member: int) -> bool:
        """Whether the system says that the member's process is stopped."""
        stat = Path(f"/proc/{self.pid(member)}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    async def enlist(self) -> int:
        """Prepare one more member and its front; it is neither added nor started. Returns its number."""
        member = self._number()
        self.joined.add(member)
        await self.network.open(self.names[member], self.fronts[member], self.peers[member])
        return member

    def pairs(self, sources: Collection[int], targets: Collection[int]) -> list[Pair]:
        """The directed links from any of `sources` to any of `targets`."""
        return [
            (self.names[source], self.names[target]) for source in sources for target in targets if source != target
        ]

    def choose(self, dice: random.Random, *, leader: int | None = None, count: int = 1) -> list[int]:
        """Draw running members, none of them `leader`."""
        return dice.sample([member for member in self.running() if member != leader], count)

    def _reap(self, member: int) -> None:
        process = self.processes[member]
        super()._reap(member)
        if process is not None and process.returncode is not None:
            self.exits.append((member, process.returncode))
