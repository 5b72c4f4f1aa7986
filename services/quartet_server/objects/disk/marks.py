"""Marks of the clusters that use a disk, in one small file of its folder. All calls block."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from quartet_server.objects.filesystem import refusal, replace_file

_NAME = "owners"
_LONGEST = 64 << 10
_MARK = re.compile(r"[0-9a-z]{1,64}")
_UNREADABLE = "unreadable"


class Marks:
    """The names in the file, a line each; one process at a time has them, by the lock of the store."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`."""
        self._path = folder / _NAME

    def read(self) -> frozenset[str]:
        """Return all; a line that is no name stands for a cluster that nobody knows. Raises ObjectStoreUnreachable."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_LONGEST).decode("ascii", "replace")
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise refusal(error) from error
        lines = text.splitlines()
        return frozenset(line if _MARK.fullmatch(line) else _UNREADABLE for line in lines) or frozenset({_UNREADABLE})

    def write(self, names: Iterable[str]) -> None:
        """Replace all, durably. Raises StoreFull, ObjectStoreUnreachable."""
        try:
            replace_file(self._path, "".join(f"{name}\n" for name in sorted(names)).encode())
        except OSError as error:
            raise refusal(error) from error
