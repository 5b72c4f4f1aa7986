"""Quartet's own services under kill -9, cuts and lost answers: what a client repeats under its request id happens once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from faults.links import Network, Rule
from harness.fleet import Fleet, ServedNode
from harness.ports import steady_ports
from harness.sockets import holder
from quartet import AsyncClient, Cancelled, Conflict, DeadlineExceeded, Unavailable

PATIENCE = 90.0
ATTEMPT = 1.0
"""Seconds for one attempt; an answer that is lost is waited for as long."""
STEP = 9
"""Operations between two faults."""
WORKERS = 3
CLIENT = "client"
SHARED = "total"

Answer = TypeVar("Answer")


@dataclass
class Stage:
    """Three nodes and what lies between them, and between them and their clients.

    Attributes:
        fleet: The nodes; members speak mutual TLS.
        members: The links between members.
        calls: The links between clients and nodes: who cuts the way back loses answers to requests that arrive.
        fronts: HOST:PORT at which clients call each node.
    """

    fleet: Fleet
    members: Network
    calls: Network
    fronts: list[str]

    async def leader(self) -> ServedNode:
        """Wait for the node that leads."""
        return await asyncio.to_thread(self.fleet.leader)

    def lose_answers(self, lost: bool) -> None:
        """Let requests arrive and no answer come back, or let all connections of clients begin anew."""
        names = [node.name for node in self.fleet.nodes]
        self.calls.set(Rule(cut=lost), *((name, CLIENT) for name in names))
        if not lost:
            self.calls.reset(*((CLIENT, name) for name in names))

    @property
    def answers_lost(self) -> int:
        """Pieces of answers that vanished so far."""
        return sum(self.calls.link(node.name, CLIENT).counts.cut for node in self.fleet.nodes)

    def isolate(self, node: ServedNode) -> None:
        """Cut a node off from the other members, both ways."""
        others = [other.name for other in self.fleet.nodes if other is not node]
        self.members.set(Rule(cut=True), *((node.name, one) for one in others), *((one, node.name) for one in others))


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """Start three nodes behind proxies."""
    fleet = Fleet(directory, 3)
    spare = iter(steady_ports(2 * len(fleet.nodes)))

    def owner(port: int) -> str:
        names = {node.process.pid: node.name for node in fleet.nodes if node.process is not None}
        return names.get(holder(port, names), "?")

    members, calls, fronts = Network(1, owner), Network(2, lambda port: CLIENT), []
    try:
        for node in fleet.nodes:
            front, node.raft = node.raft, f"127.0.0.1:{next(spare)}"
            node.flags += ["--advertise-raft", front]
            await members.open(node.name, front, node.raft)
            fronts.append(f"127.0.0.1:{next(spare)}")
            await calls.open(node.name, fronts[-1], node.endpoint)
        await asyncio.to_thread(fleet.__enter__)
        yield Stage(fleet, members, calls, fronts)
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)
        await members.close()
        await calls.close()


@dataclass
class Worker:
    """A client that does one thing after the other, each under an id of its own, again and again until it is answered.

    Attributes:
        name: Part of every name it uses.
        clients: One of each node; every attempt goes to the next.
        inos: Path -> inode number of every file it was told of.
        etag: Version of its own setting, as it was told last.
        sets: How often its own setting was written.
        added: How often it made the shared one larger.
        repeated: Operations that took more than an attempt.
        done: Operations that were answered.
    """

    name: str
    clients: list[AsyncClient]
    inos: dict[str, int] = field(default_factory=dict)
    etag: str = "0"
    sets: int = 0
    added: int = 0
    repeated: int = 0
    done: int = 0
    _turn: int = 0

    async def surely(self, call: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
        """Make a call until it is answered. Raises what no repetition may meet."""
        async with asyncio.timeout(PATIENCE):
            for attempt in itertools.count():
                self._turn += 1
                try:
                    answer = await call(self.clients[self._turn % len(self.clients)])
                except (Unavailable, DeadlineExceeded, Cancelled):
                    await asyncio.sleep(0.05)
                    continue
                self.repeated += attempt > 0
                self.done += 1
                return answer
        raise AssertionError

    async def work(self, stop: asyncio.Event) -> None:
        """Create a file, move it, count in a setting of its own and in the shared one, until told to stop."""
        for number in itertools.count():
            if stop.is_set():
                return
            await self.move(f"{self.name}-{number}")
            await self.count(f"{self.name}-{number}")
            for attempt in itertools.count():
                if await self.add(f"{self.name}-{number}-add-{attempt}"):
                    break

    async def move(self, base: str) -> None:
        """Create a file and give it another name."""
        made, moved = f"/{base}-a", f"/{base}-b"
        entry = await self.surely(lambda at: at.files.create(made, request_id=f"{base}-create"))
        told = await self.surely(lambda at: at.files.rename(made, moved, request_id=f"{base}-rename"))
        assert (told.ino, told.other_ino) == (entry.ino, 0)
        self.inos[moved] = entry.ino

    async def count(self, base: str) -> None:
        """Make its own setting larger by one."""
        name, value, etag = f"own/{self.name}", str(self.sets + 1), self.etag
        wrote = await self.surely(lambda at: at.settings.set(name, value, etag=etag, request_id=f"{base}-set"))
        self.sets, self.etag = self.sets + 1, wrote.etag

    async def add(self, request_id: str) -> bool:
        """Make the shared setting larger by one; False when somebody else was faster."""
        seen = await self.surely(lambda at: at.settings.get(SHARED))
        value = str(int(seen.value) + 1)
        try:
            await self.surely(lambda at: at.settings.set(SHARED, value, etag=seen.etag, request_id=request_id))
        except Conflict:
            return False
        self.added += 1
        return True


async def until(what: str, condition: Callable[[], bool], workers: list[asyncio.Task[None]]) -> None:
    """Wait for something, as long as every worker works."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        for task in workers:
            if task.done():
                task.result()
        assert loop.time() < deadline, what
        await asyncio.sleep(0.02)


async def play(scene: Stage, workers: list[Worker], tasks: list[asyncio.Task[None]]) -> None:
    """One fault after the other, operations between them."""

    async def more() -> None:
        goal = sum(worker.done for worker in workers) + STEP
        await until("clients get no further", lambda: sum(worker.done for worker in workers) >= goal, tasks)

    async def lose() -> None:
        goal = scene.answers_lost + 3 * WORKERS
        scene.lose_answers(True)
        await until("no answer was lost", lambda: scene.answers_lost >= goal, tasks)

    async def kill(node: ServedNode) -> None:
        node.kill()
        await asyncio.to_thread(node.ended)

    await more()
    # answers are lost, nobody dies
    await lose()
    scene.lose_answers(False)
    await more()
    # the leader is killed
    leader = await scene.leader()
    await kill(leader)
    await more()
    await asyncio.to_thread(leader.start)
    # the leader is cut off, and answers its clients as long as it can
    leader = await scene.leader()
    scene.isolate(leader)
    await more()
    scene.members.heal()
    await more()
    # the leader is killed while answers are lost
    leader = await scene.leader()
    await lose()
    await kill(leader)
    scene.lose_answers(False)
    await more()
    await asyncio.to_thread(leader.start)
    await more()


async def check(client: AsyncClient, workers: list[Worker]) -> None:
    """What is there is what was answered, each once."""
    found = {entry.path: entry.ino async for entry in client.files.list("/")}
    told = {path: ino for worker in workers for path, ino in worker.inos.items()}
    assert found == told
    assert len(set(found.values())) == len(found)
    for worker in workers:
        own = await client.settings.get(f"own/{worker.name}")
        assert (own.value, own.etag) == (str(worker.sets), worker.etag)
    assert (await client.settings.get(SHARED)).value == str(sum(worker.added for worker in workers))


async def history(client: AsyncClient, prefix: str, last: str) -> list[str]:
    """Every value that a setting ever had."""
    values: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for response in client.settings.watch(prefix, start_revision=1):
            values += [setting.value for setting in response.settings]
            if last in values:
                break
    return values


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_what_is_repeated_under_its_request_id_happens_once_whatever_dies_or_is_lost(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        clients = [AsyncClient(front, timeout=ATTEMPT) for front in scene.fronts]
        workers = [Worker(f"w{number}", clients, _turn=number) for number in range(WORKERS)]
        try:
            await workers[0].surely(lambda at: at.settings.set(SHARED, "0", request_id="begin"))
            stop = asyncio.Event()
            tasks = [asyncio.create_task(worker.work(stop)) for worker in workers]
            try:
                await play(scene, workers, tasks)
                stop.set()
                await asyncio.wait_for(asyncio.gather(*tasks), 2 * PATIENCE)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for client in clients:
                await client.close()
        assert sum(worker.repeated for worker in workers) > WORKERS
        for node in scene.fleet.nodes:
            async with AsyncClient(node.endpoint, timeout=PATIENCE) as client:
                await check(client, workers)
        async with AsyncClient(scene.fleet.nodes[0].endpoint, timeout=PATIENCE) as client:
            for name, count in [(SHARED, sum(w.added for w in workers)), *((f"own/{w.name}", w.sets) for w in workers)]:
                values = await history(client, name, str(count))
                assert values == [str(number) for number in range(name != SHARED, count + 1)], name
