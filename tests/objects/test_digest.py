"""Digests are parsed strictly and say what is wrong with one."""

from __future__ import annotations

import hashlib

import pytest
from quartet_server.errors import DigestMismatch, FieldInvalid
from quartet_server.objects.digest import EMPTY, LARGEST, Digest

HEX = hashlib.sha256(b"abcd").hexdigest()


def test_a_digest_is_hash_and_size_and_survives_being_written() -> None:
    digest = Digest.of(b"abcd")
    assert (digest.hex, digest.size) == (HEX, 4)
    assert Digest.parse(HEX, 4) == Digest.parse(HEX, "4") == Digest.from_text(str(digest)) == digest
    assert not digest.is_empty
    assert Digest.from_text(str(EMPTY)).is_empty


@pytest.mark.parametrize(
    ("text", "size", "field"),
    [
        (HEX[:-1], 4, "d.hash"),
        (HEX + "0", 4, "d.hash"),
        (HEX.upper(), 4, "d.hash"),
        (HEX[:-1] + "g", 4, "d.hash"),
        (HEX[:-1] + "\n", 4, "d.hash"),
        ("", 0, "d.hash"),
        (HEX, -1, "d.size_bytes"),
        (HEX, LARGEST + 1, "d.size_bytes"),
        (HEX, "four", "d.size_bytes"),
        (HEX, 0, "d.size_bytes"),
        (EMPTY.hex, 1, "d.size_bytes"),
    ],
)
def test_what_is_no_digest_is_refused_with_its_field(text: str, size: int | str, field: str) -> None:
    with pytest.raises(FieldInvalid) as raised:
        Digest.parse(text, size, "d")
    assert list(raised.value.violations) == [field]


def test_text_without_a_size_is_refused_with_its_field() -> None:
    with pytest.raises(FieldInvalid) as raised:
        Digest.from_text(HEX, "blob")
    assert list(raised.value.violations) == ["blob"]


@pytest.mark.parametrize("found", [b"abc", b"abce", b""])
def test_other_bytes_are_a_mismatch_that_names_both(found: bytes) -> None:
    digest = Digest.of(b"abcd")
    digest.check(Digest.of(b"abcd"))
    with pytest.raises(DigestMismatch) as raised:
        digest.check(Digest.of(found))
    assert raised.value.metadata == {"declared": str(digest), "found": str(Digest.of(found))}
