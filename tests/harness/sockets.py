"""TCP connections of this machine as the kernel lists them; psutil cannot, where pysyncobj has replaced `socket.inet_ntop`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_ESTABLISHED = "01"


def _connections() -> Iterator[tuple[int, int]]:
    """(local port, inode) of every established IPv4 connection that a process holds."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == _ESTABLISHED and words[9] != "0":
            yield int(words[1].rpartition(":")[2], 16), int(words[9])


def established(port: int) -> int:
    """How many connections have this local port."""
    return sum(local == port for local, _ in _connections())


def holder(port: int, pids: Iterable[int]) -> int:
    """Which of these processes holds a connection with this local port; 0 when none does."""
    wanted = {f"socket:[{inode}]" for local, inode in _connections() if local == port}
    for pid in pids:
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if os.readlink(descriptor) in wanted:
                        return pid
    return 0
