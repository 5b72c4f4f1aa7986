"""Large trees, written as keys beneath the service: a hundred thousand entries in a few seconds."""

from __future__ import annotations

import asyncio

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files import records

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_FIRST = 1 << 40
"""Inode numbers that no service hands out in a test."""
_OPERATIONS = 126
_AT_ONCE = 32


async def fill(store: Metastore, top: int, descendants: int, zone: str = "default") -> None:
    """Give the directory `top` a hundred directories, and files in turn in each, as many descendants in all.

    The directories are called 0000 to 0099, the files by their number in six digits; the last is in 0099.
    """
    directory = records.new_inode(pb.ENTRY_TYPE_DIRECTORY, pb.Attributes(mode=0o755), pb.Entry().create_time)
    file = storage_pb2.Inode()
    file.CopyFrom(directory)
    file.type = pb.ENTRY_TYPE_FILE
    operations: list[rpc_pb2.RequestOp] = []
    for i in range(100):
        operations += records.writes(zone, top, b"%04d" % i, f"{i:04}", _FIRST + i, directory)
    for i in range(100, descendants):
        parent, name = _FIRST + i % 100, f"{i:06}"
        operations += records.writes(zone, parent, name.encode(), name, _FIRST + i, file)
    requests = [
        rpc_pb2.TxnRequest(success=operations[i : i + _OPERATIONS]) for i in range(0, len(operations), _OPERATIONS)
    ]
    for i in range(0, len(requests), _AT_ONCE):
        await asyncio.gather(*map(store.txn, requests[i : i + _AT_ONCE]))
