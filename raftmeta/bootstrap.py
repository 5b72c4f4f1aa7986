"""How a member begins: as a founder, by joining, or with the data it has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raftmeta import identity
from raftmeta.config import NodeConfig
from raftmeta.consensus.contract import Member
from raftmeta.drivers.remote import cluster_members
from raftmeta.errors import MetastoreError
from raftmeta.identity import Identity, IdentityError


@dataclass(frozen=True, slots=True)
class Founding:
    """What consensus needs to start.

    Attributes:
        identity: Who this member is.
        members: The founding members; empty for one that joins.
        contacts: For one that joins: the members that will call it.
    """

    identity: Identity
    members: Sequence[Member] = ()
    contacts: Sequence[Member] = ()


async def prepare(config: NodeConfig) -> Founding:
    """Find out who this member is, and write it down in a new data directory.

    Raises:
        IdentityError: The directory is somebody else's, the configuration contradicts itself, or the cluster to join
            does not know this member.
    """
    _make(config.data_dir)
    stored = identity.load(config.data_dir)
    if config.join:
        if stored is not None:
            return Founding(stored)
        founding = await _join(config)
        identity.save(config.data_dir, founding.identity)
        return founding
    peers = dict(config.initial_cluster) or {config.name: config.advertise_peer or config.listen_peer or config.name}
    if config.name not in peers:
        raise IdentityError(
            f"--initial-cluster has no member called {config.name!r}: it must name every founding member"
        )
    wanted = Identity(
        identity.cluster_id(config.cluster_token, peers),
        identity.member_id(config.cluster_token, peers[config.name]),
        config.name,
        config.cluster_token,
    )
    if stored is None:
        identity.save(config.data_dir, wanted)
    elif config.initial_cluster:
        identity.check(config.data_dir, stored, wanted)
    elif stored.name != config.name:
        raise IdentityError(
            f"{config.data_dir} belongs to the member {stored.name!r}, not {config.name!r}: check --name"
        )
    members = [
        Member(identity.member_id(config.cluster_token, address), name, address) for name, address in peers.items()
    ]
    return Founding(stored or wanted, members)


def _make(data_dir: Path) -> None:
    """Make the data directory, so that it outlasts a power failure. Raises OSError."""
    made = [path for path in (data_dir, *data_dir.parents) if path == data_dir or not path.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    for path in made:
        try:
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # what lies where this process may not look was not made by it
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


async def _join(config: NodeConfig) -> Founding:
    """Ask the running members which id was given to this member's address, and who they are."""
    address = config.advertise_peer or config.listen_peer
    try:
        async with asyncio.timeout(config.timeout):
            cluster, members = await cluster_members(config.join, config.join_credentials)
    except (MetastoreError, TimeoutError) as error:
        raise IdentityError(f"no member to join answered at {', '.join(config.join)}: {error}") from error
    for member in members:
        if any(url.split("://")[-1] == address for url in member.peerURLs):
            if (
                member.clientURLs
            ):  # it would vote again without what it promised: raftmeta/DESIGN.md, "A lost directory"
                raise IdentityError(
                    f"the data directory is empty, but member {member.ID:x} at {address} ran before: what it had promised is"
                    f" lost with its data. Remove it, `etcdctl member remove {member.ID:x}`, and add it again"
                )
            contacts = [
                Member(other.ID, other.name, other.peerURLs[0].split("://")[-1], learner=other.isLearner)
                for other in members
                if other.ID != member.ID and other.peerURLs
            ]
            return Founding(Identity(cluster, member.ID, config.name, config.cluster_token), (), contacts)
    raise IdentityError(
        f"the cluster does not know a member at {address}: add it first, with "
        f"`etcdctl member add {config.name} --peer-urls=http://{address}`"
    )
