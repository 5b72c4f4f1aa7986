"""Locks, for synchronous callers."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from quartet._transport import Transport
from quartet.files.v1 import files_pb2 as pb


class Locks:
    """Locks of entries, each held for a time. All methods raise `quartet.CallError`.

    A lock keeps nobody from writing: give `fence=lock.fence` to the writes that must not happen without it.
    """

    def __init__(self, transport: Transport, new_id: Callable[[], str]) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def take(
        self, path: str, name: str = "", *, owner: str = "", seconds: int = 30, request_id: str = ""
    ) -> pb.HeldLock:
        """Take a lock of an entry for 1 to 3,600 seconds; Conflict (LOCK_HELD) while somebody else has it."""
        request = pb.LockRequest(
            path=path,
            name=name,
            owner=owner,
            ttl=Duration(seconds=seconds),
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.Lock, request, safe=True)

    def renew(self, lock: pb.HeldLock) -> float:
        """Give a lock its full time again; return how many seconds that is."""
        request = pb.RenewLockRequest(fence=lock.fence)
        answer = self._transport.call(lambda at: at.files.RenewLock, request, safe=True)
        return answer.ttl.ToNanoseconds() / 1e9

    def release(self, lock: pb.HeldLock, *, request_id: str = "") -> pb.UnlockResponse:
        """Give a lock back."""
        request = pb.UnlockRequest(fence=lock.fence, request_id=request_id or self._new_id())
        return self._transport.call(lambda at: at.files.Unlock, request, safe=True)
