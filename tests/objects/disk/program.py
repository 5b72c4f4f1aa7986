"""A process that keeps blobs until it is killed, and says on stdout what has been acknowledged.

`python program.py FOLDER SEED COMMAND...`; commands: `fill` puts, writes, deletes, condemns and sweeps without end;
`check` reads lines of `fill` from stdin and says what is missing or wrong.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from quartet_server.errors import QuartetError
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits

LIMITS = DiskLimits(pack_bytes=256 << 10, touch_seconds=0.0)
"""Small packs, so that many are begun and compacted within a second."""
ZONE = "a"


def content(number: int) -> bytes:
    """The bytes of the numbered blob: small ones, some that compress, some with a file of their own, a few large."""
    dice = random.Random(number)
    size = dice.choice([10, 4000, 4000, 30_000, 70_000, 200_000, 2_200_000 if number % 50 == 0 else 5000])
    return dice.randbytes(size) if number % 3 else (b"%d all work and no play " % number * (size // 10))[:size]


async def fill(store: DiskBlobs, seed: int) -> None:
    """Keep and remove blobs until killed or refused; every line on stdout is a promise."""
    dice, numbers = random.Random(seed), iter(range(seed * 1_000_000, (seed + 1) * 1_000_000))

    async def worker() -> None:
        own = list[int]()
        while True:
            action = dice.random()
            number = next(numbers)
            data = content(number)
            if action < 0.5:
                await store.put(ZONE, data)
                say("has", number)
                own.append(number)
            elif action < 0.65:
                more = [number, *(next(numbers) for _ in range(9))]
                blobs = [Put(Digest.of(content(n)), content(n)) for n in more]
                for n, failed in zip(more, await store.put_many(ZONE, blobs), strict=True):
                    if failed is not None:
                        raise failed
                    say("has", n)
            elif action < 0.75:
                async with store.writer(ZONE) as writer:
                    for start in range(0, len(data), 50_000):
                        await writer.write(data[start : start + 50_000])
                    await writer.commit()
                say("has", number)
            elif own and action < 0.9:
                old = own.pop(dice.randrange(len(own)))
                say("may", old)
                if action < 0.85:
                    await store.delete(ZONE, [Digest.of(content(old))])
                    say("not", old)
                else:
                    await store.condemn(ZONE, [Digest.of(content(old))], time.time() + 1)
                    if await store.missing(ZONE, [Digest.of(content(old))]) == []:
                        say("has", old)
            elif action < 0.92:
                await store.checkpoint()

    await asyncio.gather(*(worker() for _ in range(4)))


def say(word: str, number: int) -> None:
    """Promise something; one write, so that lines are whole."""
    os.write(1, b"%s %d\n" % (word.encode(), number))


async def check(store: DiskBlobs, lines: list[str]) -> None:
    """Say what of the promises is broken, and `sound` at the end."""
    promised = dict[int, str]()
    for line in lines:
        word, name = line.split()
        promised[int(name)] = word
    for number, word in promised.items():
        data = content(number)
        digest = Digest.of(data)
        if word == "not" and await store.stat(ZONE, digest) is not None:
            print(f"{number} is there though it was deleted")
        elif word == "has" and await store.missing(ZONE, [digest]):
            print(f"{number} is missing")
        elif word == "has" and await store.get(ZONE, digest) != data:
            print(f"{number} has other bytes")
    after, count = None, 0
    while page := await store.scan(ZONE, after):
        for info in page:  # what nobody promised is whole if it is there
            count += 1
            await store.get(ZONE, info.digest)
        after = page[-1].digest
    if (await store.usage(ZONE)).blobs != count:
        print(f"the store counts {await store.usage(ZONE)}, there are {count}")
    print(*store.findings, "sound", sep="\n")


async def main(folder: Path, seed: int, command: str) -> None:
    """Do what the command says."""
    store = await DiskBlobs.open(folder, LIMITS, time.time, os.urandom)
    try:
        if command == "fill":
            await fill(store, seed)
        else:
            await check(store, sys.stdin.read().splitlines())
    except QuartetError as error:
        print(f"refused: {error.reason}", file=sys.stderr)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
