"""The id of a disk: drawn when it is first used, so that others notice when it was emptied or replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from quartet_server.objects.filesystem import refusal, sync_directory, write_all

BYTES = 16
_NAME = "store-id"


def store_id(folder: Path | None, draw: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the id of the store in `folder`, drawing one with `draw` where there is none; None is in memory. Blocks.

    Raises ObjectStoreUnreachable, StoreFull.
    """
    if folder is None:
        return draw(BYTES)
    path = folder / _NAME
    try:
        with suppress(FileNotFoundError):
            if len(found := path.read_bytes()) == BYTES:
                return found
        drawn = draw(BYTES)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, [drawn], 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_directory(folder)
        return drawn
    except OSError as error:
        raise refusal(error) from error
