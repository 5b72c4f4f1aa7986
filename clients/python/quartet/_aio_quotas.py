"""Quotas, for asyncio."""

from __future__ import annotations

from quartet._aio_transport import AsyncTransport
from quartet.files.v1 import files_pb2 as pb


class AsyncQuotas:
    """How much directories may hold. All methods raise `quartet.CallError`."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def set(
        self,
        path: str,
        *,
        limit_bytes: int = 0,
        limit_inodes: int = 0,
        fence: pb.Fence | None = None,
        timeout: float | None = None,
    ) -> pb.Quota:
        """Limit what is below a directory; 0 for no limit. What it holds already is counted: give a large one time."""
        request = pb.SetQuotaRequest(path=path, limit_bytes=limit_bytes, limit_inodes=limit_inodes, fence=fence)
        return await self._transport.call(lambda at: at.files.SetQuota, request, safe=True, timeout=timeout)

    async def get(self, path: str) -> pb.Quota:
        """Read a directory's own quota; NotFound (QUOTA_NOT_FOUND) when it has none."""
        return await self._transport.call(lambda at: at.files.GetQuota, pb.GetQuotaRequest(path=path), safe=True)

    async def remove(self, path: str, *, fence: pb.Fence | None = None) -> pb.RemoveQuotaResponse:
        """Take a directory's quota away."""
        request = pb.RemoveQuotaRequest(path=path, fence=fence)
        return await self._transport.call(lambda at: at.files.RemoveQuota, request, safe=True)
