"""Short names for etcd's operations and comparisons."""

from __future__ import annotations

from raftmeta.etcd import rpc_pb2 as pb

LIMIT = 128
"""The most comparisons, and the most operations of a branch, in one transaction."""

_C = pb.Compare


def prefix_end(prefix: bytes) -> bytes:
    """Return the smallest key above every key that starts with `prefix`, which must not be all 0xff."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def get(key: bytes) -> pb.RequestOp:
    """Read one key."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=key))


def put(key: bytes, value: bytes, lease: int = 0) -> pb.RequestOp:
    """Write one key; a `lease` other than 0 takes the key with it when it ends."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> pb.RequestOp:
    """Delete one key."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))


def delete_prefix(prefix: bytes) -> pb.RequestOp:
    """Delete every key that starts with `prefix`."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=prefix, range_end=prefix_end(prefix)))


def absent(key: bytes) -> pb.Compare:
    """Demand that the key does not exist."""
    return _C(key=key, target=_C.CREATE, result=_C.EQUAL, create_revision=0)


def exists(key: bytes) -> pb.Compare:
    """Demand that the key exists."""
    return _C(key=key, target=_C.CREATE, result=_C.GREATER, create_revision=0)


def created(key: bytes, create_revision: int) -> pb.Compare:
    """Demand that the key exists and came to be at `create_revision`."""
    return _C(key=key, target=_C.CREATE, result=_C.EQUAL, create_revision=create_revision)


def unchanged(key: bytes, mod_revision: int) -> pb.Compare:
    """Demand that the key was last written at `mod_revision`; 0 demands that it does not exist."""
    return _C(key=key, target=_C.MOD, result=_C.EQUAL, mod_revision=mod_revision)


def none_below(prefix: bytes) -> pb.Compare:
    """Demand that no key starts with `prefix`: a comparison over a range holds when it holds for every key in it."""
    return _C(key=prefix, range_end=prefix_end(prefix), target=_C.CREATE, result=_C.EQUAL, create_revision=0)


def none_since(prefix: bytes, revision: int) -> pb.Compare:
    """Demand that no key that starts with `prefix` was written after `revision`; deletions are not seen."""
    return _C(key=prefix, range_end=prefix_end(prefix), target=_C.MOD, result=_C.LESS, mod_revision=revision + 1)
