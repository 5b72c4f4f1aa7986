"""What a bucket's server does with conditions of writes, found out by trying: many that say they speak S3 ignore them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError
from obstore.store import ObjectStore

from quartet_server.objects.bucket.objects import no_bucket, translated

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

_OTHER: UpdateVersion = {"e_tag": '"00000000000000000000000000000000"'}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which conditions of writes the server honours.

    Attributes:
        creates: "Only if it is not there".
        matches: "Only if it is still this one".
    """

    creates: bool
    matches: bool

    @property
    def complaint(self) -> str:
        """What an operator should know; empty when all is well."""
        ignored = [name for name, kept in (("If-None-Match", self.creates), ("If-Match", self.matches)) if not kept]
        if not ignored:
            return ""
        return (
            f"the bucket's server does not honour {' and '.join(ignored)} on writes; blobs are safe, as none is ever written over"
            " another, but do not let other programs rely on it"
        )


async def probe(store: ObjectStore, name: str) -> Conditions:
    """Try with an object `probe/NAME`, which is removed again. Raises ObjectStoreUnreachable if it cannot be written at all."""
    path = f"probe/{name}"
    with translated(), no_bucket():
        await obstore.put_async(store, path, b"first")
        try:
            return Conditions(await _refused(store, path, "create"), await _refused(store, path, _OTHER))
        finally:
            await obstore.delete_async(store, path)


async def _refused(store: ObjectStore, path: str, mode: PutMode) -> bool:
    try:
        await obstore.put_async(store, path, b"second", mode=mode)
    except (AlreadyExistsError, PreconditionError):
        return True
    except NotSupportedError:
        return False
    return False
