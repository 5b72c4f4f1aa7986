"""Reading a state through before anybody is served from it: damage that LMDB does not see."""

from __future__ import annotations

import lmdb

from raftmeta.store.environment import StoreError, advice
from raftmeta.store.layout import SPACES, main_of
from raftmeta.store.store import Store


def verify(store: Store) -> None:
    """Check the checksum of every record: about a second for a million of them.

    Raises:
        StoreError: One is not what was written; the message says what to do.
    """
    try:
        with store.read() as view:
            found = next((revision for space in SPACES for revision in view.damaged(space)), None)
    except lmdb.Error as error:
        raise StoreError(advice(store.directory, str(error))) from error
    if found is not None:
        fact = f"the record of revision {main_of(found)} is not what was written (`python -m raftmeta check` finds all)"
        raise StoreError(advice(store.directory, fact))
