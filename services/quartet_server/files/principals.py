"""Who calls, and which directory is the root for them.

Until callers have identities, a principal is the common name of the client certificate. A holder of a certificate for every
zone may act for another principal, and so may anybody where no certificates are asked for: by the metadata key
`quartet-principal`, as the zone is named by `quartet-zone`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from grpc import aio
from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import FieldInvalid, PrincipalRootLost
from quartet_server.files import keys
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.rpc import current_zone
from quartet_server.rpc.zones import EVERY_ZONE, certified_zones
from raftmeta.etcd import rpc_pb2

PRINCIPAL_KEY = "quartet-principal"
LONGEST = 255
_DEEPEST = 256
_principal: ContextVar[str] = ContextVar("quartet_principal", default="")


def enter(context: aio.ServicerContext[Any, Any]) -> str:
    """Note whose call this is, for the call's own task; return its zone. Raises FieldInvalid."""
    named = ""
    for key, value in context.invocation_metadata() or ():
        if key == PRINCIPAL_KEY:
            named = str(value)
    _principal.set(principal_of(named, context.auth_context()))
    return current_zone()


def current() -> str:
    """Return the principal of the present call; empty for nobody in particular."""
    return _principal.get()


def check(name: str, field: str) -> bytes:
    """Return the bytes of a principal's name. Raises FieldInvalid."""
    encoded = name.encode()
    if not 1 <= len(encoded) <= LONGEST or b"\0" in encoded:
        raise FieldInvalid.of(field, f"has 1 to {LONGEST} bytes and no NUL")
    return encoded


def principal_of(named: str, identity: Mapping[str, Iterable[bytes]]) -> str:
    """Return the principal of a call that named `named`; empty for nobody in particular. Raises FieldInvalid."""
    zones = certified_zones(identity)
    if zones is not None and not (named and EVERY_ZONE in zones):
        named = next((name.decode("utf-8", "replace") for name in identity.get("x509_common_name", ())), "")
    if named:
        check(named, PRINCIPAL_KEY)
    return named


@dataclass(frozen=True, slots=True)
class Base:
    """Where the paths of a call begin.

    Attributes:
        ino: Inode number of the caller's root.
        steps: The entries that lead to it from the zone's root.
        guards: That it still is the caller's root.
    """

    ino: int = keys.ROOT
    steps: tuple[Step, ...] = ()
    guards: tuple[rpc_pb2.Compare, ...] = ()

    @property
    def path(self) -> str:
        """Path of the root in the zone; empty for the zone's own."""
        return "".join(f"/{step.name}" for step in self.steps)


ZONE = Base()
"""The zone's own root, for whom nothing else was said."""


async def base(zone: str, snapshot: Snapshot) -> Base:
    """Return where the paths of the present call begin, as `snapshot` shows it. Raises PrincipalRootLost.

    The guards hold for a principal without a root of its own too: one that it is given meanwhile binds this very write.
    """
    principal = _principal.get()
    if not principal:
        return ZONE
    key = keys.root_of(zone, principal.encode())
    kv = (await snapshot.get([key])).get(key)
    if kv is None:
        return Base(guards=(ops.absent(key),))
    ino = storage_pb2.RootRecord.FromString(kv.value).ino
    steps = await chain(zone, snapshot, ino)
    if steps is None:
        raise PrincipalRootLost(
            f"the root of {principal} is gone", principal=principal, hint=f"quartet root set {principal} PATH"
        )
    return Base(ino, steps, (ops.unchanged(key, kv.mod_revision),))


async def chain(zone: str, snapshot: Snapshot, ino: int, top: int = keys.ROOT) -> tuple[Step, ...] | None:
    """Return the entries that lead from `top` to an inode, found upwards; None when it is not below it."""
    steps: list[Step] = []
    while ino != top:
        key = keys.parent(zone, ino)
        kv = (await snapshot.get([key])).get(key)
        if kv is None or ino == keys.ROOT or len(steps) == _DEEPEST:
            return None
        pointer = storage_pb2.Parent.FromString(kv.value)
        dentry = keys.dentry(zone, pointer.ino, pointer.name.encode())
        found = (await snapshot.get([dentry])).get(dentry)
        if found is None:
            return None
        steps.append(Step.of(found))
        ino = pointer.ino
    return tuple(reversed(steps))
