"""A file in the making, beside the place it will have: what a killed copy left there is gone on with, or removed.

Its name follows from the target's, and whoever writes it holds a lock on it that ends with his process. So a file that
nobody has locked was left by a copy that is dead, on whichever machine it ran.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_AT_ONCE = 8
"""Copies to one target at the same time that can each have a name of their own."""
_NAME = re.compile(r"\.quartet-([0-9a-f]{16})-([0-9a-f]+)\.part")
_TRIES = 16
_UNLOCKABLE = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL))


class Beside:
    """A file that becomes `path` when it is whole; a context manager that removes it when it does not.

    Attributes:
        path: Where it is now.
        file: Open for reading and writing; it begins with what an earlier copy left, if that was killed.
    """

    def __init__(self, target: Path) -> None:
        """Prepare to write beside `target`."""
        self._target = target
        self.path: Path
        self.file: BinaryIO

    def __enter__(self) -> Beside:
        """Open the file, alone. Raises OSError."""
        refusal = OSError(errno.EBUSY, f"{_AT_ONCE} other copies write to it")
        for number in range(_AT_ONCE):
            self.path = _place(self._target, f"{number:x}")
            for _ in range(_TRIES):
                try:
                    opened = _claimed(self.path)
                except BlockingIOError:  # another copy to the same target is at work
                    break
                except PermissionError as error:
                    refusal = error
                    break
                except OSError as error:
                    if error.errno not in _UNLOCKABLE:
                        raise
                    # a file system without locks: a name that nobody else has, which stays if we are killed
                    self.path = _place(self._target, secrets.token_hex(8))
                    self.file = self.path.open("xb+")
                    return self
                if opened is not None:
                    self.file = opened
                    return self
        raise refusal

    def place(self) -> None:
        """Give the file its name, in the place of whatever had it. Raises OSError."""
        self.file.flush()
        os.replace(self.path, self._target)
        forget(self._target)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file if it was not placed."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.file.fileno()), self.path.lstat()):
                self.path.unlink()
        with contextlib.suppress(OSError):  # what could not be written was said before
            self.file.close()


def forget(target: Path) -> None:
    """Remove what killed copies to `target` left; the work of one that is alive stays."""
    for number in range(_AT_ONCE):
        place = _place(target, f"{number:x}")
        if os.path.lexists(place):
            _remove(place)


def clear(directory: Path, names: Iterable[str]) -> None:
    """Remove what killed copies left in a directory for other files than `names`, to which it may still be of use."""
    kept = {_short(name) for name in names}
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if (found := _NAME.fullmatch(entry.name)) and not (found[1] in kept and found[2] == "0"):
                _remove(Path(entry.path))


def _short(name: str) -> str:
    """Return what stands for a name beside it: one of 255 bytes leaves no room for more."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _place(target: Path, number: str) -> Path:
    return target.with_name(f".quartet-{_short(target.name)}-{number}.part")


def _claimed(path: Path) -> BinaryIO | None:
    """Open and lock a file; None when it went away meanwhile, or was not ours. Raises BlockingIOError, OSError."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "rb+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        try:
            same = os.path.samestat(status, path.lstat())
        except FileNotFoundError:  # placed, or removed, by who had the lock before
            same = False
        ours = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()
        if (
            same and not ours
        ):  # put there by somebody else, perhaps as another name of something that is not to be changed
            path.unlink()
        if same and ours:
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _remove(path: Path) -> None:
    """Remove a file unless somebody is writing it."""
    with contextlib.suppress(OSError):
        file = _claimed(path)
        if file is not None:
            with file:
                path.unlink()
