"""What is damaged: a member's directory, and a backup, both of a member that had acknowledged KEYS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
from harness.raftmeta import RaftmetaCluster

from raftmeta import saving
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

KEYS = {f"k{number}": f"value {number} " * 9 for number in range(150)}


@dataclass(frozen=True)
class Material:
    """Where they are."""

    directory: Path
    backup: Path


def make(below: Path) -> Material:
    """Run a member, write KEYS twice, save a backup, kill it."""
    backup = below / "backup"
    with RaftmetaCluster(below) as member:
        with grpc.insecure_channel(member.endpoints[0]) as channel:
            stub = rpc.KVStub(channel)
            for key, value in KEYS.items():
                stub.Put(pb.PutRequest(key=key.encode(), value=b"before"), timeout=60)
                stub.Put(pb.PutRequest(key=key.encode(), value=value.encode()), timeout=60)
        saving.save(member.endpoints[0], backup, None, 60.0)
        member.kill(0)
        return Material(member.data_dir(0), backup)
