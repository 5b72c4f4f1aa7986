"""A segmented, checksummed write-ahead log for Raft: the only thing that makes an acknowledgement true."""

from raftmeta.wal.contract import HardState, Log, LogEntry
from raftmeta.wal.errors import WalCorrupt, WalError, WalFailed, WalFull, WalLocked, WalRange
from raftmeta.wal.files import DiskFiles, File, Files
from raftmeta.wal.inspection import Inspection, inspect
from raftmeta.wal.log import Wal

__all__ = [
    "DiskFiles",
    "File",
    "Files",
    "HardState",
    "Inspection",
    "Log",
    "LogEntry",
    "Wal",
    "WalCorrupt",
    "WalError",
    "WalFailed",
    "WalFull",
    "WalLocked",
    "WalRange",
    "inspect",
]
