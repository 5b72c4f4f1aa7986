"""The network between members, held in one hand: a TCP proxy per member that knows each directed link by its frames."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raftmeta.transport.frame import HEAD_SIZE
from raftmeta.v1.hello_pb2 import Hello

Pair = tuple[str, str]
"""(source, target): a directed link, by the names of the members."""
_CHUNK = 256 * 1024
_LIMIT = 64 * 1024 * 1024
"""Bytes that may wait on one connection; what comes on top is lost."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the frames of a link; by default nothing.

    Attributes:
        cut: Frames vanish, and no new connection gets through.
        hold: Frames wait until the rule is lifted, and then arrive all at once: late and stale.
        delay: Seconds each frame takes.
        jitter: Up to this many seconds more, drawn for each frame: later frames overtake earlier ones.
        loss: Share of frames that vanish.
    """

    cut: bool = False
    hold: bool = False
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0


@dataclass(slots=True)
class Counts:
    """What happened to frames of one link since it was first used; the proof of a fault."""

    passed: int = 0
    cut: int = 0
    held: int = 0
    delayed: int = 0
    lost: int = 0
    overtaken: int = 0


@dataclass(slots=True)
class Link:
    """One direction between two members: its rule, its counts, and the connections that are open."""

    rule: Rule = field(default_factory=Rule)
    counts: Counts = field(default_factory=Counts)
    streams: set[Stream] = field(default_factory=set)


class Stream:
    """The frames of one connection on their way through: an order of due times, written when due."""

    def __init__(self, link: Link, writer: asyncio.StreamWriter, dice: random.Random, *, ordered: bool = False) -> None:
        """Carry frames of `link` into `writer`; `ordered` ones never overtake each other."""
        self._link = link
        self._ordered = ordered
        self._last_due = 0.0
        self._writer = writer
        self._dice = dice
        self._due: list[tuple[float, int, bytes]] = []
        self._held: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._number = 0
        self._newest = -1
        self._wake = asyncio.Event()
        self._now: Callable[[], float] = asyncio.get_running_loop().time

    def take(self, frame: bytes) -> None:
        """Decide what becomes of a frame."""
        rule, counts = self._link.rule, self._link.counts
        self._number += 1
        if rule.cut:
            counts.cut += 1
            return
        if (rule.loss and self._dice.random() < rule.loss) or self._bytes + len(frame) > _LIMIT:
            counts.lost += 1
            return
        self._bytes += len(frame)
        if rule.hold:
            counts.held += 1
            self._held.append((self._number, frame))
            return
        wait = rule.delay + (self._dice.random() * rule.jitter if rule.jitter else 0.0)
        if wait:
            counts.delayed += 1
        due = self._now() + wait
        if self._ordered:
            due = self._last_due = max(due, self._last_due)
        heapq.heappush(self._due, (due, self._number, frame))
        self._wake.set()

    def release(self) -> None:
        """Let what was held go on, in its order."""
        for number, frame in self._held:
            heapq.heappush(self._due, (self._now(), number, frame))
        self._held.clear()
        self._wake.set()

    async def write(self) -> None:
        """Write frames as they become due, until cancelled or the connection breaks (OSError)."""
        while True:
            self._wake.clear()
            wait = self._due[0][0] - self._now() if self._due else None
            if wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                continue
            _, number, frame = heapq.heappop(self._due)
            self._bytes -= len(frame)
            counts = self._link.counts
            counts.passed += 1
            counts.overtaken += number < self._newest
            self._newest = max(self._newest, number)
            self._writer.write(frame)
            await self._writer.drain()

    def abort(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()


class Network:
    """Every member's Raft port behind a front of its own, where the rules of the links hold.

    A member advertises its front and listens behind it. Who dials says who it is in its greeting, so that one front
    tells the links apart; a connection carries frames from who dialled, and one greeting back.

    Under TLS there are no frames to see. Then pieces of the stream pass in their place, whose owner is found by the port
    they come from: they can be held, delayed and broken off as frames can, and where one vanishes the connection ends with the
    next, since the record it was part of is no longer whole. Losing single frames, and having them overtake each other, is
    for plaintext.
    """

    def __init__(self, seed: int, owner: Callable[[int], str] | None = None) -> None:
        """Draw losses and delays from `seed`; with `owner`, who tells the member that has a local port, streams are TLS."""
        self._owner = owner
        self.links: dict[Pair, Link] = {}
        self._seed = seed
        self._fronts: dict[str, str] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, name: str, front: str, back: str) -> None:
        """Take connections for member `name` at `front` and pass them on to `back` (both HOST:PORT). Raises OSError."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):  # cancelled by `close` only
                    await self._carry(name, back, reader, writer)
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        host, _, port = front.rpartition(":")
        self._servers[name] = await asyncio.start_server(serve, host, int(port), limit=_CHUNK)
        self._fronts[front] = name

    def link(self, source: str, target: str) -> Link:
        """The link from one member to another, whether it was used or not."""
        return self.links.setdefault((source, target), Link())

    def set(self, rule: Rule, *pairs: Pair) -> None:
        """Put a rule in force on some links."""
        for pair in pairs:
            link = self.link(*pair)
            link.rule = rule
            if not rule.hold:
                for stream in link.streams:
                    stream.release()

    def heal(self) -> None:
        """Lift every rule."""
        self.set(Rule(), *self.links)

    def reset(self, *pairs: Pair) -> int:
        """Break the connections of some links; returns how many there were."""
        streams = [stream for pair in pairs for stream in self.link(*pair).streams]
        for stream in streams:
            stream.abort()
        return len(streams)

    async def _carry(self, target: str, back: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, first = await self._greeted(reader, writer)
        link, answers = self.link(source, target), self.link(target, source)
        if link.rule.cut:  # a packet that opens a connection vanishes too; who dialled gives up by itself
            link.counts.cut += 1
            await reader.read()
            return
        host, _, port = back.rpartition(":")
        behind, onward = await asyncio.open_connection(host, int(port), limit=_CHUNK)
        dice = random.Random(f"{self._seed} {source} {target}")
        stream = Stream(link, onward, dice, ordered=self._owner is not None)
        link.streams.add(stream)
        ways = [
            asyncio.ensure_future(self._forth(reader, stream, first)),
            asyncio.ensure_future(self._back(behind, writer, answers)),
            asyncio.ensure_future(stream.write()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.streams.discard(stream)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            onward.transport.abort()

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, bytes]:
        """Who dialled, and what was read to learn it."""
        if self._owner is not None:
            return await asyncio.to_thread(self._owner, writer.get_extra_info("peername")[1]), b""
        head = await reader.readexactly(HEAD_SIZE)
        greeting = await reader.readexactly(int.from_bytes(head[:4]))
        return self._fronts.get(Hello.FromString(greeting).address, "?"), head + greeting

    async def _forth(self, reader: asyncio.StreamReader, stream: Stream, first: bytes) -> None:
        if self._owner is not None:
            while data := await reader.read(_CHUNK):
                stream.take(data)
            return
        stream.take(first)
        rest = bytearray()
        while data := await reader.read(_CHUNK):
            rest += data
            at = 0
            while len(rest) - at >= HEAD_SIZE:
                end = at + HEAD_SIZE + int.from_bytes(rest[at : at + 4])
                if end > len(rest):
                    break
                stream.take(bytes(rest[at:end]))
                at = end
            del rest[:at]

    @staticmethod
    async def _back(behind: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Link) -> None:
        while data := await behind.read(_CHUNK):
            if answers.rule.cut:
                answers.counts.cut += 1
                continue
            writer.write(data)
            await writer.drain()

    async def close(self) -> None:
        """Close every front and connection."""
        for server in self._servers.values():
            server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
