"""A configuration opens the store it names, or is refused with the key that is wrong; weak servers are found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness import s3
from quartet_server.config import Config, Objects, Serve
from quartet_server.errors import FieldInvalid, ObjectStoreUnreachable
from quartet_server.objects.bucket import BucketBlobs
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.disk import DiskBlobs
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.opening import open_store

DATA = b"some bytes"


def configured(folder: Path, objects: Objects) -> Config:
    return Config(serve=Serve(data_dir=folder), objects=objects)


async def kept(store: BlobStore) -> type[BlobStore]:
    """Keep something in a store and read it back; return its type."""
    try:
        digest = await store.put("a", DATA)
        assert await store.get("a", digest) == DATA
    finally:
        await store.close()
    return type(store)


async def test_without_a_url_blobs_are_kept_in_the_data_directory_and_found_again(tmp_path: Path) -> None:
    config = configured(tmp_path, Objects())
    assert await kept(await open_store(config)) is DiskBlobs
    assert (tmp_path / "objects" / "packs").is_dir()
    again = await open_store(config)
    assert (await again.usage()).blobs == 1
    await again.close()


async def test_each_kind_of_url_opens_its_store(tmp_path: Path) -> None:
    elsewhere = configured(tmp_path, Objects(url=f"file://{tmp_path}/an%20other"))
    assert await kept(await open_store(elsewhere)) is DiskBlobs
    assert (tmp_path / "an other" / "packs").is_dir()
    assert await kept(await open_store(configured(tmp_path, Objects(url="memory://")))) is MemoryBlobs
    bucket = Objects(url=f"s3://{s3.new_bucket()}", endpoint=s3.endpoint())
    assert await kept(await open_store(configured(tmp_path, bucket))) is BucketBlobs


@pytest.mark.parametrize(
    ("objects", "key"),
    [
        (Objects(url="ftp://x/y"), "objects.url"),
        (Objects(url="file://relative/path"), "objects.url"),
        (Objects(url="objects"), "objects.url"),
        (Objects(url="s3://"), "objects.url"),
        (Objects(pack_bytes=1000), "objects.pack_bytes"),
        (Objects(pack_bytes=1 << 31), "objects.pack_bytes"),
        (Objects(packed_bytes=(1 << 20) + 1), "objects.packed_bytes"),
        (Objects(packed_bytes=-1), "objects.packed_bytes"),
        (Objects(touch_seconds=-1), "objects.touch_seconds"),
    ],
)
async def test_what_cannot_be_opened_is_refused_with_its_key(tmp_path: Path, objects: Objects, key: str) -> None:
    with pytest.raises(FieldInvalid) as raised:
        await open_store(configured(tmp_path, objects))
    assert list(raised.value.violations) == [key]


async def test_a_server_that_ignores_conditions_is_told_of_or_refused(tmp_path: Path) -> None:
    objects = Objects(url=f"s3://{s3.new_bucket('weak')}", endpoint=s3.endpoint("weak"))
    said = list[str]()
    assert await kept(await open_store(configured(tmp_path, objects), say=said.append)) is BucketBlobs
    [complaint] = said
    assert "If-None-Match and If-Match" in complaint
    with pytest.raises(FieldInvalid) as raised:
        await open_store(configured(tmp_path, replace(objects, require_conditional_writes=True)))
    assert list(raised.value.violations) == ["objects.require_conditional_writes"]


async def test_a_server_that_honours_conditions_passes(tmp_path: Path) -> None:
    objects = Objects(url=f"s3://{s3.new_bucket()}", endpoint=s3.endpoint(), require_conditional_writes=True)
    said = list[str]()
    assert await kept(await open_store(configured(tmp_path, objects), say=said.append)) is BucketBlobs
    assert said == []


async def test_a_bucket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    objects = Objects(url="s3://nobody-made-this", endpoint=s3.endpoint())
    with pytest.raises((ObjectStoreUnreachable, FieldInvalid)):
        await open_store(configured(tmp_path, objects))


async def test_a_folder_is_opened_by_one_at_a_time(tmp_path: Path) -> None:
    config = configured(tmp_path, Objects())
    store = await open_store(config)
    with pytest.raises(ObjectStoreUnreachable, match="another process uses"):
        await open_store(config)
    await store.close()
    assert await kept(await open_store(config)) is DiskBlobs
