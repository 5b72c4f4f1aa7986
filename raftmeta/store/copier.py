"""The process that writes a compacted copy of a state: modest, at a bounded pace, gone when its parent is.

Run by `raftmeta.store.copies`. A process of its own has its own interpreter lock and its own place in the scheduler's
queue: whoever serves clients feels neither the walk through all pages nor the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import lmdb

from raftmeta.store.environment import MAX_TABLES
from raftmeta.store.layout import SPACES
from raftmeta.store.view import Tables, View

_PIECE = 1 << 20
_SYNCED = 4 << 20
"""Bytes after which the disk is waited for: it must not owe so much that the sync of a log takes its time behind it."""
_NICE = 10
"""Behind whoever serves clients, yet with a share that ends the copy in bounded time on a machine that is never idle."""


def copy(state: Path, map_size: int, target: int, rate: float) -> dict[str, object]:
    """Copy the state in directory `state`, as it is now, to the file descriptor `target`, at most `rate` bytes a second.

    Returns index and term of the last entry applied, the bytes written, and their SHA-256 in hexadecimal.

    Raises:
        lmdb.Error, OSError: The state cannot be read, or the copy cannot be written.
    """
    with lmdb.open(str(state), map_size=map_size, max_dbs=MAX_TABLES, readonly=True, create=False) as env:
        tables = Tables.open(env, SPACES, create=False)
        with env.begin() as txn:
            index, term = View(txn, tables).applied()
            size, digest = _compact(env, txn, target, rate)
    return {"index": index, "term": term, "size": size, "sha256": digest}


def _compact(env: lmdb.Environment, txn: lmdb.Transaction[bytes], target: int, rate: float) -> tuple[int, str]:
    """Write what a transaction sees to `target`; returns its bytes and their digest. Raises lmdb.Error, OSError."""
    source, sink = os.pipe()
    failures: list[BaseException] = []
    walker = threading.Thread(target=_walk, args=(env, txn, sink, failures))
    walker.start()
    try:
        written = _write(source, target, rate)
    finally:
        os.close(source)  # a walk that nobody reads ends here
        walker.join()
    if failures:
        raise failures[0]
    return written


def _walk(env: lmdb.Environment, txn: lmdb.Transaction[bytes], sink: int, failures: list[BaseException]) -> None:
    try:
        env.copyfd(sink, compact=True, txn=txn)
    except (lmdb.Error, OSError) as error:
        failures.append(error)
    finally:
        os.close(sink)


def _write(source: int, target: int, rate: float) -> tuple[int, str]:
    """Write what comes out of a pipe; returns its bytes and its digest. Raises OSError."""
    began, size, synced = time.monotonic(), 0, 0
    digest = hashlib.sha256()
    while piece := os.read(source, _PIECE):
        digest.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(target, rest) :]
        size += len(piece)
        if size - synced >= _SYNCED:
            os.fdatasync(target)
            synced = size
        time.sleep(max(0.0, began + size / rate - time.monotonic()))
    os.fdatasync(target)
    return size, digest.hexdigest()


def _end_with_parent() -> None:
    """End this process when the other end of its standard input is closed, as it is when the parent ends in any way."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main() -> None:
    """Copy as argv says (directory, size of the map, descriptor, bytes a second) and tell the outcome on stdout as JSON."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    state, map_size, target, rate = sys.argv[1:]
    try:
        told = copy(Path(state), int(map_size), int(target), float(rate))
    except (lmdb.Error, OSError) as error:
        told = {"error": str(error), "errno": error.errno if isinstance(error, OSError) else None}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
