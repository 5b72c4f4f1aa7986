"""Copies of a state, each made by a process of its own (`raftmeta.store.copier`) while steps and checkpoints go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from raftmeta.store.environment import DATA, StoreError, StoreFull
from raftmeta.wal.errors import NO_SPACE

RATE = 128 << 20
"""Bytes a second at which a copy is made: half a gigabyte takes four seconds of a fraction of one core."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy.

    Attributes:
        index: Last entry applied in it.
        term: Term of that entry.
        size: Its bytes.
        sha256: Digest of them.
    """

    index: int
    term: int
    size: int
    sha256: bytes


class Copies:
    """The copies that one store is having made. `make` may be called from any thread, several times at once."""

    def __init__(self, rate: float = RATE) -> None:
        """Make copies of at most `rate` bytes a second each."""
        self._rate = rate
        self._lock = threading.Lock()
        self._working: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def make(self, state: Path, map_size: int, directory: Path) -> Copied:
        """Write a compacted copy of the LMDB environment in `state` into the empty `directory`; returns when it is there.

        The environment is open in this process; its readers are looked over afterwards by whoever opened it, since a
        copier that was killed leaves its place taken.

        Raises:
            StoreFull: There is no room for the copy.
            StoreError: It was not made, or `end` was called; what there is of it is removed.
        """
        path = directory / DATA
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            told = self._run([str(state), str(map_size), str(target), str(self._rate)], target)
            return _outcome(state, told)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(target)

    def _run(self, arguments: list[str], target: int) -> dict[str, Any]:
        """Run a copier to its end; returns what it tells."""
        command = [sys.executable, "-m", "raftmeta.store.copier", *arguments]
        theirs, ours = os.pipe()  # nothing is sent: it ends with this process, and then so does the copier
        try:
            with self._lock:
                if self._ended:
                    raise StoreError("the store is closed: no copy of it was made")
                process = subprocess.Popen(  # noqa: S603
                    command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(target,)
                )
                self._working.add(process)
            try:
                said, troubles = process.communicate()
            finally:
                with self._lock:
                    self._working.discard(process)
        finally:
            os.close(theirs)
            os.close(ours)
        if process.returncode:
            last = troubles.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
            return {"error": f"the process that copies it ended: {last[0]}", "errno": None}
        return cast("dict[str, Any]", json.loads(said))

    def end(self) -> None:
        """Kill the copiers at work and start no more."""
        with self._lock:
            self._ended = True
            for process in self._working:
                process.kill()


def _outcome(state: Path, told: dict[str, Any]) -> Copied:
    """Return what a copier tells. Raises StoreFull, StoreError when it tells of a failure."""
    if "error" not in told:
        return Copied(told["index"], told["term"], told["size"], bytes.fromhex(told["sha256"]))
    if told["errno"] in NO_SPACE:
        raise StoreFull(f"there is no room for a copy of {state}")
    raise StoreError(f"{state} was not copied: {told['error']}")
