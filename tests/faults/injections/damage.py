"""Bytes that changed on a stopped member's disk, and writes that were torn by its end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from faults.injections.membership import substitute
from faults.scene import Scene

from raftmeta.wal.record import HEAD_SIZE
from raftmeta.wal.segment import HEADER_SIZE

_MAGIC = b"\xf5qW\x9d"
"""What a record of the log begins with."""
ROT_KEY = b"other/rot"


def segments(data_dir: Path) -> list[Path]:
    """The files of a member's log, oldest first."""
    return sorted((data_dir / "raft" / "wal").glob("*.wal"))


async def check(data_dir: Path) -> tuple[int, dict[str, object]]:
    """Run `python -m raftmeta check`; returns its exit status and its findings and facts."""
    command = [sys.executable, "-m", "raftmeta", "check", "--data-dir", str(data_dir), "-o", "json"]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    return ran.returncode, dict(json.loads(ran.stdout)) if ran.stdout else {}


class LogRot:
    """A byte flips in the log of a stopped follower: it refuses to start and says what to do, which is then done."""

    def __init__(self) -> None:
        """Nothing has flipped yet."""
        self._victim = -1
        self._refusal = ""
        self._status = 0
        self._new = -1

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        cluster = scene.cluster
        leader, _ = await scene.observer.leader()
        [self._victim] = cluster.choose(scene.dice, leader=leader)
        cluster.strike(self._victim)
        path = segments(cluster.data_dir(self._victim))[-1]
        data = path.read_bytes()
        written, _ = last_record(data)
        # well before the end, for the last record may never have been synced
        flip(path, HEADER_SIZE + scene.dice.randrange(max(1, (written - HEADER_SIZE) // 2)), scene.dice.randrange(8))
        self._status, self._refusal = await start_in_vain(scene, self._victim)
        self._new = await substitute(scene, self._victim)

    async def heal(self, scene: Scene) -> None:
        """Nothing to do: the member was replaced."""

    async def proof(self, scene: Scene) -> str:
        """It said which command helps, ended with an error, and another member is in its place."""
        if self._new < 0 or self._status <= 0 or not says_what_to_do(self._refusal):
            return ""
        return f"{scene.cluster.names[self._victim]} refused to start (exit status {self._status}) and was replaced"


class StoreRot:
    """A bit flips in a record of a stopped follower's store: `check` finds it, and the member refuses to start and says what to do, which is then done."""

    def __init__(self) -> None:
        """Nothing has flipped yet."""
        self._victim = -1
        self._finding = ""
        self._new = -1

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        cluster = scene.cluster
        leader, _ = await scene.observer.leader()
        [self._victim] = cluster.choose(scene.dice, leader=leader)
        marker = b"marked %016x" % scene.dice.getrandbits(64)
        await scene.load.put(ROT_KEY, marker)
        await scene.observer.ready(self._victim)  # it has applied the value, then
        await cluster.down(self._victim)
        for file in (cluster.data_dir(self._victim) / "store").rglob("data.mdb"):
            data = file.read_bytes()
            damaged = marker[:-1] + bytes([marker[-1] ^ 1 << scene.dice.randrange(8)])
            file.write_bytes(data.replace(marker, damaged))  # with copies in pages that are free now
        status, report = await check(cluster.data_dir(self._victim))
        ended, refusal = await start_in_vain(scene, self._victim)
        if status == 1 and ended > 0 and says_what_to_do(refusal):
            self._finding = f"{cluster.names[self._victim]} refused to start and was replaced: {report['findings']}"
        self._new = await substitute(scene, self._victim)

    async def heal(self, scene: Scene) -> None:
        """Nothing to do: the member was replaced."""

    async def proof(self, scene: Scene) -> str:
        """What `check` found, and that the member said which command helps."""
        return self._finding if self._new >= 0 else ""


class TornTail:
    """Members are killed in the middle of a write: the log ends in half a record, and they start all the same."""

    def __init__(self) -> None:
        """Nothing is torn yet."""
        self._torn: dict[str, object] = {}

    async def inject(self, scene: Scene) -> None:
        """See `Injection`; every member at once, since none may need the others to start."""
        cluster = scene.cluster
        victims = cluster.running()
        cluster.strike(*victims)
        for victim in victims:
            path = segments(cluster.data_dir(victim))[-1]
            end, last = last_record(path.read_bytes())
            with path.open("r+b") as file:
                file.seek(end)
                file.write(last[: scene.dice.randint(5, len(last) - 1)])
        checked = await asyncio.gather(*(check(cluster.data_dir(victim)) for victim in victims))
        for victim, (_, report) in zip(victims, checked, strict=True):
            self._torn[cluster.names[victim]] = report.get("log_torn_bytes", 0)
            if report.get("findings"):
                scene.observer.violations.append(f"{cluster.names[victim]}: a torn tail is damage: {report}")
            cluster.retake(victim)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """How many bytes of each log were torn."""
        return f"torn bytes: {self._torn}" if self._torn and all(self._torn.values()) else ""


async def start_in_vain(scene: Scene, member: int) -> tuple[int, str]:
    """Start a member that must end by itself; returns its exit status and what it wrote. Raises NotReached."""
    cluster = scene.cluster
    logged = cluster.log(member).stat().st_size
    cluster.launch(member)
    process = cluster.processes[member]
    assert process is not None
    await scene.until("the damaged member ends", lambda: process.poll() is not None)
    cluster.kill(member)
    return cluster.exits[-1][1], cluster.log(member).read_bytes()[logged:].decode(errors="replace")


def says_what_to_do(text: str) -> bool:
    """Whether a refusal names the command that tells more and how the member comes back."""
    return "python -m raftmeta check" in text and "remove this member" in text


def last_record(data: bytes) -> tuple[int, bytes]:
    """Where the records of a segment end, and the last of them (half a made-up one when there is none)."""
    at = data.rfind(_MAGIC)
    if at < 0:
        return HEADER_SIZE, _MAGIC + bytes(4)
    end = at + HEAD_SIZE + int.from_bytes(data[at + 12 : at + 16], "little")
    return end, data[at:end]


def flip(path: Path, offset: int, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        [was] = file.read(1)
        file.seek(offset)
        file.write(bytes([was ^ 1 << bit]))
