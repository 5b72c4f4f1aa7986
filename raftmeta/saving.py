"""Saves a running member's data to a file, which `restore` makes a new cluster of."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import grpc

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.snapshot import SnapshotError
from raftmeta.tls import TlsFiles, grpc_channel_credentials

_DIGEST = 32


def save(endpoint: str, archive: Path, tls: TlsFiles | None, timeout: float) -> dict[str, object]:
    """Write the member's state at one moment to `archive`, whole or not at all, for its owner only.

    Returns the file's size in bytes.

    Raises:
        SnapshotError: The member does not answer, or what arrived is not what it sent.
        TlsError, OSError: Certificates or the file cannot be used.
    """
    if archive.exists():
        raise SnapshotError(f"{archive} exists: choose another name")
    channel = grpc.secure_channel(endpoint, grpc_channel_credentials(tls)) if tls else grpc.insecure_channel(endpoint)
    partial = archive.with_name(f"{archive.name}.part")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with channel, os.fdopen(descriptor, "wb") as file:
            digest, last = hashlib.sha256(), b""
            for piece in rpc.MaintenanceStub(channel).Snapshot(pb.SnapshotRequest(), timeout=timeout):
                digest.update(last)
                last = piece.blob
                file.write(last)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if len(last) != _DIGEST or digest.digest() != last:
            raise SnapshotError(f"what {endpoint} sent is cut or damaged: save it again")
        partial.replace(archive)
    except grpc.RpcError as error:
        told = error.details() if isinstance(error, grpc.Call) else str(error)
        raise SnapshotError(f"{endpoint}: {told}") from error
    finally:
        partial.unlink(missing_ok=True)
    return {"bytes": size}
