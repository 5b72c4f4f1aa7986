"""Two bugs that tests switch on, to see that the checks of histories find them; off unless a test asks twice."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from raftmeta.wal import DiskFiles
from raftmeta.wal.files import DiskFile

VARIABLE = "RAFTMETA_TEST_BUG"

logger = logging.getLogger(__name__)


class Bug(Enum):
    """A promise that is broken on purpose."""

    EARLY_ACK = "early-ack"
    """What was written to the log counts as durable before its sync: a power loss takes acknowledged writes."""
    STALE_READ = "stale-read"
    """A leader answers reads without asking a majority whether it still leads."""


def asked_for(environment: Mapping[str, str], *, insecure: bool) -> Bug | None:
    """The bug that the environment asks for; without `insecure`, which nobody gives in earnest, it asks in vain.

    Raises ValueError when there is no such bug.
    """
    name = environment.get(VARIABLE, "")
    if not name:
        return None
    if not insecure:
        logger.error("%s is ignored: it is for tests, and only with --insecure", VARIABLE)
        return None
    bug = Bug(name)
    logger.error("%s=%s: this member breaks its promises on purpose and will lose data", VARIABLE, name)
    return bug


class LateFiles(DiskFiles):
    """The operating system's file system, in which the sync of a log's segment returns before it is done."""

    def open(self, path: Path, *, create: bool = False) -> DiskFile:
        """See `Files.open`."""
        file = super().open(path, create=create)
        return _SyncedLate(file) if ".wal" in path.suffixes else file


class _SyncedLate(DiskFile):
    """The first sync, when a segment was made or repaired, is one; those that follow are done by a thread, some time."""

    def __init__(self, file: DiskFile) -> None:
        super().__init__(file._descriptor)
        self._asked = threading.Event()
        self._thread: threading.Thread | None = None

    def sync(self) -> None:
        if self._thread is None:
            super().sync()
            self._thread = threading.Thread(target=self._sync_late, daemon=True)
            self._thread.start()
        self._asked.set()

    def close(self) -> None:
        super().close()
        self._asked.set()

    def _sync_late(self) -> None:
        while self._descriptor >= 0:
            self._asked.wait()
            self._asked.clear()
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                return  # closed meanwhile
