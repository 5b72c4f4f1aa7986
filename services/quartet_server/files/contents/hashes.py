"""Hashes under way: what has been hashed once can be extended without reading it again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TypeAlias

from quartet_server.objects.digest import Digest

MOST = 4096
"""Hashes remembered; each takes about 300 bytes."""
Hash: TypeAlias = "hashlib._Hash"


class RunningHashes:
    """SHA-256 states by the digest of what they have seen, those used last.

    The state after some bytes is a function of the bytes, so nothing here can be out of date.
    """

    def __init__(self) -> None:
        """Know none."""
        self._states: OrderedDict[Digest, Hash] = OrderedDict()

    def remember(self, digest: Digest, state: Hash) -> None:
        """Keep the state that has seen the bytes of `digest`; it must not be updated any more."""
        self._states[digest] = state
        self._states.move_to_end(digest)
        if len(self._states) > MOST:
            self._states.popitem(last=False)

    def after(self, digest: Digest) -> Hash | None:
        """Return a state that has seen the bytes of `digest`, to go on with; None when there is none."""
        state = self._states.get(digest)
        return None if state is None else state.copy()
