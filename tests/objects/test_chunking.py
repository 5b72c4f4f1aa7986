"""Blobs are cut where the published vectors say, the same however they arrive, and chunk lists find every byte."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.errors import FieldInvalid
from quartet_server.objects.chunking import STANDARD, Chunker, ChunkList, Cutting, cut
from quartet_server.objects.digest import Digest

PICTURE = (Path(__file__).parent / "testdata" / "SekienAkashita.jpg").read_bytes()
"""A woodcut by Toriyama Sekien (1712-1788), the input of the published vectors."""
VECTORS = {
    0: [
        (19186, "0f9efa589121d5d9e9e2c4ace91337d77cae866537143f6f15a0ffd525a77c2d"),
        (19279, "c7c86a165573c16448cda35c9169742e85645af42be22889f8b96b8ee0ec7cb0"),
        (17354, "bc88521e28a8b4479cdea5f75aa721a24f3a0a7d0be903aa6d505c574e51e89d"),
        (16387, "4b8dac2652e4685c629d2bb1ae9d4448e676b86f2e67ca0b2fff3d9580184b79"),
        (19940, "c0a7062da6f2386c28e086ee0cedd5732252741269838773cff1ddb05b2df6ed"),
        (17320, "7fa5b12134dc75cd2ac8dc60d3a8f3c8d22f0ee9d4cf74a4aa937e2a0d2d79a5"),
    ],
    666: [
        (17635, "cb3a9d80a3569772d4ed331ca37ab0c862c759897b890fc1aac90a4f2ea3a407"),
        (17334, "d758c6b7b0b7eef1e996f8ccd17de6c645360b03a26c35541e7581348ac08944"),
        (19136, "24846aefd89e510594bae3e9d7d5ea5012067601512610fed126a3c57ba993f5"),
        (17467, "efa785e1fefb49f190e665f72fd246c1442079874508c312196da1fb3040d00b"),
        (23593, "a2f557bdd8d40d8faada963ad5f91ec54b10ccee7c5ae72754a65137592dc607"),
        (14301, "e131100b4a7147ccad19dc63c4a2fac1f5d8b644e1373eeb6803825024234efc"),
    ],
}
"""Sizes and hashes of the chunks by seed, as the Remote Execution API publishes them (fastcdc2020_test_vectors.txt)."""
SMALL = Cutting(average=1024, smallest=256, largest=4096)


@pytest.mark.parametrize("seed", VECTORS)
def test_the_published_vectors_are_met(seed: int) -> None:
    cutting = Cutting(average=16384, smallest=4096, largest=65535, seed=seed)
    assert [(len(chunk), Digest.of(chunk).hex) for chunk in cut(PICTURE, cutting)] == VECTORS[seed]


def test_chunks_keep_to_the_standard_sizes_and_are_the_blob() -> None:
    data = random.Random(1).randbytes(9 << 20)
    chunks = list(cut(data))
    assert b"".join(chunks) == data
    assert all(STANDARD.smallest <= len(chunk) <= STANDARD.largest for chunk in chunks[:-1])
    assert len(chunks) > 4
    assert list(cut(b"")) == []


@settings(deadline=None)
@given(seed=st.integers(0, 9), size=st.integers(0, 60_000), steps=st.lists(st.integers(0, 20_000), max_size=20))
def test_a_blob_in_pieces_is_cut_like_the_whole(seed: int, size: int, steps: list[int]) -> None:
    data = random.Random(seed).randbytes(size)
    chunker, chunks, start = Chunker(SMALL), list[bytes](), 0
    for step in steps:
        chunks += chunker.feed(data[start : start + step])
        start += step
    chunks += chunker.feed(data[start:])
    chunks += chunker.finish()
    assert chunks == [bytes(chunk) for chunk in cut(data, SMALL)]


def test_a_change_in_the_middle_changes_few_chunks() -> None:
    before = random.Random(2).randbytes(400_000)
    after = before[:200_000] + b"a few bytes more" + before[200_000:]
    old, new = [{Digest.of(chunk) for chunk in cut(data, SMALL)} for data in (before, after)]
    assert len(new - old) <= 3 < len(new & old)


@settings(deadline=None)
@given(st.data())
def test_parts_of_a_chunk_list_are_the_range_that_was_asked_for(data: st.DataObject) -> None:
    blob = random.Random(data.draw(st.integers(0, 5))).randbytes(data.draw(st.integers(0, 20_000)))
    chunks = {Digest.of(chunk): bytes(chunk) for chunk in cut(blob, SMALL)}
    chunk_list = ChunkList(Digest.of(blob), tuple(Digest.of(chunk) for chunk in cut(blob, SMALL)))
    offset = data.draw(st.integers(0, len(blob)))
    length = data.draw(st.none() | st.integers(0, 25_000))
    parts = list(chunk_list.parts(offset, length))
    assert all(part.length > 0 for part in parts)
    found = b"".join(chunks[part.chunk][part.offset : part.offset + part.length] for part in parts)
    assert found == (blob[offset:] if length is None else blob[offset : offset + length])


@pytest.mark.parametrize("chunks", [(), (b"ab",), (b"ab", b"cd", b"")])
def test_chunks_that_cannot_be_the_blob_are_refused(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(FieldInvalid):
        ChunkList(Digest.of(b"abcd"), tuple(Digest.of(chunk) for chunk in chunks))
