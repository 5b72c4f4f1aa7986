"""Opening the bucket that a URL names, and looking at it before anything is kept there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from obstore.exceptions import BaseError
from obstore.store import MemoryStore, ObjectStore, S3Store, from_url

from quartet_server.errors import FieldInvalid, ObjectStoreUnreachable
from quartet_server.objects.bucket.objects import Bucket
from quartet_server.objects.bucket.probe import probe
from quartet_server.objects.bucket.store import BucketBlobs

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config

_RETRIES: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


async def open_bucket(
    url: str, endpoint: str, *, require_conditions: bool, touch_seconds: float, verify_reads: bool,
    clock: Callable[[], float], draw: Callable[[int], bytes], say: Callable[[str], None],
    options: Mapping[str, str] | None = None,
) -> BucketBlobs:  # fmt: skip
    """Open the bucket at `url`: s3://, gs:// or az://, or bucket-memory:// for one of this process.

    Args:
        url: Bucket and prefix.
        endpoint: URL of an S3 server that is not Amazon's, or empty. Plain http is taken if it says http.
        require_conditions: Refuse a server that ignores the conditions of writes; else it is only said.
        touch_seconds: See `BlobStore.touch_seconds`.
        verify_reads: Whether reads of whole blobs check the digest.
        clock: Seconds since 1970.
        draw: Returns so many random bytes.
        say: Told what an operator should know.
        options: Of the client, as `aws_access_key_id`, which win over the environment's.

    Raises:
        FieldInvalid: The URL cannot be used, or `require_conditions` is not met.
        ObjectStoreUnreachable: The bucket does not answer or lets us not in.
    """
    try:
        store = _store(url, endpoint, options or {})
    except (BaseError, ValueError) as error:
        raise FieldInvalid.of("objects.url", str(error).partition("\n")[0]) from error
    conditions = await probe(store, draw(8).hex())
    if conditions.complaint:
        if require_conditions:
            raise FieldInvalid.of("objects.require_conditional_writes", conditions.complaint)
        say(conditions.complaint)
    try:
        scratch = Path(tempfile.mkdtemp(prefix="quartet-uploads-"))
        return BucketBlobs(Bucket(store), scratch, clock, draw, touch_seconds, verify_reads)
    except OSError as error:
        raise ObjectStoreUnreachable(f"no folder for large uploads: {error.strerror}", hint="set TMPDIR") from error


def _store(url: str, endpoint: str, options: Mapping[str, str]) -> ObjectStore:
    if url.startswith("bucket-memory:"):
        return MemoryStore()
    given = cast("S3Config", dict(options))  # whatever the store of the URL takes: the client checks the names
    if endpoint and url.startswith("s3:"):
        return S3Store.from_url(
            url,
            config={"endpoint": endpoint, "virtual_hosted_style_request": False, **given},
            client_options={"allow_http": endpoint.startswith("http:")},
            retry_config=_RETRIES,
        )
    return from_url(url, config=given, retry_config=_RETRIES)
