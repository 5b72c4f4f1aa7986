"""What can go wrong with a write-ahead log, each with what to do about it.

WalError                       every error of this package
  WalCorrupt                   bytes that were synced are damaged or gone: the member must not take part
  WalFull                      no space or no quota: nothing is lost, appends are refused until space is back
  WalFailed                    the device failed a sync: what it kept is unknown, the process must stop
  WalLocked                    another process has the log open
  WalRange                     an index outside the log was asked for
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class WalError(Exception):
    """Every error of the write-ahead log."""


class WalCorrupt(WalError):  # noqa: N818
    """Bytes that had been synced are damaged, cut or missing.

    Attributes:
        file: The file in which it was found.
        offset: Byte offset in that file.
        reason: What is wrong there.
        hint: What the operator can do.
    """

    def __init__(self, file: Path, offset: int, reason: str) -> None:
        """Take the place and the finding; the hint is the same everywhere."""
        self.file = file
        self.offset = offset
        self.reason = reason
        self.hint = (
            "`python -m raftmeta check` with this member's --data-dir lists the damage. While the other members have"
            " a quorum: remove this member, start it again with an empty directory and add it back. Without a quorum:"
            " `python -m raftmeta restore` from a snapshot."
        )
        super().__init__(f"{file}: offset {offset}: {reason}. {self.hint}")


class WalFull(WalError):  # noqa: N818
    """The disk or a quota is full. Memory and disk agree; `Wal.sync` succeeds again once there is space.

    Attributes:
        file: The file that could not grow.
        errno: ENOSPC or EDQUOT.
    """

    def __init__(self, file: Path, number: int) -> None:
        """Take the file that could not grow and the errno of the attempt."""
        self.file = file
        self.errno = number
        what = "the quota is used up" if number == errno.EDQUOT else "no space left on the device"
        super().__init__(f"{file}: {what}: appends are refused until space is freed (compact, or grow the volume)")


class WalFailed(WalError):  # noqa: N818
    """The device refused a write or a sync for another reason than space. The log is closed for good.

    After a failed sync the kernel may have dropped the dirty pages and the next sync would wrongly succeed (fsync(2),
    NOTES), so it is never repeated: the process must stop, and reads what really is on the disk when it starts again.
    """

    def __init__(self, file: Path, error: OSError) -> None:
        """Take the file and the operating system's error."""
        self.file = file
        self.errno = error.errno or 0
        name = errno.errorcode.get(self.errno, str(self.errno))
        super().__init__(
            f"{file}: {name} ({os.strerror(self.errno)}): the device does not keep what is written. Stop this member,"
            " check the device (`dmesg`), then start it again."
        )


class WalLocked(WalError):  # noqa: N818
    """Another process holds the log's lock."""

    def __init__(self, directory: Path) -> None:
        """Take the directory that is in use."""
        self.directory = directory
        super().__init__(f"{directory} is in use by another process; stop it, or choose another --data-dir")


class WalRange(WalError, LookupError):  # noqa: N818
    """An index that the log does not hold: trimmed away, or not appended yet."""

    def __init__(self, index: int, first: int, last: int) -> None:
        """Take the index asked for and the bounds of the log."""
        self.index = index
        super().__init__(f"index {index} is outside the log [{first}, {last}]")
