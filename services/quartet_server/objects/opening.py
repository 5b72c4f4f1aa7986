"""Opening the store of blobs that a node's configuration names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from quartet_server.config import Config
from quartet_server.errors import FieldInvalid
from quartet_server.objects.contract import MarkedBlobs
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.memory import MemoryBlobs

_PACKED_MOST = 1 << 20
_PACK_LEAST, _PACK_MOST = 1 << 20, 1 << 30
_DIRECTORY = "objects"
_BUCKET_TOUCH_SECONDS = 86_400.0  # a renewal is a PUT, which costs money
SCHEMES = ("file", "memory", "s3", "gs", "az")
"""What the configured URL may begin with."""


def store_folder(config: Config) -> Path | None:
    """Return the folder of the local disk on which `config` keeps blobs; None where it is none."""
    url = urlsplit(config.objects.url)
    if not config.objects.url:
        return config.serve.data_dir / _DIRECTORY
    return Path(unquote(url.path)) if url.scheme == "file" else None


async def open_store(
    config: Config,
    *,
    clock: Callable[[], float] = time.time,
    draw: Callable[[int], bytes] = os.urandom,
    say: Callable[[str], None] = lambda text: None,
    options: Mapping[str, str] | None = None,
) -> MarkedBlobs:
    """Open the store that `config.objects` names.

    Args:
        config: The node's effective configuration.
        clock: Seconds since 1970.
        draw: Returns so many bytes that nobody can guess.
        say: Told, one sentence at a time, what an operator should know: damage that was found, conditions that the server
            of a bucket ignores.
        options: Options of the client of a bucket, as `aws_access_key_id`, which win over the environment's.

    Raises:
        FieldInvalid: The configuration is wrong; the field is `objects.KEY`.
        ObjectStoreUnreachable: The disk fails, another process has the folder, or the bucket does not answer.
        StoreFull: The disk has no room for an empty store.
    """
    objects = config.objects
    if not 0 <= objects.packed_bytes <= _PACKED_MOST:
        raise FieldInvalid.of("objects.packed_bytes", f"must be from 0 to {_PACKED_MOST}")
    if not _PACK_LEAST <= objects.pack_bytes <= _PACK_MOST:
        raise FieldInvalid.of("objects.pack_bytes", f"must be from {_PACK_LEAST} to {_PACK_MOST}")
    if objects.touch_seconds < 0:
        raise FieldInvalid.of("objects.touch_seconds", "cannot be negative")
    url = urlsplit(objects.url)
    if objects.url and url.scheme not in SCHEMES:
        raise FieldInvalid.of("objects.url", f"must begin with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    if url.scheme == "memory":
        return MemoryBlobs(clock, objects.touch_seconds)
    if not objects.url or url.scheme == "file":
        if objects.url and (url.netloc or not url.path.startswith("/")):
            raise FieldInvalid.of("objects.url", "must name a directory from the root, like file:///var/lib/quartet")
        folder = store_folder(config)
        assert folder is not None
        limits = DiskLimits(
            pack_bytes=objects.pack_bytes,
            packed_bytes=objects.packed_bytes,
            verify_reads=objects.verify_reads,
            touch_seconds=objects.touch_seconds,
        )
        disk = await DiskBlobs.open(folder, limits, clock, draw)
        for finding in disk.findings:
            say(f"the store of blobs in {folder}: {finding}")
        return disk
    try:
        from quartet_server.objects.bucket import open_bucket
    except ImportError as error:
        raise FieldInvalid.of("objects.url", "needs the extra s3: pip install 'quartet[s3]'") from error
    return await open_bucket(
        objects.url,
        objects.endpoint,
        require_conditions=objects.require_conditional_writes,
        touch_seconds=max(objects.touch_seconds, _BUCKET_TOUCH_SECONDS),
        verify_reads=objects.verify_reads,
        clock=clock,
        draw=draw,
        say=say,
        options=options or {},
    )
