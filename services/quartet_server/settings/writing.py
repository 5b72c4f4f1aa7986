"""Writes of settings and flags, as plans that happen once."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.settings.storage.v1 import storage_pb2
from quartet.settings.v1 import settings_pb2 as pb

from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.settings import names, records, sealing
from quartet_server.settings.keyring import CURRENT, Keyring


async def set_setting(
    request: pb.SetSettingRequest, snapshot: Snapshot, keyring: Keyring, now: Timestamp
) -> Plan[pb.Setting]:
    """Plan a setting's next value. A sensitive one is sealed here, before anything leaves the node.

    The data key must still be current when the value is written: a rotation that has passed over this setting would
    otherwise throw its key away.
    """
    key = records.setting_key(request.name)
    found = (await snapshot.get([key])).get(key)
    revision = found.mod_revision if found is not None else 0
    names.require(request.name, request.etag, revision)
    stored = storage_pb2.Setting(description=request.description, update_time=now)
    plan = Plan(
        pb.Setting(
            name=request.name,
            value=names.MASK if request.sensitive else request.value,
            sensitive=request.sensitive,
            description=request.description,
            update_time=now,
        ),
        [ops.unchanged(key, revision)],
    )
    if request.sensitive:
        key_id, data_key, made = await keyring.current()
        context = records.sealing_context(request.name)
        stored.sealed.CopyFrom(sealing.seal(data_key, request.value.encode(), context, key_id=key_id))
        plan.compares.append(ops.unchanged(CURRENT, made))
    else:
        stored.clear = request.value
    plan.operations.append(ops.put(key, stored.SerializeToString()))
    return plan


async def set_flag(request: pb.SetFlagRequest, snapshot: Snapshot, now: Timestamp) -> Plan[pb.Flag]:
    """Plan a flag's next position."""
    key = records.flag_key(request.name)
    found = (await snapshot.get([key])).get(key)
    revision = found.mod_revision if found is not None else 0
    names.require(request.name, request.etag, revision)
    stored = storage_pb2.Flag(enabled=request.enabled, description=request.description, update_time=now)
    answer = pb.Flag(name=request.name, enabled=request.enabled, description=request.description, update_time=now)
    return Plan(answer, [ops.unchanged(key, revision)], [ops.put(key, stored.SerializeToString())])


async def delete_setting(request: pb.DeleteSettingRequest, snapshot: Snapshot) -> Plan[pb.DeleteSettingResponse]:
    """Plan a setting's removal. Raises SettingNotFound, EtagStale."""
    revision = await _written(records.setting_key(request.name), request.name, request.etag, snapshot)
    key = records.setting_key(request.name)
    return Plan(pb.DeleteSettingResponse(), [ops.unchanged(key, revision)], [ops.delete(key)])


async def delete_flag(request: pb.DeleteFlagRequest, snapshot: Snapshot) -> Plan[pb.DeleteFlagResponse]:
    """Plan a flag's removal. Raises SettingNotFound, EtagStale."""
    revision = await _written(records.flag_key(request.name), request.name, request.etag, snapshot)
    key = records.flag_key(request.name)
    return Plan(pb.DeleteFlagResponse(), [ops.unchanged(key, revision)], [ops.delete(key)])


async def _written(key: bytes, name: str, etag: str, snapshot: Snapshot) -> int:
    found = (await snapshot.get([key])).get(key)
    if found is None:
        raise names.missing(name)
    names.require(name, etag, found.mod_revision)
    return found.mod_revision
