"""The id of a disk: drawn when it is first used, so that others notice when it was emptied or replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from quartet_server.objects.filesystem import refusal, replace_file

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
        replace_file(path, drawn)
        return drawn
    except OSError as error:
        raise refusal(error) from error
