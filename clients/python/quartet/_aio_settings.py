"""Settings and feature flags, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from quartet._aio_transport import AsyncTransport
from quartet._errors import Unavailable
from quartet._files import new_request_id
from quartet._retry import Backoff
from quartet.settings.v1 import settings_pb2 as pb


class AsyncSettings:
    """Named values and switches of the whole cluster. All methods raise `quartet.CallError`."""

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def get(self, name: str, *, reveal: bool = False, serializable: bool = False) -> pb.Setting:
        """Read a setting; a sensitive one is masked unless `reveal` is set and allowed."""
        request = pb.GetSettingRequest(name=name, reveal=reveal, serializable=serializable)
        return await self._transport.call(lambda at: at.settings.GetSetting, request, safe=True)

    async def list(self, prefix: str = "", *, serializable: bool = False) -> AsyncIterator[pb.Setting]:
        """Yield settings by name, fetching pages as needed."""
        request = pb.ListSettingsRequest(prefix=prefix, serializable=serializable)
        while True:
            page = await self._transport.call(lambda at: at.settings.ListSettings, request, safe=True)
            for setting in page.settings:
                yield setting
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def set(
        self,
        name: str,
        value: str,
        *,
        sensitive: bool = False,
        description: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> pb.Setting:
        """Write a setting; `etag` demands which write must be the last, `0` that there is none."""
        request = pb.SetSettingRequest(
            name=name,
            value=value,
            sensitive=sensitive,
            description=description,
            etag=etag,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.settings.SetSetting, request, safe=True)

    async def delete(self, name: str, *, etag: str = "", request_id: str = "") -> pb.DeleteSettingResponse:
        """Remove a setting."""
        request = pb.DeleteSettingRequest(name=name, etag=etag, request_id=request_id or self._new_id())
        return await self._transport.call(lambda at: at.settings.DeleteSetting, request, safe=True)

    async def get_flag(self, name: str, *, serializable: bool = False) -> pb.Flag:
        """Read a feature flag."""
        request = pb.GetFlagRequest(name=name, serializable=serializable)
        return await self._transport.call(lambda at: at.settings.GetFlag, request, safe=True)

    async def list_flags(self, prefix: str = "", *, serializable: bool = False) -> AsyncIterator[pb.Flag]:
        """Yield feature flags by name, fetching pages as needed."""
        request = pb.ListFlagsRequest(prefix=prefix, serializable=serializable)
        while True:
            page = await self._transport.call(lambda at: at.settings.ListFlags, request, safe=True)
            for flag in page.flags:
                yield flag
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def set_flag(
        self, name: str, enabled: bool, *, description: str = "", etag: str = "", request_id: str = ""
    ) -> pb.Flag:
        """Write a feature flag."""
        request = pb.SetFlagRequest(
            name=name, enabled=enabled, description=description, etag=etag, request_id=request_id or self._new_id()
        )
        return await self._transport.call(lambda at: at.settings.SetFlag, request, safe=True)

    async def delete_flag(self, name: str, *, etag: str = "", request_id: str = "") -> pb.DeleteFlagResponse:
        """Remove a feature flag."""
        request = pb.DeleteFlagRequest(name=name, etag=etag, request_id=request_id or self._new_id())
        return await self._transport.call(lambda at: at.settings.DeleteFlag, request, safe=True)

    async def rotate_key(self) -> pb.RotateKeyResponse:
        """Draw a new data key and encrypt every sensitive value with it."""
        return await self._transport.call(lambda at: at.settings.RotateKey, pb.RotateKeyRequest(), safe=False)

    async def watch(self, prefix: str = "", *, start_revision: int = 0) -> AsyncGenerator[pb.WatchResponse, None]:
        """Yield changes, revision by revision; a lost node is replaced by another."""
        request = pb.WatchRequest(prefix=prefix, start_revision=start_revision)
        backoff = Backoff()
        while True:
            try:
                async for response in self._transport.stream(lambda at: at.settings.Watch, request):
                    yield response
                    backoff = Backoff()
                    request.start_revision = response.revision + 1
                return
            except Unavailable as error:
                if error.reason == "NO_ENDPOINT" or not request.start_revision:
                    raise
                await self._transport.rest(backoff.after(error))
