"""Resource names: what the Remote Execution API writes is understood, anything else refused with a reason."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quartet_server.errors import FieldInvalid
from quartet_server.objects.digest import LARGEST, Digest
from quartet_server.objects.wire.resources import LONGEST, Resource, read_resource, write_resource

HASH = Digest.of(b"abc").hex
DIGEST = Digest.of(b"abc")

KEYWORDS = ("blobs", "uploads", "compressed-blobs", "actions", "actionResults", "operations", "capabilities")
uploads = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=64)
zones = st.text(string.ascii_lowercase, min_size=1, max_size=8).filter(lambda name: name not in KEYWORDS)
instances = st.lists(zones, max_size=3).map("/".join)
digests = st.builds(
    lambda data, size: Digest(Digest.of(data).hash, size), st.binary(min_size=1), st.integers(1, LARGEST)
)


@given(instances, digests, st.booleans())
def test_a_name_of_a_read_says_what_was_put_into_it(instance: str, digest: Digest, packed: bool) -> None:
    kind = "compressed-blobs/zstd" if packed else "blobs"
    prefix = f"{instance}/" if instance else ""
    assert read_resource(f"{prefix}{kind}/{digest}") == Resource(instance, digest, packed)


@given(instances, uploads, digests, st.booleans(), st.lists(st.text(max_size=8), max_size=3))
def test_a_name_of_a_write_says_what_was_put_into_it(
    instance: str, upload: str, digest: Digest, packed: bool, more: list[str]
) -> None:
    kind = "compressed-blobs/zstd" if packed else "blobs"
    prefix = f"{instance}/" if instance else ""
    name = "/".join([f"{prefix}uploads", upload, kind, str(digest), *more])
    assert write_resource(name) == Resource(instance, digest, packed, upload)


@given(st.text(), st.lists(st.sampled_from(["blobs", "uploads", "compressed-blobs", "zstd", "", "a", HASH, "3", "-3"])))
def test_any_text_is_understood_or_refused_with_a_reason(text: str, segments: list[str]) -> None:
    for name in (text, "/".join(segments)):
        for understand in (read_resource, write_resource):
            try:
                found = understand(name)
            except FieldInvalid as error:
                fields = set(error.violations)
            else:
                assert f"{found.digest}" in name
                assert name.startswith(found.instance)
                continue
            assert all(field.startswith("resource_name") for field in fields)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs",
        f"blobs/{HASH}",
        f"blobs/{HASH}/",
        f"/{HASH}/3",
        f"blobs/{HASH}/3/more",
        f"blobs/{HASH}/03",
        f"blobs/{HASH}/+3",
        f"blobs/{HASH}/-3",
        f"blobs/{HASH}/3_0",
        f"blobs/{HASH}/\u0663",
        f"blobs/{HASH}/ 3",
        f"blobs/{HASH}/99999999999999999999",
        f"blobs/{HASH}/{LARGEST + 1}",
        f"blobs/{HASH}/0",
        f"blobs/{HASH.upper()}/3",
        f"blobs/{HASH[:-1]}/3",
        f"blobs/sha256/{HASH}/3",
        f"blobs/blake3/{HASH}/3",
        f"compressed-blobs/{HASH}/3",
        f"compressed-blobs/brotli/{HASH}/3",
        f"compressed-blobs/identity/{HASH}/3",
        f"uploads/u/blobs/{HASH}/3",
        f"actions/u/blobs/{HASH}/3",
        "x" * LONGEST + f"/blobs/{HASH}/3",
    ],
)
def test_a_name_of_a_read_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(FieldInvalid):
        read_resource(name)


@pytest.mark.parametrize(
    "name",
    [
        f"blobs/{HASH}/3",
        "uploads",
        "uploads/u",
        f"uploads//blobs/{HASH}/3",
        f"uploads/{'u' * 65}/blobs/{HASH}/3",
        f"uploads/u\n/blobs/{HASH}/3",
        f"uploads/u/{HASH}/3",
        f"uploads/u/uploads/{HASH}/3",
        f"uploads/u/compressed-blobs/deflate/{HASH}/3",
    ],
)
def test_a_name_of_a_write_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(FieldInvalid):
        write_resource(name)
