"""SettingsService: settings and feature flags over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.settings.storage.v1 import storage_pb2
from quartet.settings.v1 import settings_pb2, settings_pb2_grpc
from quartet.settings.v1 import settings_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import Contention, FieldInvalid
from quartet_server.meta import ops, system
from quartet_server.meta.events import changes
from quartet_server.meta.ledger import LedgerLease, claim
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.settings import names, records, sealing, writing
from quartet_server.settings.keyring import CURRENT, Keyring
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as etcd
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]


async def start(resources: Resources) -> SettingsService:
    """Serve settings from the node's Metastore. Raises OSError, ValueError when the key file cannot be used."""
    path = resources.config.secrets.key_file
    holder = sealing.FileKey(path) if path is not None else sealing.NodeKey(resources.config.serve.data_dir)
    member_id = resources.member.status().member_id if resources.member is not None else 0
    keyring = Keyring(resources.metastore, holder, resources.new_id, member_id=member_id)
    keyring.start()
    return SettingsService(resources.metastore, keyring, timestamps(resources.clock))


class SettingsService(settings_pb2_grpc.SettingsServiceServicer):
    """Serves `quartet.settings.v1.SettingsService` from a Metastore."""

    names = (settings_pb2.DESCRIPTOR.services_by_name["SettingsService"].full_name,)

    def __init__(self, store: Metastore, keyring: Keyring, now: Callable[[], Timestamp]) -> None:
        """Keep settings in `store`, sealed by `keyring` where they are sensitive; `now` tells the time for records."""
        self._store = store
        self._keyring = keyring
        self._now = now
        self._mutator = Mutator(store, LedgerLease(store))

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        settings_pb2_grpc.add_SettingsServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Stop sharing keys."""
        await self._keyring.close()

    async def GetSetting(self, request: pb.GetSettingRequest, context: Context) -> pb.Setting:
        """Read a setting."""
        if request.reveal:
            demand_operator(context, "seeing a sensitive value")
        kv = await self._read(records.setting_key(names.check_name(request.name)), request.name, request.serializable)
        setting = records.setting(kv)
        if request.reveal and setting.sensitive:
            setting.value = await self._clear(request.name, kv)
        return setting

    async def ListSettings(self, request: pb.ListSettingsRequest, context: Context) -> pb.ListSettingsResponse:
        """Read a page of settings."""
        found, revision, token = await self._page(system.SETTINGS, request)
        settings = [records.setting(kv) for kv in found]
        return pb.ListSettingsResponse(settings=settings, next_page_token=token, revision=revision)

    async def SetSetting(self, request: pb.SetSettingRequest, context: Context) -> pb.Setting:
        """Write a setting."""
        demand_operator(context, "writing a setting")
        names.check_name(request.name)
        names.check_text("value", request.value, names.LONGEST_VALUE)
        names.check_text("description", request.description, names.LONGEST_DESCRIPTION)
        now = self._now()
        told = pb.SetSettingRequest()
        told.CopyFrom(request)
        if request.sensitive:
            told.ClearField("value")  # even a hash of it in the record would let it be guessed
        answer, revision = await self._mutator.run(
            pb.Setting,
            lambda snapshot: writing.set_setting(request, snapshot, self._keyring, now),
            claim(system.REQUESTS, "SetSetting", told, request.request_id),
        )
        answer.etag = str(revision)
        return answer

    async def DeleteSetting(self, request: pb.DeleteSettingRequest, context: Context) -> pb.DeleteSettingResponse:
        """Remove a setting."""
        demand_operator(context, "deleting a setting")
        names.check_name(request.name)
        answer, revision = await self._mutator.run(
            pb.DeleteSettingResponse,
            lambda snapshot: writing.delete_setting(request, snapshot),
            claim(system.REQUESTS, "DeleteSetting", request, request.request_id),
        )
        answer.revision = revision
        return answer

    async def GetFlag(self, request: pb.GetFlagRequest, context: Context) -> pb.Flag:
        """Read a feature flag."""
        key = records.flag_key(names.check_name(request.name))
        return records.flag(await self._read(key, request.name, request.serializable))

    async def ListFlags(self, request: pb.ListFlagsRequest, context: Context) -> pb.ListFlagsResponse:
        """Read a page of feature flags."""
        found, revision, token = await self._page(system.FLAGS, request)
        flags = [records.flag(kv) for kv in found]
        return pb.ListFlagsResponse(flags=flags, next_page_token=token, revision=revision)

    async def SetFlag(self, request: pb.SetFlagRequest, context: Context) -> pb.Flag:
        """Write a feature flag."""
        demand_operator(context, "writing a flag")
        names.check_name(request.name)
        names.check_text("description", request.description, names.LONGEST_DESCRIPTION)
        now = self._now()
        answer, revision = await self._mutator.run(
            pb.Flag,
            lambda snapshot: writing.set_flag(request, snapshot, now),
            claim(system.REQUESTS, "SetFlag", request, request.request_id),
        )
        answer.etag = str(revision)
        return answer

    async def DeleteFlag(self, request: pb.DeleteFlagRequest, context: Context) -> pb.DeleteFlagResponse:
        """Remove a feature flag."""
        demand_operator(context, "deleting a flag")
        names.check_name(request.name)
        answer, revision = await self._mutator.run(
            pb.DeleteFlagResponse,
            lambda snapshot: writing.delete_flag(request, snapshot),
            claim(system.REQUESTS, "DeleteFlag", request, request.request_id),
        )
        answer.revision = revision
        return answer

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        """Stream changes of both: their keys are one range, with what lies between left out."""
        prefix = names.check_prefix(request.prefix).encode()
        if request.start_revision < 0:
            raise FieldInvalid.of("start_revision", "must not be negative")
        start, end = system.FLAGS, ops.prefix_end(system.SETTINGS)
        async for change in changes(self._store, start, end, request.start_revision):
            response = pb.WatchResponse(revision=change.revision)
            for event in change.events:
                _tell(event, prefix, response)
            if not change.events or response.ByteSize() > pb.WatchResponse(revision=change.revision).ByteSize():
                yield response

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Context) -> pb.RotateKeyResponse:
        """Make a new data key, seal every sensitive value with it, throw the old ones away."""
        demand_operator(context, "rotating the data key")
        key_id = await self._keyring.rotate()
        made = await self._made_current(key_id)
        values = 0
        left = True
        while left:
            left = False
            found = await Snapshot(self._store).scan(system.SETTINGS, ops.prefix_end(system.SETTINGS))
            for kv in found.kvs:
                sealed = storage_pb2.Setting.FromString(kv.value).sealed
                if not sealed.key_id or sealed.key_id == key_id:
                    continue
                if await self._reseal(kv, key_id, made):
                    values += 1
                else:
                    left = True
            if left:  # written meanwhile; or another rotation began, which takes over what is left
                await self._made_current(key_id)
        await self._keyring.forget(key_id)
        return pb.RotateKeyResponse(key_id=key_id, values=values)

    async def _made_current(self, key_id: str) -> int:
        """Return the revision at which a key became current. Raises Contention when it is not any more."""
        current, _, made = await self._keyring.current()
        if current != key_id:
            raise Contention("another rotation began meanwhile and finishes this one's work")
        return made

    async def _reseal(self, kv: KeyValue, key_id: str, made: int) -> bool:
        """Seal one value with the key that became current at `made`; False when the value was written meanwhile.

        As with any other write the key must still be current: a later rotation may have passed over this value, and
        would throw the key away.
        """
        name = kv.key[len(system.SETTINGS) :].decode()
        stored = storage_pb2.Setting.FromString(kv.value)
        plain = (await self._clear(name, kv)).encode()
        key = await self._keyring.key(key_id)
        stored.sealed.CopyFrom(sealing.seal(key, plain, records.sealing_context(name), key_id=key_id))
        answer = await self._store.txn(
            etcd.TxnRequest(
                compare=[ops.unchanged(kv.key, kv.mod_revision), ops.unchanged(CURRENT, made)],
                success=[ops.put(kv.key, stored.SerializeToString())],
            )
        )
        return answer.succeeded

    async def _clear(self, name: str, kv: KeyValue) -> str:
        sealed = storage_pb2.Setting.FromString(kv.value).sealed
        key = await self._keyring.key(sealed.key_id)
        return sealing.unseal(key, sealed, records.sealing_context(name)).decode()

    async def _read(self, key: bytes, name: str, serializable: bool) -> KeyValue:
        found = await Snapshot(self._store, serializable=serializable).get([key])
        if key not in found:
            raise names.missing(name)
        return found[key]

    async def _page(
        self, base: bytes, request: pb.ListSettingsRequest | pb.ListFlagsRequest
    ) -> tuple[list[KeyValue], int, str]:
        """Read a page below `base`; return it, its revision and the next page's token."""
        prefix = names.check_prefix(request.prefix)
        kind = base.decode()
        last = names.after(kind, prefix, request.page_token)
        start = base + (last.encode() + b"\0" if last else prefix.encode())
        left, size = names.page_size(request.page_size), 0
        snapshot = Snapshot(self._store, serializable=request.serializable)
        answer: list[KeyValue] = []
        while left and size < names.PAGE_BYTES:  # what is too long for one page goes to the next
            found = await snapshot.scan(start, ops.prefix_end(base + prefix.encode()), min(left, names.AT_ONCE))
            answer.extend(found.kvs)
            if not found.more:
                return answer, snapshot.revision, ""
            left -= len(found.kvs)
            size += sum(kv.ByteSize() for kv in found.kvs)
            start = found.kvs[-1].key + b"\0"
        token = names.page_token(kind, prefix, answer[-1].key[len(base) :].decode())
        return answer, snapshot.revision, token


def _tell(event: kv_pb2.Event, prefix: bytes, response: pb.WatchResponse) -> None:
    """Add an event to the response if its name begins with `prefix`."""
    deleted = event.type == kv_pb2.Event.DELETE
    for base in (system.SETTINGS, system.FLAGS):
        if not event.kv.key.startswith(base + prefix):
            continue
        name = event.kv.key[len(base) :].decode()
        if base == system.SETTINGS:
            if deleted:
                response.deleted_settings.append(name)
            else:
                response.settings.append(records.setting(event.kv))
        elif deleted:
            response.deleted_flags.append(name)
        else:
            response.flags.append(records.flag(event.kv))
