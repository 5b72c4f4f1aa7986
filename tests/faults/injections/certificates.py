"""Members' certificates replaced while they run, and every connection made anew with them."""

from __future__ import annotations

import asyncio
import socket

from cryptography import x509
from faults.observer import reach
from faults.scene import Scene

from raftmeta.tls import TlsFiles, client_context

_CONNECT = 5.0


def _shown(address: str, files: TlsFiles) -> int:
    """The serial number of the certificate that a port shows now; 0 when it shows none."""
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), _CONNECT) as plain,
            client_context(files).wrap_socket(plain) as stream,
        ):
            shown = stream.getpeercert(binary_form=True)
    except OSError:
        return 0
    return x509.load_der_x509_certificate(shown).serial_number if shown else 0


def _issued(files: TlsFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


class Certificates:
    """Every member gets a new certificate; once its Raft port shows it, all connections between members are broken."""

    def __init__(self) -> None:
        """Nothing is replaced yet."""
        self._before: dict[int, int] = {}
        self._now: dict[int, int] = {}
        self._broken = 0
        self._passed: list[int] = []

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        cluster, members = scene.cluster, scene.cluster.running()
        self._before = {member: _issued(cluster.files(member)) for member in members}
        for member in members:
            cluster.certify(member)
        for member in members:
            await self._await_shown(scene, member)
        pairs = cluster.pairs(members, members)
        self._broken = cluster.network.reset(*pairs)
        passed = [cluster.network.link(*pair).counts.passed for pair in pairs]

        def again() -> bool:
            now = [cluster.network.link(*pair).counts.passed for pair in pairs]
            self._passed = [after - before for after, before in zip(now, passed, strict=True)]
            return all(self._passed)

        await scene.lasting(scene.until("members speak again, with new certificates", again))

    async def _await_shown(self, scene: Scene, member: int) -> None:
        files, address = scene.cluster.files(member), scene.cluster.peers[member]

        async def shown() -> bool | None:
            self._now[member] = await asyncio.to_thread(_shown, address, files)
            return self._now[member] == _issued(files) or None

        await reach(f"{scene.cluster.names[member]} shows its new certificate", shown)

    async def heal(self, scene: Scene) -> None:
        """Nothing to do: the new certificates stay."""

    async def proof(self, scene: Scene) -> str:
        """Every port shows another certificate than before, connections broke, and more passed on every link since."""
        replaced = [
            member for member, serial in self._before.items() if self._now.get(member, serial) not in (serial, 0)
        ]
        if not self._before or len(replaced) != len(self._before) or not self._broken or not all(self._passed):
            return ""
        return f"{len(replaced)} certificates replaced, {self._broken} connections broken and made anew"
