"""Settings and flags as they are stored, and as they are told."""

from __future__ import annotations

from quartet.settings.storage.v1 import storage_pb2
from quartet.settings.v1 import settings_pb2 as pb

from quartet_server.meta import system
from quartet_server.meta.snapshot import KeyValue
from quartet_server.settings.names import MASK


def setting_key(name: str) -> bytes:
    """Return the key of a setting."""
    return system.SETTINGS + name.encode()


def flag_key(name: str) -> bytes:
    """Return the key of a feature flag."""
    return system.FLAGS + name.encode()


def sealing_context(name: str) -> bytes:
    """Return what ties a sealed value to the setting it is of."""
    return b"setting\0" + name.encode()


def setting(kv: KeyValue) -> pb.Setting:
    """Tell a setting; a sensitive value is masked."""
    stored = storage_pb2.Setting.FromString(kv.value)
    sensitive = stored.HasField("sealed")
    return pb.Setting(
        name=kv.key[len(system.SETTINGS) :].decode(),
        value=MASK if sensitive else stored.clear,
        sensitive=sensitive,
        description=stored.description,
        etag=str(kv.mod_revision),
        update_time=stored.update_time,
    )


def flag(kv: KeyValue) -> pb.Flag:
    """Tell a feature flag."""
    stored = storage_pb2.Flag.FromString(kv.value)
    return pb.Flag(
        name=kv.key[len(system.FLAGS) :].decode(),
        enabled=stored.enabled,
        description=stored.description,
        etag=str(kv.mod_revision),
        update_time=stored.update_time,
    )
