"""Mounts, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quartet._aio_transport import AsyncTransport
from quartet._files import new_request_id
from quartet.mounts.v1 import mounts_pb2 as pb

_OPENING = 60.0


class AsyncMounts:
    """Stores of blobs at directories; for operators. All methods raise `quartet.CallError`."""

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def mount(
        self,
        path: str,
        name: str,
        url: str,
        *,
        endpoint: str = "",
        credentials: str = "",
        create: bool = False,
        request_id: str = "",
        timeout: float = _OPENING,
    ) -> pb.MountPoint:
        """Write contents below a directory into another store from now on; `create` makes the directory.

        `credentials` is NAME for the nodes' variables QUARTET_MOUNT_NAME_..., never a secret.
        """
        request = pb.MountRequest(
            path=path,
            name=name,
            url=url,
            endpoint=endpoint,
            credentials=credentials,
            create=create,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.mounts.Mount, request, safe=True, timeout=timeout)

    async def unmount(self, name: str, *, drain: bool = False, timeout: float = _OPENING) -> pb.UnmountResponse:
        """End a mount; `drain` moves what is in it into the cluster's own store first: give a large one time."""
        request = pb.UnmountRequest(name=name, drain=drain)
        return await self._transport.call(lambda at: at.mounts.Unmount, request, safe=True, timeout=timeout)

    async def list(self) -> Sequence[pb.MountPoint]:
        """Read the zone's mounts by name, and which nodes reach them."""
        return (await self._transport.call(lambda at: at.mounts.ListMounts, pb.ListMountsRequest(), safe=True)).mounts
