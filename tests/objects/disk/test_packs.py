"""Records tell a torn end from damage; packs give back what is deleted; the index is made again from them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from harness.blobs import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.errors import BlobCorrupt, FieldInvalid
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.disk.record import Damage, Found, Kind, Record, pack, scan
from quartet_server.objects.scrub import scrub

LIMITS = DiskLimits(pack_bytes=64 << 10)
SEED = 77


def noise(number: int, size: int = 5000) -> bytes:
    return random.Random(number).randbytes(size)


def record(number: int) -> Record:
    data = noise(number, 10 + number % 50)
    return Record(Kind.PACKED, "zone", Digest.of(data), 0, len(data), 1.5, data)


def packed(batches: list[list[Record]]) -> tuple[bytes, list[int]]:
    """Return the bytes of a pack with these batches, and where each batch begins."""
    data, starts = b"", list[int]()
    for batch in batches:
        starts.append(len(data))
        data += b"".join(part for each in batch for part in pack(each, SEED, starts[-1]))
    return data, starts


async def reopened(folder: Path, clock: Clock | None = None) -> DiskBlobs:
    return await DiskBlobs.open(folder, LIMITS, clock or Clock(), os.urandom)


async def filled(folder: Path, count: int, size: int = 5000) -> list[Digest]:
    """Keep blobs in a new store, which is closed then; each is a batch of its own."""
    store = await reopened(folder)
    digests = [await store.put("a", noise(number, size)) for number in range(count)]
    await store.close()
    return digests


def packs(folder: Path) -> list[Path]:
    return sorted((folder / "packs").glob("*.pack"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_a_cut_anywhere_leaves_the_records_before_it_and_is_no_damage(sizes: list[int], data: st.DataObject) -> None:
    batches = [[record(10 * number + n) for n in range(size)] for number, size in enumerate(sizes)]
    whole, _ = packed(batches)
    cut = data.draw(st.integers(0, len(whole)))
    found = list(scan(whole[:cut], 0, SEED))
    assert all(isinstance(item, Found) for item in found)
    records = [each for batch in batches for each in batch]
    assert [item.record for item in found if isinstance(item, Found)] == records[: len(found)]
    assert len(found) == len(records) or sum(each.length for each in records[: len(found) + 1]) > cut - 8


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.data())
def test_a_flipped_bit_is_damage_if_a_later_batch_follows_and_a_torn_end_if_none_does(
    sizes: list[int], data: st.DataObject
) -> None:
    batches = [[record(10 * number + n) for n in range(size)] for number, size in enumerate(sizes)]
    whole, starts = packed(batches)
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    items = list(scan(bytes(broken), 0, SEED))
    found = [item for item in items if isinstance(item, Found)]
    if [item.record for item in found] == [each for batch in batches for each in batch]:
        return  # a byte of padding
    damaged = [item for item in items if isinstance(item, Damage)]
    if at >= starts[-1]:
        assert damaged == []
        assert all(item.offset + item.record.length <= at for item in found)
    else:
        [damage] = damaged
        assert damage.offset <= at < damage.end
        assert damage.end in starts
        assert next(item.offset for item in found if item.offset >= damage.end) == damage.end


def test_a_blob_that_looks_like_a_record_is_taken_for_none() -> None:
    fake = b"".join(pack(Record(Kind.DELETED, "zone", Digest.of(b"x"), 0, 0, 1.0, b""), SEED + 1, 8))
    evil = Record(Kind.PACKED, "zone", Digest.of(fake), 0, len(fake), 1.0, fake.ljust(len(fake) + 7))
    whole, _ = packed([[record(1)], [evil], [record(2)]])
    broken = bytearray(whole)
    broken[record(1).length + 20] ^= 1
    assert [item.record for item in scan(bytes(broken), 0, SEED) if isinstance(item, Found)] == [record(1), record(2)]


async def test_the_index_is_made_again_when_it_is_lost_or_damaged(tmp_path: Path) -> None:
    digests = await filled(tmp_path, 30)
    large = noise(99, 100_000)
    store = await reopened(tmp_path)
    await store.put("b", large)
    await store.delete("a", digests[:10])
    before = await store.usage("a"), await store.usage("b")
    await store.close()
    for harm in (lambda path: shutil.rmtree(path), lambda path: (path / "data.mdb").write_bytes(b"rubbish" * 1000)):
        harm(tmp_path / "index")
        store = await reopened(tmp_path)
        assert store.findings == []
        assert await store.missing("a", digests) == digests[:10]
        assert await store.get("b", Digest.of(large)) == large
        assert (await store.usage("a"), await store.usage("b")) == before
        await store.close()


async def test_deleted_blobs_give_their_room_back_and_stay_deleted_without_an_index(tmp_path: Path) -> None:
    digests = await filled(tmp_path, 60)
    full = sum(path.stat().st_size for path in packs(tmp_path))
    store = await reopened(tmp_path)
    condemned = digests[-5]
    await store.condemn("a", [condemned], 2e9)
    await store.delete("a", digests[:50])
    while await store.compact():
        pass
    left = {digest: await store.get("a", digest) for digest in digests[50:]}
    info = await store.stat("a", condemned)
    assert info is not None
    assert info.condemned is not None  # moving saves nothing
    usage = await store.usage()
    assert sum(path.stat().st_size for path in packs(tmp_path)) < full / 2
    assert usage.physical < full / 2
    await store.close()
    shutil.rmtree(tmp_path / "index")
    store = await reopened(tmp_path)
    assert await store.missing("a", digests) == digests[:50]
    assert {digest: await store.get("a", digest) for digest in digests[50:]} == left
    await store.close()


async def test_notes_of_deletions_are_not_copied_again_and_again_and_go_with_what_they_are_about(
    tmp_path: Path,
) -> None:
    first = await filled(tmp_path, 20)
    store = await reopened(tmp_path)
    for number in range(1500):  # more notes than a pack holds, about blobs of which few are in the first packs
        digest = await store.put("a", b"%d" % number)
        await store.delete("a", [digest])
    while await store.compact():
        pass
    assert sum(path.stat().st_size for path in packs(tmp_path)) < 4 * LIMITS.pack_bytes
    assert await store.missing("a", first) == []
    await store.delete("a", first)
    again = await store.put("a", noise(0))
    while await store.compact():
        pass
    await store.close()
    shutil.rmtree(tmp_path / "index")
    store = await reopened(tmp_path)
    assert [info.digest for info in await store.scan("a")] == [again]
    await store.close()


async def test_reads_go_on_while_packs_are_given_back(tmp_path: Path) -> None:
    digests = await filled(tmp_path, 60)
    store = await reopened(tmp_path)
    doomed, kept = digests[::2] + digests[1::8], [d for n, d in enumerate(digests) if n % 2 and n % 8 != 1]
    await store.delete("a", doomed)  # begins to compact by itself
    for _ in range(5):
        found = await store.get_many("a", kept, 10 << 20)
        assert [found[digest] for digest in kept] == [noise(digests.index(digest)) for digest in kept]
    await store.compact()
    assert await store.missing("a", kept) == []
    await store.close()


@pytest.mark.parametrize("size", [5000, 100_000])
async def test_a_damaged_blob_is_never_read_is_missing_and_is_mended_by_a_put(tmp_path: Path, size: int) -> None:
    digests = await filled(tmp_path, 3, size)
    path = packs(tmp_path)[0] if size == 5000 else next((tmp_path / "files").glob(f"*/*/{digests[0].hex}"))
    flip(path, 1000)
    store = await reopened(tmp_path)
    assert await store.missing("a", digests) == []
    report = await scrub(store, bytes_per_second=1e12)
    assert (report.blobs, report.damaged, report.damaged_count) == (3, [("a", digests[0])], 1)
    with pytest.raises(BlobCorrupt):
        await store.get("a", digests[0])
    with pytest.raises(BlobCorrupt):
        [piece async for piece in store.read("a", digests[0])]
    assert await store.missing("a", digests) == digests[:1]
    assert await store.put_many("a", [Put(digests[0], noise(0, size))]) == [None]
    assert await store.get("a", digests[0]) == noise(0, size)
    assert (await scrub(store, bytes_per_second=1e12)).damaged == []
    assert (await store.usage("a")).blobs == 3
    await store.close()


async def test_damage_in_the_middle_is_told_when_the_index_is_made_again_and_costs_only_its_blob(
    tmp_path: Path,
) -> None:
    digests = await filled(tmp_path, 8)
    flip(packs(tmp_path)[0], 3 * 5100 - 100)
    shutil.rmtree(tmp_path / "index")
    store = await reopened(tmp_path)
    [finding] = store.findings
    assert "is damaged from byte" in finding
    assert len(await store.missing("a", digests)) == 1
    await store.close()


async def test_a_pack_that_was_cut_short_is_told_and_what_comes_later_is_found_again(tmp_path: Path) -> None:
    digests = await filled(tmp_path, 4)
    with packs(tmp_path)[0].open("r+b") as file:
        file.truncate(12_000)
    for is_told in (True, False):
        store = await reopened(tmp_path)
        assert any("was cut" in finding for finding in store.findings) is is_told
        new = await store.put("a", noise(100))
        with pytest.raises(BlobCorrupt):
            await store.get("a", digests[3])
        await store.close()
    store = await reopened(tmp_path)
    assert await store.get("a", new) == noise(100)
    await store.close()


async def test_what_a_killed_upload_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    await filled(tmp_path, 1)
    (tmp_path / "drafts" / "0").write_bytes(b"half a blob")
    (tmp_path / "packs" / "00000002.tmp").write_bytes(b"half a pack")
    store = await reopened(tmp_path)
    assert list((tmp_path / "drafts").iterdir()) == []
    assert [path.name for path in (tmp_path / "packs").iterdir()] == ["00000001.pack"]
    await store.close()


async def test_files_that_no_blob_needs_are_tidied_away_and_no_others(tmp_path: Path) -> None:
    [kept] = await filled(tmp_path, 1, 100_000)
    orphan = tmp_path / "files" / "a" / kept.hex[:2] / Digest.of(b"orphan").hex
    orphan.write_bytes(b"orphan")
    store = await reopened(tmp_path)
    assert await store.tidy() == 1
    assert not orphan.exists()
    assert await store.tidy() == 0
    assert await store.get("a", kept) == noise(0, 100_000)
    await store.close()


async def test_compressed_blobs_take_less_room_and_come_back_whole(tmp_path: Path) -> None:
    store = await reopened(tmp_path)
    text = b"the same words again and again " * 3000
    for size in (200, 5000, 90_000):
        digest = await store.put("a", text[:size])
        info = await store.stat("a", digest)
        assert info is not None
        assert info.stored < size
        assert await store.get("a", digest) == text[:size]
        assert b"".join([p async for p in store.read("a", digest, 50, 100)]) == text[50:150]
    with pytest.raises(FieldInvalid):
        await store.scan("a", None, 0)
    await store.close()
