"""Redis's protocol, as much of it as a client of a few commands needs."""

from __future__ import annotations

import asyncio


class Redis:
    """A client with one connection for each call in flight."""

    def __init__(self, endpoint: str) -> None:
        """Connect to HOST:PORT when something is called."""
        self._address = endpoint.split(":")
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def close(self) -> None:
        """Disconnect."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()

    async def call(self, *words: str | bytes) -> object:
        """Send a command; return its answer: bytes, None or a list. Raises AssertionError for an error, OSError."""
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(*self._address)
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded))
        try:
            answer = await self._answer(reader)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return answer

    async def _answer(self, reader: asyncio.StreamReader) -> object:
        line = await reader.readline()
        kind, rest = line[:1], line[1:-2]
        assert kind, "the connection ended"
        assert kind != b"-", rest.decode()
        if kind == b"$":
            return (await reader.readexactly(int(rest) + 2))[:-2] if rest != b"-1" else None
        return [await self._answer(reader) for _ in range(int(rest))] if kind == b"*" else rest
