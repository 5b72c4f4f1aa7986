"""Which nodes data keys are wrapped for, so that one that was removed gets no further ones.

/system/secrets/keys/<id>/<recipient>         a data key, sealed for one recipient
/system/secrets/nodes/<public key, hex>       the member that wants keys wrapped for it: its id, 16 hex digits
"""

from __future__ import annotations

from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

KEYS = system.SECRETS + b"keys/"
NODES = system.SECRETS + b"nodes/"


def node(public: bytes) -> bytes:
    """Return the key by which a node announces its public key."""
    return NODES + public.hex().encode()


def place(key_id: str, recipient: str) -> bytes:
    """Return the key that holds a data key sealed for a recipient."""
    return KEYS + f"{key_id}/{recipient}".encode()


def of_node(public: bytes) -> str:
    """Return the recipient that a node's public key stands for."""
    return f"node-{public.hex()}"


async def forget(store: Metastore, member_id: int) -> None:
    """Delete what a member announced, and the data keys wrapped for it. Raises MetastoreError.

    What it has read before it still knows: rotate the key afterwards.
    """
    announced = await Snapshot(store).scan(NODES, ops.prefix_end(NODES))
    owner = f"{member_id:016x}".encode()
    for kv in announced.kvs:
        if kv.value != owner:
            continue
        recipient = of_node(bytes.fromhex(kv.key[len(NODES) :].decode())).encode()
        wrapped = await Snapshot(store).scan(KEYS, ops.prefix_end(KEYS), keys_only=True)
        for key in [kv.key, *(one.key for one in wrapped.kvs if one.key.endswith(b"/" + recipient))]:
            await store.delete_range(pb.DeleteRangeRequest(key=key))
