"""A large file is checked piece by piece: damage is found where it is read, whole or in part, and nowhere else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from harness.blobs import Clock
from hypothesis import given
from hypothesis import strategies as st
from quartet_server.errors import BlobCorrupt
from quartet_server.objects import sums
from quartet_server.objects.arguments import PIECE
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.sums import Sums

DATA = random.Random(1).randbytes(3 * PIECE + 17)


async def opened(folder: Path, *, verify: bool = True) -> DiskBlobs:
    return await DiskBlobs.open(folder, DiskLimits(verify_reads=verify), Clock(), os.urandom)


async def written(folder: Path, data: bytes = DATA) -> Digest:
    """Keep a blob, uploaded in pieces of another size, in a new store, which is closed then."""
    store = await opened(folder)
    async with store.writer("a") as writer:
        for at in range(0, len(data), 700_001):
            await writer.write(data[at : at + 700_001])
        digest = await writer.commit()
    await store.close()
    return digest


def damage(folder: Path, at: int) -> None:
    [path] = (folder / "files").glob("*/*/*")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def read(store: DiskBlobs, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read("a", digest, offset, length)])


@given(st.lists(st.integers(0, 2 * PIECE + 1), max_size=6))
def test_sums_do_not_depend_on_how_the_bytes_come(sizes: list[int]) -> None:
    size = sum(sizes)
    one, many, at = Sums(), Sums(), 0
    one.take(bytes(size))
    for part in sizes:
        many.take(bytes(part))
        at += part
    assert one.packed() == many.packed()
    found = sums.unpacked(one.packed(), size)
    assert (found is None) == (size == 0)
    for number, value in enumerate(found or ()):
        assert sums.fits(bytes(min(PIECE, size - number * PIECE)), value)


def test_sums_of_another_size_and_too_many_of_them_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Sums()
    taken.take(bytes(PIECE + 1))
    assert sums.unpacked(taken.packed(), PIECE) is None
    monkeypatch.setattr(sums, "MOST", 1)
    assert taken.packed() == b""


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (0, 1), (PIECE - 1, 2), (PIECE, PIECE), (2 * PIECE + 5, PIECE), (3 * PIECE, None), (len(DATA) - 1, 1)],
)
async def test_any_range_of_a_sound_file_is_read(tmp_path: Path, offset: int, length: int | None) -> None:
    digest = await written(tmp_path)
    store = await opened(tmp_path)
    end = None if length is None else offset + length
    assert await read(store, digest, offset, length) == DATA[offset:end]
    await store.close()


async def test_a_range_is_refused_for_damage_in_the_pieces_it_touches_and_for_no_other(tmp_path: Path) -> None:
    digest = await written(tmp_path)
    damage(tmp_path, 2 * PIECE + 100)
    store = await opened(tmp_path)
    assert await read(store, digest, 0, 2 * PIECE) == DATA[: 2 * PIECE]
    assert await read(store, digest, 3 * PIECE) == DATA[3 * PIECE :]
    for offset, length in ((2 * PIECE, 1), (2 * PIECE - 1, 2), (0, None)):
        with pytest.raises(BlobCorrupt):
            await read(store, digest, offset, length)
    assert await store.missing("a", [digest]) == [digest]
    await store.close()


async def test_a_file_without_sums_is_checked_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "MOST", 0)  # as an earlier version wrote it
    digest = await written(tmp_path)
    store = await opened(tmp_path)
    assert await read(store, digest) == DATA
    damage(tmp_path, 5)
    with pytest.raises(BlobCorrupt):
        await read(store, digest)
    await store.close()


async def test_who_asks_for_the_digest_gets_it_checked_whatever_the_sums_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await written(tmp_path)
    damage(tmp_path, 5)
    monkeypatch.setattr(sums, "fits", lambda piece, value: True)
    store = await opened(tmp_path)
    assert len(await read(store, digest)) == len(DATA)
    for offset in (0, PIECE):
        with pytest.raises(BlobCorrupt):
            async for _ in store.read("a", digest, offset, verify=True):
                pass
    await store.close()


async def test_a_store_that_is_told_not_to_check_does_not(tmp_path: Path) -> None:
    digest = await written(tmp_path)
    damage(tmp_path, 5)
    store = await opened(tmp_path, verify=False)
    assert len(await read(store, digest)) == len(DATA)
    await store.close()
