"""Looking at a log without changing it, for `raftmeta check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raftmeta.wal.contract import HardState
from raftmeta.wal.errors import WalCorrupt, WalFailed, WalLocked
from raftmeta.wal.files import DiskFiles, Files
from raftmeta.wal.recovery import find


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a sound log holds.

    Attributes:
        first_index: Lowest entry; last_index + 1 when it holds none.
        last_index: Highest entry.
        hard_state: Term and vote.
        segments: Number of segment files.
        torn_bytes: Bytes that were never synced and that opening will cut.
    """

    first_index: int
    last_index: int
    hard_state: HardState
    segments: int
    torn_bytes: int


def inspect(directory: Path, files: Files | None = None) -> Inspection:
    """Read every record of the log in `directory`, as opening does, and change nothing.

    Raises:
        WalCorrupt: There is damage, or no log.
        WalLocked: A running process has it open.
        WalFailed: It cannot be read.
    """
    files = files or DiskFiles()
    try:
        lock = files.lock(directory)
    except BlockingIOError:
        raise WalLocked(directory) from None
    except FileNotFoundError:
        raise WalCorrupt(directory, 0, "there is no log here") from None
    except OSError as error:
        raise WalFailed(directory, error) from error
    try:
        found = find(files, directory)
    except OSError as error:
        raise WalFailed(directory, error) from error
    finally:
        lock.close()
    if found is None:
        raise WalCorrupt(directory, 0, "there is no log here")
    found.close()
    state = found.state.state
    return Inspection(
        state.start, found.index.next - 1, HardState(state.term, state.voted_for), len(found.segments), found.torn
    )
